"""The negative conditioning: the host's wrapper points, translated into calls of a CfgRun.

It works inside a step cache, which asks for outputs at computed steps only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP

from ...cache_core.cfg_cache import HIGH_BAND, LOW_BAND, CfgCache, CfgRun, Guidance
from ...cache_core.clock import Clock
from ...cache_core.plan import Refusal, too_short
from ...cache_core.report import RunReport
from ...cache_core.run_log import RunLog
from ...cache_core.schedules import steps_in_window
from . import bracket, ranks
from .branches import Call, describe_call
from .progress import ProgressText
from .samplers import sampler_traits

KEY = "scaling_cache_cfg"


@dataclass(frozen=True)
class CfgConfig:
    """Immutable configuration carried by the model.

    Attributes:
        cache: what the user asked for.
        node_id: node to report on, None for scripts.
        log: keeps the runs for a report.
    """

    cache: CfgCache
    node_id: str | None = None
    log: RunLog = field(default_factory=RunLog, compare=False, repr=False)


@dataclass
class _Session:
    """One sampling run as the wrappers see it.

    Attributes:
        run: the loop.
        progress: where to report.
        calls: calls of CALC_COND_BATCH in this evaluation so far.
        name: what the user calls it.
    """

    run: CfgRun
    progress: ProgressText
    calls: int = 0
    name: str = "CFG Cache"

    @property
    def report(self) -> RunReport:
        return self.run.report

    def close(self) -> str:
        """Drop all tensors; gives the summary for the user."""
        return f"{self.name}: both conditionings {self.run.close().summary()}"


def install(model: Any, config: CfgConfig) -> Any:
    """A clone of the model that skips the negative conditioning at some steps."""
    return bracket.put(model, KEY, _WRAPPERS, config)


def remove(model: Any) -> Any:
    """A clone of the model without this cache."""
    return bracket.take(model, KEY, _WRAPPERS)


def move_inside(model: Any) -> None:
    """Put this cache's wrappers last on a model that has them: the last one is the innermost."""
    for kind, wrapper in _WRAPPERS.items():
        if model.get_wrappers(kind, KEY):
            model.remove_wrappers_with_key(kind, KEY)
            model.add_wrapper_with_key(kind, KEY, wrapper)


def _outer_sample(executor: Any, *args: Any, **kwargs: Any) -> Any:
    """Make the state of this run, and drop it whatever happens."""
    return bracket.sample(KEY, CfgConfig, _start, executor, args, kwargs)


def _start(
    config: CfgConfig,
    sampling: bracket.Sampling,
    progress: ProgressText,
) -> _Session | Refusal:
    """Plan a run, or say why it is sampled plainly."""
    guider, schedule = sampling.guider, sampling.schedule
    steps = len(schedule) - 1
    if (refusal := too_short(steps)) is not None:
        return refusal
    cache, patcher = config.cache, guider.model_patcher
    window = _steps_between(patcher, schedule, cache.start_percent, cache.end_percent)
    if window[0] >= window[1]:
        return Refusal("start_percent and end_percent leave no step to skip")
    run = CfgRun(
        cache,
        Clock(schedule, sampler_traits(sampling.sampler, schedule).evaluations),
        window,
        guidance(cache, patcher, schedule),
        RunReport(steps),
        ranks.agreement(guider.model_options.get("transformer_options", {})),
    )
    return _Session(run, progress)


def guidance(cache: CfgCache, patcher: Any, schedule: tuple[float, ...]) -> Guidance:
    """What keeps and predicts the negative conditioning of one run."""
    low, high = (_steps_between(patcher, schedule, *band) for band in (LOW_BAND, HIGH_BAND))
    return Guidance(cache.low, cache.high, low, high)


def _steps_between(
    patcher: Any, schedule: tuple[float, ...], start: float, end: float
) -> tuple[int, int]:
    """Half-open range of the steps between two shares of the denoising."""
    return steps_in_window(schedule, *bracket.sigma_range(patcher, start, end))


def _predict_noise(
    executor: Any, x: Any, timestep: Any, model_options: Any, *args: Any, **kwargs: Any
) -> Any:
    """Start an evaluation."""
    session = model_options.get("transformer_options", {}).get(KEY)
    if isinstance(session, _Session):
        session.calls = 0
        session.run.begin(lambda: float(timestep.reshape(-1)[0]))
        session.progress.update(session.run.report)
    return executor(x, timestep, model_options, *args, **kwargs)


def _calc_cond_batch(
    executor: Any, model: Any, conds: Any, x: Any, timestep: Any, model_options: Any
) -> Any:
    """Run both conditionings and remember their difference, or the positive one alone."""
    session = model_options.get("transformer_options", {}).get(KEY)
    if not isinstance(session, _Session):
        return executor(model, conds, x, timestep, model_options)
    run = session.run
    call = describe_call(conds, x, run.sigma, session.calls, model_options)
    session.calls += 1
    if (why := _why_plain(call, x)) is not None:
        run.report.note(why)
        run.runs_plain()
        return executor(model, conds, x, timestep, model_options)
    if run.skips(call.key, x):
        positive = executor(model, [conds[0], None], x, timestep, model_options)[0]
        try:
            return [positive, run.negative(call.key, positive, timestep)]
        except Exception as error:
            bracket.give_up(run, error)
    outputs = executor(model, conds, x, timestep, model_options)
    try:
        run.observe(call.key, (outputs[0], outputs[1]), timestep)
    except Exception as error:
        bracket.give_up(run, error)
    return outputs


def _why_plain(call: Call, x: torch.Tensor) -> str | None:
    """Why a batch of conditionings runs as it came, None if it need not."""
    if call.active != (True, True):
        return "Needs a positive and a negative conditioning: with cfg 1 there is no gain"
    if x.ndim < 4:
        return "The latent has no rows and columns, so no frequencies over them: all is computed"
    return None


_WRAPPERS = {
    WrappersMP.OUTER_SAMPLE: _outer_sample,
    WrappersMP.PREDICT_NOISE: _predict_noise,
    WrappersMP.CALC_COND_BATCH: _calc_cond_batch,
}
