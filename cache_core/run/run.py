"""One sampling run as every cache sees it: steps of evaluations, what was decided, how long it took.

The host's wrappers only translate into these calls, in this order: `begin` once per evaluation; for
each batch of conditionings `skips`, the model on those that are left, and `complete`; at last
`hand_over`. What goes wrong within them ends in `stop`: every further step is computed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import torch

from ..decide.policies import Clock, Decision, Moment
from .agreement import Agree
from .report import PLAIN, RunReport, StepRecord

_FIRST = Decision(True, "not started")
_STOPPED = Decision(True, "caching stopped")

Outputs = Sequence[torch.Tensor | None]
# What tells the outputs of each conditioning of a call from all others.
Keys = tuple[Hashable, ...]


@dataclass
class Run:
    """State of one sampling run; dropped with `close`. On its own it computes every step.

    Attributes:
        clock: turns evaluations into steps.
        report: what happened.
        agree: makes what decisions are taken from the same on all ranks; None for one rank.
        timer: seconds from any origin.
        sealed: whether caching has stopped.
    """

    clock: Clock
    report: RunReport
    agree: Agree | None = None
    timer: Callable[[], float] = time.perf_counter
    sealed: bool = field(default=False, init=False)
    _moment: Moment | None = field(default=None, init=False)
    _decision: Decision = field(default=_FIRST, init=False)
    _record: StepRecord | None = field(default=None, init=False)
    _started: float | None = field(default=None, init=False)
    _ran: bool = field(default=False, init=False)
    _answered: bool = field(default=False, init=False)

    def begin(self, sigma: Callable[[], float], x: torch.Tensor | None = None) -> None:
        """Start an evaluation. All evaluations of a step share the decision of its first one.

        Args:
            sigma: reads its noise level; only called by a measuring clock: a GPU waits for it.
            x: noisy latent [batch, ...].
        """
        self._finish_evaluation()
        self._started, self._ran, self._answered = self.timer(), self.sealed, False
        self._moment = moment = self.clock.tick(sigma() if self.clock.measures else None)
        if moment.first:
            self._record = StepRecord(moment.step, moment.sigma, _STOPPED.reason)
            self.report.records.append(self._record)
            if moment.breaks:
                self._drop()
            self._decision = _STOPPED if self.sealed else self._decide(moment, x)
            self._say(self._decision)

    def skips(self, keys: Keys, x: torch.Tensor, active: Sequence[bool]) -> tuple[bool, ...]:
        """Which conditionings of a batch need not run.

        Args:
            keys: identity of each conditioning, with its window and its place within the evaluation.
            x: noisy latent [batch, ...].
            active: per conditioning, whether it takes part at this noise level.
        """
        self._ran = True
        return (False,) * len(active)

    def complete(
        self,
        keys: Keys,
        x: torch.Tensor,
        sigma: torch.Tensor,
        outputs: Outputs,
        active: Sequence[bool],
    ) -> Outputs:
        """Take in what was computed of a batch and predict what was not.

        Args:
            keys, x, active: as in `skips`.
            sigma: noise level [batch], on the latent's device.
            outputs: denoised, one per conditioning, None for one that was skipped.
        """
        return outputs

    def hand_over(self, x: torch.Tensor, denoised: torch.Tensor) -> torch.Tensor:
        """The denoised output of an evaluation, with guidance, as the sampler is to have it."""
        self._answered = True
        return denoised

    def stop(self, why: str) -> None:
        """Something is wrong: drop the cache, compute what has no output yet."""
        self.sealed, self._decision = True, _STOPPED
        self._ran |= not self._answered
        self._drop()
        self.report.note(f"Caching stopped: {why}")

    def cut_short(self) -> None:
        """The run ends before its time: an evaluation that has no output yet does not count."""
        self._started = self._started if self._answered else None

    def close(self) -> RunReport:
        """End the run and drop all tensors."""
        self.sealed = True
        try:
            self._finish_evaluation()
        finally:
            self._moment = None
            self._drop()
        return self.report

    @property
    def sigma(self) -> float:
        """Noise level of the evaluation under way as the clock knows it."""
        return self.clock.sigmas[0] if self._moment is None else self._moment.sigma

    @property
    def nbytes(self) -> int:
        """Bytes held by the cache now."""
        return 0

    def expected_bytes(self, unit: int, conditionings: int) -> int:
        """Bytes that the run will hold on the device, about.

        Args:
            unit: of the latent, or inside the network of the picture's tokens between two blocks.
            conditionings: of the sampler.
        """
        return 0

    def agreed(self, values: torch.Tensor) -> torch.Tensor:
        """Values that a decision is taken from, the same on all ranks."""
        return values if self.agree is None else self.agree(values)

    def _decide(self, moment: Moment, x: torch.Tensor | None) -> Decision:
        return Decision(True, PLAIN)

    def _say(self, decision: Decision, reason: str = "") -> None:
        """Put a decision into the record of the step under way."""
        if self._record is not None:
            self._record.reason = reason or decision.reason
            self._record.error, self._record.limit = decision.error, decision.limit

    def _drop(self) -> None:
        """Let go of all tensors."""

    def _finish_evaluation(self) -> None:
        """Count the evaluation under way, if there is one."""
        if self._started is not None and self._record is not None:
            self._record.evaluations += 1
            self._record.computed += self._ran
            self._record.seconds += self.timer() - self._started
            self._started, self._ran = None, False
