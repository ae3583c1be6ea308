"""From a method and a schedule to what a run needs, or to the reason why it will not be cached."""

from __future__ import annotations

from dataclasses import dataclass

from .agreement import Agree, alone
from .calibration import GramTable
from .clock import Clock
from .corrector import Corrector
from .predictors import snr_place
from .prior import steadied
from .report import RunReport
from .run import CacheRun
from .schedules import steps_in_window
from .settings import FEWEST_STEPS, PredictorKind, Settings
from .step_methods.base import StepMethod, Weighing
from .traits import SamplerTraits, StepFrame


@dataclass(frozen=True)
class Refusal:
    """Why a run is sampled without the cache."""

    reason: str


def too_short(steps: int) -> Refusal | None:
    """Why a run of so few steps is not cached; None if it can be."""
    if steps >= FEWEST_STEPS:
        return None
    return Refusal(f"{steps} steps: with fewer than {FEWEST_STEPS} every step is computed")


def plan_run(
    method: StepMethod,
    sigmas: tuple[float, ...],
    traits: SamplerTraits,
    window: tuple[float, float],
    predictor: PredictorKind | None = None,
    guided: GramTable | None = None,
    log_snr: tuple[float, ...] | None = None,
    guidance: bool = True,
    agree: Agree = alone,
) -> CacheRun | Refusal:
    """Set up a run.

    Args:
        method: what decides, with its settings.
        sigmas: schedule of the run, the final sigma included.
        traits: the sampler's.
        window: sigmas at start_percent and end_percent; prediction is allowed from the first down
            to the second.
        predictor: in place of the method's own.
        guided: calibrated products of the guided outputs; default: learned during the run.
        log_snr: logarithm of signal over noise at each sigma, rising.
        guidance: whether guidance pulls the outputs, by its scale or as an input of the model.
        agree: makes what decisions are taken from the same on all ranks.
    """
    steps = len(sigmas) - 1
    if (refusal := too_short(steps)) is not None:
        return refusal
    report = RunReport(steps)
    inside = steps_in_window(sigmas, *window)
    if inside[0] >= inside[1]:
        return Refusal("start_percent and end_percent leave no step to predict")
    place = float if log_snr is None else snr_place(sigmas, log_snr)
    own_method = isinstance(method, Settings)
    if own_method and guided is not None and log_snr is not None:
        guided = steadied(guided, place)
    frame = StepFrame(sigmas, traits, inside, report, guided, log_snr, guidance)
    own = method.weigher(frame) if predictor is None and isinstance(method, Weighing) else None
    corrector = None
    if own_method and method.corrects(frame):
        corrector = Corrector(sigmas, place, guided)
    return CacheRun(
        clock=Clock(sigmas, traits.evaluations),
        policy=method.policy(frame),
        predictor=(predictor or method.predictor).resolve(guided is not None),
        quantity=method.quantity(traits),
        table=guided,
        own=own,
        place=place,
        corrector=corrector,
        report=report,
        agree=agree,
    )
