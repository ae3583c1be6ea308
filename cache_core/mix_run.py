"""The loop of MixCache: one choice per step for all branches, and what it leaves out.

Beside the calls of a StackRun the host makes two: `leaves_out_negative` before each batch of
conditionings, with `negative` where it does, and `observe` after each one that ran.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import torch

from .blocks import Span
from .branch_policies import BranchPolicy, RunFrame, Verdict
from .cfg_cache import Guidance
from .methods.base import Method
from .methods.mixcache import Choice, MixCache, Mixture, Part
from .report import RunReport
from .signals import change_and_size, relative
from .stack_run import NetworkCall, StackRun, State, Streams

_FIRST = Choice(None, "not started")


@dataclass
class MixRun(StackRun):
    """State of one sampling run with MixCache; dropped with `close`.

    Attributes:
        guidance: what is kept of the negative conditioning; None where it is left alone.
    """

    guidance: Guidance | None = None
    _mixture: Mixture = field(init=False)
    _choice: Choice = _FIRST
    _pending: list[tuple[Part, torch.Tensor]] = field(default_factory=list)
    _measured: dict[Part, float] = field(default_factory=dict)
    _alone: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.method, MixCache):
            raise ValueError(f"method: must be MixCache, got {self.method.name}")
        self._mixture = self.method.mixture(RunFrame(self.clock.steps, self.window))

    @property
    def choice(self) -> Choice:
        """What the step under way leaves out."""
        return self._choice

    @property
    def left_out(self) -> tuple[Span, ...]:
        """Spans that do not run in this step: the whole stack comes first, the middle blocks after it."""
        part = self._choice.part
        if part is Part.STEP:
            return self.spans
        return self.spans[1:] if part is Part.BLOCKS else ()

    def begin(self, sigma: Callable[[], float]) -> None:
        super().begin(sigma)
        self._pending.clear()
        self._alone = False
        if self.moment is not None and self.moment.first:
            if self._measured:
                self._mixture.learn(self._measured)
            self._measured = {}
            self._choice = self._mixture.decide(self.moment.step)

    def leaves_out_negative(self, key: Hashable, x: torch.Tensor) -> bool:
        """Whether the negative conditioning of a call need not run.

        Args:
            key: identity of the call.
            x: noisy latent.
        """
        wanted = self._choice.part is Part.NEGATIVE and not self.sealed
        self._alone = wanted and self.guidance is not None and self.guidance.knows(key, x)
        return self._alone

    def negative(self, key: Hashable, positive: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Predicted negative output from the positive one of the same call, denoised, a new tensor."""
        assert self.guidance is not None
        assert self.moment is not None
        return self.guidance.negative(key, positive, sigma, self.moment.step)

    def observe(
        self,
        key: Hashable,
        outputs: tuple[torch.Tensor, torch.Tensor] | None,
        sigma: torch.Tensor,
    ) -> None:
        """Learn from a call of a computed step, and read all its comparisons in one read of the device.

        Args:
            outputs: positive and negative one, None where the call had not both.
        """
        if self.sealed or self.moment is None or self._choice.part is not None:
            return
        if outputs is not None and self.guidance is not None:
            before = self.guidance.kept(key)
            now = self.guidance.keep(key, outputs, sigma)
            if before is not None and before.low.shape == now.low.shape:
                self.compare(Part.NEGATIVE, now.whole, before.whole)
        if not self._pending:
            return
        parts, numbers = zip(*self._pending, strict=True)
        agreed = self.agree(
            torch.stack([n.to(numbers[0].device) for n in numbers]).flatten()
        ).reshape(-1, 2)
        for part, value in zip(parts, relative(agreed).tolist(), strict=True):
            worst = value if math.isfinite(value) else math.inf
            self._measured[part] = max(self._measured.get(part, 0.0), worst)
        self._pending.clear()

    def compare(self, part: Part, now: torch.Tensor, before: torch.Tensor) -> None:
        """Measure a change, on the device; only the first evaluation of a step is compared, since the
        others replace what it kept."""
        if self.moment is not None and self.moment.first:
            self._pending.append((part, change_and_size(now, before).float()))

    def note_call(self, full: bool) -> None:
        super().note_call(full and not self._alone)

    def stop(self, why: str) -> None:
        super().stop(why)
        self._drop()

    def close(self) -> RunReport:
        report = super().close()
        self._drop()
        return report

    @property
    def nbytes(self) -> int:
        held = 0 if self.guidance is None else self.guidance.nbytes
        return super().nbytes + held

    def _drop(self) -> None:
        self._pending.clear()
        if self.guidance is not None:
            self.guidance.clear()

    def _call(self, states: list[State], step: int) -> NetworkCall:
        return MixCall(self, states, step)

    def _policy(self, span: Span, branch: int) -> BranchPolicy:
        return Follow(self, span)


@dataclass(frozen=True)
class Follow:
    """Does for one span of one branch what the run has chosen."""

    run: MixRun
    span: Span

    def decide(self, step: int, change: float | None) -> Verdict:
        return Verdict(self.span not in self.run.left_out, self.run.choice.reason)

    def settle(self, computed: bool) -> None:
        return


class MixCall(NetworkCall):
    """Keeps and compares residuals at computed steps only."""

    def keeps(self, span: Span) -> bool:
        run = self._run
        return isinstance(run, MixRun) and run.choice.part is None

    def keep(self, span: Span, before: Streams, after: Streams) -> None:
        run, start, picture = self._run, before[0], after[0]
        if isinstance(run, MixRun) and start is not None and picture is not None:
            part = Part.STEP if span == run.spans[0] else Part.BLOCKS
            residuals = (picture - start).chunk(len(self._states))
            for state, residual in zip(self._states, residuals, strict=True):
                past = state.changes.get(span)
                last = past[0].streams[0] if past else None
                if last is not None and last.shape == residual.shape:
                    run.compare(part, residual, last.to(residual.device, non_blocking=True))
        super().keep(span, before, after)


def run_kind(method: Method) -> type[StackRun]:
    """The loop that a method needs."""
    return MixRun if isinstance(method, MixCache) else StackRun
