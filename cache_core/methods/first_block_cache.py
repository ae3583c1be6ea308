"""First Block Cache (ParaAttention; Comfy-WaveSpeed; diffusers): the first block always runs, and while
its residual stays near the one of the last computed step the other blocks are skipped.

Published rule: `mean|r - r_c| / mean|r_c| < threshold` with `r_c` of the last computed step; nothing is
accumulated. The residual of all blocks after the first is added to the first block's output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..decide.layout import Layout, Span
from ..decide.policies import Distance, RunPlan
from ..decide.signals import Reference, SignalKind
from .base import BlockMethod, Model, Page, check_range, middle_blocks


@dataclass(frozen=True)
class FirstBlockCache(BlockMethod):
    """The rule as settings.

    Attributes:
        threshold: residual_diff_threshold of the published code.
        max_gap: steps skipped in a row at most, None for no limit.
    """

    name: ClassVar[str] = "First Block Cache"
    uses: ClassVar[tuple[str, ...]] = ("threshold", "max_gap")
    page: ClassVar[Page] = Page(
        leaves_out="blocks but the first ones",
        signal="residual of the first blocks",
        reference="computed calls",
        keeps="change of the blocks, the compared tensor",
        waits="one number per step",
        source="ParaAttention, Comfy-WaveSpeed, diffusers",
    )
    reference: ClassVar[Reference] = Reference.COMPUTED_ONLY
    probes: ClassVar[bool] = True

    threshold: float = 0.1
    max_gap: int | None = None

    @classmethod
    def example(cls, everything: bool, steps: int, model: Model) -> FirstBlockCache:
        return cls(0.0 if everything else 1.0, max_gap=1)

    @property
    def off(self) -> bool:
        return self.threshold == 0.0

    @property
    def signal(self) -> SignalKind:
        return SignalKind.PROBE

    @property
    def probe(self) -> int:
        return 1

    def check(self) -> None:
        check_range("residual_diff_threshold", self.threshold, 0.0, 1.0)

    def spans(self, layout: Layout) -> tuple[Span, ...]:
        return middle_blocks(layout, first=1)

    def policy(self, plan: RunPlan, span: Span, layout: Layout, branch: int) -> Distance:
        return Distance(self.threshold, plan.always(), self.max_gap)
