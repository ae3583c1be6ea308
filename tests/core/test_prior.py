"""The choice of computed steps before anything is known of a model."""

from __future__ import annotations

import math
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as cases
from hypothesis import strategies as st
from numpy.typing import NDArray
from scaling_cache.cache_core.decide.schedules import limit_gap
from scaling_cache.cache_core.methods import EOC, ScalingCache, SmoothCache
from scaling_cache.cache_core.methods.eoc import Judged
from scaling_cache.cache_core.methods.smoothcache import smooth_steps
from scaling_cache.cache_core.planning.gram import GramTable, definite
from scaling_cache.cache_core.planning.optimiser import best_chains, cheapest
from scaling_cache.cache_core.planning.prior import (
    CARRIED,
    GUIDED,
    UNGUIDED,
    filled,
    influence,
    line_chains,
    line_misses,
    polynomial_weights,
    products,
    steadied,
)
from scaling_cache.cache_core.predict.predictors import (
    LEAST_SQUARES,
    LeastSquares,
    lagrange_weights,
)

from .helpers import computed_steps, flow, plan_of, run_of, traits


def expected(
    steps: tuple[int, ...], run: int, corrected: bool, rates: tuple[float, float]
) -> float:
    """What a choice is expected to cost, written again: the mean over many random outputs."""
    sigmas, places = flow(run)
    at = np.array(places[:-1])
    counts = np.where(at > 0, rates[1] * np.minimum(at, 1), -rates[0] * at)
    shares = influence(sigmas, places) * np.exp(counts)
    total = 0.0
    for number, (last, following) in enumerate(pairwise(steps)):
        known = [*steps[max(number - 1, 0) : number], last, *([following] if corrected else [])]
        left = np.zeros(run)
        for k in range(last + 1, following):
            left[k] += shares[k]
            weights = lagrange_weights([float(at[i]) for i in known], float(at[k]))
            left[known] -= shares[k] * np.array(weights)
        total += left @ products(at) @ left
    return float(total)


@cases(deadline=None, max_examples=20)
@given(
    st.integers(5, 9),
    st.integers(2, 7),
    st.integers(1, 4),
    st.booleans(),
    st.sampled_from((UNGUIDED, GUIDED, CARRIED)),
)
def test_it_is_the_best_of_all_choices(
    run: int, wanted: int, longest: int, corrected: bool, rates: tuple[float, float]
):
    free = range(1, run - 1)
    choices = [(0, *c, run - 1) for n in range(len(free) + 1) for c in combinations(free, n)]
    choices = [c for c in choices if all(b - a - 1 <= longest for a, b in pairwise(c))]
    fewest = min(map(len, choices))
    within = [c for c in choices if len(c) <= max(wanted, fewest)]
    chains = line_chains(*flow(run), (), longest, corrected, rates)
    found = cheapest(chains, wanted).steps
    assert found in within
    best = min(expected(c, run, corrected, rates) for c in within)
    assert expected(found, run, corrected, rates) == pytest.approx(best, rel=1e-9, abs=1e-15)


@cases(deadline=None)
@given(
    st.integers(8, 100),
    st.floats(1, 4),
    st.floats(0.5, 12),
    st.integers(1, 8),
    st.sets(st.integers(0, 7), max_size=3),
    st.booleans(),
)
def test_as_many_as_wanted_and_the_rules_are_kept(
    run: int, speedup: float, shift: float, longest: int, forced: set[int], corrected: bool
):
    wanted = round(run / speedup)
    chains = line_chains(*flow(run, shift), forced, longest, corrected, GUIDED)
    found = cheapest(chains, wanted).steps
    assert list(found) == sorted(set(found))
    assert {0, run - 1, *forced} <= set(found)
    assert max(b - a - 1 for a, b in pairwise(found)) <= longest
    fewest = len(limit_gap(sorted({0, run - 1, *forced}), run, longest))
    assert len(found) == max(wanted, fewest)


def test_steps_are_closest_where_an_error_moves_the_result_most():
    found = cheapest(line_chains(*flow(50), (), 6, True, GUIDED), 20).steps
    gaps = np.diff(found)
    assert gaps[:8].mean() < gaps[8:16].mean()


@pytest.mark.parametrize("wanted", [12, 16, 20, 25])
def test_early_steps_count_for_less_where_nothing_magnifies_their_errors(wanted: int):
    magnified, plain = (
        cheapest(line_chains(*flow(50), (), 6, True, more), wanted).steps
        for more in (CARRIED, UNGUIDED)
    )
    assert sum(magnified) < sum(plain)


