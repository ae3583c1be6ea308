"""Scaling Cache inside the step, for runs of few steps: the first and last blocks run at every step, and
at some steps those between are left out. What they change is predicted from what they changed before. The
steps are those that the planner of whole steps expects to cost the result least."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..blocks import BlockCache
from ..decide.layout import Layout, Span
from ..decide.policies import Listed, RunPlan
from ..planning.prior import line_chains
from ..predict.predictors import REPEAT, TAYLOR_1, Predictor
from ..run.report import format_ranges
from .base import (
    FASTEST,
    BlockMethod,
    Few,
    Model,
    Page,
    Start,
    check_range,
    leaves_nothing_out,
    middle_blocks,
    nothing_pays,
    rising,
)

# Part of the depth that always runs, at the start and at the end.
_LIVE = 1 / 8
# Steps from which on changes go on along a line.
_LINES = 6
# What may be left out of all blocks of a run.
_MOST = 0.25


@dataclass(frozen=True)
class ScalingSpans(BlockMethod):
    """The rule as settings.

    Attributes:
        speedup: all blocks over computed ones to aim at, 1.0 (off) to 6.0; at most what was measured to
            be worth it is left out.
        listed: steps at which the middle blocks run, in place of a speed-up; empty for none.
        anyway: also where it was not measured to pay: with samplers that add noise or do not look back,
            with guidance, and at a second step.
    """

    name: ClassVar[str] = "Scaling Cache"
    uses: ClassVar[tuple[str, ...]] = ("speedup",)
    fewest: ClassVar[int] = 4
    unreached: ClassVar[str] = (
        "With so few steps blocks inside them are left out, and those of this model cannot be reached: "
        "every step is computed"
    )
    page: ClassVar[Page] = Page(
        leaves_out="middle blocks",
        predictor="Taylor 1",
        keeps="change of the blocks, 2 times",
        source="this pack",
    )

    speedup: float = 2.0
    listed: tuple[int, ...] = ()
    anyway: bool = True

    def check(self) -> None:
        check_range("speedup", self.speedup, 1.0, FASTEST)
        rising("computed_steps", self.listed)

    @classmethod
    def like(cls, method: Any) -> ScalingSpans:
        """With the settings of Scaling Cache on whole steps."""
        window = {name: getattr(method, name) for name in ("start_percent", "end_percent")}
        return cls(method.target, anyway=method.few is Few.SPANS, **window)

    @classmethod
    def example(cls, everything: bool, steps: int, model: Model) -> ScalingSpans:
        return cls(2.0, tuple(range(steps) if everything else range(0, steps, 2)))

    @property
    def off(self) -> bool:
        return self.speedup == 1.0 and not self.listed

    def own_predictor(self, plan: RunPlan) -> Predictor:
        # A line through two changes would carry their noise on, and over wide steps go too far.
        wide = plan.steps < _LINES
        return REPEAT if wide or plan.traits.stochastic else TAYLOR_1

    def spans(self, layout: Layout) -> tuple[Span, ...]:
        live = max(round(layout.total * _LIVE), 1)
        # Of two blocks the first.
        return middle_blocks(layout, live, min(live, max(layout.total - live - 1, 0)))

    def policy(self, plan: RunPlan, span: Span, layout: Layout, branch: int) -> Listed:
        return Listed({*self.listed, *plan.always(1)})

    def start(self, start: Start) -> BlockCache:
        """A run with its steps placed, which is said.

        Raises:
            ValueError: where nothing is left out, or it does not pay.
        """
        plan, layout = start.plan, start.layout
        share = sum(map(len, self.spans(layout))) / layout.total
        if self.listed:
            return self.cache(BlockCache, start)
        traits = plan.traits
        # A step less was as near, but where the sampler looks back at it.
        pays = traits.single and traits.higher and not traits.stochastic and plan.scale == 1.0
        if not (self.anyway or pays):
            raise ValueError(nothing_pays(plan))
        placed = replace(self, listed=self._placed(plan, share))
        left = [step for step in range(plan.steps) if step not in placed.listed]
        if not left:
            raise ValueError(leaves_nothing_out(plan))
        part = share * len(left) / plan.steps
        plan.note(
            f"{plan.steps} steps: {share:.0%} of the blocks are left out at step {format_ranges(left)}, "
            f"{1 / (1 - part):.2f}x at most"
        )
        return placed.cache(BlockCache, start)

    def _placed(self, plan: RunPlan, share: float) -> tuple[int, ...]:
        """Steps at which all blocks run.

        Args:
            share: of the blocks that is left out at the others.
        """
        most = min(1 - 1 / self.speedup, _MOST)
        left = min(int(most * plan.steps / share + 1e-9), plan.steps if self.anyway else 1)
        forced = plan.always(1, last=True) | plan.around()
        if plan.log_snr is None:
            return tuple(range(plan.steps))
        chains = line_chains(plan.sigmas, plan.log_snr, forced, 1, False, plan.rates, plan.breaks)
        return chains.within(plan.steps - left).steps
