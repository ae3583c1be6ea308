"""Step level: the host's wrapper points, translated into calls of a CacheRun.

OUTER_SAMPLE brackets a sampling run, PREDICT_NOISE an evaluation, CALC_COND_BATCH the part of it that
is skipped. Only the frozen `StepCache` in the model's options, with the numbers in its log, lives longer
than a run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from comfy.patcher_extension import WrappersMP

from ...cache_core.calibration import GramTable
from ...cache_core.plan import Refusal, plan_run
from ...cache_core.report import RunReport
from ...cache_core.run import CacheRun
from ...cache_core.run_log import RunLog
from ...cache_core.settings import PredictorKind, Settings
from ...cache_core.step_methods.base import StepMethod
from . import bracket, cfg, ranks
from .branches import describe_call
from .coefficients import AUTO, NONE, Found, find_everywhere, nearer
from .guidance import guidance_scale, has_guidance
from .memory import prepare_sampling
from .progress import ProgressText
from .samplers import log_snr, sampler_traits

KEY = "scaling_cache"


@dataclass(frozen=True)
class StepCache:
    """Immutable configuration carried by the model.

    Attributes:
        method: what decides, with its settings.
        coefficients: "auto", "none" or the name of a coefficient file.
        node_id: node to report on, None for scripts.
        predictor: in place of the method's own.
        table: calibrated products of the guided outputs, in place of a file's.
        log: keeps the runs for a report.
    """

    method: StepMethod
    coefficients: str = "auto"
    node_id: str | None = None
    predictor: PredictorKind | None = None
    table: GramTable | None = field(default=None, compare=False, repr=False)
    log: RunLog = field(default_factory=RunLog, compare=False, repr=False)


@dataclass
class _Session:
    """One sampling run as the wrappers see it.

    Attributes:
        name: of the method.
        run: the loop.
        progress: where to report.
        calls: calls of CALC_COND_BATCH in this evaluation so far.
    """

    name: str
    run: CacheRun
    progress: ProgressText
    calls: int = 0

    @property
    def report(self) -> RunReport:
        return self.run.report

    def close(self) -> str:
        """Drop all tensors; gives the summary for the user."""
        return f"{self.name}: {self.run.close().summary()}"


def install(model: Any, cache: StepCache) -> Any:
    """A clone of the model that caches steps. Applied twice, the last one counts."""
    patched = bracket.put(model, KEY, _WRAPPERS, cache)
    cfg.move_inside(patched)
    return patched


def remove(model: Any) -> Any:
    """A clone of the model without this cache."""
    return bracket.take(model, KEY, _WRAPPERS)


def _outer_sample(executor: Any, *args: Any, **kwargs: Any) -> Any:
    """Make the state of this run, and drop it whatever happens."""
    return bracket.sample(KEY, StepCache, _start, executor, args, kwargs)


def _start(
    cache: StepCache,
    sampling: bracket.Sampling,
    progress: ProgressText,
) -> _Session | Refusal:
    """Plan a run, or say why it is sampled plainly."""
    guider, schedule = sampling.guider, sampling.schedule
    options = guider.model_options.get("transformer_options", {})
    if (refusal := bracket.other_cache(options)) is not None:
        return refusal
    patcher, method = guider.model_patcher, cache.method
    traits, scale = sampler_traits(sampling.sampler, schedule), guidance_scale(guider)
    predictor = cache.predictor or method.predictor
    # Scaling Cache itself reads coefficients for least squares alone, or to see if they were nearer.
    asked = predictor in (PredictorKind.LEAST_SQUARES, PredictorKind.AUTO)
    reads = method.uses_coefficients and (asked or not isinstance(method, Settings))
    choice = cache.coefficients if reads else NONE
    agree = ranks.agreement(options)
    found = find_everywhere(agree, choice, patcher, schedule, scale)
    if cache.table is not None:
        found = Found(cache.table)
    elif predictor is PredictorKind.AUTO:
        found = nearer(found, cache.coefficients, traits.stochastic)
    run = plan_run(
        method,
        schedule,
        traits,
        bracket.sigma_range(patcher, method.start_percent, method.end_percent),
        cache.predictor,
        found.guided,
        log_snr(patcher, schedule, sampling.shape),
        has_guidance(guider),
        agree,
    )
    if isinstance(run, Refusal):
        return run
    if found.note:
        run.report.note(found.note)
    if not reads and method.uses_coefficients and cache.coefficients not in (AUTO, NONE):
        run.report.note(f"{cache.coefficients} is not used: choose the predictor least squares")
    return _Session(method.name, run, progress)


def _prepare_sampling(
    executor: Any, model: Any, noise_shape: Any, conds: Any, *args: Any, **kwargs: Any
) -> Any:
    """Make room for the cache."""
    options = kwargs.get("model_options") or (args[0] if args else None) or {}
    session = options.get("transformer_options", {}).get(KEY)
    count = 0
    if isinstance(session, _Session) and isinstance(noise_shape, Sequence):
        count = session.run.expected_bytes(math.prod(noise_shape) * 4, len(conds))
    return prepare_sampling(executor, model, noise_shape, conds, *args, count=count, **kwargs)


def _predict_noise(
    executor: Any, x: Any, timestep: Any, model_options: Any, *args: Any, **kwargs: Any
) -> Any:
    """Start an evaluation: decide once for all calls that it makes."""
    session = model_options.get("transformer_options", {}).get(KEY)
    if not isinstance(session, _Session):
        return executor(x, timestep, model_options, *args, **kwargs)
    session.calls = 0
    session.run.begin(lambda: float(timestep.reshape(-1)[0]), x)
    session.progress.update(session.run.report)
    guided = executor(x, timestep, model_options, *args, **kwargs)
    try:
        return session.run.hand_over(x, guided)
    except Exception as error:
        bracket.give_up(session.run, error)
        return guided


def _calc_cond_batch(
    executor: Any, model: Any, conds: Any, x: Any, timestep: Any, model_options: Any
) -> Any:
    """Answer from the cache, or let the host compute and remember."""
    session = model_options.get("transformer_options", {}).get(KEY)
    if not isinstance(session, _Session):
        return executor(model, conds, x, timestep, model_options)
    run = session.run
    call = describe_call(conds, x, run.sigma, session.calls, model_options)
    session.calls += 1
    try:
        predicted = run.predict(call.key, x, timestep, call.active)
    except Exception as error:
        predicted = None
        bracket.give_up(run, error)
    if predicted is not None:
        return predicted
    outputs = executor(model, conds, x, timestep, model_options)
    try:
        run.observe(call.key, x, timestep, outputs, call.active)
    except Exception as error:
        bracket.give_up(run, error)
    return outputs


_WRAPPERS = {
    WrappersMP.OUTER_SAMPLE: _outer_sample,
    WrappersMP.PREPARE_SAMPLING: _prepare_sampling,
    WrappersMP.PREDICT_NOISE: _predict_noise,
    WrappersMP.CALC_COND_BATCH: _calc_cond_batch,
}
