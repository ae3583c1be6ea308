"""What the expected errors of chains of steps mean as a speed-up."""

from __future__ import annotations

import pytest
from scaling_cache.cache_core.planning.optimiser import Chain
from scaling_cache.cache_core.planning.suggestion import SAFE, VISIBLE, suggest


def chains(*errors: float) -> list[Chain]:
    """Of 5, 6, 7, ... computed steps."""
    return [Chain(tuple(range(5 + i)), error) for i, error in enumerate(errors)]


def test_the_shortest_safe_chain_and_the_longest_visible_one():
    found = suggest(chains(VISIBLE * 3, VISIBLE * 1.1, SAFE * 1.5, SAFE, SAFE / 2), 24)
    assert found.visible == pytest.approx(24 / 6)
    assert found.safe == pytest.approx(24 / 8)
    assert str(found) == "At 24 steps 3.0x is safe, 4.0x is visible"


def test_where_nothing_is_visible_and_where_nothing_is_safe():
    found = suggest(chains(SAFE / 2, SAFE / 4), 20)
    assert (found.safe, found.visible) == (4.0, None)
    assert "no speed-up" in str(found)
    assert suggest(chains(1.0, 0.5), 20).safe == 1.0
