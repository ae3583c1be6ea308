"""The published methods on whole steps, against their rules written again."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scaling_cache.cache_core.decide.schedules import every
from scaling_cache.cache_core.methods import (
    EOC,
    METHODS,
    EasyCache,
    LazyCache,
    Level,
    SmoothCache,
    StepTaylorSeer,
)
from scaling_cache.cache_core.methods.eoc import Judged
from scaling_cache.cache_core.methods.smoothcache import smooth_steps
from scaling_cache.cache_core.outputs import OutputCache
from scaling_cache.cache_core.planning.gram import GramTable
from scaling_cache.cache_core.predict import predictors
from scaling_cache.cache_core.predict.predictors import Known, Now, taylor_weights

from .helpers import output, plan_of, run_of, schedule

STEPS = 20
SIGMAS = schedule(STEPS)


def make_run(
    method: Any, window: tuple[int, int] | None = None, table: GramTable | None = None, **more: Any
) -> OutputCache:
    return run_of(method, plan_of(STEPS, window, table=table), **more)


def judge(table: GramTable | None, judgement: float, sigma: float, past: list[float]) -> Any:
    """Weights of EOC for outputs at these noise levels, newest first."""
    known = [Known(-i, at) for i, at in enumerate(past)]
    return Judged(table, judgement).weights(known, Now(1, sigma))


def field(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """A derivative that depends on x and bends with sigma."""
    grid = torch.linspace(-1, 1, x[0].numel()).reshape(x[0].shape)
    return 0.3 * x + grid * math.cos(2 * sigma) + grid**2 * sigma


def sample(run: OutputCache) -> list[tuple[torch.Tensor, torch.Tensor, bool]]:
    """Euler with two conditionings; gives x, the first derivative and whether it was computed."""
    x = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    seen = []
    for step in range(STEPS):
        at = SIGMAS[step]
        both = [x - at * field(x, at), x - at * 0.5 * field(x, at)]
        outputs, computed = output(run, x, torch.tensor([at]), lambda both=both: both)
        derivative = (x - outputs[0]) / at
        seen.append((x.clone(), derivative, computed))
        x = x + derivative * (SIGMAS[step + 1] - at)
    return seen


def mean(value: torch.Tensor) -> float:
    return float(value.abs().mean())


@pytest.mark.parametrize("kind", [EasyCache, LazyCache])
@pytest.mark.parametrize("threshold", [0.05, 0.15, 0.4])
def test_easycache_is_the_papers_rule(kind: Any, threshold: float):
    seen = sample(make_run(kind(threshold, warmup=3)))
    total, rate, size = 0.0, None, None
    reference: tuple[torch.Tensor, torch.Tensor] | None = None
    skipped = 0
    for step, (x, derivative, computed) in enumerate(seen):
        at = SIGMAS[step]
        # EasyCache follows the derivative, LazyCache the denoised picture.
        output = derivative if kind is EasyCache else x - at * derivative
        must = step < 3 or step == STEPS - 1
        if not must:
            assert rate is not None
            assert size is not None
            total += rate * mean(x - seen[step - 1][0]) / size
            must = not total < threshold
        assert computed is must
        if computed:
            if reference is not None:
                rate = mean(output - reference[1]) / mean(x - reference[0])
            size, reference, total = mean(output), (x, output), 0.0
        else:
            assert reference is not None
            torch.testing.assert_close(output, x + (reference[1] - reference[0]))
            skipped += 1
    assert skipped > 0 or threshold == 0.05


def test_easycache_computes_everything_at_zero_and_outside_its_window():
    assert all(computed for _, _, computed in sample(make_run(EasyCache(0.0))))
    seen = sample(make_run(EasyCache(9.0, warmup=0), (8, 14)))
    computed = [step for step, (_, _, c) in enumerate(seen) if c]
    assert {*range(8), *range(14, STEPS)} <= set(computed)
    assert len(computed) < STEPS


def test_easycache_stops_at_the_longest_gap_and_keeps_nothing():
    run = make_run(EasyCache(10.0, warmup=2, max_gap=3))
    computed = [step for step, (_, _, c) in enumerate(sample(run)) if c]
    assert computed == [0, 1, 5, 9, 13, 17, 19]
    assert run.nbytes > 0
    run.close()
    assert run.nbytes == 0


@pytest.mark.parametrize("order", [1, 2, 3])
def test_taylorseer_forecasts_from_its_differences(order: int):
    seen = sample(make_run(StepTaylorSeer(4, order, 2)))
    assert [s for s, (_, _, c) in enumerate(seen) if c] == [0, 1, 5, 9, 13, 17]
    kept: list[torch.Tensor] = []
    last = 0
    for step, (_, derivative, computed) in enumerate(seen):
        if computed:
            row = [derivative]
            for older in kept[:order]:
                row.append((row[-1] - older) / (step - last))
            kept, last = row, step
            continue
        expected = sum(d * (step - last) ** i / math.factorial(i) for i, d in enumerate(kept))
        torch.testing.assert_close(derivative, expected, rtol=1e-4, atol=1e-4)


@given(st.lists(st.integers(0, 60), min_size=1, max_size=4, unique=True), st.integers(1, 9))
def test_taylor_weights_sum_to_one_and_are_exact_on_lines(steps: list[int], ahead: int):
    steps = sorted(steps, reverse=True)
    weights = taylor_weights(steps, steps[0] + ahead)
    assert sum(weights) == pytest.approx(1)
    if len(steps) > 1:
        line = sum(w * (3 + 2 * s) for w, s in zip(weights, steps, strict=True))
        assert line == pytest.approx(3 + 2 * (steps[0] + ahead), abs=1e-6)


@given(st.integers(1, 9), st.integers(1, 12), st.integers(1, 60))
def test_every_counts_from_the_last_of_the_first_steps(interval: int, head: int, steps: int):
    found = every(interval, head, steps)
    assert list(found) == [s for s in range(steps) if s < head or (s - head + 1) % interval == 0]


@pytest.mark.parametrize(
    ("make", "field_name"),
    [
        (lambda: EasyCache(-0.1), "threshold"),
        (lambda: EasyCache(warmup=-1), "warmup"),
        (lambda: EasyCache(max_gap=0), "max_gap"),
        (lambda: LazyCache(start_percent=0.9, end_percent=0.1), "start_percent"),
        (lambda: SmoothCache(threshold=-1.0), "threshold"),
        (lambda: SmoothCache(max_gap=0), "max_gap"),
        (lambda: EOC(interval=0), "interval"),
        (lambda: EOC(warmup=0), "warmup"),
        (lambda: EOC(judgement=1.5), "judgement"),
        (lambda: EOC(start_percent=-1.0), "start_percent"),
        (lambda: StepTaylorSeer(interval=0), "interval"),
        (lambda: StepTaylorSeer(order=4), "order"),
        (lambda: StepTaylorSeer(warmup=0), "warmup"),
    ],
)
def test_bad_values_are_named(make: Any, field_name: str):
    with pytest.raises(ValueError, match=f"^{field_name}: "):
        make()


@given(st.floats(0.0, 1.0), st.integers(1, 5), st.integers(0, 99))
def test_smoothcache_repeats_while_the_calibrated_error_allows(
    threshold: float, longest: int, seed: int
):
    random = np.random.default_rng(seed)
    values = np.cumsum(random.normal(size=(STEPS, 8)) * 0.4, 0) + 3
    forced = frozenset({0, 7, STEPS - 1})
    found = smooth_steps(values @ values.T, threshold, forced, longest)
    last = 0
    for step in range(STEPS):
        error = np.linalg.norm(values[step] - values[last]) / np.linalg.norm(values[step])
        if abs(error - threshold) < 1e-6:
            return  # rounding decides
        repeats = step not in forced and step - last <= longest and error <= threshold
        assert (step in found) is not repeats
        last = last if repeats else step


def test_smoothcache_without_a_file_computes_and_says_what_it_needs():
    run = make_run(SmoothCache())
    assert all(computed for _, _, computed in sample(run))
    assert "Calibrate Cache" in run.close().summary()


def calibrated(seed: int, size: int = 8) -> tuple[np.ndarray, GramTable]:
    """Outputs that bend and jump, and the table that calibration would make of them."""
    random = np.random.default_rng(seed)
    walk = np.cumsum(random.normal(size=(STEPS, size)), 0) * random.uniform(0.0, 0.5)
    line = np.arange(STEPS)[:, None] * random.normal(size=size) * 0.3
    values = walk + line + random.normal(size=size)
    return values, GramTable(np.array(SIGMAS[:-1]), (values @ values.T)[None])


@given(st.integers(0, 500), st.integers(2, STEPS - 1), st.data(), st.floats(0.0, 1.0))
def test_eoc_corrects_where_calibration_says_that_it_pays(
    seed: int, step: int, data: st.DataObject, judgement: float
):
    """From the outputs themselves and not from their products."""
    values, table = calibrated(seed)
    newest = data.draw(st.integers(1, step - 1))
    older = data.draw(st.integers(0, newest - 1))
    past = [SIGMAS[newest], SIGMAS[older]]
    found = judge(table, judgement, SIGMAS[step], past)
    pair = table.weights(SIGMAS[step], past)
    plain = np.sum((values[step] - values[newest]) ** 2)
    guess = pair[0] * values[newest] + pair[1] * values[older]
    share = 1 - np.sum((values[step] - guess) ** 2) / plain
    if abs(share - judgement) < 1e-6:
        return  # rounding decides
    assert found == (pair if share > judgement else (1.0,))
    assert judge(table, judgement, SIGMAS[step], past[:1]) == (1.0,)
    assert judge(None, judgement, SIGMAS[step], past) == (1.0,)


def test_eoc_is_the_least_squares_slope_of_the_last_change():
    values, table = calibrated(3)
    found = judge(table, 0.0, SIGMAS[9], [SIGMAS[6], SIGMAS[4]])
    slope, ahead = values[6] - values[4], values[9] - values[6]
    along = slope @ ahead / (slope @ slope)
    assert abs(along) > 0.1
    assert found == pytest.approx((1 + along, -along), rel=1e-3)


@pytest.mark.parametrize("interval", [1, 2, 3, 5])
def test_eoc_without_a_file_repeats_every_nth_output_and_says_so(interval: int):
    run = make_run(EOC(interval))
    seen = sample(run)
    computed = [step for step, (_, _, c) in enumerate(seen) if c]
    assert computed == list(range(0, STEPS, interval))
    for step, (_, derivative, _) in enumerate(seen):
        last = step // interval * interval
        torch.testing.assert_close(derivative, seen[last][1], rtol=1e-5, atol=1e-5)
    assert "as FORA does" in run.close().summary()


def test_eoc_adds_its_corrections_in_a_run():
    """Weights of a made-up table, on outputs that have nothing to do with it."""
    _, table = calibrated(5)
    run = make_run(EOC(4, judgement=0.3), table=table)
    seen = sample(run)
    corrected = 0
    for step, (_, derivative, computed) in enumerate(seen):
        assert computed is (step % 4 == 0)
        if computed or step < 4:
            continue
        last = step // 4 * 4
        past = [SIGMAS[last], SIGMAS[last - 4]]
        newest, older = (*judge(table, 0.3, SIGMAS[step], past), 0.0)[:2]
        expected = newest * seen[last][1] + older * seen[last - 4][1]
        torch.testing.assert_close(derivative, expected, rtol=1e-4, atol=1e-5)
        corrected += older != 0
    assert corrected > 0
    assert "FORA" not in run.close().summary()


def test_another_predictor_of_the_user_takes_the_place_of_eocs_own():
    _, table = calibrated(5)
    own = make_run(EOC(4), table=table).predictor
    assert own == Judged(table, EOC().judgement)
    assert make_run(EOC(4), table=table, predictor=predictors.REPEAT).predictor is predictors.REPEAT
    assert make_run(EasyCache(), table=table).predictor is predictors.REPEAT


def test_methods_have_names_of_their_own():
    names = [method.name for method in METHODS if method.level is Level.STEP]
    assert len(set(names)) == len(names) == 9
