"""Scaling Cache: predict a skipped output as `y0 + alpha * (y1 - y0)`, with y0 the last computed
output, y1 its linear extrapolation and alpha learned during the run or calibrated. The steps to
compute are chosen for a target speed-up or an error budget, and computed steps repair what skipped
ones missed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import ClassVar

from ..decide.budget import Budget, counts
from ..decide.policies import Listed, Policy, RunPlan
from ..decide.schedules import even_steps, limit_gap
from ..planning.optimiser import Chains, best_chains, in_a_row, target_steps, within_error
from ..planning.prior import line_chains, steadied
from ..predict.corrector import Corrector
from ..predict.predictors import AUTO, LEAST_SQUARES, SCALING, Axis, LeastSquares, Predictor
from . import base
from .base import FASTEST, Few, Method, Model, Page, StepMethod
from .spans import ScalingSpans

# Computed steps at the start where nothing else tells how outputs bend.
WARMUP = 3
# Of a budget, what expected errors of lines may be, and what calibrated ones may leave in the result: so
# pictures of the demo models are alike at one budget with and without coefficients.
LINES, LEFT = 0.5, 0.2


class Mode(Enum):
    """How the steps to compute are chosen, in the user's words; three are target speed-ups."""

    TARGET = "target speed-up"
    NEAR_LOSSLESS = "near-lossless"
    BALANCED = "balanced"
    DRAFT = "fast draft"
    BUDGET = "error budget"


MODES = {mode.value: mode for mode in Mode}
# A budget has one for where steps are few.
_IN_WORDS = {Mode.NEAR_LOSSLESS: 1.5, Mode.BALANCED: 2.0, Mode.DRAFT: 3.0, Mode.BUDGET: FASTEST}


