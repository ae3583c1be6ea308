"""Which steps to compute, decided before a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise


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


def influence(sigmas: Sequence[float], log_snr: Sequence[float]) -> list[float]:
    """How far an error of the derivative at each step moves the final result, up to a factor.

    The step multiplies it with its width. On the way to the result it grows as the share of the signal
    does, as the latent is that share of the picture plus noise; where a model cannot tell the signal from
    noise, it corrects the error. That is about what calibration measured on the demo models.

    Args:
        sigmas: schedule of the run, the final sigma included.
        log_snr: logarithm of signal over noise at each of them, as far as a model can tell it.
    """
    grown = (
        1 / (sigma * math.exp(place))
        for sigma, place in zip(sigmas[:-1], log_snr[:-1], strict=True)
    )
    return [abs(here - then) * g for (here, then), g in zip(pairwise(sigmas), grown, strict=True)]


def line_places(log_snr: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Places of steps such that runs of equal length on them cost a line the same.

    Outputs bend about evenly over the logarithm of signal over noise. A line that is followed over n
    steps of width w and weight v misses by (n w)^2 at each of them, n^3 w^2 v in all. With so many runs
    the sum is smallest if n goes with w^(-2/3) v^(-1/3), so a step counts the inverse.

    Args:
        log_snr: of each step, rising.
        weights: of the error at each step.
    """
    places = [0.0]
    for (before, here), weight in zip(pairwise(log_snr), weights, strict=False):
        wide = max(here - before, 0.0)
        places.append(places[-1] + wide ** (2 / 3) * weight ** (1 / 3))
    return places


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


def steps_in_window(sigmas: tuple[float, ...], start: float, end: float) -> tuple[int, int]:
    """Half-open range of steps whose sigma is not above `start` and still above `end`."""
    inside = [i for i, sigma in enumerate(sigmas[:-1]) if end < sigma <= start]
    return (inside[0], inside[-1] + 1) if inside else (0, 0)
