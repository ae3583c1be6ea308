"""What the tests of the core build: schedules, plans of runs, and runs of methods and predictors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from scaling_cache.cache_core.decide.layout import Layout
from scaling_cache.cache_core.decide.policies import Policy, RunPlan, SamplerTraits
from scaling_cache.cache_core.methods import Method
from scaling_cache.cache_core.methods.base import Model, Start
from scaling_cache.cache_core.outputs import OutputCache
from scaling_cache.cache_core.predict.predictors import Known
from scaling_cache.cache_core.run.report import RunReport


def schedule(steps: int) -> tuple[float, ...]:
    """Sigmas of a flow model that fall evenly, the final one included."""
    return tuple(1 - i / steps for i in range(steps + 1))


def flow(steps: int, shift: float = 3.0) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Schedule of a flow model, and its logarithm of signal over noise as a model can tell it."""
    sigmas = tuple(shift * t / (1 + (shift - 1) * t) for t in schedule(steps))
    inside = [max(sigma, 1e-3) for sigma in sigmas]
    return sigmas, tuple(math.log(math.hypot((1 - s) / s, 1 / 30)) for s in inside)


def traits(steps: int, **more: Any) -> SamplerTraits:
    """Of a sampler with one evaluation per step."""
    return SamplerTraits("euler", (1,) * steps, **{"stochastic": False, **more})


def plan_of(
    steps: int | Sequence[float],
    window: tuple[int, int] | None = None,
    sampler: SamplerTraits | None = None,
    **more: Any,
) -> RunPlan:
    """What is known of a run.

    Args:
        steps: number of them, or the sigmas.
        window: steps that may be predicted, default all.
        sampler: default one evaluation per step.
    """
    sigmas = schedule(steps) if isinstance(steps, int) else tuple(steps)
    count = len(sigmas) - 1
    more = {"scale": 4.0, **more}
    return RunPlan(sigmas, sampler or traits(count), window or (0, count), **more)


def start_of(plan: RunPlan | int, **more: Any) -> Start:
    """What a run is made from; what its plan notes stands in its report."""
    plan = plan_of(plan) if isinstance(plan, int) else plan
    report = RunReport(plan.steps)
    return Start(replace(plan, note=report.note), report, **more)


def run_of(method: Method, plan: RunPlan | int, **more: Any) -> OutputCache:
    """A run of a method of whole steps."""
    run = method.start(start_of(plan, **more))
    assert isinstance(run, OutputCache)
    return run


def output(
    run: OutputCache,
    x: torch.Tensor,
    sigma: torch.Tensor,
    compute: Any,
    active: Sequence[bool] = (True, True),
    key: str = "key",
) -> tuple[list[torch.Tensor], bool]:
    """What the host's wrappers do in an evaluation: the outputs, and whether they were computed.

    Args:
        compute: gives the outputs of the model.
    """
    run.begin(lambda: float(sigma[0]), x)
    keys = tuple((key, i) for i in range(len(active)))
    skipped = run.skips(keys, x, active)
    assert len(set(skipped)) == 1
    found = [None] * len(active) if skipped[0] else compute()
    return list(run.complete(keys, x, sigma, found, active)), not skipped[0]  # pyright: ignore


def computed_steps(
    policy: Policy, steps: int, changes: Sequence[float | None] | None = None
) -> list[int]:
    """Steps that a policy computes."""
    chosen = []
    for step in range(steps):
        decision = policy.decide(step, changes[step] if changes else None)
        policy.settle(decision.compute)
        if decision.compute:
            chosen.append(step)
    return chosen


def past_of(
    sigmas: Sequence[float], values: Sequence[torch.Tensor], axis: Any = float
) -> list[Known]:
    """Computed outputs of steps from 0 on, newest first."""
    pairs = enumerate(zip(sigmas, values, strict=True))
    return [Known(step, sigma, axis(sigma), (value,)) for step, (sigma, value) in pairs][::-1]


LAYOUT = Layout((("double_block", 4),))
MODEL = Model("Wan", LAYOUT)
