"""The error budget decides as a walk over all steps would."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scaling_cache.cache_core.decide.budget import Budget
from scaling_cache.cache_core.decide.policies import RunPlan
from scaling_cache.cache_core.planning.prior import influence, line_misses
from scaling_cache.cache_core.predict.predictors import area

from .helpers import flow, plan_of, schedule

# Closer than this to a limit, rounding decides.
NEAR = 1e-9
# What lines are taken to miss, against what is expected, before any is measured.
UNMEASURED = 0.06


class Walking:
    """The rule of `Budget` written again, as walks over the steps that are left.

    Attributes:
        close: whether a comparison was so near that rounding may decide it.
    """

    def __init__(
        self, plan: RunPlan, budget: float, forced: set[int], choices: list[tuple[int, ...]]
    ) -> None:
        placed = plan.log_snr is not None
        even = [here - then for here, then in pairwise(plan.sigmas)]
        weights = influence(plan.sigmas, plan.log_snr) if plan.log_snr else even
        self.shares = [weight / sum(weights) for weight in weights]
        self.places = plan.log_snr[:-1] if plan.log_snr else plan.sigmas[:-1]
        self.placed, self.budget, self.forced, self.choices = placed, budget, forced, choices
        self.spent, self.following = 0.0, 0
        self.ratios: list[float] = []
        self.known: list[int] = []
        self.close = False

    def misses(self, step: int, last: int, older: int | None) -> float:
        if self.placed:
            behind = [np.array([-1 if n is None else n]) for n in (step, last, older)]
            return float(line_misses(np.array(self.places), *behind)[0])
        before = self.places[0 if older is None else older] - self.places[last]
        return area(self.places[last] - self.places[step], before)

    def scale(self) -> float | None:
        if self.ratios:
            return sum(self.ratios) / len(self.ratios)
        return UNMEASURED if self.placed else None

    def decide(self, step: int) -> tuple[bool, str]:
        compute, reason, error = self.judge(step)
        if not compute:
            self.spent += error * self.shares[step]
        return compute, reason

    def judge(self, step: int) -> tuple[bool, str, float]:
        scale = self.scale()
        if step in self.forced:
            return True, "always computed", 0.0
        if scale is None or not self.known:
            return True, "not enough history", 0.0
        if step >= self.following:
            return True, "planned within the error budget", 0.0
        error = scale * self.misses(step, *self.pair())
        if self.above(error * self.shares[step], self.budget - self.spent):
            return True, "error budget reached", error
        return False, "within error budget", error

    def pair(self) -> tuple[int, int | None]:
        return self.known[-1], self.known[-2] if len(self.known) > 1 else None

    def computed(self, step: int, missed: float | None) -> None:
        if missed is not None:
            self.ratios.append(missed / self.misses(step, *self.pair()))
        self.known.append(step)
        self.following, scale = step + 1, self.scale()
        if scale is None:
            return
        for choice in self.choices:
            if not self.above(self.walk(choice, step) * scale, self.budget - self.spent):
                self.following = max(self.pace(choice, step), step + 1)
                break
        if len(self.known) > 1:
            self.following = min(self.following, step + 2 * (step - self.known[-2]))

    def walk(self, choice: tuple[int, ...], step: int) -> float:
        """What a choice predicts behind a step misses."""
        total, last, older = 0.0, 0, None
        for i in range(1, len(self.shares)):
            if i in choice:
                last, older = i, last
            elif i > step:
                total += self.misses(i, last, older) * self.shares[i]
        return total

    def pace(self, choice: tuple[int, ...], step: int) -> int:
        """As far on in a choice as one of its steps is from the next."""
        ends = [*choice, len(self.shares)]
        number = next(n for n, (a, b) in enumerate(pairwise(ends)) if a <= step < b)
        ahead = number + 1 + (step - ends[number]) / (ends[number + 1] - ends[number])
        if ahead >= len(ends) - 1:
            return len(self.shares)
        whole = int(ahead)
        exact = ends[whole] + (ahead - whole) * (ends[whole + 1] - ends[whole])
        return int(exact + NEAR)

    def above(self, value: float, limit: float) -> bool:
        self.close |= abs(value - limit) < NEAR * max(abs(value), abs(limit), 1e-6)
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
    st.integers(8, 60),
    st.sampled_from(["even", "flow", "random"]),
    st.integers(0, 10_000),
    st.floats(-4, 0.5).map(lambda power: 10**power),
    st.sets(st.integers(0, 59), max_size=6),
    st.floats(-3, 1).map(lambda power: 10**power),
)
def test_the_budget_decides_as_a_walk_over_all_steps(
    steps: int, kind: str, seed: int, budget: float, forced: set[int], scale: float
):
    """Among choices at random, with errors at computed steps that stray around what is expected."""
    plan = schedules(steps, kind, seed)
    always = {0, steps - 1, *(step for step in forced if step < steps)}
    always |= {1, 2} if plan.log_snr is None else set()
    random = np.random.default_rng(seed + 1)
    shares = np.linspace(0.1, 1.0, 8)
    kept = [always | {i for i in range(steps) if random.random() < share} for share in shares]
    choices = sorted({tuple(sorted(each)) for each in [*kept, set(range(steps))]}, key=len)
    policy = Budget(plan, budget, frozenset(always), choices)
    walking = Walking(plan, budget, always, choices)
    for step in range(steps):
        decision = policy.decide(step, None)
        wanted = walking.decide(step)
        if walking.close:
            return  # rounding decides
        assert (decision.compute, decision.reason) == wanted, step
        missed = None
        if decision.compute and len(walking.known) > 1:
            expected = walking.misses(step, *walking.pair())
            missed = float(scale * expected * np.exp(random.normal()))
        policy.settle(decision.compute, missed)
        if decision.compute:
            walking.computed(step, missed)
    assert walking.spent <= budget * (1 + 1e-9)


def test_a_step_that_must_be_computed_is_gone_on_from():
    """Whatever was decided: where a prediction cannot be trusted the policy hears that it ran."""
    sigmas, places = flow(30)
    plan = plan_of(sigmas, log_snr=places)
    choices = [(*range(0, 30, 5), 29), tuple(range(30))]
    policy = Budget(plan, 1.0, frozenset({0, 29}), choices)
    for step in range(6):
        computed = policy.decide(step, None).compute
        assert computed == (step in (0, 5))
        policy.settle(computed, 0.01 if step == 5 else None)
    assert not policy.decide(6, None).compute
    policy.settle(True, 0.01)
    # Two steps are one apart: what follows is at most two away.
    assert not policy.decide(7, None).compute
    policy.settle(False)
    assert policy.decide(8, None).reason == "planned within the error budget"


@pytest.mark.parametrize(("placed", "budget"), [(False, 3e-5), (True, 1e-2)])
def test_a_budget_of_a_thousand_steps_predicts_up_to_its_limit(placed: bool, budget: float):
    """With errors as they are estimated, what is spent comes near the budget and stays within."""
    sigmas, places = flow(1000)
    plan = plan_of(sigmas, log_snr=places if placed else None)
    counts = [round(1000 * 0.93**i) for i in range(30)][::-1]
    choices = [tuple(np.linspace(0, 999, count).round().astype(int).tolist()) for count in counts]
    forced = frozenset({0, 1, 2, 999})
    policy = Budget(plan, budget, forced, [tuple(sorted({*forced, *each})) for each in choices])
    walking = Walking(plan, budget, set(forced), [])
    computed, spent = [], 0.0
    for step in range(1000):
        decision = policy.decide(step, None)
        missed = walking.misses(step, *walking.pair()) * 0.5 if len(computed) > 1 else None
        policy.settle(decision.compute, missed if decision.compute else None)
        if decision.compute:
            computed.append(step)
            walking.known.append(step)
        else:
            assert decision.error is not None
            spent += decision.error * walking.shares[step]
    assert forced <= set(computed)
    assert len(computed) < 500
    assert 0.5 * budget < spent <= budget * (1 + 1e-9)


@pytest.mark.parametrize(("ahead", "behind"), [(2.0, 3.0), (0.0, 4.0), (2.0, 0.5)])
def test_area_is_what_a_line_misses_of_a_parabola(ahead: float, behind: float):
    """`t**2` bends by 2, and the line through its points at `-behind` and 0 has the slope `-behind`."""
    assert area(ahead, behind) == pytest.approx(ahead**2 - -behind * ahead)
    assert area(-ahead, -behind) == area(ahead, behind)
