"""One sampling run as every cache sees it: which step an evaluation belongs to, what was decided,
and how long it took.

The host's wrappers only translate into these calls, in this order: `begin` once per evaluation; for
each batch of conditionings `skips`, the model on those that are left, and `complete`; at last
`hand_over`. What goes wrong within them ends in `stop`: every further step is computed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ..decide.policies import Decision
from .agreement import Agree
from .report import RunReport, StepRecord

# Samplers convert sigmas through log or time space; this much drift is rounding, not another
# schedule.
SIGMA_TOLERANCE = 1e-3
_FIRST = Decision(True, "not started")
_STOPPED = Decision(True, "caching stopped")

Outputs = Sequence[torch.Tensor | None]


@dataclass(frozen=True)
class Moment:
    """One evaluation of the model.

    Attributes:
        step: index of the sampler step it belongs to, from 0.
        sigma: noise level on the host: measured when the clock measures, else the step's own sigma.
        first: whether it is the first evaluation of its step.
    """

    step: int
    sigma: float
    first: bool


class Clock:
    """Turns evaluations into steps.

    A sampler whose evaluations per step are known is *counted*: the clock needs no value from the
    device. Any other sampler is *measured*: the caller passes the sigma of each evaluation and the
    clock finds the step whose interval contains it.
    """

    def __init__(self, sigmas: Sequence[float], evaluations: Sequence[int] | None) -> None:
        """
        Args:
            sigmas: schedule of the run, one value per step and the final one.
            evaluations: evaluations of each step, or None to measure.

        Raises:
            ValueError: if the schedule has no step or the evaluations do not fit it.
        """
        self.sigmas = tuple(float(s) for s in sigmas)
        self.steps = len(self.sigmas) - 1
        if self.steps < 1:
            raise ValueError(f"sigmas: need at least 2 values for one step, got {len(sigmas)}")
        if evaluations is not None and (len(evaluations) != self.steps or min(evaluations) < 1):
            raise ValueError(f"evaluations: need 1 or more for each of {self.steps} steps")
        # Step of each evaluation.
        counts = enumerate(evaluations or ())
        self._order = [step for step, count in counts for _ in range(count)]
        self._evaluation = -1
        self.measures = evaluations is None
        self.step = -1

    def tick(self, sigma: float | None = None) -> Moment:
        """Advance to the next evaluation.

        Args:
            sigma: its noise level, where the clock measures.
        """
        self._evaluation += 1
        if self.measures:
            assert sigma is not None
            step = self._find(sigma)
        else:
            step = self._order[min(self._evaluation, len(self._order) - 1)]
            sigma = self.sigmas[step]
        first, self.step = step != self.step, step
        return Moment(step, sigma, first)

    def follows(self, moment: Moment, sigma: float) -> bool:
        """Whether a measured sigma is the one expected at the first evaluation of a step; from the
        first that is not, the clock measures."""
        expected = self.sigmas[moment.step]
        near = abs(sigma - expected) <= SIGMA_TOLERANCE * max(abs(expected), 1e-3)
        self.measures = not (near or not moment.first)
        return not self.measures

    def _find(self, sigma: float) -> int:
        """Last step whose sigma is not below `sigma`; the first step for anything above them all."""
        above = [i for i, s in enumerate(self.sigmas[:-1]) if s >= sigma * (1 - SIGMA_TOLERANCE)]
        return above[-1] if above else 0


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

    def begin(self, sigma: Callable[[], float], x: torch.Tensor | None = None) -> None:
        """Start an evaluation. All evaluations of a step share the decision of its first one.

        Args:
            sigma: reads its noise level; only called by a measuring clock, since on a GPU it waits
                for the device.
            x: noisy latent [batch, ...].
        """
        self._finish_evaluation()
        self._started = self.timer()
        self._moment = moment = self.clock.tick(sigma() if self.clock.measures else None)
        if moment.first:
            self._record = record = StepRecord(moment.step, moment.sigma, _STOPPED.reason)
            self.report.records.append(record)
            self._decision = _STOPPED if self.sealed else self._decide(moment, x)
            self._say(self._decision)

    def skips(self, key: Hashable, x: torch.Tensor, active: Sequence[bool]) -> tuple[bool, ...]:
        """Which conditionings of a batch need not run.

        Args:
            key: identity of the call: which conditionings, window and call within the evaluation.
            x: noisy latent [batch, ...].
            active: per conditioning, whether it takes part at this noise level.
        """
        self._ran = True
        return (False,) * len(active)

    def complete(
        self,
        key: Hashable,
        x: torch.Tensor,
        sigma: torch.Tensor,
        outputs: Outputs,
        active: Sequence[bool],
    ) -> Sequence[Any]:
        """Take in what was computed of a batch and predict what was not.

        Args:
            key, x, active: as in `skips`.
            sigma: noise level [batch], on the latent's device.
            outputs: denoised, one per conditioning, None for one that was skipped.
        """
        return outputs

    def hand_over(self, x: torch.Tensor, denoised: torch.Tensor) -> torch.Tensor:
        """The denoised output of an evaluation, with guidance, as the sampler is to have it."""
        return denoised

    def stop(self, why: str) -> None:
        """Something is wrong with this run: drop the cache, compute this and every further step."""
        self.sealed = self._ran = True
        self._decision = _STOPPED
        self._drop()
        self.report.note(f"Caching stopped: {why}")

    def close(self) -> RunReport:
        """End the run and drop all tensors."""
        self._finish_evaluation()
        self.sealed = True
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

    def _decide(self, moment: Moment, x: torch.Tensor | None) -> Decision:
        return Decision(True, "no cache")

    def agreed(self, values: torch.Tensor) -> torch.Tensor:
        """Values that a decision is taken from, the same on all ranks."""
        return values if self.agree is None else self.agree(values)

    def _say(self, decision: Decision, reason: str = "") -> None:
        """Put a decision into the record of the step under way."""
        if self._record is not None:
            self._record.reason = reason or decision.reason
            self._record.error, self._record.limit = decision.error, decision.limit

    def _drop(self) -> None:
        """Let go of all tensors."""

    def _finish_evaluation(self) -> None:
        """Count the evaluation under way, if there is one."""
        if self._started is None or self._record is None:
            return
        self._record.evaluations += 1
        self._record.computed += self._ran
        self._record.seconds += self.timer() - self._started
        self._started, self._ran = None, False
