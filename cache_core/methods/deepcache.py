"""DeepCache: accelerating diffusion models for free (Ma et al., CVPR 2024, arXiv 2312.00858; code
horseee/DeepCache).

Published rule, for UNets: every N-th step runs the whole network and keeps the tensor that enters the
last `branch + 1` output blocks. The steps between run only those and the first `branch + 1` input blocks,
whose outputs they take over the skip connections, on the kept tensor. The steps are fixed before the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..decide.layout import Layout, Span
from ..decide.policies import Listed, RunPlan
from ..decide.schedules import centred, every
from ..predict.predictors import REPEAT, Predictor, Taylor
from .base import BlockMethod, Model, Page, check_range


@dataclass(frozen=True)
class DeepCache(BlockMethod):
    """The rule as settings.

    Attributes:
        interval: cache_interval of the published code, N.
        first_blocks: input blocks, and output blocks at the end, that always run: branch + 1.
        order: of the forecast of the kept tensor, 0 repeats it.
        power: 1.0 for every N-th step, above it for as many, closer together around the center: pow, 1.4.
        center: step around which they are closest, 15 of 50.
    """

    name: ClassVar[str] = "DeepCache"
    uses: ClassVar[tuple[str, ...]] = ("interval", "first_blocks", "power", "center")
    page: ClassVar[Page] = Page(
        leaves_out="deep blocks of a UNet",
        keeps="what enters the last blocks",
        source="arXiv 2312.00858, horseee/DeepCache",
    )
    unet: ClassVar[bool] = True

    interval: int = 3
    first_blocks: int = 1
    order: int = 0
    power: float = 1.0
    center: int = 15

    def check(self) -> None:
        check_range("interval", self.interval, 1)
        check_range("first_blocks", self.first_blocks, 1)
        check_range("order", self.order, 0, 3)
        check_range("power", self.power, 1.0, 3.0)
        check_range("center", self.center, 0)

    def own_predictor(self, plan: RunPlan) -> Predictor:
        return Taylor(self.order) if self.order else REPEAT

    @classmethod
    def example(cls, everything: bool, steps: int, model: Model) -> DeepCache:
        return cls(1 if everything else 2)

    def spans(self, layout: Layout) -> tuple[Span, ...]:
        """One span: all but the first input blocks and as many output blocks at the end.

        The input blocks are the layout's first stack, the output blocks its last.

        Raises:
            ValueError: naming the field, if no input block is left to skip.
        """
        most = layout.stacks[0][1] - 1
        if self.first_blocks > most:
            raise ValueError(
                f"first_blocks: must be at most {most} in this model, got {self.first_blocks}"
            )
        return (Span(self.first_blocks, layout.total - 1 - self.first_blocks),)

    def policy(self, plan: RunPlan, span: Span, layout: Layout, branch: int) -> Listed:
        return Listed({*self.computed(plan.steps), *plan.always()})

    def computed(self, steps: int) -> tuple[int, ...]:
        """Steps of the schedule on which the whole network runs."""
        if self.power == 1.0:
            return every(self.interval, 1, steps)
        return centred(self.interval, self.center, self.power, steps)