@dataclass(frozen=True)
class ScalingCache(StepMethod):
    """The settings of the node.

    Attributes:
        speedup: steps over computed steps to aim at, 1.0 (off) to 6.0; a mode in words has its own.
        mode: aim at a speed-up or stay within an error budget.
        budget: allowed mean relative error of the outputs, 0 to 1.
        predictor: how a skipped output is predicted.
        warmup: steps at the start that are always computed; 0 for what is needed: 1, or 3 where nothing
            tells signal from noise.
        max_gap: steps that may be predicted in a row, 1 or more; above 4x up to 12.
        corrects: whether computed steps make good what the predicted ones before them missed.
        listed: computed steps in place of a speed-up or a budget; empty for none.
        few: what is left out where steps are few.
    """

    name: ClassVar[str] = "Scaling Cache"
    uses: ClassVar[tuple[str, ...]] = ("speedup", "warmup", "max_gap")
    uses_coefficients: ClassVar[bool] = True
    fewest: ClassVar[int] = base.MANY
    judges: ClassVar[bool] = True
    page: ClassVar[Page] = Page(
        leaves_out="whole step",
        predictor="scaling, or least squares",
        needs="none; for least squares a coefficient file",
        keeps="2 latents, or 3, and 3 in all",
        waits="one number per computed step",
        source="this pack",
    )

    speedup: float = 2.0
    mode: Mode = Mode.TARGET
    budget: float = 0.02
    predictor: Predictor = AUTO
    warmup: int = 0
    max_gap: int = 6
    corrects: bool = True
    listed: tuple[int, ...] = ()
    few: Few = Few.AUTO

    def check(self) -> None:
        base.check_range("speedup", self.speedup, 1.0, FASTEST)
        base.check_range("budget", self.budget, 0.0, 1.0)
        base.check_range("warmup", self.warmup, 0)
        base.check_range("max_gap", self.max_gap, 1)
        base.rising("computed_steps", self.listed)

    @classmethod
    def example(cls, everything: bool, steps: int, model: Model) -> ScalingCache:
        return cls(2.0, listed=tuple(range(steps)) if everything else (), few=Few.STEPS)

    @property
    def off(self) -> bool:
        idle = self.budget == 0.0 if self.mode is Mode.BUDGET else self.target == 1.0
        return idle and not self.listed

    @property
    def target(self) -> float:
        """Speed-up to aim at, in words or as a number; of a budget, where steps are few."""
        return _IN_WORDS.get(self.mode, self.speedup)

    def within(self, steps: int) -> Method:
        """Inside the step where steps are few, if the user wants nothing else."""
        inside = self.few.inside(steps) and not self.listed
        return ScalingSpans.like(self) if inside else self

    @property
    def asked(self) -> float | None:
        """The target, where that is what decides."""
        return None if self.listed or self.mode is Mode.BUDGET else self.target

    def reads(self, predictor: Predictor) -> bool:
        return predictor.calibrated

    def own_predictor(self, plan: RunPlan) -> Predictor:
        return SCALING if self.predictor is AUTO and plan.traits.noisy else self.predictor

    def prepare(self, plan: RunPlan) -> RunPlan:
        """With a calibrated table drawn toward what is expected of any model."""
        if plan.table is None or plan.log_snr is None:
            return plan
        return replace(plan, table=steadied(plan.table, plan.axis))

    def corrector(self, plan: RunPlan, axis: Axis) -> Corrector | None:
        repairs = self._repairs(plan)
        return Corrector(plan.sigmas, axis, plan.table, plan.scale) if repairs else None

    def policy(self, plan: RunPlan) -> Policy:
        if self.listed:
            return base.as_listed(plan, self.listed)
        if self.mode is Mode.BUDGET and not plan.short:
            if self._calibrated(plan) and (chains := self._chains(plan)) is not None:
                return Listed(within_error(chains, LEFT * self.budget).steps)
            choices = self._placed(plan, *counts(plan.steps))
            return Budget(plan, LINES * self.budget, self._forced(plan), choices)
        if self.predictor is LEAST_SQUARES and plan.table is None:
            plan.note("Least squares needs coefficients of this model: scaling is used")
        least = 0 if self.few is Few.STEPS else plan.worth(self._calibrated(plan))
        asked = max(target_steps(plan.steps, self.target), least)
        taken = plan.taken(self.target, self._least(plan))
        (computed,) = self._placed(plan, min(asked + taken, plan.steps))
        base.tell_less(plan, self.asked, asked, len(computed))
        return Listed(computed)

    def _placed(self, plan: RunPlan, *wanted: int) -> list[tuple[int, ...]]:
        """So many computed steps that serve this model best, or as far as is expected any."""
        chains, longest = self._chains(plan), self._longest(plan)
        if chains is None and plan.log_snr is not None:
            limits = (self._forced(plan), longest, self._repairs(plan), plan.rates, plan.breaks)
            chains = line_chains(plan.sigmas, plan.log_snr, *limits)
        if chains is not None:
            return [chains.within(n).steps for n in wanted]
        even = (even_steps(plan.steps, n, self._warmup(plan), plan.window) for n in wanted)
        return [limit_gap(each, plan.steps, longest) for each in even]

    def _chains(self, plan: RunPlan) -> Chains | None:
        """Calibrated choices of computed steps, fewest first; none without coefficients that fit."""
        if plan.table is None or not (self._calibrated(plan) or self._steps_alone(plan)):
            return None
        limits = (self._forced(plan), self._longest(plan), self._repairs(plan), plan.breaks)
        return best_chains(plan.table, plan.sigmas, *limits)

    def _calibrated(self, plan: RunPlan) -> bool:
        fits = isinstance(self.predictor.bind(plan.table), LeastSquares)
        return plan.table is not None and fits and not plan.traits.stochastic and plan.falls

    def _steps_alone(self, plan: RunPlan) -> bool:
        """Whether coefficients, made without noise, choose the steps and weights are learned."""
        return self.predictor is AUTO and plan.traits.noisy and plan.falls

    def _repairs(self, plan: RunPlan) -> bool:
        return self.corrects and plan.traits.sums and plan.falls

    def _forced(self, plan: RunPlan) -> frozenset[int]:
        return plan.always(self._warmup(plan), last=True) | plan.around(self._least(plan))

    def _least(self, plan: RunPlan) -> int:
        return self.own_predictor(plan).bind(plan.table).least

    def _warmup(self, plan: RunPlan) -> int:
        """Computed steps at the start."""
        return max(self.warmup or (WARMUP if plan.log_snr is None else 1), self._least(plan))

    def _longest(self, plan: RunPlan) -> int:
        return 1 if plan.traits.unknown else in_a_row(self.asked, self.max_gap)
