"""Measure how an error at one step grows on its way to the result: sample again with one step nudged."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from comfy.patcher_extension import WrappersMP

from ...cache_core.decide.policies import Clock
from ...cache_core.planning.gram import Floats
from ...cache_core.predict.predictors import Quantity

KEY = "scaling_cache_nudge"
# Shares of the run at which a step is nudged: three further runs in all, since the start is replayed.
SHARES = (0.1, 0.25, 0.4, 0.6, 0.8, 0.95)
# Size of a nudge in the latent: as large as predictions miss, and above what half precision rounds off.
NUDGE = 0.001


def nudged_steps(steps: int) -> list[int]:
    """Steps to nudge, each with a neighbour on both sides."""
    return sorted({min(max(round(share * steps), 1), steps - 2) for share in SHARES})


def measure_gains(
    model: Any,
    schedule: tuple[float, ...],
    places: Sequence[float],
    evaluations: Sequence[int] | None,
    derivatives: Sequence[torch.Tensor],
    result: torch.Tensor,
    sample: Callable[[Any], torch.Tensor],
) -> dict[int, float]:
    """By how much a nudge of some steps is larger or smaller in the result.

    A step is nudged towards what lies between its neighbours: predictions miss in that direction.

    Args:
        model: that computes everything.
        schedule: of the run, the final sigma included.
        places: of each step, along which outputs change about evenly.
        evaluations: of each step.
        derivatives: of each step [batch, ...] in the run without a nudge, with guidance.
        result: of that run.
        sample: samples a model likewise.

    Returns:
        Gain by step, the geometric mean over the batch; without steps at which nothing could be told.
    """
    gains: dict[int, float] = {}
    for step in nudged_steps(len(schedule) - 1):
        share = (places[step] - places[step - 1]) / (places[step + 1] - places[step - 1])
        between = torch.lerp(derivatives[step - 1], derivatives[step + 1], share)
        between = between - derivatives[step]
        width = abs(schedule[step + 1] - schedule[step])
        size = _norm(between)
        if not bool((size > 0).all()):
            continue
        wanted = NUDGE * _norm(result) / width
        nudge = between * (wanted / size).reshape(-1, *[1] * (between.ndim - 1))
        replayed = _replay(model, Clock(schedule, evaluations), derivatives, step, nudge)
        moved = _norm(sample(replayed).cpu() - result) / (width * wanted)
        mean = float(moved.log().mean().exp())
        if math.isfinite(mean) and mean > 0:
            gains[step] = mean
    return gains


def spread(gains: Sequence[dict[int, float]], steps: int) -> Floats | None:
    """Gains of all steps from those measured in some runs, linear in their logarithm; None if there is
    none."""
    known = sorted(set().union(*gains))
    if not known:
        return None
    means = [np.mean([np.log(g[step]) for g in gains if step in g]) for step in known]
    return np.exp(np.interp(np.arange(steps), known, means))


def _replay(
    model: Any, clock: Clock, derivatives: Sequence[torch.Tensor], nudged: int, nudge: torch.Tensor
) -> Any:
    """A clone of the model that gives known outputs up to a step, there with a nudge, and computes the
    others."""

    def predict_noise(executor: Any, x: Any, timestep: Any, *args: Any, **kwargs: Any) -> Any:
        step = clock.tick(float(timestep.reshape(-1)[0]) if clock.measures else None).step
        if step > nudged:
            return executor(x, timestep, *args, **kwargs)
        value = derivatives[step] + nudge if step == nudged else derivatives[step]
        return Quantity.DERIVATIVE.denoised(x, [value.to(x.device)], [1.0], timestep)

    replayed = model.clone()
    replayed.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, predict_noise)
    return replayed


def _norm(value: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(value.flatten(1).float(), dim=1)
