"""DBCache (cache-dit): the first blocks and maybe the last ones always run, and while the residual of the
first ones stays near the one of the last computed step the blocks between are skipped.

Published rule: `mean|r - r_c| / mean|r_c| < threshold` with `r_c` of the last computed step; nothing is
accumulated. The change of the blocks between is repeated, or forecast as TaylorSeer does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..decide.layout import Layout, Span
from ..decide.policies import Distance, RunPlan
from ..decide.signals import Reference, SignalKind
from ..predict.predictors import REPEAT, Predictor, Taylor
from .base import BlockMethod, Model, Page, check_range, middle_blocks


@dataclass(frozen=True)
class DBCache(BlockMethod):
    """The rule as settings.

    Attributes:
        threshold: residual_diff_threshold of the published code.
        first_blocks: blocks at the start that always run, F.
        last_blocks: blocks at the end that always run, B.
        warmup: steps at the start that are always computed, max_warmup_steps.
        max_gap: steps skipped in a row at most, None for no limit.
        most: steps skipped in all at most, None for no limit.
        order: of the forecast, 0 repeats.
    """

    name: ClassVar[str] = "DBCache"
    uses: ClassVar[tuple[str, ...]] = (
        "threshold",
        "max_gap",
        "first_blocks",
        "last_blocks",
        "warmup",
    )
    page: ClassVar[Page] = Page(
        leaves_out="blocks but the first ones",
        signal="residual of the first blocks",
        reference="computed calls",
        keeps="change of the blocks, the compared tensor",
        waits="one number per step",
        source="vipshop/cache-dit",
    )
    reference: ClassVar[Reference] = Reference.COMPUTED_ONLY
    probes: ClassVar[bool] = True

    threshold: float = 0.08
    first_blocks: int = 8
    last_blocks: int = 0
    warmup: int = 8
    max_gap: int | None = None
    most: int | None = None
    order: int = 0

    def check(self) -> None:
        check_range("residual_diff_threshold", self.threshold, 0.0, 1.0)
        check_range("first_blocks", self.first_blocks, 1)
        check_range("last_blocks", self.last_blocks, 0)
        check_range("warmup", self.warmup, 0)
        check_range("order", self.order, 0, 3)

    @classmethod
    def example(cls, everything: bool, steps: int, model: Model) -> DBCache:
        last = 1 if model.layout.total > 2 else 0
        return cls(0.0 if everything else 1.0, 1, last, warmup=2, max_gap=1)

    @property
    def signal(self) -> SignalKind:
        return SignalKind.PROBE

    @property
    def probe(self) -> int:
        return self.first_blocks

    def own_predictor(self, plan: RunPlan) -> Predictor:
        return Taylor(self.order) if self.order else REPEAT

    def spans(self, layout: Layout) -> tuple[Span, ...]:
        return middle_blocks(layout, self.first_blocks, self.last_blocks)

    def policy(self, plan: RunPlan, span: Span, layout: Layout, branch: int) -> Distance:
        return Distance(self.threshold, plan.always(self.warmup), self.max_gap, self.most)
