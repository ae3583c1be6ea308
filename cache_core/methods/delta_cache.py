"""Delta cache of ProfilingDiT ("Model Reveals What to Cache", arXiv 2504.03140).

A list of blocks is skipped on most steps. Each row of neighbouring listed blocks adds the change that it
made to the stream at the last computed step, where it stands, on top of what the live blocks between the
rows have done since. The list and the schedule are fixed: no signal, nothing read from the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..decide.layout import Layout, Span, spans_of
from ..decide.policies import Listed, RunPlan
from .base import BlockMethod, Inputs, Model, Page, check_range, parse_ranges, rising

# Steps that published lists of steps are made for.
LISTED_FOR = 50
# Fields for the lists of blocks, by kind of block.
FIELDS = {"double_block": "blocks", "single_block": "single_blocks"}


@dataclass(frozen=True)
class StackPlan:
    """Cached blocks and computed steps of one stack.

    Attributes:
        field: name of the list for messages.
        kind: stack, as the layout names it.
        blocks: indices of cached blocks, rising.
        start: first step from which blocks may be skipped; all before are computed.
        interval: from `start` on, every so many steps are computed.
        listed: computed steps from `start` on in place of the interval; runs of more or fewer than
            `LISTED_FOR` steps stretch it.
    """

    field: str
    kind: str
    blocks: tuple[int, ...]
    start: int = 6
    interval: int = 6
    listed: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_range("start_step", self.start, 1)
        check_range("interval", self.interval, 1)
        rising("compute_steps", self.listed)

    def computed(self, plan: RunPlan) -> frozenset[int]:
        """Steps on which the whole stack runs."""
        if self.listed:
            scale = plan.steps / LISTED_FOR
            chosen = {round(step * scale) for step in self.listed}
            head = round(self.start * scale) if scale < 1 else self.start
        else:
            chosen = set(range(self.start, plan.steps, self.interval))
            head = self.start
        return frozenset(chosen) | plan.always(max(head, 1))


@dataclass(frozen=True)
class DeltaCache(BlockMethod):
    """The rule as settings.

    Attributes:
        plans: one per stack that is cached.
    """

    name: ClassVar[str] = "Delta Cache"
    uses: ClassVar[tuple[str, ...]] = ("interval", "warmup", "blocks", "single_blocks")
    page: ClassVar[Page] = Page(
        leaves_out="listed blocks",
        needs="list of blocks, schedule",
        keeps="change of each row of skipped blocks",
        source="arXiv 2504.03140, ProfilingDiT",
    )

    plans: tuple[StackPlan, ...]

    @classmethod
    def from_inputs(cls, inputs: Inputs, model: Model) -> DeltaCache | str:
        start = max(inputs.warmup, 1)
        texts = zip(FIELDS.items(), (inputs.blocks, inputs.single_blocks), strict=True)
        plans = tuple(
            StackPlan(field, kind, parse_ranges(field, text), start, inputs.interval)
            for (kind, field), text in texts
            if text.strip()
        )
        if not plans:
            return "No block is named: Profile Blocks (Delta Cache) finds those that can be skipped"
        return cls(plans, **inputs.window)

    @classmethod
    def example(cls, everything: bool, steps: int, model: Model) -> DeltaCache:
        """All blocks but the second one of each stack."""
        start = steps if everything else 2
        lists = [(kind, [i for i in range(n) if i != 1]) for kind, n in model.layout.stacks]
        return cls(tuple(StackPlan("blocks", kind, tuple(b), start, 2) for kind, b in lists))

    def spans(self, layout: Layout) -> tuple[Span, ...]:
        found: list[Span] = []
        for stack in self.plans:
            found += spans_of(stack.field, stack.blocks, layout.numbers(stack.kind))
        if not found:
            raise ValueError("blocks: name at least one block to cache")
        return tuple(sorted(found, key=lambda span: span.first))

    def policy(self, plan: RunPlan, span: Span, layout: Layout, branch: int) -> Listed:
        for stack in self.plans:
            if span.first in layout.numbers(stack.kind):
                return Listed(stack.computed(plan))
        raise ValueError(f"blocks: no plan covers block {span.first}")


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
# By name as the nodes offer them, with the blocks that they were made for.
PUBLISHED = {
    "wan2.1_t2v_14B": (WAN_14B, Layout((("double_block", 40),))),
    "hunyuan_video": (HUNYUAN_VIDEO, Layout((("double_block", 20), ("single_block", 40)))),
}
