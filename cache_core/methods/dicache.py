"""DiCache: let diffusion model determine its own cache (Bu et al., arXiv 2508.17356).

Published rule: the first m blocks run at every step as a probe, `acc += mean|y_t - y_{t-1}| /
mean|y_{t-1}|` of their output with `y_{t-1}` replaced at every call, skip while `acc < threshold`, else
restart. The first steps and the last one are computed. A skipped step adds the residual of the whole
stack, moved along the line through the last two as far as the probe has moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..decide.layout import Layout, Span
from ..decide.policies import Accumulating, RunPlan
from ..decide.signals import Reference, SignalKind
from ..predict.predictors import Align, Predictor
from .base import BlockMethod, Inputs, Model, Page, check_range, middle_blocks

# Threshold and largest step along the line of the published code, by family.
PUBLISHED = {"Flux": (0.4, 1.5), "HunyuanVideo": (0.1, 1.5), "Wan": (0.08, 2.0)}


@dataclass(frozen=True)
class DiCache(BlockMethod):
    """The rule as settings.

    Attributes:
        threshold: rel_l1_thresh of the published code: 0.4 FLUX, 0.1 HunyuanVideo, 0.08 Wan.
        first_blocks: blocks at the start that always run.
        retention: share of the steps at the start that is always computed, ret_ratio.
        farthest: largest step along the line; 1.5, for Wan 2.
        max_gap: steps skipped in a row at most, None for the published rule, which has no limit.
    """

    name: ClassVar[str] = "DiCache"
    uses: ClassVar[tuple[str, ...]] = ("threshold", "max_gap", "first_blocks")
    page: ClassVar[Page] = Page(
        leaves_out="blocks but the first ones",
        signal="output of the first blocks",
        reference="every call",
        predictor="alignment",
        keeps="change of the blocks, 2 times, and of the first blocks, the compared tensor",
        waits="one number per step",
        source="arXiv 2508.17356, Bujiazi/DiCache",
    )
    reference: ClassVar[Reference] = Reference.EVERY_CALL
    probes: ClassVar[bool] = True

    threshold: float = 0.1
    first_blocks: int = 1
    retention: float = 0.2
    farthest: float = 1.5
    max_gap: int | None = 10

    def check(self) -> None:
        check_range("rel_l1_thresh", self.threshold, 0.0, 10.0)
        check_range("first_blocks", self.first_blocks, 1)
        check_range("retention_ratio", self.retention, 0.0, 1.0)

    @classmethod
    def from_inputs(cls, inputs: Inputs, model: Model) -> DiCache:
        threshold, farthest = PUBLISHED.get(model.family, (cls.threshold, cls.farthest))
        return cls(
            inputs.threshold or threshold,
            inputs.first_blocks,
            farthest=farthest,
            max_gap=inputs.max_gap or None,
            **inputs.window,
        )

    @classmethod
    def example(cls, everything: bool, steps: int, model: Model) -> DiCache:
        return cls(0.0 if everything else 10.0, max_gap=1)

    @property
    def signal(self) -> SignalKind:
        return SignalKind.PROBE_OUTPUT

    @property
    def probe(self) -> int:
        return self.first_blocks

    def own_predictor(self, plan: RunPlan) -> Predictor:
        return Align(1.0, self.farthest)

    def spans(self, layout: Layout) -> tuple[Span, ...]:
        middle_blocks(layout, self.first_blocks)
        return middle_blocks(layout)

    def policy(self, plan: RunPlan, span: Span, layout: Layout, branch: int) -> Accumulating:
        head = max(int(plan.steps * self.retention), 1)
        return Accumulating(
            lambda change: change, self.threshold, plan.always(head, last=True), self.max_gap
        )
