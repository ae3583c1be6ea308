"""Delta cache of ProfilingDiT ("Model Reveals What to Cache", arXiv 2504.03140).

A list of blocks is skipped on most steps. Each maximal run of listed blocks adds the change that it made
to the stream at the last computed step, where it stands, on top of what the live blocks between the runs
have done since. The list and the schedule are fixed: no signal, nothing read from the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..blocks import Layout, Span, spans_of
from ..branch_policies import ListPolicy, RunFrame
from ..checks import check_range
from .base import Method


@dataclass(frozen=True)
class StackPlan:
    """Cached blocks and computed steps of one stack.

    Attributes:
        field: name of the list for messages.
        kind: stack, as the layout names it.
        blocks: indices of cached blocks, rising.
        start: first step from which blocks may be skipped; all before are computed.
        interval: from `start` on, every so many steps are computed.
        listed: computed steps from `start` on in place of the interval.
        listed_for: number of steps that the list was made for; other runs stretch it.
    """

    field: str
    kind: str
    blocks: tuple[int, ...]
    start: int = 6
    interval: int = 6
    listed: tuple[int, ...] = ()
    listed_for: int = 50

    def __post_init__(self) -> None:
        check_range("start_step", self.start, 1, 1000)
        check_range("interval", self.interval, 1, 1000)
        if list(self.listed) != sorted(set(self.listed)):
            raise ValueError("compute_steps: must rise and not repeat a step")

    def computed(self, frame: RunFrame) -> frozenset[int]:
        """Steps on which the whole stack runs."""
        if self.listed:
            scale = frame.steps / self.listed_for
            chosen = {round(step * scale) for step in self.listed}
            head = round(self.start * scale) if scale < 1 else self.start
        else:
            chosen = set(range(self.start, frame.steps, self.interval))
            head = self.start
        return frozenset(chosen) | frame.always(max(head, 1))


@dataclass(frozen=True)
class DeltaCache(Method):
    """Attributes:
    plans: one per stack that is cached.
    """

    name: ClassVar[str] = "Delta Cache"
    source: ClassVar[str] = "arXiv 2504.03140, ProfilingDiT"
    calibration: ClassVar[str] = "list of blocks, schedule"

    plans: tuple[StackPlan, ...]

    def spans(self, layout: Layout) -> tuple[Span, ...]:
        found: list[Span] = []
        for plan in self.plans:
            found += spans_of(plan.field, plan.blocks, layout.numbers(plan.kind))
        if not found:
            raise ValueError("blocks: name at least one block to cache")
        return tuple(sorted(found, key=lambda span: span.first))

    def policy(self, span: Span, layout: Layout, frame: RunFrame) -> ListPolicy:
        for plan in self.plans:
            if span.first in layout.numbers(plan.kind):
                return ListPolicy(plan.computed(frame))
        raise ValueError(f"blocks: no plan covers block {span.first}")

    def share(self, layout: Layout, steps: int) -> float:
        """Share of all blocks of all steps that runs."""
        frame = RunFrame(steps, (0, steps))
        skipped = 0
        for plan in self.plans:
            spans_of(plan.field, plan.blocks, layout.numbers(plan.kind))
            skipped += len(plan.blocks) * (steps - len(plan.computed(frame)))
        return 1 - skipped / (layout.total * steps)


# The settings of the published code for 50 steps. In its HunyuanVideo file the two lists have each
# other's names; this is the one that it uses.
WAN_14B = DeltaCache(
    (
        StackPlan(
            "blocks",
            "double_block",
            (0, *range(2, 8), *range(10, 21), *range(25, 33), 37, 38),
        ),
    )
)
HUNYUAN_VIDEO = DeltaCache(
    (
        StackPlan("blocks", "double_block", tuple(range(6, 20))),
        StackPlan(
            "single_blocks",
            "single_block",
            (0, 2, *range(4, 8), *range(10, 22), 23, *range(25, 28), 31, 33),
            listed=(6, 18, 26, 32, 38, 42, 46, 48),
        ),
    )
)
