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
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from ..blocks import Layout, Span
from ..branch_policies import ListPolicy, RunFrame
from ..checks import check_range
from .base import Method


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
class MixCache(Method):
    """Attributes:
    threshold: harm below which something is left out.
    trigger: change of the stack's residual below which caching begins, None for twice the threshold.
    head: steps at the start that are always computed.
    max_gap: steps in a row that may leave something out, 1 or more.
    penalty: by which share a kind counts as more harmful each time that it is used again.
    share: of the depth that block caching skips, in the middle.
    """

    name: ClassVar[str] = "MixCache"
    source: ClassVar[str] = "arXiv 2508.12691"

    threshold: float = 0.1
    trigger: float | None = None
    head: int = 3
    max_gap: int = 3
    penalty: float = 0.5
    share: float = 0.5

    def __post_init__(self) -> None:
        check_range("threshold", self.threshold, 0.0, 10.0)
        check_range("trigger", self.begins_below, 0.0, 20.0)
        check_range("warmup", self.head, 0, 1000)
        check_range("max_gap", self.max_gap, 1, 1000)
        check_range("penalty", self.penalty, 0.0, 10.0)
        check_range("share", self.share, 0.0, 0.9)

    @property
    def begins_below(self) -> float:
        """The trigger as a number."""
        return 2 * self.threshold if self.trigger is None else self.trigger

    def spans(self, layout: Layout) -> tuple[Span, ...]:
        """The whole stack, and within it the middle blocks."""
        return (Span(0, layout.total - 1), *middle_share(layout, self.share))

    def policy(self, span: Span, layout: Layout, frame: RunFrame) -> ListPolicy:
        """Computes: what is left out is chosen for all branches at once, by a `Mixture`."""
        return ListPolicy(frozenset(range(frame.steps)))

    def mixture(self, frame: RunFrame) -> Mixture:
        """A fresh decision for one run."""
        return Mixture(self, frame.always(self.head))


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
            return Choice(None, "always computed")
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
    parts = [layout.numbers(kind) for kind, _ in layout.stacks]
    cut = [range(max(first, n.start), min(first + count, n.stop)) for n in parts]
    return tuple(Span(part.start, part.stop - 1) for part in cut if part)
