"""Branch Cache: ControlNets at some steps only. What it computes is in `branches`. It is in no list of
methods: it leaves out nothing of the network, and goes with each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..branches import BranchRun
from ..decide.schedules import counted
from ..predict.predictors import TAYLOR_1, Predictor
from .base import Level, Method, Page, Start, check_range


@dataclass(frozen=True)
class BranchCache(Method):
    """The rule as settings.

    Attributes:
        interval: branches are computed at every so many steps, 1 (off) or more, closer together where
            more noise goes at once: on the emoji model with shift 10 that is -2 to +26 dB from every so
            many steps as they come, in the mean +11, with shift 3 -3 to +8 (docs/branches.md).
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
        plan = start.plan
        if plan.steps <= predictor.depth + 1:
            raise ValueError(
                f"{plan.steps} steps leave none between those at which ControlNets are computed: "
                "every step computes them"
            )
        each = plan.traits.evaluations or (1,)
        return BranchRun(
            clock=start.clock,
            report=start.report,
            agree=start.agree,
            interval=self.interval,
            counts=(1.0,) * plan.steps if plan.log_snr is None else counted(plan.log_snr),
            predictor=predictor,
            axis=plan.axis,
            room=start.beside * max(each),
        )