def test_what_noise_alone_gives_draws_no_line_to_far_beyond():
    """Two first outputs that lie close are computed together only if the third one is too."""
    for wanted in range(8, 40):
        for corrected in (True, False):
            found = cheapest(line_chains(*flow(50), (), 6, corrected, GUIDED), wanted).steps
            assert 1 not in found or 2 in found


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=3, unique_by=lambda x: round(x, 2)))
def test_polynomials_have_the_weights_of_lagrange(known: list[float]):
    at = [-1.0, 0.5, 4.0]
    found = polynomial_weights(np.array([known]), np.array([at]))[0]
    for row, place in zip(found, at, strict=True):
        assert row.tolist() == pytest.approx([float(w) for w in lagrange_weights(known, place)])


def test_a_long_run_is_planned_in_no_time():
    """In one go over all steps: a loop over each would take seconds."""
    chains = line_chains(*flow(200), (), 6, True, GUIDED)
    assert len(cheapest(chains, 100).steps) == 100


@cases(deadline=None, max_examples=20)
@given(st.integers(0, 99), st.floats(0.1, 10.0))
def test_a_table_is_drawn_toward_what_is_expected_whatever_its_scale(seed: int, scale: float):
    sigmas, places = flow(20)
    known = dict(zip(sigmas, places, strict=True))
    values = np.random.default_rng(seed).normal(size=(20, 6)).cumsum(0) * scale
    gains = np.linspace(1, 2, 20)
    table = GramTable(np.array(sigmas[:-1]), (values @ values.T)[None], gains)
    found = steadied(table, known.__getitem__)
    assert np.array_equal(found.sigmas, table.sigmas)
    assert found.gains is gains
    expected = products(np.array(places[:-1]))

    def missed(gram: NDArray[np.float64], i: int) -> float:
        """By the line through the outputs two steps before and after."""
        share = (places[i] - places[i - 2]) / (places[i + 2] - places[i - 2])
        row = np.eye(len(gram))[i]
        row = row - (1 - share) * np.eye(len(gram))[i - 2] - share * np.eye(len(gram))[i + 2]
        return float(row @ gram @ row)

    inner = range(2, len(expected) - 2)
    ratios = [missed(table.gram[0], i) / missed(expected, i) for i in inner]
    mixed = 0.6 * table.gram[0] + 0.4 * float(np.median(ratios)) * expected
    assert found.gram[0] == pytest.approx(mixed)


def test_of_a_model_that_bends_less_than_expected_what_was_measured_is_kept():
    """Slow waves: drawn to the expectation, predictions over two steps stay nearly as good."""
    sigmas, places = flow(30)
    at = np.array(places[:-1])
    values = np.stack([at, np.sin(0.5 * at), np.cos(0.5 * at)], axis=1)
    table = GramTable(np.array(sigmas[:-1]), (values @ values.T)[None])
    known = dict(zip(sigmas, places, strict=True))

    def missed(table: GramTable) -> float:
        errors: list[float] = []
        for k in range(8, 29):
            past = [k - 2, k - 4, k - 6]
            weights = table.weights(sigmas[k], [sigmas[i] for i in past])
            errors.append(float(np.square(np.array(weights) @ values[past] - values[k]).sum()))
        return math.sqrt(np.mean(errors))

    assert missed(steadied(table, known.__getitem__)) < 3 * missed(table)


@pytest.mark.parametrize("places", [[0.0] * 8, [0.0, 1.0, 2.0]])
def test_places_that_tell_nothing_leave_the_table(places: list[float]):
    sigmas = np.linspace(1, 0.1, len(places))
    table = GramTable(sigmas, np.eye(len(places))[None])
    known = dict(zip(sigmas.tolist(), places, strict=True))
    assert steadied(table, known.__getitem__) is table


def over(table: GramTable, run: tuple[float, ...]) -> GramTable:
    """A table over a run of a flow model."""
    sigmas = table.joined(run[:-1])
    inside = [math.log(math.hypot((1 - s) / s, 1 / 30)) for s in sigmas]
    return filled(table, sigmas, inside)


@cases(deadline=None, max_examples=20)
@given(st.integers(0, 99), st.sampled_from([1.0, 3.0, 8.0]), st.integers(8, 60))
def test_a_table_over_a_run_keeps_what_was_measured(seed: int, shift: float, steps: int):
    sigmas, _ = flow(20)
    values = np.random.default_rng(seed).normal(size=(2, 20, 6)).cumsum(1)
    table = GramTable(np.array(sigmas[:-1]), values @ values.swapaxes(1, 2), np.linspace(1, 2, 20))
    run, _ = flow(steps, shift)
    found = over(table, run)
    own = np.isin(found.sigmas, table.sigmas)
    np.testing.assert_allclose(found.gram[:, own][:, :, own], table.gram, rtol=1e-9)
    assert found.covers(run[:-1])
    assert all(definite(gram) for gram in found.gram)
    assert found.gains is not None
    np.testing.assert_array_equal(found.gains, table.gains_on(found.sigmas.tolist()))


