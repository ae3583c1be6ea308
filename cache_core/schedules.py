"""Which steps to compute, decided before a run."""

from __future__ import annotations

import math
from collections.abc import Iterable


def computed_for_speedup(steps: int, speedup: float) -> int:
    """Number of computed steps whose ratio to all steps is nearest to the target speed-up.

    Raises:
        ValueError: if a value is out of range.
    """
    if steps < 1:
        raise ValueError(f"steps: must be 1 or more, got {steps}")
    if not speedup >= 1:
        raise ValueError(f"speedup: must be 1.0 or more, got {speedup}")
    exact = steps / speedup
    fewer, more = max(1, math.floor(exact)), math.ceil(exact)
    # Compare ratios, not counts: 4 of 10 is further from 2.2x than 5 of 10.
    return fewer if abs(math.log(fewer / exact)) < abs(math.log(more / exact)) else more


def even_steps(
    steps: int, computed: int, warmup: int, window: tuple[int, int] | None = None
) -> tuple[int, ...]:
    """Computed steps, spread evenly between the warm-up and the last step.

    Args:
        steps: steps of the run.
        computed: wanted number of computed steps, forced ones included.
        warmup: steps at the start that are always computed.
        window: half-open range of steps that may be predicted, default all.

    Returns:
        Sorted step indices. Holds the warm-up, the last step and all steps outside the window even
        where that is more than `computed`.
    """
    first, stop = window if window is not None else (0, steps)
    first = max(first, warmup)
    stop = min(stop, steps - 1)
    forced = {i for i in range(steps) if not first <= i < stop}
    free = list(range(first, stop))
    wanted = min(max(computed - len(forced), 0), len(free))
    # The computed steps cut the free ones into wanted + 1 gaps whose lengths differ by one at most.
    gap = (len(free) - wanted) / (wanted + 1)
    chosen = {free[round((k + 1) * gap + k)] for k in range(wanted)}
    return tuple(sorted(forced | chosen))


def limit_gap(computed: Iterable[int], steps: int, longest: int) -> tuple[int, ...]:
    """Add computed steps until no more than `longest` steps in a row are predicted.

    Raises:
        ValueError: if `longest` is below 1.
    """
    if longest < 1:
        raise ValueError(f"max_gap: must be 1 or more, got {longest}")
    chosen: list[int] = []
    for step in (*sorted(set(computed)), steps):
        last = chosen[-1] if chosen else -1
        missing = step - last - 1
        extra = math.ceil((missing - longest) / (longest + 1)) if missing > longest else 0
        chosen += [last + round((k + 1) * (missing + 1) / (extra + 1)) for k in range(extra)]
        if step < steps:
            chosen.append(step)
    return tuple(chosen)


def every(interval: int, head: int, steps: int) -> tuple[int, ...]:
    """The first `head` steps, then every `interval`-th after the last of them."""
    return (*range(min(head, steps)), *range(head - 1 + interval, steps, interval))


def steps_in_window(sigmas: tuple[float, ...], start: float, end: float) -> tuple[int, int]:
    """Half-open range of steps whose sigma is not above `start` and still above `end`."""
    inside = [i for i, sigma in enumerate(sigmas[:-1]) if end < sigma <= start]
    return (inside[0], inside[-1] + 1) if inside else (0, 0)
