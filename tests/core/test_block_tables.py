"""Fits of what block caches need to know of a model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scaling_cache.cache_core.calibration.block_tables import (
    BlockTable,
    changes_between,
    first_block_steps,
    first_block_threshold,
    fit,
    make_table,
)
from scaling_cache.cache_core.decide.policies import Distance
from scaling_cache.cache_core.decide.signals import Polynomial, SignalKind, relative_change


@given(st.lists(st.floats(-2, 2), min_size=5, max_size=5), st.integers(0, 99))
def test_a_polynomial_is_found_again(coefficients: list[float], seed: int):
    changes = np.random.default_rng(seed).uniform(0.01, 0.6, 40)
    found, valid = fit(changes, np.polyval(coefficients, changes))
    assert valid == (changes.min(), changes.max())
    np.testing.assert_allclose(
        np.polyval(found, changes), np.polyval(coefficients, changes), atol=1e-8
    )


@pytest.mark.parametrize("different", [1, 2, 3])
def test_few_different_changes_get_a_lower_degree(different: int):
    changes = np.tile(np.linspace(0.1, 0.1 * different, different), 7)
    found, valid = fit(changes, 2 * changes)
    assert len(found) <= different
    assert Polynomial(found, valid)(0.1) == pytest.approx(0.2)


def test_ratios_are_means_over_runs_and_start_at_one():
    runs = [np.full((2, 5, 3), value) for value in (0.9, 1.1)]
    runs[0][1, :, 2] = 0.7
    for run in runs:
        run[:, 0] = np.nan
    table = make_table(SignalKind.MODULATED, runs)
    np.testing.assert_allclose(table.ratios, [[1, 1, 1, 1, 1], [1, 0.9, 0.9, 0.9, 0.9]])


def test_nothing_measured_is_refused():
    with pytest.raises(ValueError, match="did not run"):
        make_table(SignalKind.TOKENS, [])
    with pytest.raises(ValueError, match="did not run"):
        make_table(SignalKind.TOKENS, [np.full((1, 4, 3), np.nan)])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"ratios": np.array([[1.0, np.nan]])}, "ratios"),
        ({"ratios": np.array([[1.0, 0.0]])}, "ratios"),
        ({"ratios": np.ones(3)}, "ratios"),
        ({"polynomial": ()}, "polynomial"),
        ({"polynomial": (np.inf,)}, "polynomial"),
        ({"valid": (0.3, 0.1)}, "valid"),
        ({"valid": (-1.0, 0.1)}, "valid"),
        ({"first_block": np.zeros((1, 3, 4))}, "first_block"),
        ({"first_block": np.full((1, 3, 3), -0.1)}, "first_block"),
        ({"first_block": np.full((1, 3, 3), np.nan)}, "first_block"),
        ({"block_changes": np.zeros((1, 5, 4))}, "block_changes"),
        ({"block_changes": np.zeros((1, 0, 3))}, "block_changes"),
        ({"block_changes": np.full((1, 5, 3), -0.1)}, "block_changes"),
        ({"block_changes": np.full((1, 5, 3), np.inf)}, "block_changes"),
    ],
)
def test_bad_tables_name_the_field(change: dict, field: str):
    good = {"ratios": np.ones((1, 3)), "polynomial": (1.0, 0.0), "valid": (0.0, 1.0)}
    with pytest.raises(ValueError, match=rf"^{field}"):
        BlockTable(SignalKind.TOKENS, **{**good, **change})


def test_changes_of_blocks_are_means_over_whole_runs():
    runs = [np.full((2, 5, 3), value) for value in (0.9, 1.1)]
    each = [np.full((2, 7, 5), value) for value in (0.1, 0.3)]
    broken = np.full((2, 7, 5), np.nan)
    table = make_table(SignalKind.TOKENS, runs, block_changes=[*each, broken])
    np.testing.assert_allclose(table.block_changes, np.full((2, 7, 5), 0.2))
    assert make_table(SignalKind.TOKENS, runs, block_changes=[broken]).block_changes is None


def changes(seed: int, branches: int = 2, steps: int = 12) -> np.ndarray:
    """Of vectors that wander."""
    generator = torch.Generator().manual_seed(seed)
    paths = torch.randn(branches, steps, 5, generator=generator).cumsum(1) + 4
    return np.stack([changes_between(list(path)) for path in paths])


def test_changes_between_are_those_that_the_cache_compares():
    rows = list(torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0)))
    found = changes_between(rows)
    for i in range(4):
        for j in range(4):
            expected = float(relative_change(rows[j], rows[i])) if j > i else 0.0
            assert found[i, j] == pytest.approx(expected, rel=1e-6)


@given(st.integers(0, 99), st.floats(0, 3))
def test_computed_steps_are_those_of_the_policy(seed: int, threshold: float):
    table = changes(seed)
    policies = [Distance(threshold, frozenset({0}), None) for _ in table]
    last, expected = 0, []
    for step in range(table.shape[1]):
        verdicts = [
            p.decide(step, None if step == 0 else float(t[last, step]))
            for p, t in zip(policies, table, strict=True)
        ]
        if any(v.compute for v in verdicts):
            last = step
            expected.append(step)
    assert first_block_steps(table, threshold) == expected


@given(st.integers(0, 99), st.floats(1, 4))
def test_no_threshold_comes_nearer_to_a_speedup(seed: int, speedup: float):
    table = changes(seed)

    def miss(threshold: float) -> float:
        return abs(np.log(len(first_block_steps(table, threshold)) * speedup / 12))

    best = miss(first_block_threshold(table, speedup))
    assert all(miss(threshold) >= best - 1e-12 for threshold in np.linspace(0, 4, 200))


def test_a_long_run_takes_no_time_and_comes_near():
    table = changes(0, branches=3, steps=400)
    for speedup in (1.5, 2.0, 4.0):
        count = len(first_block_steps(table, first_block_threshold(table, speedup)))
        assert count * speedup / 400 == pytest.approx(1, abs=0.1)


def test_a_block_that_never_changes_has_no_threshold():
    assert first_block_threshold(np.zeros((1, 5, 5)), 2.0) == 0.0
