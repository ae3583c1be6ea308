"""From settings and a schedule to what a run needs, or to the reason why it will not be cached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .alpha import AlphaSource, OnlineAlpha
from .clock import Clock
from .policies import BudgetPolicy, Policy, ScheduledPolicy
from .quantity import Quantity
from .report import RunReport
from .run import CacheRun
from .schedules import computed_for_speedup, even_steps, limit_gap, steps_in_window
from .settings import FEWEST_STEPS, Mode, Settings


@dataclass(frozen=True)
class SamplerTraits:
    """What a cache must know of a sampler.

    Attributes:
        name: the host's name, for messages.
        evaluations: model evaluations of each step, None if only the sampler knows.
        stochastic: whether it adds fresh noise between steps.
    """

    name: str
    evaluations: tuple[int, ...] | None
    stochastic: bool


@dataclass(frozen=True)
class Refusal:
    """Why a run is sampled without the cache."""

    reason: str


def plan_run(
    settings: Settings,
    sigmas: tuple[float, ...],
    traits: SamplerTraits,
    window: tuple[float, float],
    make_alpha: Callable[[int], AlphaSource] | None = None,
) -> CacheRun | Refusal:
    """Set up a run.

    Args:
        settings: what the user asked for.
        sigmas: schedule of the run, the final sigma included.
        traits: the sampler's.
        window: sigmas at start_percent and end_percent; prediction is allowed from the first down
            to the second.
        make_alpha: alpha source for a new stream from the index of its conditioning; default:
            learned during the run.
    """
    steps = len(sigmas) - 1
    if steps < FEWEST_STEPS:
        return Refusal(f"{steps} steps: with fewer than {FEWEST_STEPS} every step is computed")
    report = RunReport(steps)
    inside = steps_in_window(sigmas, *window)
    if inside[0] >= inside[1]:
        return Refusal("start_percent and end_percent leave no step to predict")
    return CacheRun(
        clock=Clock(sigmas, traits.evaluations),
        policy=_policy(settings, sigmas, traits, inside, report),
        predictor=settings.predictor,
        quantity=Quantity.DENOISED if traits.stochastic else Quantity.DERIVATIVE,
        make_alpha=make_alpha or _alpha,
        report=report,
    )


def _policy(
    settings: Settings,
    sigmas: tuple[float, ...],
    traits: SamplerTraits,
    window: tuple[int, int],
    report: RunReport,
) -> Policy:
    steps = len(sigmas) - 1
    longest = 1 if traits.stochastic else settings.max_gap
    warmup = max(settings.warmup, settings.predictor.order + 1)
    if settings.mode is Mode.BUDGET:
        forced = frozenset(even_steps(steps, 0, warmup, window))
        return BudgetPolicy(sigmas, settings.budget, forced, longest)
    wanted = computed_for_speedup(steps, settings.speedup)
    computed = limit_gap(even_steps(steps, wanted, warmup, window), steps, longest)
    if len(computed) > wanted:
        why = f"{traits.name} adds noise at each step" if traits.stochastic else "by the settings"
        report.note(
            f"Less than {settings.speedup:.1f}x: {why}, {len(computed)} of {steps} steps must be computed"
        )
    return ScheduledPolicy(computed)


def _alpha(index: int) -> AlphaSource:
    return OnlineAlpha()
