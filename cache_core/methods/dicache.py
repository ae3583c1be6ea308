"""DiCache: let diffusion model determine its own cache (Bu et al., arXiv 2508.17356).

Published rule: the first m blocks run at every step as a probe, `acc += mean|y_t - y_{t-1}| /
mean|y_{t-1}|` of their output with `y_{t-1}` replaced at every call, skip while `acc < threshold`, else
restart. The first steps and the last one are computed. A skipped step adds the residual of the whole
stack, moved along the line through the last two as far as the probe has moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..blocks import Layout, Span
from ..branch_policies import AccumulatingPolicy, RunFrame
from ..checks import check_range
from ..signals import Reference, SignalKind
from ..stack_predictors import Align, StackPredictor
from .base import Method, middle_blocks


@dataclass(frozen=True)
class DiCache(Method):
    """Attributes:
    threshold: rel_l1_thresh of the published code: 0.4 FLUX, 0.1 HunyuanVideo, 0.08 Wan.
    probe: blocks at the start that always run.
    retention: share of the steps at the start that is always computed, ret_ratio.
    farthest: largest step along the line; 1.5, for Wan 2.
    max_gap: steps skipped in a row at most, None for the published rule, which has no limit.
    """

    name: ClassVar[str] = "DiCache"
    reference: ClassVar[Reference] = Reference.EVERY_CALL
    source: ClassVar[str] = "arXiv 2508.17356, Bujiazi/DiCache"
    probes: ClassVar[bool] = True

    threshold: float = 0.1
    probe: int = 1  # pyright: ignore[reportIncompatibleMethodOverride]
    retention: float = 0.2
    farthest: float = 1.5
    max_gap: int | None = 10

    def __post_init__(self) -> None:
        check_range("rel_l1_thresh", self.threshold, 0.0, 10.0)
        check_range("first_blocks", self.probe, 1, 1000)
        check_range("retention_ratio", self.retention, 0.0, 1.0)

    @property
    def signal(self) -> SignalKind:
        return SignalKind.PROBE_OUTPUT

    @property
    def predictor(self) -> StackPredictor:
        return Align(1.0, self.farthest)

    def spans(self, layout: Layout) -> tuple[Span, ...]:
        middle_blocks(layout, self.probe)
        return middle_blocks(layout)

    def policy(self, span: Span, layout: Layout, frame: RunFrame) -> AccumulatingPolicy:
        head = max(int(frame.steps * self.retention), 1)
        return AccumulatingPolicy(
            lambda change: change, self.threshold, frame.always(head, last=True), self.max_gap
        )