def test_a_table_over_its_own_steps_is_the_same():
    sigmas, _ = flow(20)
    table = GramTable(np.array(sigmas[:-1]), np.eye(20)[None] + 1)
    rounded = tuple(float(np.float32(sigma)) for sigma in sigmas)
    assert over(table, sigmas) is table
    assert over(table, rounded) is table


def test_outputs_beyond_a_table_are_expected_to_change():
    """The further, the more; a table alone takes them for those at its end."""
    run, places = flow(50, 1.0)
    sigmas, own = flow(50)
    table = GramTable(np.array(sigmas[:-1]), products(np.array(own[:-1]))[None])
    late = [sigma for sigma in run[:-1] if sigma < sigmas[-2]]
    assert len(late) > 1

    def changes(table: GramTable) -> NDArray[np.float64]:
        gram = table.on([sigmas[-2], *late])
        return gram[0, 0] - 2 * gram[0, 1:] + np.diagonal(gram)[1:]

    assert changes(table) == pytest.approx(0.0, abs=1e-12)
    found = changes(over(table, run))
    assert (np.diff(found) > 0).all()
    expected = products(np.array([own[-2], *places[-1 - len(late) : -1]]))
    wanted = expected[1, 1] - 2 * expected[0, 1:] + np.diagonal(expected)[1:]
    assert found == pytest.approx(wanted, rel=0.5)


@pytest.mark.parametrize("shift", [1.0, 8.0])
@pytest.mark.parametrize("steps", [20, 50, 80])
def test_steps_of_another_schedule_are_planned_as_if_it_had_been_calibrated(
    steps: int, shift: float
):
    """Of outputs just as expected, with a table of 50 steps and shift 3."""
    run, places = flow(steps, shift)
    sigmas, own = flow(50)
    true = GramTable(np.array(run[:-1]), products(np.array(places[:-1]))[None])
    file = GramTable(np.array(sigmas[:-1]), products(np.array(own[:-1]))[None])
    wanted = steps // 2

    def cost(table: GramTable) -> float:
        """That the steps chosen from a table really have."""
        chosen = cheapest(best_chains(table, run, (), 6), wanted).steps
        return cheapest(best_chains(true, run, chosen, 6), len(chosen)).error

    assert cost(over(file, run)) < 1.05 * cost(true)


def test_a_method_of_others_sees_the_table_as_it_was_measured():
    sigmas, places = flow(20)
    values = np.random.default_rng(3).normal(size=(20, 6)).cumsum(0)
    table = GramTable(np.array(sigmas[:-1]), (values @ values.T)[None])
    plan = plan_of(sigmas, None, traits(20, sums=True), table=table, log_snr=places)
    run = run_of(SmoothCache(0.1), plan, predictor=LEAST_SQUARES)
    assert isinstance(run.predictor, LeastSquares)
    assert run.predictor.table is table
    assert run.corrector is None
    gram, forced = table.on(sigmas[:-1]), frozenset({0, 19})
    assert computed_steps(run.policy, 20) == list(smooth_steps(gram, 0.1, forced, 3))
    judged = run_of(EOC(), plan).predictor
    assert isinstance(judged, Judged)
    assert judged.table is table
    own = run_of(ScalingCache(), plan)
    assert isinstance(own.predictor, LeastSquares)
    drawn = own.predictor.table
    assert isinstance(drawn, GramTable)
    np.testing.assert_array_equal(drawn.gram, steadied(table, plan.axis).gram)
    assert not np.allclose(drawn.gram, table.gram)
    assert own.corrector is not None
    assert own.corrector.table is drawn


@pytest.mark.parametrize("older", [0, 4, None])
def test_what_a_line_misses_follows_from_the_expected_products(older: int | None):
    """Up to what both ends have more: before -1 and behind 0."""
    _, places = flow(40)
    at = np.array(places[:-1])
    last, before = 7, -1 if older is None else older
    for step in (8, 12, 20, 30, 39):
        left = np.zeros(40)
        left[step], left[last] = 1.0, -1.0
        if older is not None:
            bent = (at[step] - at[last]) / (at[last] - at[older])
            left[[last, older]] += -bent, bent
        wanted = math.sqrt(left @ products(at) @ left)
        more = math.exp(0.7 * min(max(-1 - at[step], 0), 3) + 0.4 * max(at[step], 0))
        found = line_misses(at, *np.array([[step], [last], [before]]))
        assert found == pytest.approx([wanted * more], rel=1e-6)


def test_a_line_between_places_that_are_the_same_misses_by_more_than_can_be_told():
    at = np.array([-1.0, -1.0, 0.0])
    assert line_misses(at, *np.array([[2], [1], [0]]))[0] > 1e6
