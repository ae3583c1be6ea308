"""Schedules that others searched on real models, as they are: which steps are computed, and between
them the last output again, which is what most were searched for. `coefficients/schedules.json` has
their sources."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ..decide.policies import Listed, RunPlan
from .base import Aimed, Inputs, Model, Page, one_of, rising


@dataclass(frozen=True)
class PublishedSchedule(Aimed):
    """The lists for one model, and how fast a run should be.

    Attributes:
        speedup: the list that comes nearest to it is taken.
        lists: computed steps, each from the first step to the last of the run that it was searched on.
    """

    name: ClassVar[str] = "Published Schedule"
    uses: ClassVar[tuple[str, ...]] = ("speedup", "schedule")
    page: ClassVar[Page] = Page(
        leaves_out="whole step",
        needs="a list that was searched on it",
        keeps="1 latent",
        waits="one number per computed step",
        source="arXiv 2606.13496, 2601.19961, 2602.22654; lists: nanguoyu/Golden-Path-Hypothesis, "
        "UnicomAI/MeanCache",
    )

    lists: tuple[tuple[int, ...], ...] = ((0, 1),)

    def check(self) -> None:
        super().check()
        for steps in self.lists:
            rising("schedule", steps)
        if not all(len(steps) > 1 and steps[0] == 0 for steps in self.lists) or not self.lists:
            raise ValueError("schedule: must go from step 0 to the last one")

    @classmethod
    def from_inputs(cls, inputs: Inputs, model: Model) -> PublishedSchedule:
        chosen = inputs.schedule or next(iter(model.schedules), "")
        name = one_of("schedule", model.schedules, chosen)
        return cls(inputs.speedup, model.schedules[name], **inputs.window)

    @classmethod
    def example(cls, everything: bool, steps: int, model: Model) -> PublishedSchedule:
        last = max(steps - 1, 1)
        listed = range(last + 1) if everything else (*range(0, last, 2), last)
        return cls(2.0, (tuple(listed),))

    def policy(self, plan: RunPlan) -> Listed:
        # Steps of a longer run may come to lie on one of a shorter run.
        found = [
            sorted({round(step * (plan.steps - 1) / steps[-1]) for step in steps})
            for steps in self.lists
        ]
        speeds = [plan.steps / len(placed) for placed in found]
        speed, placed = min(
            zip(speeds, found, strict=True), key=lambda one: abs(math.log(one[0] / self.speedup))
        )
        if len(speeds) > 1 and f"{speed:.1f}" != f"{self.speedup:.1f}":
            offered = ", ".join(f"{one:.1f}x" for one in sorted(set(speeds)))
            plan.note(f"Published for {offered}: the nearest to {self.speedup:.1f}x is taken")
        searched = self.lists[0][-1] + 1
        if plan.steps != searched:
            plan.note(
                f"The schedule was searched on {searched} steps: its places are taken over in "
                f"proportion to {plan.steps}"
            )
        return Listed({*placed, *plan.always()})
