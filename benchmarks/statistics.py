"""Means over prompts and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import bootstrap

CONFIDENCE = 0.95
_RESAMPLES = 2000


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Bootstrap interval of the mean over prompts, always the same for the same values.

    Returns:
        Lower and upper bound at 95 %, None for fewer than three values.
    """
    if len(values) < 3:
        return None
    found = bootstrap(
        (np.asarray(values, float),),
        np.mean,
        n_resamples=_RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def over_seeds(values: Sequence[float], prompts: int) -> list[float]:
    """Mean per prompt of values that list all prompts for the first seed, then for the next.

    Raises:
        ValueError: if the values do not divide into prompts.
    """
    if prompts < 1 or len(values) % prompts:
        raise ValueError(f"values: {len(values)} of them are not a multiple of {prompts} prompts")
    return np.asarray(values, float).reshape(-1, prompts).mean(0).tolist()
