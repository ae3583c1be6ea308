"""The choice of computed steps from calibration data."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, count, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scaling_cache.cache_core.decide.schedules import even_steps
from scaling_cache.cache_core.planning.gram import GramTable, noise
from scaling_cache.cache_core.planning.optimiser import (
    best_chains,
    cheapest,
    search,
    segment_costs,
    squares,
    within_error,
)
from scaling_cache.cache_core.planning.prior import GUIDED, line_chains, products

from .helpers import flow
from .helpers import schedule as sigmas


def outputs(steps: int, seed: int) -> np.ndarray:
    """Smooth random outputs [steps, 12]."""
    random = np.random.default_rng(seed)
    t = np.linspace(0, 1, steps)[:, None]
    waves = random.uniform(0.5, 6, (1, 12))
    return random.normal(size=(1, 12)) + np.sin(waves * t**2 * 3 + random.uniform(0, 6, (1, 12)))


def table(steps: int, seed: int) -> GramTable:
    values = outputs(steps, seed)
    return GramTable(np.array(sigmas(steps)[:-1]), (values @ values.T)[None])


def best_steps(
    gram: GramTable, grid: tuple[float, ...], wanted: int, longest: int, corrected: bool = True
) -> tuple[int, ...]:
    return cheapest(best_chains(gram, grid, (), longest, corrected), wanted).steps


def left_over(
    values: np.ndarray, chain: tuple[int, ...], grid: tuple[float, ...], corrected: bool
) -> float:
    """The objective, written again on the outputs themselves."""
    total = 0.0
    for place, (last, following) in enumerate(pairwise(chain)):
        before = list(chain[max(place - 1, 0) : place])
        origin = values[following] if corrected else values[last]
        known = [*before, last] if corrected else before
        slopes = np.array([origin - values[i] for i in known]).reshape(-1, values.shape[1])
        # A ridge is least squares with a row more per unknown.
        least = 1e-9 * (slopes**2).sum() + 1e-6 * (values**2).sum() / len(values)
        rows = np.concatenate([slopes.T, np.sqrt(least) * np.eye(len(known))])
        missed = np.zeros(values.shape[1])
        for i in range(last + 1, following):
            change = values[i] - origin
            aim = np.concatenate([change, np.zeros(len(known))])
            along = np.linalg.lstsq(rows, aim, rcond=None)[0]
            missed += (grid[i + 1] - grid[i]) * (change - along @ slopes)
        total += missed @ missed
    return total


@settings(deadline=None, max_examples=25)
@given(
    st.integers(5, 9),
    st.integers(0, 5),
    st.integers(0, 99),
    st.integers(1, 4),
    st.booleans(),
)
def test_it_is_the_best_of_all_chains(
    steps: int, extra: int, seed: int, longest: int, corrected: bool
):
    values, grid = outputs(steps, seed), sigmas(steps)
    wanted = 2 + extra

    def legal(chain: tuple[int, ...]) -> bool:
        return all(b - a - 1 <= longest for a, b in pairwise(chain))

    free = range(1, steps - 1)
    chains = [
        (0, *middle, steps - 1)
        for count in range(len(free) + 1)
        for middle in combinations(free, count)
    ]
    chains = [c for c in chains if legal(c)]
    fewest = min(len(c) for c in chains)
    within = [c for c in chains if len(c) <= max(wanted, fewest)]
    best = min(left_over(values, c, grid, corrected) for c in within)
    found = best_steps(table(steps, seed), grid, wanted, longest, corrected)
    assert found in within
    assert left_over(values, found, grid, corrected) == pytest.approx(best, rel=1e-3, abs=1e-7)


@settings(deadline=None, max_examples=20)
@given(
    st.integers(8, 40),
    st.integers(0, 99),
    st.sets(st.integers(0, 7), max_size=3),
    st.booleans(),
)
def test_more_steps_are_never_worse_and_forced_ones_are_kept(
    steps: int, seed: int, forced: set[int], corrected: bool
):
    values, grid = outputs(steps, seed), sigmas(steps)
    chains = best_chains(table(steps, seed), grid, forced, 6, corrected)
    assert chains == best_chains(table(steps, seed), grid, forced, 6, corrected)
    for chain in chains:
        found = chain.steps
        assert {0, steps - 1, *forced} <= set(found)
        assert list(found) == sorted(set(found))
        assert all(b - a <= 7 for a, b in pairwise(found))
    for fewer, more in pairwise(chains):
        assert len(fewer.steps) < len(more.steps)
        assert fewer.error > more.error
    way = np.diff(np.array(grid)) @ values
    wanted = left_over(values, chains[0].steps, grid, corrected) / (way @ way)
    assert chains[0].error ** 2 == pytest.approx(wanted, rel=1e-3, abs=1e-7)


def test_much_noise_before_the_picture_does_not_make_errors_look_small():
    """A run that first removes noise alone, which is predicted without an error, is no safer."""
    steps, lead = 20, 10
    values = 0.1 * outputs(steps, 2)
    values[:, 0] += 5
    values[:5] = values[4]
    late = sigmas(steps)
    early = (*np.geomspace(15, 1, lead, endpoint=False).tolist(), *late)
    whole = np.concatenate([np.repeat(values[:1], lead, 0), values])
    errors = []
    for grid, field in ((late, values), (early, whole)):
        gram = GramTable(np.array(grid[:-1]), (field @ field.T)[None])
        forced = range(len(field) - steps + 5)
        chain = cheapest(best_chains(gram, grid, forced, 4), len(forced) + 6)
        errors.append(chain.error)
    assert errors[1] == pytest.approx(errors[0], rel=0.05)


def test_steps_gather_where_the_outputs_bend():
    steps = 40
    t = np.linspace(0, 1, steps)[:, None]
    bend = np.concatenate([np.ones_like(t), *(np.tanh((t - c) * 25) for c in (0.65, 0.7, 0.75))], 1)
    gram = GramTable(np.array(sigmas(steps)[:-1]), (bend @ bend.T)[None])
    found = best_steps(gram, sigmas(steps), 16, 10)
    even = even_steps(steps, 16, 2)
    inside = [sum(22 <= s <= 33 for s in chain) for chain in (found, even)]
    assert inside[0] >= 1.5 * inside[1]


def test_a_table_serves_other_step_counts():
    found = best_steps(table(50, 3), sigmas(30), 12, 6)
    assert len(found) <= 12
    assert found[-1] == 29


def test_lines_cost_nothing():
    values = np.outer(np.linspace(0, 1, 10), np.arange(1, 4)) + 1
    gram, widths = values @ values.T, np.full(10, 0.1)
    for corrected in (False, True):
        costs = segment_costs(gram, widths, 4, corrected, squares(noise(gram)))
        # The first output alone draws no line.
        first = 0 if corrected else 1
        assert costs[first:][np.isfinite(costs[first:])].max() < 1e-8
    assert costs[0, 0, 1] == 0.0
    uncorrected = segment_costs(gram, widths, 4, False, squares(noise(gram)))
    held = 0.1 * (values[1] - values[0])
    assert uncorrected[0, 0, 2] == pytest.approx(held @ held)


def test_errors_that_grow_are_avoided():
    values, grid = outputs(30, 5), sigmas(30)
    gains = np.where(np.arange(30) < 15, 100.0, 1.0)
    gram = GramTable(np.array(grid[:-1]), (values @ values.T)[None])
    even = best_steps(gram, grid, 14, 6)
    early = best_steps(replace(gram, gains=gains), grid, 14, 6)
    assert sum(s < 15 for s in early) > sum(s < 15 for s in even)


def test_an_error_is_met_by_the_shortest_chain():
    chains = best_chains(table(30, 1), sigmas(30), (), 6)
    limit = chains[len(chains) // 2].error
    assert within_error(chains, limit) is chains[len(chains) // 2]
    assert within_error(chains, 1e9) is chains[0]
    assert within_error(chains, -1.0) is chains[-1]


def test_too_few_steps_are_refused():
    for grid in (sigmas(2), (1.0, 0.5, 0.5, 0.2, 0.0)):
        with pytest.raises(ValueError, match=r"^sigmas: "):
            best_steps(table(10, 0), grid, 2, 6)


# --- long runs


def walked(costs: np.ndarray, forced: set[int]) -> list[tuple[tuple[int, ...], float]]:
    """The cheapest chain of each length, from one computed step to the next, choice by choice."""
    steps, reach = len(costs), costs.shape[2]
    must = sorted({0, steps - 1, *forced})
    # By the last two computed steps: the cost of the best chain that ends so, and the chain.
    ends = {(0, 0): (0.0, (0,))}
    found: list[tuple[tuple[int, ...], float]] = []
    for _ in count():
        done = [end for (last, _), end in ends.items() if last == steps - 1]
        best = min(done, default=(np.inf, ()))
        if np.isfinite(best[0]) and (not found or best[0] < found[-1][1]):
            found.append((best[1], best[0]))
        following: dict[tuple[int, int], tuple[float, tuple[int, ...]]] = {}
        for (last, back), (cost, chain) in ends.items():
            stop = next((m for m in must if m > last), steps - 1)
            for step in range(last + 1, min(last + reach, stop + 1)):
                total = cost + costs[last, back, step - last]
                if total < following.get((step, step - last), (np.inf, ()))[0]:
                    following[step, step - last] = total, (*chain, step)
        if not following:
            return found
        ends = following
    raise AssertionError


@settings(max_examples=12)
@given(
    st.integers(30, 60),
    st.integers(0, 99),
    st.sets(st.integers(1, 58), max_size=3),
    st.integers(1, 7),
    st.booleans(),
    st.booleans(),
)
def test_a_search_finds_what_a_walk_over_all_choices_finds(
    steps: int, seed: int, forced: set[int], longest: int, corrected: bool, expected: bool
):
    forced = {step for step in forced if step < steps}
    gram = products(np.array(flow(steps)[1][:-1])) if expected else table(steps, seed).gram[0]
    widths = np.random.default_rng(seed).uniform(0.1, 1, steps)
    costs = segment_costs(gram, widths, longest, corrected, squares(noise(gram)))
    chains, wanted = search(costs, forced), walked(costs, forced)
    assert [len(c.steps) for c in chains] == [len(steps) for steps, _ in wanted]
    for chain, (walk, cost) in zip(chains, wanted, strict=True):
        assert chain.error**2 == pytest.approx(cost, rel=1e-9, abs=1e-18)
        before = (0, *chain.steps[:-2])
        hops = zip(before, chain.steps[:-1], chain.steps[1:], strict=True)
        own = sum(costs[last, last - older, step - last] for older, last, step in hops)
        # Two chains that cost the same are equally good.
        assert chain.steps == walk or own == pytest.approx(cost, rel=1e-9, abs=1e-18)


@pytest.mark.parametrize("corrected", [True, False])
def test_a_thousand_steps_are_placed_by_the_same_rules(corrected: bool):
    """With and without a calibration."""
    steps, wanted = 1000, 400
    found = cheapest(best_chains(table(steps, 3), sigmas(steps), {5}, 6, corrected), wanted).steps
    expected = cheapest(line_chains(*flow(steps), {5}, 6, corrected, GUIDED), wanted).steps
    for chain in (found, expected):
        assert len(chain) <= wanted
        assert {0, 5, steps - 1} <= set(chain)
        assert all(b - a <= 7 for a, b in pairwise(chain))
    assert len(expected) == wanted
