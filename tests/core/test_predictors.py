"""Predictors are exact on the fields they are made for, whatever the dtype and the batch."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scaling_cache.cache_core.predict.predictors import (
    FURTHEST,
    History,
    Known,
    combine,
    extrapolate,
    lagrange_weights,
    scaled,
    subtract_scaled,
)

SIGMAS = st.lists(
    st.floats(0.01, 10, allow_nan=False), min_size=4, max_size=4, unique_by=lambda s: round(s, 2)
).map(lambda s: sorted(s, reverse=True))


def history(sigmas: list[float], field, dtype: torch.dtype = torch.float64) -> History:
    """Computed outputs of a field at falling sigmas."""
    ring = History(len(sigmas))
    for step, sigma in enumerate(sigmas):
        ring.push(Known(sigma, step, field(sigma).to(dtype)))
    return ring


def polynomial(order: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    coefficients = torch.randn(order + 1, 2, 3, 4, generator=generator, dtype=torch.float64)
    return lambda sigma: sum(c * sigma**k for k, c in enumerate(coefficients))


@given(SIGMAS, st.integers(0, 2))
def test_exact_on_polynomials_of_its_order(sigmas: list[float], order: int):
    field = polynomial(order)
    predicted = combine(extrapolate(history(sigmas[:3], field), sigmas[3], order))
    scale = max(field(s).abs().max() for s in sigmas) * max(
        abs(w) for w in lagrange_weights(sigmas[:3][-order - 1 :], sigmas[3])
    )
    assert torch.allclose(predicted, field(sigmas[3]), atol=1e-8 * float(scale) + 1e-9)


@given(SIGMAS, st.integers(0, 2))
def test_weights_sum_to_one(sigmas: list[float], order: int):
    weights = lagrange_weights(sigmas[: order + 1], sigmas[3])
    assert sum(weights) == pytest.approx(1, abs=1e-6 * max(abs(w) for w in weights))


@given(SIGMAS)
def test_alpha_0_is_order_0_and_alpha_1_is_order_1(sigmas: list[float]):
    ring = history(sigmas[:2], polynomial(2))
    torch.testing.assert_close(
        combine(scaled(ring, float, sigmas[3], 0.0)), combine(extrapolate(ring, sigmas[3], 0))
    )
    ahead, behind = sigmas[1] - sigmas[3], sigmas[0] - sigmas[1]
    # As far as a line may be followed.
    end = sigmas[1] - min(ahead, FURTHEST * behind)
    torch.testing.assert_close(
        combine(scaled(ring, float, sigmas[3], 1.0)), combine(extrapolate(ring, end, 1))
    )


def test_a_line_through_two_close_outputs_is_not_followed_far():
    ring = history([1.0, 1.0 - 1e-9], polynomial(1))
    slope = (ring[0].value - ring[1].value) * FURTHEST
    torch.testing.assert_close(combine(scaled(ring, float, 0.5, 1.0)), ring[0].value + slope)


def test_fewer_entries_than_the_order_needs_fall_back():
    field = polynomial(1)
    one = history([2.0], field)
    for order in (0, 1, 2):
        torch.testing.assert_close(combine(extrapolate(one, 1.0, order)), field(2.0))
    torch.testing.assert_close(combine(scaled(one, float, 1.0, 0.7)), field(2.0))


def test_an_empty_history_is_refused():
    with pytest.raises(ValueError, match="entries"):
        extrapolate(History(2), 1.0, 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_sums_in_float32(dtype: torch.dtype):
    field = polynomial(1)
    ring = history([1.0, 0.9], field, dtype)
    predicted = combine(extrapolate(ring, 0.8, 1))
    exact = 2 * field(0.9).to(dtype).float() - field(1.0).to(dtype).float()
    torch.testing.assert_close(predicted, exact)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("weights", [(0.5,), (1.7, -0.7, 0.2), (torch.tensor([1.5, 0.1]), -0.5)])
def test_a_sum_can_be_scaled_and_taken_away_at_once(dtype: torch.dtype, weights):
    """And what it is taken from is left as it was."""
    random = torch.Generator().manual_seed(0)
    start = torch.randn(2, 3, 4, generator=random).to(dtype)
    before, scale = start.clone(), torch.tensor([0.5, 2.0]).reshape(2, 1, 1)
    terms = [(torch.randn(2, 3, 4, generator=random), weight) for weight in weights]
    total = subtract_scaled(start, scale, terms)
    torch.testing.assert_close(total, start.float() - scale * combine(terms))
    assert torch.equal(start, before)


def test_a_tensor_sigma_gives_what_a_number_gives():
    ring = history([2.0, 1.5], polynomial(2))
    sigma = torch.full((2,), 1.1, dtype=torch.float64)
    torch.testing.assert_close(
        combine(extrapolate(ring, sigma, 1)), combine(extrapolate(ring, 1.1, 1))
    )


def test_the_line_of_the_scaled_predictor_is_drawn_over_the_place():
    ring = history([2.0, 1.5], lambda sigma: torch.log(torch.tensor([sigma])).double())
    predicted = combine(scaled(ring, math.log, 0.7, 1.0))
    torch.testing.assert_close(predicted, torch.tensor([math.log(0.7)]).double())


@given(st.permutations([0, 1]), st.floats(0, 1.5), st.floats(0, 1.5))
def test_samples_of_a_batch_are_independent(order: list[int], first: float, second: float):
    field = polynomial(2)
    alphas = torch.tensor([first, second], dtype=torch.float64)
    straight = combine(scaled(history([2.0, 1.5], field), float, 1.1, alphas))
    permuted = combine(
        scaled(history([2.0, 1.5], lambda s: field(s)[order]), float, 1.1, alphas[order])
    )
    torch.testing.assert_close(permuted, straight[order])


def test_history_keeps_one_entry_per_sigma_and_its_capacity():
    ring = History(2)
    for step, sigma in enumerate([3.0, 2.0, 2.0, 1.0]):
        ring.push(Known(sigma, step, torch.full((1,), float(step))))
    assert [(e.sigma, e.step) for e in ring] == [(1.0, 3), (2.0, 2)]
    assert ring.nbytes == 8
    with pytest.raises(ValueError, match="capacity"):
        History(0)
