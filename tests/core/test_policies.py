"""The error budget decides as a walk over all steps would."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scaling_cache.cache_core.decide.budget import Budget
from scaling_cache.cache_core.decide.policies import RunPlan
from scaling_cache.cache_core.planning.prior import influence, line_places
from scaling_cache.cache_core.predict.predictors import area

from .helpers import flow, plan_of, schedule

# Closer than this to a limit, rounding decides.
NEAR = 1e-9


class Walking:
    """The rule of `Budget` written again: for each spacing a walk over all steps that are left.

    Attributes:
        close: whether a comparison was so near that rounding may decide it.
    """

    def __init__(self, plan: RunPlan, budget: float, forced: frozenset[int], longest: int) -> None:
        if plan.log_snr is None:
            weights = [abs(here - then) for here, then in pairwise(plan.sigmas)]
            self.line: Sequence[float] = list(range(plan.steps))
        else:
            weights = influence(plan.sigmas, plan.log_snr)
            self.line = line_places(plan.log_snr[:-1], weights)
        self.shares = [weight / max(sum(weights), 1e-12) for weight in weights]
        self.axis = plan.sigmas if plan.log_snr is None else plan.log_snr
        self.distances = [(self.line[-1] - self.line[0]) * 0.93**i for i in range(80)]
        self.budget, self.forced, self.longest = budget, forced, longest
        self.spent, self.row, self.proved, self.following = 0.0, 0, 0, 0
        self.last: tuple[int, ...] = ()
        self.curvature: float | None = None
        self.close = False

    def decide(self, step: int, change: float | None) -> tuple[bool, str]:
        compute, reason, error = self.judge(step, change)
        if compute:
            self.row, self.proved = 0, self.row
            self.last = (*self.last[-1:], step)
        else:
            self.row += 1
            self.spent += error * self.shares[step]
        return compute, reason

    def judge(self, step: int, change: float | None) -> tuple[bool, str, float]:
        if step in self.forced:
            return True, "always computed", 0.0
        if change is None or self.curvature is None:
            return True, "not enough history", 0.0
        if self.row >= self.longest:
            return True, "longest gap reached", 0.0
        if self.row > self.proved:
            return True, "longest gap measured so far", 0.0
        if step >= self.following:
            return True, "planned within the error budget", 0.0
        error = self.curvature * change
        if self.shares[step] and self.above(error * self.shares[step], self.budget - self.spent):
            return True, "error budget reached", error
        return False, "within error budget", error

    def observe(self, step: int, change: float | None, missed: float) -> None:
        if not change:
            return
        found = missed / change
        self.curvature = found if self.curvature is None else (self.curvature + found) / 2
        self.following = step + 1
        for distance in self.distances:
            chosen, total = self.walk(distance)
            if not self.above(total * self.curvature, self.budget - self.spent):
                self.following = chosen
                break

    def walk(self, distance: float) -> tuple[int, float]:
        """With computed steps so far apart from here on: the first of them, and the areas of what is
        predicted, each times its share of the run."""
        older, newest = self.last
        first, total = 0, 0.0
        for step in range(newest + 1, len(self.shares)):
            ahead = self.line[step] - self.line[newest]
            self.close |= ahead != distance and abs(ahead - distance) < NEAR * abs(distance)
            if ahead >= distance or step in self.forced or step - newest > self.longest:
                older, newest, first = newest, step, first or step
            else:
                near = abs(self.axis[step] - self.axis[newest])
                behind = abs(self.axis[newest] - self.axis[older])
                total += near * (near + behind) * self.shares[step]
        return first or len(self.shares), total

    def above(self, value: float, limit: float) -> bool:
        self.close |= abs(value - limit) < NEAR * max(abs(value), abs(limit))
        return value > limit


def schedules(steps: int, kind: str, seed: int) -> RunPlan:
    if kind == "even":
        return plan_of(schedule(steps))
    if kind == "flow":
        sigmas, places = flow(steps, 1 + seed % 7)
        return plan_of(sigmas, log_snr=places)
    random = np.random.default_rng(seed)
    rising = np.cumsum(random.uniform(0.01, 1.0, steps + 1))
    sigmas = (*sorted(np.exp(random.normal(size=steps)).tolist(), reverse=True), 0.0)
    return plan_of(sigmas, log_snr=tuple((rising - rising.mean()).tolist()) if seed % 2 else None)


@settings(max_examples=150)
@given(
    st.integers(30, 60),
    st.sampled_from(["even", "flow", "random"]),
    st.integers(0, 10_000),
    st.floats(-4, 0.5).map(lambda power: 10**power),
    st.sets(st.integers(0, 59), max_size=6),
    st.integers(1, 70),
    st.floats(-3, 1).map(lambda power: 10**power),
)
def test_the_budget_decides_as_a_walk_over_all_steps(
    steps: int,
    kind: str,
    seed: int,
    budget: float,
    forced: set[int],
    longest: int,
    scale: float,
):
    """Errors that are measured at computed steps stray around a curvature."""
    plan = schedules(steps, kind, seed)
    always = frozenset({0, 1, 2, steps - 1, *(step for step in forced if step < steps)})
    policy = Budget(plan, budget, always, longest)
    walking = Walking(plan, budget, always, longest)
    axis = plan.axis
    known: list[float] = []
    random = np.random.default_rng(seed + 1)
    for step in range(steps):
        at = axis(plan.sigmas[step])
        change = area(at - known[0], known[0] - known[1]) if len(known) == 2 else None
        decision = policy.decide(step, change)
        wanted = walking.decide(step, change)
        if walking.close:
            return  # rounding decides
        assert (decision.compute, decision.reason) == wanted, step
        missed = None
        if decision.compute and change is not None:
            missed = float(scale * change * np.exp(random.normal()))
            walking.observe(step, change, missed)
        policy.settle(decision.compute, missed)
        known = [at, *known][:2] if decision.compute else known


@pytest.mark.parametrize("longest", [6, 1000])
@pytest.mark.parametrize("placed", [False, True])
def test_a_budget_of_a_thousand_steps_predicts_up_to_its_limit(longest: int, placed: bool):
    """With errors as they are estimated, what is spent comes near the budget and stays within."""
    sigmas, places = flow(1000)
    plan = plan_of(sigmas, log_snr=places if placed else None)
    policy = Budget(plan, 1e-3, plan.always(3, last=True), longest)
    known: list[float] = []
    computed, spent = [], 0.0
    weights = influence(sigmas, places) if placed else [a - b for a, b in pairwise(sigmas)]
    for step in range(1000):
        at = plan.axis(sigmas[step])
        change = area(at - known[0], known[0] - known[1]) if len(known) == 2 else None
        decision = policy.decide(step, change)
        if decision.compute:
            computed.append(step)
            known = [at, *known][:2]
            policy.settle(True, None if change is None else 0.5 * change)
        else:
            policy.settle(False)
            assert decision.error == pytest.approx(0.5 * change)
            spent += decision.error * weights[step] / sum(weights)
    assert {0, 1, 2, 999} <= set(computed)
    gaps = [b - a - 1 for a, b in pairwise(computed)]
    assert max(gaps) <= longest
    assert len(computed) < 500
    assert spent <= 1e-3 * (1 + 1e-9)
    assert longest == 6 or spent > 0.5e-3


@pytest.mark.parametrize(("ahead", "behind"), [(2.0, 3.0), (0.0, 4.0), (2.0, 0.5)])
def test_area_is_what_a_line_misses_of_a_parabola(ahead: float, behind: float):
    """`t**2` bends by 2, and the line through its points at `-behind` and 0 has the slope `-behind`."""
    assert area(ahead, behind) == pytest.approx(ahead**2 - -behind * ahead)
    assert area(-ahead, -behind) == area(ahead, behind)
