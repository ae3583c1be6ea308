"""Schedules have the wanted size, hold what is forced and are even between."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scaling_cache.cache_core.decide.schedules import (
    centred,
    counted,
    even_steps,
    limit_gap,
)
from scaling_cache.cache_core.planning.optimiser import target_steps
from scaling_cache.cache_core.planning.prior import influence

STEPS = st.integers(8, 200)


def gaps(computed: tuple[int, ...]) -> list[int]:
    return [b - a - 1 for a, b in pairwise(computed)]


@given(STEPS, st.floats(1, 4))
def test_number_of_computed_steps_is_nearest_in_ratio(steps: int, speedup: float):
    computed = target_steps(steps, speedup)
    ratio = max(steps / computed / speedup, speedup / (steps / computed))
    for other in range(1, steps + 1):
        assert ratio <= max(steps / other / speedup, speedup / (steps / other)) + 1e-9


@given(STEPS, st.floats(1, 4), st.integers(1, 6))
def test_even_steps(steps: int, speedup: float, warmup: int):
    wanted = target_steps(steps, speedup)
    computed = even_steps(steps, wanted, warmup)
    assert list(computed) == sorted(set(computed))
    assert set(range(warmup)) <= set(computed)
    assert computed[-1] == steps - 1
    assert len(computed) == max(wanted, warmup + 1)
    between = gaps(computed[warmup - 1 :])
    assert max(between) - min(between) <= 1


@given(STEPS, st.data())
def test_steps_outside_the_window_are_computed(steps: int, data: st.DataObject):
    first = data.draw(st.integers(0, steps - 1))
    stop = data.draw(st.integers(first, steps))
    computed = even_steps(steps, 1, 1, (first, stop))
    assert {0, steps - 1, *range(first), *range(stop, steps)} <= set(computed)


@given(st.lists(st.floats(0.001, 2.0), min_size=3, max_size=60), st.floats(-8, 0))
def test_steps_count_one_on_average_and_half_at_least(widths: list[float], start: float):
    places = [start + sum(widths[:i]) for i in range(len(widths) + 1)]
    found = counted(places)
    assert len(found) == len(widths)
    assert min(found) >= 0.5
    assert sum(found[1:]) == pytest.approx(len(found) - 1)
    noise = [1 / (1 + math.exp(place)) for place in places[:-1]]
    gone = [before - here for before, here in pairwise(noise)]
    assert max(found[1:]) == pytest.approx(found[1 + gone.index(max(gone))])


@pytest.mark.parametrize("places", [(0.0, 1.0), (800.0, 801.0, 802.0), (-900.0, -899.0, -1.0)])
def test_where_no_noise_goes_steps_are_counted(places: tuple[float, ...]):
    assert counted(places) == (1.0,) * (len(places) - 1)


@given(STEPS, st.integers(1, 8), st.sets(st.integers(0, 199)))
def test_longest_gap(steps: int, longest: int, chosen: set[int]):
    computed = limit_gap({0, steps - 1, *(c for c in chosen if c < steps)}, steps, longest)
    assert {c for c in chosen if c < steps} <= set(computed)
    assert max(gaps(computed), default=0) <= longest
    assert len(set(computed)) == len(computed)


def test_a_schedule_that_is_short_enough_is_left_alone():
    assert limit_gap((0, 2, 4, 5), 6, 1) == (0, 2, 4, 5)
    with pytest.raises(ValueError, match="max_gap"):
        limit_gap((0,), 6, 0)


def test_bad_sizes_name_the_field():
    with pytest.raises(ValueError, match="steps"):
        target_steps(0, 2.0)
    with pytest.raises(ValueError, match="speedup"):
        target_steps(10, 0.5)


def test_influence_is_that_of_the_width_alone_where_a_model_adds_little_noise():
    sigmas = (0.9, 0.7, 0.4, 0.0)
    places = tuple(-math.log(max(sigma, 1e-3)) for sigma in sigmas)
    assert influence(sigmas, places) == pytest.approx([0.2, 0.3, 0.4], rel=0.01)


def test_influence_of_a_flow_grows_with_the_share_of_noise_and_is_bounded():
    sigmas = tuple(1 - i / 100 for i in range(101))
    inside = [max(sigma, 1e-3) for sigma in sigmas]
    found = influence(sigmas, [math.log(math.hypot((1 - s) / s, 1 / 20)) for s in inside])
    assert found[3:] == sorted(found[3:], reverse=True)
    assert max(found) / min(found) == pytest.approx(20, rel=0.05)


@given(st.integers(1, 300), st.integers(1, 60), st.integers(0, 320), st.floats(1.0, 3.0))
def test_centred_steps(steps: int, interval: int, center: int, power: float):
    found = centred(interval, center, power, steps)
    assert found[0] == 0
    assert found[-1] < steps
    assert len(found) == -(-steps // interval)
    assert list(found) == sorted(set(found))
    # The nearer to the center the closer, to within the rounding of both ends of a gap.
    before = gaps(tuple(s for s in found if s <= center))
    after = gaps(tuple(s for s in found if s >= center))
    assert all(b - a <= 1 for a, b in pairwise(before))
    assert all(a - b <= 1 for a, b in pairwise(after))


def test_centred_steps_follow_the_formula():
    """Once more in numpy, for the published setting: every 5th of 50, center 15, power 1.4."""
    ends = np.array([-15.0, 35.0])
    scale = np.sign(ends) * np.abs(ends) ** (1 / 1.4)
    places = np.linspace(*scale, 11)[:-1]
    expected = np.floor(15 + np.sign(places) * np.abs(places) ** 1.4)
    assert centred(5, 15, 1.4, 50) == tuple(expected.astype(int))
    assert expected.tolist() == [0, 5, 10, 13, 15, 19, 24, 29, 35, 42]


def test_the_power_comes_down_until_each_place_has_a_step_of_its_own():
    assert centred(5, 15, 1.0, 50) == tuple(range(0, 50, 5))
    # Places 10 and 10 + 10 * 0.2**p would share a step until the power has come down to 1.42.
    assert centred(2, 10, 3.0, 20) == (0, 2, 5, 7, 8, 10, 11, 12, 14, 17)
