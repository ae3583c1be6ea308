"""Time plain runs, so that a report can say what a cache really saved. Nothing else is touched: what the
sampler gets is bit for bit the host's own."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

from comfy.model_patcher import create_model_options_clone
from comfy.patcher_extension import WrappersMP

from ...cache_core.policies import Decision
from ...cache_core.report import RunReport
from ...cache_core.run_log import RunLog
from . import bracket
from .runs import finished

KEY = "scaling_cache_stopwatch"
_PLAIN = Decision(True, "no cache")


@dataclass(frozen=True)
class Stopwatch:
    """Immutable configuration carried by the model.

    Attributes:
        node_id: None: nothing is shown while sampling.
        log: keeps the runs for a report.
    """

    node_id: str | None = None
    log: RunLog = field(default_factory=RunLog, compare=False, repr=False)


@dataclass
class _Session:
    """One plain run: a record for each evaluation."""

    report: RunReport
    began: float | None = None

    def lap(self) -> None:
        """An evaluation ends, if one is under way."""
        if self.began is not None:
            self.report.end_evaluation(True, time.perf_counter() - self.began)

    def begin(self) -> None:
        """The next evaluation starts; the time up to it is the sampler's own work."""
        self.lap()
        self.began = time.perf_counter()
        self.report.begin_step(len(self.report.records), math.nan, _PLAIN)


def install(model: Any) -> Any:
    """A clone of the model whose runs are timed."""
    return bracket.put(model, KEY, _WRAPPERS, Stopwatch())


def _outer_sample(executor: Any, *args: Any, **kwargs: Any) -> Any:
    guider = executor.class_obj
    saved = guider.model_options
    config = saved.get("transformer_options", {}).get(KEY)
    if not isinstance(config, Stopwatch):
        return executor(*args, **kwargs)
    session = _Session(RunReport(len(args[3]) - 1))
    options = create_model_options_clone(saved)
    options["transformer_options"][KEY] = session
    guider.model_options = options
    try:
        result = executor(*args, **kwargs)
    finally:
        guider.model_options = saved
    session.lap()
    config.log.add(finished("Plain", session.report, config.node_id, plain=True))
    return result


def _predict_noise(
    executor: Any, x: Any, timestep: Any, model_options: Any, *args: Any, **kwargs: Any
) -> Any:
    session = model_options.get("transformer_options", {}).get(KEY)
    if isinstance(session, _Session):
        session.begin()
    return executor(x, timestep, model_options, *args, **kwargs)


_WRAPPERS = {
    WrappersMP.OUTER_SAMPLE: _outer_sample,
    WrappersMP.PREDICT_NOISE: _predict_noise,
}
