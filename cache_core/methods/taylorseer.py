"""TaylorSeer: from reusing to forecasting (Liu et al., arXiv 2503.06923; code Shenyi-Z/TaylorSeer).

Published rule: the first steps are computed, then every N-th; between them features are forecast
from their differences at computed steps, in units of steps. The published code does so for every
attention and MLP. Here it is the model's output, one tensor per order and conditioning, or inside
the network the change of the whole stack.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..decide.layout import Layout, Span
from ..decide.policies import Listed, RunPlan
from ..decide.schedules import every
from ..predict.predictors import Predictor, Taylor
from .base import BlockMethod, Method, Model, Page, StepMethod, check_range, middle_blocks


@dataclass(frozen=True)
class _Schedule(Method):
    """The settings, the same on both levels.

    Attributes:
        interval: fresh_threshold of the published code: 6 FLUX, 5 HunyuanVideo and Wan, 4 HiDream.
        order: max_order, highest difference: 1, HiDream 2.
        warmup: first_enhance, steps at the start that are always computed: 3 FLUX, 1 elsewhere.
    """

    name: ClassVar[str] = "TaylorSeer"
    uses: ClassVar[tuple[str, ...]] = ("interval", "order", "warmup")

    interval: int = 5
    order: int = 1
    warmup: int = 3

    def check(self) -> None:
        check_range("interval", self.interval, 1)
        check_range("order", self.order, 1, 3)
        check_range("warmup", self.warmup, 1)

    @classmethod
    def example(cls, everything: bool, steps: int, model: Model) -> _Schedule:
        return cls(1 if everything else 2, warmup=2)

    @classmethod
    def allows(cls, predictor: Predictor) -> bool:
        return isinstance(predictor, Taylor)

    def own_predictor(self, plan: RunPlan) -> Predictor:
        return Taylor(self.order)

    def computed(self, plan: RunPlan) -> Listed:
        """The schedule."""
        return Listed({*every(self.interval, self.warmup, plan.steps), *plan.always()})


@dataclass(frozen=True)
class StepTaylorSeer(_Schedule, StepMethod):
    """Forecasts the model's output."""

    page: ClassVar[Page] = Page(
        leaves_out="whole step",
        predictor="Taylor 1",
        keeps="2 latents",
        waits="one number per computed step",
        source="arXiv 2503.06923, ComfyUI-TaylorSeer's lite nodes",
    )

    def policy(self, plan: RunPlan) -> Listed:
        return self.computed(plan)


@dataclass(frozen=True)
class TaylorSeer(_Schedule, BlockMethod):
    """Forecasts the change of all blocks."""

    page: ClassVar[Page] = Page(
        leaves_out="blocks",
        predictor="Taylor 1",
        keeps="change of the blocks, 2 times",
        source="arXiv 2503.06923, Shenyi-Z/TaylorSeer",
    )

    def spans(self, layout: Layout) -> tuple[Span, ...]:
        return middle_blocks(layout)

    def policy(self, plan: RunPlan, span: Span, layout: Layout, branch: int) -> Listed:
        return self.computed(plan)
