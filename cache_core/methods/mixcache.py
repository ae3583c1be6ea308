"""MixCache (Wei et al., arXiv 2508.12691; no code published): step, CFG and block caching in one run.

From the paper's abstract: the three kinds of caching interfere and have bounds; a context-aware trigger
tells from when on anything is cached; an adaptive hybrid decision then picks the kind for each step.

This pack's reading:

- interference: caches are renewed at fully computed steps only, so nothing that was predicted enters one;
- trigger: caching begins once the residual of the whole stack changes by less than `trigger` from one
  computed step to the next;
- decision: each kind is as harmful as what it repeats last changed between two computed steps, times
  `(1 + penalty) ** (times used in a row)`. The least harmful one is used if that is below `threshold`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar

import torch

from ..blocks import BlockCache, NetworkCall, State, Tokens
from ..decide.layout import Layout, Span
from ..decide.policies import ALWAYS, Decision, Listed, Moment, RunPlan
from ..decide.signals import change_and_size, relative
from ..negative import Guidance, why_plain
from ..run.run import Keys, Outputs
from .base import BlockMethod, Model, Page, Start, check_range
from .cfg import CfgCache


class Part(Enum):
    """What a step leaves out, the most first. The values are what the user reads."""

    STEP = "whole step"
    NEGATIVE = "negative conditioning"
    BLOCKS = "middle blocks"


@dataclass(frozen=True)
class Choice:
    """What one step leaves out, None for nothing, and why in a few words."""

    part: Part | None
    reason: str


@dataclass(frozen=True)
class MixCache(BlockMethod):
    """The rule as settings.

    Attributes:
        threshold: harm below which something is left out.
        trigger: change of the stack's residual below which caching begins, None for twice the threshold.
        warmup: steps at the start that are always computed.
        max_gap: steps in a row that may leave something out, 1 or more.
        penalty: by which share a kind counts as more harmful each time that it is used again.
        share: of the depth that block caching skips, in the middle.
    """

    name: ClassVar[str] = "MixCache"
    uses: ClassVar[tuple[str, ...]] = ("threshold", "max_gap", "warmup")
    page: ClassVar[Page] = Page(
        leaves_out="all blocks, the middle ones or the negative conditioning",
        signal="residuals of all and of the middle blocks, guidance difference",
        reference="computed steps",
        keeps="change of the blocks, of the middle ones, 2 latents",
        waits="one read per computed step",
        source="arXiv 2508.12691",
    )

    threshold: float = 0.1
    trigger: float | None = None
    warmup: int = 3
    max_gap: int = 3
    penalty: float = 0.5
    share: float = 0.5

    def check(self) -> None:
        check_range("threshold", self.threshold, 0.0, 10.0)
        check_range("trigger", self.begins_below, 0.0, 20.0)
        check_range("warmup", self.warmup, 0)
        check_range("max_gap", self.max_gap, 1)
        check_range("penalty", self.penalty, 0.0, 10.0)
        check_range("share", self.share, 0.0, 0.9)

    @classmethod
    def example(cls, everything: bool, steps: int, model: Model) -> MixCache:
        trigger = 0.0 if everything else 20.0
        return cls(0.0 if everything else 10.0, trigger, warmup=2, max_gap=1)

    @property
    def begins_below(self) -> float:
        """The trigger as a number."""
        return 2 * self.threshold if self.trigger is None else self.trigger

    def spans(self, layout: Layout) -> tuple[Span, ...]:
        """The whole stack, and within it the middle blocks."""
        return (Span(0, layout.total - 1), *middle_share(layout, self.share))

    def policy(self, plan: RunPlan, span: Span, layout: Layout, branch: int) -> Listed:
        """Computes: what is left out is chosen for all branches at once, by a `Mixture`."""
        return Listed(range(plan.steps))

    def start(self, start: Start) -> MixRun:
        """A run that leaves out the negative conditioning too, unless another cache does so already."""
        guidance = CfgCache().guidance(start.between) if start.negative else None
        if guidance is None:
            start.report.note(
                "CFG Cache is on the same model: the negative conditioning is left to it"
            )
        mixture = Mixture(self, start.plan.always(self.warmup))
        return self.cache(MixRun, start, mixture=mixture, guidance=guidance)


class Mixture:
    """Chooses what each step of a run leaves out. Asked once per step, in order."""

    def __init__(self, method: MixCache, always: frozenset[int]) -> None:
        """
        Args:
            always: steps that are computed in full.
        """
        self._method = method
        self._always = always
        self._changes: Mapping[Part, float] = {}
        self._begun = False
        self._gap = 0
        self._last: Part | None = None
        self._row = 0

    @property
    def reach(self) -> int:
        """Steps from a computed one to the next, at most."""
        return self._method.max_gap + 1

    def learn(self, changes: Mapping[Part, float]) -> None:
        """Relative changes of what each kind would repeat, from the computed step before the last one to
        the last one; a kind that is not named cannot be used."""
        self._changes = dict(changes)
        self._begun |= changes.get(Part.STEP, math.inf) < self._method.begins_below

    def decide(self, step: int) -> Choice:
        choice = self._judge(step)
        self._row = self._row + 1 if choice.part is self._last else 1
        self._last = choice.part
        self._gap = 0 if choice.part is None else self._gap + 1
        return choice

    def _judge(self, step: int) -> Choice:
        if step in self._always:
            return Choice(None, ALWAYS)
        if not self._begun:
            return Choice(None, "outputs still change too much")
        if self._gap >= self._method.max_gap:
            return Choice(None, "longest gap reached")
        # The first of equals leaves out the most.
        harms = [(self._harm(part), part) for part in Part if part in self._changes]
        harm, part = min(harms, key=lambda found: found[0], default=(math.inf, None))
        if part is None or not harm < self._method.threshold:
            return Choice(None, "threshold reached")
        return Choice(part, f"{part.value} left out")

    def _harm(self, part: Part) -> float:
        change = self._changes[part]
        again = self._row if part is self._last else 0
        return change * (1 + self._method.penalty) ** again if math.isfinite(change) else math.inf


def middle_share(layout: Layout, share: float) -> tuple[Span, ...]:
    """Blocks in the middle of a network, cut where one stack follows the other: only there do text and
    picture come as the host keeps them. Never the first block, and none where there are too few.

    Args:
        share: of all blocks, rounded down.
    """
    count = int(layout.total * share)
    first = (layout.total - count + 1) // 2
    return layout.cut(range(first, first + count))


@dataclass(kw_only=True)
class MixRun(BlockCache):
    """State of one sampling run with MixCache; dropped with `close`.

    Attributes:
        mixture: chooses what each step leaves out.
        guidance: what is kept of the negative conditioning; None where it is left alone.
    """

    mixture: Mixture
    guidance: Guidance | None = None
    _choice: Choice = field(default=Choice(None, "not started"), init=False)
    _pending: list[tuple[Part, torch.Tensor]] = field(default_factory=list, init=False)
    _measured: dict[Part, float] = field(default_factory=dict, init=False)
    _alone: bool = field(default=False, init=False)

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

    def _decide(self, moment: Moment, x: torch.Tensor | None) -> Decision:
        if self._measured:
            self.mixture.learn(self._measured)
        self._measured = {}
        self._choice = self.mixture.decide(moment.step)
        if self.guidance is not None:
            self.guidance.forget(moment.step - self.mixture.reach)
        return super()._decide(moment, x)

    def _finish_evaluation(self) -> None:
        super()._finish_evaluation()
        self._pending.clear()
        self._alone = False

    def skips(self, keys: Keys, x: torch.Tensor, active: Sequence[bool]) -> tuple[bool, ...]:
        """The negative conditioning, at steps that leave it out."""
        wanted = self._choice.part is Part.NEGATIVE and not self.sealed
        known = self.guidance is not None and self.guidance.knows(keys, x)
        self._alone = wanted and known and not why_plain(x, active)
        return (False, True) if self._alone else super().skips(keys, x, active)

    def complete(
        self,
        keys: Keys,
        x: torch.Tensor,
        sigma: torch.Tensor,
        outputs: Outputs,
        active: Sequence[bool],
    ) -> Outputs:
        """With the negative output where it was left out. At computed steps all comparisons of a call are
        read in one read of the device."""
        moment, guidance = self._moment, self.guidance
        # Where the positive one's call failed nothing is known any more, which is a fault too.
        if self._alone and moment and guidance is not None and outputs[0] is not None:
            return [outputs[0], guidance.negative(keys, outputs[0], sigma, moment.step)]
        if self.sealed or moment is None:
            return outputs
        if self._choice.part is None:
            if guidance is not None and not why_plain(x, active):
                positive, negative = outputs
                assert positive is not None
                assert negative is not None
                before = guidance.kept(keys)
                now = guidance.keep(keys, (positive, negative), sigma, moment.step)
                if before is not None and before.low.shape == now.low.shape:
                    self.compare(Part.NEGATIVE, now.whole, before.whole)
            self._read()
        return outputs

    def _read(self) -> None:
        if not self._pending:
            return
        parts, numbers = zip(*self._pending, strict=True)
        rows = torch.stack([n.to(numbers[0].device) for n in numbers])
        changes = relative(self.agreed(rows.flatten()).reshape(-1, 2)).tolist()
        for part, value in zip(parts, changes, strict=True):
            worst = value if math.isfinite(value) else math.inf
            self._measured[part] = max(self._measured.get(part, 0.0), worst)
        self._pending.clear()

    def compare(self, part: Part, now: torch.Tensor, before: torch.Tensor) -> None:
        """Measure a change, on the device; only the first evaluation of a step is compared, since the
        others replace what it kept."""
        if self._moment is not None and self._moment.first:
            self._pending.append((part, change_and_size(now, before).float()))

    def note_call(self, full: bool, decision: Decision, reason: str) -> None:
        super().note_call(full and not self._alone, decision, reason)

    @property
    def nbytes(self) -> int:
        held = 0 if self.guidance is None else self.guidance.nbytes
        return super().nbytes + held

    def _drop(self) -> None:
        super()._drop()
        self._pending.clear()
        if self.guidance is not None:
            self.guidance.clear()

    def _call(self, states: list[State], step: int) -> NetworkCall:
        return MixCall(self, states, step)

    def _policy(self, span: Span, branch: int) -> Follow:
        return Follow(self, span)


@dataclass(frozen=True)
class Follow:
    """Does for one span of one branch what the run has chosen."""

    run: MixRun
    span: Span

    def decide(self, step: int, change: float | None) -> Decision:
        return Decision(self.span not in self.run.left_out, self.run.choice.reason)

    def settle(self, computed: bool, missed: float | None = None) -> None:
        return


class MixCall(NetworkCall):
    """Keeps and compares residuals at computed steps only."""

    def keeps(self, span: Span) -> bool:
        run = self._run
        return isinstance(run, MixRun) and run.choice.part is None

    def keep(self, span: Span, before: Tokens, after: Tokens) -> None:
        run, start, picture = self._run, before[0], after[0]
        if isinstance(run, MixRun) and start is not None and picture is not None:
            part = Part.STEP if span == run.spans[0] else Part.BLOCKS
            residuals = (picture - start).chunk(len(self._states))
            for state, residual in zip(self._states, residuals, strict=True):
                past = state.changes.get(span)
                last = past[0].values[0] if past else None
                if last is not None and last.shape == residual.shape:
                    run.compare(part, residual, last.to(residual.device, non_blocking=True))
        super().keep(span, before, after)
