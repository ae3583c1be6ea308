"""DBCache (cache-dit): the first blocks and maybe the last ones always run, and while the residual of the
first ones stays near the one of the last computed step the blocks between are skipped.

Published rule: `mean|r - r_c| / mean|r_c| < threshold` with `r_c` of the last computed step; nothing is
accumulated. The change of the blocks between is repeated, or forecast as TaylorSeer does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..blocks import Layout, Span
from ..branch_policies import DistancePolicy, RunFrame
from ..checks import check_range
from ..signals import Reference, SignalKind
from ..stack_predictors import REUSE, StackPredictor, Taylor
from .base import Method, middle_blocks


@dataclass(frozen=True)
class DBCache(Method):
    """Attributes:
    threshold: residual_diff_threshold of the published code.
    first: blocks at the start that always run, F.
    last: blocks at the end that always run, B.
    head: steps at the start that are always computed, max_warmup_steps.
    max_gap: steps skipped in a row at most, None for no limit.
    most: steps skipped in all at most, None for no limit.
    order: of the forecast, 0 repeats.
    """

    name: ClassVar[str] = "DBCache"
    reference: ClassVar[Reference] = Reference.COMPUTED_ONLY
    source: ClassVar[str] = "vipshop/cache-dit"
    probes: ClassVar[bool] = True

    threshold: float = 0.08
    first: int = 8
    last: int = 0
    head: int = 8
    max_gap: int | None = None
    most: int | None = None
    order: int = 0

    def __post_init__(self) -> None:
        check_range("residual_diff_threshold", self.threshold, 0.0, 1.0)
        check_range("first_blocks", self.first, 1, 1000)
        check_range("last_blocks", self.last, 0, 1000)
        check_range("warmup", self.head, 0, 1000)
        check_range("order", self.order, 0, 3)

    @property
    def signal(self) -> SignalKind:
        return SignalKind.PROBE

    @property
    def probe(self) -> int:
        return self.first

    @property
    def predictor(self) -> StackPredictor:
        return Taylor(self.order) if self.order else REUSE

    def spans(self, layout: Layout) -> tuple[Span, ...]:
        return middle_blocks(layout, self.first, self.last)

    def policy(self, span: Span, layout: Layout, frame: RunFrame) -> DistancePolicy:
        return DistancePolicy(self.threshold, frame.always(self.head), self.max_gap, self.most)
