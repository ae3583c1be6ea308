"""Branch Cache: ControlNets at some steps only. What it computes is in `branches`. It is in no list of
methods: it leaves out nothing of the network, and goes with each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..branches import BranchRun
from ..predict.predictors import TAYLOR_1, Predictor
from .base import Level, Method, Page, Start, check_range


@dataclass(frozen=True)
class BranchCache(Method):
    """The rule as settings.

    Attributes:
        interval: branches are computed at every so many steps, 1 (off) or more.
    """

    name: ClassVar[str] = "Branch Cache"
    level: ClassVar[Level] = Level.BRANCHES
    counts: ClassVar[str] = "ControlNets"
    # Fewer than leave it nothing are told when it starts.
    fewest: ClassVar[int] = 1
    page: ClassVar[Page] = Page(
        leaves_out="ControlNets and T2I adapters",
        predictor="line over steps",
        keeps="2 outputs for each conditioning",
        source="this pack",
    )
    # Over steps it is nearest for the worst prompt, and asks nothing of the schedule: docs/branches.md.
    predictor: ClassVar[Predictor] = TAYLOR_1

    interval: int = 3

    def check(self) -> None:
        check_range("interval", self.interval, 1)

    @property
    def off(self) -> bool:
        return self.interval == 1

    @classmethod
    def example(cls, everything: bool, steps: int, model: object) -> BranchCache:
        return cls(1 if everything else 3)

    def start(self, start: Start) -> BranchRun:
        predictor = start.predictor or self.predictor
        if start.plan.steps <= predictor.depth + 1:
            raise ValueError(
                f"{start.plan.steps} steps leave none between those at which ControlNets are computed: "
                "every step computes them"
            )
        each = start.plan.traits.evaluations or (1,)
        return BranchRun(
            clock=start.clock,
            report=start.report,
            agree=start.agree,
            interval=self.interval,
            predictor=predictor,
            axis=start.plan.axis,
            room=start.beside * max(each),
        )
