"""First Block Cache (ParaAttention; Comfy-WaveSpeed; diffusers): the first block always runs, and while
its residual stays near the one of the last computed step the other blocks are skipped.

Published rule: `mean|r - r_c| / mean|r_c| < threshold` with `r_c` of the last computed step; nothing is
accumulated. The residual of all blocks after the first is added to the first block's output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..blocks import Layout, Span
from ..branch_policies import DistancePolicy, RunFrame
from ..checks import check_range
from ..signals import Reference, SignalKind
from .base import Method, middle_blocks


@dataclass(frozen=True)
class FirstBlockCache(Method):
    """Attributes:
    threshold: residual_diff_threshold of the published code.
    max_gap: steps skipped in a row at most, None for no limit.
    """

    name: ClassVar[str] = "First Block Cache"
    reference: ClassVar[Reference] = Reference.COMPUTED_ONLY
    source: ClassVar[str] = "ParaAttention, Comfy-WaveSpeed, diffusers"
    probes: ClassVar[bool] = True

    threshold: float = 0.1
    max_gap: int | None = None

    @property
    def signal(self) -> SignalKind:
        return SignalKind.PROBE

    @property
    def probe(self) -> int:
        return 1

    def __post_init__(self) -> None:
        check_range("residual_diff_threshold", self.threshold, 0.0, 1.0)

    def spans(self, layout: Layout) -> tuple[Span, ...]:
        return middle_blocks(layout, first=1)

    def policy(self, span: Span, layout: Layout, frame: RunFrame) -> DistancePolicy:
        return DistancePolicy(self.threshold, frame.always(), self.max_gap)
