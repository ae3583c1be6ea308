"""Which steps to compute, decided before a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise


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


def counted(log_snr: Sequence[float]) -> tuple[float, ...]:
    """How much each step counts where steps are counted: half of it is one, the other half the share of
    noise that went since the step before, over what goes on average. So the last steps count for more
    where a shift leaves most of the noise to them.

    Args:
        log_snr: logarithm of signal over noise at each step and at the end, rising.

    Returns:
        One for each step, of mean 1 but for the first one, before which nothing went.
    """
    noise = [(1 - math.tanh(place / 2)) / 2 for place in log_snr[:-1]]
    whole = noise[0] - noise[-1]
    if whole == 0.0:
        return (1.0,) * len(noise)
    gone = ((before - here) * (len(noise) - 1) / whole for before, here in pairwise(noise))
    return (1.0, *((1 + share) / 2 for share in gone))


def every(interval: int, head: int, steps: int) -> tuple[int, ...]:
    """The first `head` steps, then every `interval`-th after the last of them."""
    return (*range(min(head, steps)), *range(head - 1 + interval, steps, interval))


def centred(interval: int, center: int, power: float, steps: int) -> tuple[int, ...]:
    """As many steps as every `interval`-th would be, the first one among them, closest around one step.

    DeepCache's non-uniform schedule (Ma et al., arXiv 2312.00858): places that are even on the scale
    `sign(t - center) * abs(t - center) ** (1 / power)`, cut to whole steps. Where two fall on one step,
    the power is lowered by 0.02 until none do.

    Args:
        center: step around which they are closest; it may lie behind the last one.
        power: 1 spaces them evenly; the larger, the closer around the center.
    """
    count = math.ceil(steps / interval)
    while True:
        power = max(power, 1.0)
        first, last = (_signed_power(end - center, 1 / power) for end in (0, steps))
        places = (first + (last - first) * i / count for i in range(count))
        # A place on a step must not fall below it by rounding.
        exact = (center + _signed_power(place, power) + 1e-6 for place in places)
        chosen = {min(math.floor(step), steps - 1) for step in exact}
        if len(chosen) == count:
            return tuple(sorted(chosen))
        power -= 0.02


def _signed_power(value: float, power: float) -> float:
    return math.copysign(abs(value) ** power, value)
