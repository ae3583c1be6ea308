"""Predictors are exact on the fields they are made for, whatever the dtype and the batch, and what a
computed output says of its prediction equals least squares done another way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scaling_cache.cache_core.methods.eoc import Judged
from scaling_cache.cache_core.planning.gram import GramTable
from scaling_cache.cache_core.predict import predictors
from scaling_cache.cache_core.predict.predictors import (
    FIRST_ALPHA,
    FURTHEST,
    HIGHEST,
    REPEAT,
    SCALING,
    Align,
    Auto,
    History,
    Known,
    LeastSquares,
    Now,
    Polynomial,
    Predictor,
    Quantity,
    extrapolation_ratio,
    held_bytes,
    lagrange_weights,
    place_alphas,
    project,
    read,
    remember,
    snr_axis,
    weighted_sum,
)

from .helpers import past_of

SIGMAS = st.lists(
    st.floats(0.01, 10, allow_nan=False), min_size=4, max_size=4, unique_by=lambda s: round(s, 2)
).map(lambda s: sorted(s, reverse=True))


def history(sigmas: Sequence[float], field: Any, dtype: torch.dtype = torch.float64) -> list[Known]:
    """Computed outputs of a field at falling sigmas, which are their own places."""
    return past_of(sigmas, [field(sigma).to(dtype) for sigma in sigmas])


def polynomial(order: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    coefficients = torch.randn(order + 1, 2, 3, 4, generator=generator, dtype=torch.float64)
    return lambda sigma: sum(c * sigma**k for k, c in enumerate(coefficients))


def summed(past: Sequence[Known], weights: Any) -> torch.Tensor:
    return weighted_sum([known.value for known in past], weights)


def extrapolate(past: Sequence[Known], sigma: Any, order: int) -> torch.Tensor:
    """By the polynomial over sigma."""
    kind = Polynomial(order) if order else REPEAT
    return summed(past, kind.weights(past, Now(9, level=sigma)))


def scaled(past: Sequence[Known], at: float, alpha: Any) -> torch.Tensor:
    """So far along the line; alpha is a number or one per sample [batch]."""
    if torch.is_tensor(alpha):
        alpha = alpha.reshape(-1, *[1] * (past[0].value.ndim - 1))
    return summed(past, SCALING.weights(past, Now(9, at=at, alpha=alpha)))


@given(SIGMAS, st.integers(0, 2))
def test_exact_on_polynomials_of_its_order(sigmas: list[float], order: int):
    field = polynomial(order)
    predicted = extrapolate(history(sigmas[:3], field), sigmas[3], order)
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
    past = history(sigmas[:2], polynomial(2))
    torch.testing.assert_close(scaled(past, sigmas[3], 0.0), extrapolate(past, sigmas[3], 0))
    ahead, behind = sigmas[1] - sigmas[3], sigmas[0] - sigmas[1]
    # As far as a line may be followed.
    end = sigmas[1] - min(ahead, FURTHEST * behind)
    torch.testing.assert_close(scaled(past, sigmas[3], 1.0), extrapolate(past, end, 1))


def test_a_line_through_two_close_outputs_is_not_followed_far():
    past = history([1.0, 1.0 - 1e-9], polynomial(1))
    slope = (past[0].value - past[1].value) * FURTHEST
    torch.testing.assert_close(scaled(past, 0.5, 1.0), past[0].value + slope)


def test_fewer_entries_than_the_order_needs_fall_back():
    field = polynomial(1)
    one = history([2.0], field)
    for order in (0, 1, 2):
        torch.testing.assert_close(extrapolate(one, 1.0, order), field(2.0))
    torch.testing.assert_close(scaled(one, 1.0, 0.7), field(2.0))


def test_an_empty_history_is_refused():
    with pytest.raises(IndexError):
        extrapolate([], 1.0, 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_sums_in_float32(dtype: torch.dtype):
    field = polynomial(1)
    predicted = extrapolate(history([1.0, 0.9], field, dtype), 0.8, 1)
    exact = 2 * field(0.9).to(dtype).float() - field(1.0).to(dtype).float()
    torch.testing.assert_close(predicted, exact)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    "weights", [(0.5,), (1.7, -0.7, 0.2), (torch.tensor([1.5, 0.1]).reshape(2, 1, 1), -0.5)]
)
def test_a_sum_can_be_scaled_and_taken_away_at_once(dtype: torch.dtype, weights: Any):
    """And what it is taken from is left as it was."""
    random = torch.Generator().manual_seed(0)
    start = torch.randn(2, 3, 4, generator=random).to(dtype)
    before, sigma = start.clone(), torch.tensor([0.5, 2.0])
    values = [torch.randn(2, 3, 4, generator=random) for _ in weights]
    total = Quantity.DERIVATIVE.denoised(start, values, weights, sigma)
    wanted = start.float() - sigma.reshape(2, 1, 1) * weighted_sum(values, weights)
    assert total.dtype is dtype
    torch.testing.assert_close(total, wanted.to(dtype))
    assert torch.equal(start, before)


def test_a_tensor_sigma_gives_what_a_number_gives():
    past = history([2.0, 1.5], polynomial(2))
    sigma = torch.full((2, 1, 1), 1.1, dtype=torch.float64)
    torch.testing.assert_close(extrapolate(past, sigma, 1), extrapolate(past, 1.1, 1))


def test_the_line_of_the_scaled_predictor_is_drawn_over_the_place():
    values = [torch.log(torch.tensor([sigma])).double() for sigma in (2.0, 1.5)]
    past = past_of([2.0, 1.5], values, math.log)
    predicted = scaled(past, math.log(0.7), 1.0)
    torch.testing.assert_close(predicted, torch.tensor([math.log(0.7)]).double())


@given(st.permutations([0, 1]), st.floats(0, 1.5), st.floats(0, 1.5))
def test_samples_of_a_batch_are_independent(order: list[int], first: float, second: float):
    field = polynomial(2)
    alphas = torch.tensor([first, second], dtype=torch.float64)
    straight = scaled(history([2.0, 1.5], field), 1.1, alphas)
    permuted = scaled(history([2.0, 1.5], lambda s: field(s)[order]), 1.1, alphas[order])
    torch.testing.assert_close(permuted, straight[order])


def test_history_keeps_one_entry_per_sigma_and_its_capacity():
    kept = History(2, 1)
    for step, sigma in enumerate([3.0, 2.0, 2.0, 1.0]):
        kept.learn(Known(step, sigma, sigma, (torch.full((1,), float(step)),)), [0, 0, 0, 1])
    assert [(e.sigma, e.step) for e in kept.past] == [(1.0, 3), (2.0, 2)]
    assert held_bytes(kept.past) == 8


# --- any history


def table(seed: int = 0, steps: int = 6) -> GramTable:
    values = np.random.default_rng(seed).standard_normal((steps, 40)).cumsum(0) + 2
    return GramTable(np.linspace(1.0, 0.1, steps), (values @ values.T)[None])


EVERY: tuple[Predictor, ...] = (
    REPEAT,
    SCALING,
    *(Polynomial(order) for order in (1, 2, 3)),
    *(predictors.Taylor(order) for order in (1, 2, 3)),
    *(
        kind.bind(calibration)
        for kind in (LeastSquares(), Auto())
        for calibration in (None, table())
    ),
    Align(),
    Judged(None, 0.1),
    Judged(table(), 0.1),
)
# Some of them beyond the ends of the schedule, as noise that a sampler adds may lead to: there the
# axis has one place for all.
LEVELS = (5.0, 3.0, 1.2, 1.0, 0.8, 0.5, 0.3, 0.1, 0.05, 0.02)
FALLING = (1.0, 0.8, 0.5, 0.3, 0.1, 0.0)


@pytest.mark.parametrize("predictor", EVERY, ids=lambda p: f"{type(p).__name__} {p.name}")
@given(
    entries=st.lists(st.tuples(st.integers(0, 6), st.sampled_from(LEVELS)), min_size=1, max_size=7),
    step=st.integers(0, 9),
    sigma=st.sampled_from(LEVELS),
    known=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_history_gives_finite_weights_that_sum_to_one(
    predictor: Predictor,
    entries: list[tuple[int, float]],
    step: int,
    sigma: float,
    known: bool,
    seed: int,
):
    """Steps and noise levels in any order and more than once, and several levels in one place."""
    axis = snr_axis(FALLING, (-3.0, -1.4, 0.0, 0.8, 2.2, 6.0) if known else None)
    generator = torch.Generator().manual_seed(seed)
    kept = History(predictor.depth, 2)
    for taken, level in entries:
        value, probe = torch.randn(2, 2, 3, generator=generator)
        newest = Known(taken, level, axis(level), (value,), probe)
        missed = kept.learn(newest, project(kept.past, value).flatten().tolist())
        assert missed is None or math.isfinite(missed)
    place_alphas([kept], kept.past[0].value)
    probe = torch.randn(2, 3, generator=generator)
    now = Now(step, sigma, axis(sigma), sigma, kept.alpha, probe)
    weights = [torch.as_tensor(w).double() for w in predictor.weights(kept.past, now)]
    assert 1 <= len(weights) <= len(kept.past)
    assert all(w.isfinite().all() for w in weights)
    largest = max(float(w.abs().max()) for w in weights)
    total = sum(weights, torch.zeros(()).double())
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-6 * largest, rtol=0)


def test_two_outputs_in_one_place_are_no_line():
    """Beyond the ends of the schedule the axis has one place for all noise levels."""
    axis = snr_axis((1.0, 0.5, 0.0), (-3.0, 0.0, 6.0))
    assert axis(2.0) == axis(3.0) == axis(1.0) == -3.0
    past = past_of([3.0, 2.0], [torch.ones(1), torch.zeros(1)], axis)
    assert extrapolation_ratio(past, axis(0.5)) is None
    assert extrapolation_ratio(past[:1], axis(0.5)) is None
    assert SCALING.weights(past, Now(2, 0.5, axis(0.5))) == (1.0,)


def test_of_the_evaluations_of_a_step_the_newest_counts_also_where_a_sampler_goes_back():
    past = past_of([0.3, 0.5, 0.2], [torch.zeros(1)] * 3)
    steps = (3, 4, 3)  # newest first
    past = [Known(step, known.sigma) for step, known in zip(steps, past, strict=True)]
    assert list(predictors.TAYLOR_1.weights(past, Now(5))) == [1.0]


@pytest.mark.parametrize("predictor", EVERY, ids=lambda p: f"{type(p).__name__} {p.name}")
def test_each_keeps_one_output_or_more_and_starts_with_no_more_than_it_keeps(predictor: Predictor):
    assert 1 <= predictor.least <= predictor.depth


def test_an_older_output_at_the_same_sigma_is_replaced():
    past: list[Known] = []
    for step, sigma in enumerate([3.0, 2.0, 2.0, 1.0]):
        past = remember(past, Known(step, sigma), 5)
    assert [(known.step, known.sigma) for known in past] == [(3, 1.0), (2, 2.0), (0, 3.0)]


# --- what a computed output says of its prediction


def drifting(seed: int, sigmas: list[float], batch: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    base, slope, bend = torch.randn(3, batch, 3, 5, generator=generator)
    return [base + slope * s + 0.3 * bend * s * s for s in sigmas]


@given(st.integers(0, 100), st.floats(0.1, 0.8))
def test_alpha_is_least_squares_and_error_is_that_of_the_prediction(seed: int, sigma: float):
    sigmas = [1.5, 1.0]
    *known, value = drifting(seed, [*sigmas, sigma])
    past = past_of(sigmas, known)
    ratio = extrapolation_ratio(past, sigma)
    assert ratio is not None
    used = (0.7, 1.1)
    reading = read(project(past, value).tolist(), ratio, used)
    errors = []
    for i in range(2):
        line = (ratio * (known[1] - known[0])[i]).flatten().double().numpy()
        change = (value - known[1])[i].flatten().double().numpy()
        wanted = np.linalg.lstsq(line[:, None], change, rcond=None)[0][0]
        assert reading.alpha[i] == pytest.approx(wanted, rel=1e-3, abs=1e-4)
        missed = np.linalg.norm(change - used[i] * line)
        errors.append(missed / np.linalg.norm(value[i].double().numpy()))
    assert reading.error == pytest.approx(max(errors), rel=1e-3, abs=1e-4)
    assert reading.finite


def test_without_a_slope_there_is_no_alpha():
    (value, other) = drifting(0, [1.0, 0.5])
    past = past_of([1.0], [value])
    reading = read(project(past, other).tolist(), None, (1.0, 1.0))
    assert reading.alpha == (None, None)
    assert reading.error > 0


def test_outputs_that_never_change_have_no_alpha_and_no_error():
    value = torch.ones(1, 4)
    past = past_of([2.0, 1.0], [value, value.clone()])
    reading = read(project(past, value.clone()).tolist(), 0.5, (1.0,))
    assert reading.alpha == (None,)
    assert reading.error == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_not_finite_is_seen(bad: float):
    value = torch.ones(2, 4)
    value[1, 2] = bad
    numbers = project([], value)
    assert not read(numbers.tolist(), None, (1.0, 1.0)).finite
    kept = History(2, 2)
    assert kept.learn(Known(0, 1.0, 1.0, (value,)), numbers.flatten().tolist()) == math.inf
    assert kept.past == []
    assert kept.alphas == [FIRST_ALPHA] * 2


def teach(kept: History, alpha: float | None) -> float | None:
    """Take in a computed output for which this alpha would have been right, one unit further on."""
    step = kept.past[0].step + 1 if kept.past else 0
    along, slope = (alpha, 1.0) if alpha is not None else (0.0, 0.0)
    return kept.learn(Known(step, -step, -step, (torch.ones(1),)), [along, slope, 1.0, 4.0])


def test_alpha_moves_towards_what_was_right_and_stays_bounded():
    kept = History(2, 1)
    assert kept.alphas == [FIRST_ALPHA]
    assert kept.alpha == FIRST_ALPHA
    # Without a line there is nothing to learn from.
    assert [teach(kept, 0.6), teach(kept, 0.6)] == [None, None]
    assert kept.alphas == [FIRST_ALPHA]
    assert teach(kept, 0.6) is not None
    assert kept.alphas == pytest.approx([0.7 * FIRST_ALPHA + 0.3 * 0.6])
    for _ in range(30):
        teach(kept, 0.6)
    assert kept.alphas[0] == pytest.approx(0.6, abs=1e-3)
    for _ in range(30):
        teach(kept, 50.0)
    assert kept.alphas[0] == pytest.approx(HIGHEST, abs=1e-3)
    teach(kept, None)
    assert kept.alphas[0] == pytest.approx(HIGHEST, abs=1e-3)
    assert History(2, 3).alphas == [FIRST_ALPHA] * 3, "another batch starts afresh"


def test_alphas_of_a_batch_are_one_number_where_they_agree_and_else_one_per_sample():
    one, same, mixed = (History(2, batch) for batch in (1, 2, 2))
    same.alphas, mixed.alphas = [0.4, 0.4], [0.4, 0.9]
    like = torch.zeros(2, 3, 4)
    place_alphas([one, same, mixed], like)
    assert (one.alpha, same.alpha) == (FIRST_ALPHA, 0.4)
    assert torch.is_tensor(mixed.alpha)
    assert mixed.alpha.shape == (2, 1, 1)
    assert mixed.alpha.flatten().tolist() == pytest.approx([0.4, 0.9])
