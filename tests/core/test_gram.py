"""Weights from products of outputs equal least squares over the outputs themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scaling_cache.cache_core.planning.gram import GramTable


def table(seed: int = 0, steps: int = 6) -> tuple[GramTable, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    sigmas = np.linspace(1.0, 0.1, steps)
    base, slope, bend = random.standard_normal((3, 40))
    outputs = np.stack([base + slope * s + bend * s**2 for s in sigmas])
    return GramTable(sigmas, (outputs @ outputs.T)[None]), sigmas, outputs


@given(st.integers(0, 50), st.permutations(range(6)), st.integers(1, 3))
def test_weights_are_least_squares_over_raw_outputs(seed: int, order: list[int], depth: int):
    gram, sigmas, outputs = table(seed)
    *past, at = sorted(order[: depth + 1])
    newest, *older = (outputs[i] for i in reversed(past))
    slopes = np.array([newest - output for output in older]).reshape(len(older), 40)
    # A ridge is least squares with a row more per unknown.
    least = 1e-9 * (slopes**2).sum() + 1e-6 * (outputs**2).sum() / len(outputs)
    rows = np.concatenate([slopes.T, np.sqrt(least) * np.eye(len(older))])
    aim = np.concatenate([outputs[at] - newest, np.zeros(len(older))])
    wanted = newest + np.linalg.lstsq(rows, aim, rcond=None)[0] @ slopes
    weights = gram.weights(sigmas[at], [sigmas[i] for i in reversed(past)])
    assert sum(weights) == pytest.approx(1)
    found = sum(w * o for w, o in zip(weights, (newest, *older), strict=True))
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_weights_between_calibrated_steps_are_those_of_interpolated_outputs():
    gram, sigmas, outputs = table()
    near = [(sigmas[i] + sigmas[i + 1]) / 2 for i in (0, 2, 4)]
    older, newest, at = ((outputs[i] + outputs[i + 1]) / 2 for i in (0, 2, 4))
    slope = newest - older
    along = (at - newest) @ slope / (slope @ slope)
    assert gram.weights(near[2], near[1::-1]) == pytest.approx((1 + along, -along), rel=1e-4)


def test_outputs_that_stay_the_same_are_repeated():
    gram = GramTable(np.array([1.0, 0.6, 0.3]), np.ones((1, 3, 3)))
    assert gram.weights(0.3, [0.6, 1.0]) == pytest.approx((1.0, 0.0))


def test_gram_covers_its_range_and_little_more():
    gram, _, _ = table()
    assert gram.covers([1.0, 0.5, 0.1])
    assert not gram.covers([2.0, 0.5])
    assert not gram.covers([-0.5])


@pytest.mark.parametrize(
    ("sigmas", "gram", "message"),
    [
        (np.ones(1), np.ones((1, 1, 1)), "sigmas"),
        (np.array([1.0, 0.5]), np.ones((2, 2)), "gram"),
        (np.array([0.5, 1.0]), np.eye(2)[None], "fall"),
        (np.array([1.0, np.nan]), np.eye(2)[None], "finite"),
        (np.array([1.0, 0.5]), np.array([[[1.0, 2.0], [0.0, 1.0]]]), "symmetric"),
        (np.array([1.0, 0.5]), np.zeros((1, 2, 2)), "zero"),
    ],
)
def test_gram_refuses_what_makes_no_sense(sigmas: np.ndarray, gram: np.ndarray, message: str):
    with pytest.raises(ValueError, match=message):
        GramTable(sigmas, gram)
