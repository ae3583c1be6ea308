"""Which blocks can be skipped: how much the change that each one makes differs from step to step.

A block whose change of the stream stays nearly the same can be skipped and its last change added
again (Delta Cache). One plain run shows it, see `block_tables`. The other criterion is how little a
block prefers the foreground, see `attention`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from ..decide.layout import Layout

# Share of all blocks that can be skipped, where nobody says; the paper skips 0.7 of Wan 14B.
SKIPPED = 0.6


class RankBy(Enum):
    """What makes a block one to skip. The values are what users choose from."""

    STABILITY = "stability"
    BACKGROUND = "background"
    BOTH = "both"


def rank_by_name(name: str) -> RankBy:
    """The criterion of this name.

    Raises:
        ValueError: if there is none.
    """
    try:
        return RankBy(name)
    except ValueError:
        allowed = ", ".join(choice.value for choice in RankBy)
        raise ValueError(f"rank_by: must be one of {allowed}, got {name!r}") from None


def mean_changes(profile: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the relative changes of each block [blocks].

    Args:
        profile: [blocks, steps] of relative changes; NaN where there is none.

    Raises:
        ValueError: if nothing was measured for a block.
    """
    known = np.isfinite(profile)
    if not known.any(1).all():
        raise ValueError("model: some blocks did not run, so there is nothing to rank")
    return np.where(known, profile, 0).sum(1) / known.sum(1)


def skip_order(
    criterion: RankBy, changes: NDArray[np.float64], preferences: NDArray[np.float64] | None
) -> list[int]:
    """Blocks by number, the one to skip first at the front.

    The steadiest first, or those that prefer the foreground least, or by the mean of both ranks.
    Among equals the steadier one goes first.

    Args:
        changes: mean relative change of each block [blocks].
        preferences: foreground preference of each block [blocks]; only stability does without.

    Raises:
        ValueError: if there is not one finite number per block of what is asked for.
    """
    keys = [changes]
    if criterion is not RankBy.STABILITY:
        if preferences is None or preferences.shape != changes.shape:
            raise ValueError(f"rank_by: {criterion.value} needs a preference for each block")
        keys.append(preferences)
    if not np.isfinite(np.stack(keys)).all():
        raise ValueError(f"rank_by: {criterion.value} needs finite numbers")
    if criterion is RankBy.BOTH:
        keys[-1] = _ranks(keys[0]) + _ranks(keys[1])
    return np.lexsort(keys).tolist()


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Place of each value among all from 0, equal ones in the middle of theirs."""
    less = (values[None] < values[:, None]).sum(1)
    equal = (values[None] == values[:, None]).sum(1)
    return less + (equal - 1) / 2


def blocks_to_skip(
    order: Sequence[int], layout: Layout, share: float
) -> dict[str, tuple[int, ...]]:
    """The first blocks of an order, per stack as rising indices in it.

    Args:
        order: blocks by number, the one to skip first at the front.
        layout: blocks of the network.
        share: of all blocks, 0 to 1.
    """
    chosen = set(order[: round(share * layout.total)])
    return {
        kind: tuple(n - numbers.start for n in numbers if n in chosen)
        for kind, _ in layout.stacks
        if (numbers := layout.numbers(kind))
    }


def table(
    layout: Layout,
    changes: NDArray[np.float64],
    preferences: NDArray[np.float64] | None,
    chosen: Mapping[str, Sequence[int]],
) -> list[str]:
    """One line per block: both numbers, and a star if it can be skipped."""
    lines = []
    for kind, _ in layout.stacks:
        for index, number in enumerate(layout.numbers(kind)):
            name = f"{kind} {index}{'*' * (index in chosen.get(kind, ()))}"
            line = f"{name}: change {changes[number]:.3f}"
            if preferences is not None:
                line = f"{line}, foreground {preferences[number]:.3f}"
            lines.append(line)
    return lines
