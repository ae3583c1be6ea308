"""The choice of computed steps from calibration data."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scaling_cache.cache_core.calibration import GramTable
from scaling_cache.cache_core.optimiser import best_steps, segment_costs
from scaling_cache.cache_core.schedules import even_steps


def sigmas(steps: int) -> tuple[float, ...]:
    return tuple(1 - i / steps for i in range(steps + 1))


def outputs(steps: int, seed: int) -> np.ndarray:
    """Smooth random outputs [steps, 12]."""
    random = np.random.default_rng(seed)
    t = np.linspace(0, 1, steps)[:, None]
    waves = random.uniform(0.5, 6, (1, 12))
    return random.normal(size=(1, 12)) + np.sin(waves * t**2 * 3 + random.uniform(0, 6, (1, 12)))


def table(steps: int, seed: int) -> GramTable:
    values = outputs(steps, seed)
    return GramTable(np.array(sigmas(steps)[:-1]), (values @ values.T)[None])


def left_over(values: np.ndarray, chain: tuple[int, ...], grid: tuple[float, ...]) -> float:
    """The objective, written again on the outputs themselves."""
    total = 0.0
    for place in range(1, len(chain) - 1):
        before, last, following = chain[place - 1 : place + 2]
        missed = np.zeros(values.shape[1])
        for i in range(last + 1, following):
            ratio = (grid[i] - grid[last]) / (grid[last] - grid[before])
            slope = values[last] - values[before]
            change = values[i] - values[last]
            alpha = np.clip(change @ slope / (ratio * (slope @ slope)), 0, 1.5)
            missed += (grid[i + 1] - grid[i]) * (change - alpha * ratio * slope)
        total += missed @ missed
    return total


@settings(deadline=None, max_examples=25)
@given(st.integers(5, 9), st.integers(0, 5), st.integers(0, 99), st.integers(1, 4))
def test_it_is_the_best_of_all_chains(steps: int, extra: int, seed: int, longest: int):
    values, grid = outputs(steps, seed), sigmas(steps)
    wanted = 3 + extra

    def legal(chain: tuple[int, ...]) -> bool:
        return all(b - a - 1 <= longest for a, b in pairwise(chain))

    free = range(2, steps - 1)
    chains = [
        (0, 1, *middle, steps - 1)
        for count in range(len(free) + 1)
        for middle in combinations(free, count)
    ]
    chains = [c for c in chains if legal(c)]
    fewest = min(len(c) for c in chains)
    within = [c for c in chains if len(c) <= max(wanted, fewest)]
    best = min(left_over(values, c, grid) for c in within)
    found = best_steps(table(steps, seed), grid, wanted, (), longest)
    assert found in within
    assert left_over(values, found, grid) == pytest.approx(best, rel=1e-6, abs=1e-9)


@settings(deadline=None, max_examples=20)
@given(st.integers(8, 40), st.integers(0, 99), st.sets(st.integers(0, 7), max_size=3))
def test_more_steps_are_never_worse_and_forced_ones_are_kept(
    steps: int, seed: int, forced: set[int]
):
    values, grid = outputs(steps, seed), sigmas(steps)
    errors = []
    for wanted in range(4, steps + 1, 3):
        found = best_steps(table(steps, seed), grid, wanted, forced, 6)
        assert {0, 1, steps - 1, *forced} <= set(found)
        assert list(found) == sorted(set(found))
        assert all(b - a <= 7 for a, b in pairwise(found))
        assert found == best_steps(table(steps, seed), grid, wanted, forced, 6)
        errors.append(left_over(values, found, grid))
    assert all(b <= a * (1 + 1e-9) + 1e-12 for a, b in pairwise(errors))


def test_steps_gather_where_the_outputs_bend():
    steps = 40
    t = np.linspace(0, 1, steps)[:, None]
    bend = np.concatenate([np.ones_like(t), np.tanh((t - 0.7) * 25)], 1)
    gram = GramTable(np.array(sigmas(steps)[:-1]), (bend @ bend.T)[None])
    found = best_steps(gram, sigmas(steps), 16, (), 10)
    even = even_steps(steps, 16, 2)
    inside = [sum(22 <= s <= 33 for s in chain) for chain in (found, even)]
    assert inside[0] >= 1.5 * inside[1]


def test_a_table_serves_other_step_counts():
    found = best_steps(table(50, 3), sigmas(30), 12, (), 6)
    assert len(found) <= 12
    assert found[-1] == 29


def test_lines_cost_nothing():
    values = np.outer(np.linspace(0, 1, 10), np.arange(1, 4)) + 1
    costs = segment_costs(values @ values.T, np.array(sigmas(10)), 4)
    assert costs[np.isfinite(costs)].max() < 1e-12


def test_too_few_steps_are_refused():
    for grid in (sigmas(2), (1.0, 0.5, 0.5, 0.2, 0.0)):
        with pytest.raises(ValueError, match=r"^sigmas: "):
            best_steps(table(10, 0), grid, 2, (), 6)
