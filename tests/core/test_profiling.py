"""The order in which Delta Cache is to skip blocks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scaling_cache.cache_core.calibration.profiling import (
    RankBy,
    blocks_to_skip,
    mean_changes,
    rank_by_name,
    skip_order,
    table,
)
from scaling_cache.cache_core.decide.layout import Layout

# Few values, so that equal ones are common.
PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12)
LAYOUT = Layout((("double_block", 2), ("single_block", 3)))


def arrays(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    changes, preferences = np.array(pairs, float).T
    return changes, preferences


def rank(value: int, values: list[int]) -> float:
    """Mean place of a value in the sorted list."""
    places = [place for place, other in enumerate(sorted(values)) if other == value]
    return sum(places) / len(places)


@given(PAIRS)
def test_orders_are_those_of_the_criteria(pairs: list[tuple[int, int]]):
    changes, preferences = zip(*pairs, strict=True)

    def both(block: int) -> float:
        mean = rank(changes[block], list(changes)) + rank(preferences[block], list(preferences))
        return mean / 2

    keys: dict[RankBy, Callable[[int], float]] = {
        RankBy.STABILITY: lambda block: changes[block],
        RankBy.BACKGROUND: lambda block: preferences[block],
        RankBy.BOTH: both,
    }
    for criterion, key in keys.items():
        wanted = sorted(range(len(pairs)), key=lambda b, key=key: (key(b), changes[b], b))
        assert skip_order(criterion, *arrays(pairs)) == wanted


@given(PAIRS, st.randoms())
def test_the_order_does_not_depend_on_the_numbering(pairs: list[tuple[int, int]], random):
    shuffled = pairs.copy()
    random.shuffle(shuffled)
    for criterion in RankBy:
        found = [
            [named[block] for block in skip_order(criterion, *arrays(named))]
            for named in (pairs, shuffled)
        ]
        if criterion is RankBy.STABILITY:
            found = [[change for change, _ in order] for order in found]
        assert found[0] == found[1]


@given(PAIRS)
def test_units_do_not_matter(pairs: list[tuple[int, int]]):
    changes, preferences = arrays(pairs)
    for criterion in RankBy:
        order = skip_order(criterion, changes, preferences)
        assert skip_order(criterion, np.exp(changes), 3 * preferences - 7) == order


def test_stability_does_without_preferences():
    assert skip_order(RankBy.STABILITY, np.array([3.0, 1.0, 2.0]), None) == [1, 2, 0]


@pytest.mark.parametrize(
    ("criterion", "changes", "preferences"),
    [
        (RankBy.BACKGROUND, [1.0, 2.0], None),
        (RankBy.BOTH, [1.0, 2.0], [1.0]),
        (RankBy.BOTH, [1.0, np.nan], [1.0, 2.0]),
        (RankBy.BACKGROUND, [1.0, 2.0], [1.0, np.nan]),
        (RankBy.STABILITY, [1.0, np.inf], None),
    ],
)
def test_numbers_that_cannot_be_ranked_name_the_field(criterion, changes, preferences):
    given_ = None if preferences is None else np.array(preferences)
    with pytest.raises(ValueError, match=f"^rank_by: {criterion.value} needs"):
        skip_order(criterion, np.array(changes), given_)


def test_criteria_have_names():
    for criterion in RankBy:
        assert rank_by_name(criterion.value) is criterion
    with pytest.raises(
        ValueError, match=r"^rank_by: must be one of stability, background, both, got"
    ):
        rank_by_name("foreground")


@given(st.permutations(range(5)), st.floats(0, 1))
def test_the_first_blocks_of_the_order_are_listed(order: list[int], share: float):
    chosen = blocks_to_skip(order, LAYOUT, share)
    numbers = [*chosen["double_block"], *(2 + i for i in chosen["single_block"])]
    assert numbers == sorted(order[: round(share * 5)])


def test_means_leave_out_what_was_not_measured():
    profile = np.array([[np.nan, 1.0, 3.0], [np.nan, np.nan, 5.0]])
    np.testing.assert_array_equal(mean_changes(profile), [2.0, 5.0])
    with pytest.raises(ValueError, match=r"^model: "):
        mean_changes(np.array([[np.nan, np.nan], [1.0, 2.0]]))


def test_the_table_has_a_line_per_block():
    changes, preferences = np.arange(5) / 10, np.arange(5) / 8
    chosen = {"double_block": (1,), "single_block": (0,)}
    assert table(LAYOUT, changes, preferences, chosen) == [
        "double_block 0: change 0.000, foreground 0.000",
        "double_block 1*: change 0.100, foreground 0.125",
        "single_block 0*: change 0.200, foreground 0.250",
        "single_block 1: change 0.300, foreground 0.375",
        "single_block 2: change 0.400, foreground 0.500",
    ]
    assert "foreground" not in "".join(table(LAYOUT, changes, None, chosen))
