"""Fits of what block caches need to know of a model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scaling_cache.cache_core.block_tables import BlockTable, fit, make_table
from scaling_cache.cache_core.signals import Polynomial, SignalKind


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
    ],
)
def test_bad_tables_name_the_field(change: dict, field: str):
    good = {"ratios": np.ones((1, 3)), "polynomial": (1.0, 0.0), "valid": (0.0, 1.0)}
    with pytest.raises(ValueError, match=rf"^{field}"):
        BlockTable(SignalKind.TOKENS, **{**good, **change})
