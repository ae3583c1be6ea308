"""What a model carries of a cache, and how it gets there: the only set of wrappers of the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from comfy.patcher_extension import WrappersMP

from ...cache_core.methods.base import Level, Method, Plain
from ...cache_core.planning.gram import GramTable
from ...cache_core.predict.predictors import Predictor
from ...cache_core.run.report import RunLog
from ...cache_core.run.run import Run
from . import block_hooks, sampling, session
from .progress import ProgressText

KEY = session.KEY
# Caches that go with any other, from the outer to the inner. One of each is on a model, and outside of
# them one of all the others.
_BESIDE = (Level.NEGATIVE, Level.BRANCHES)


@dataclass(frozen=True)
class Cache:
    """Immutable configuration carried by the model.

    Attributes:
        method: what decides, with its settings.
        node_id: node to report on, None for scripts.
        off: in its place, the node that is switched off and so samples plainly.
        coefficients: "auto", "none" or the name of a coefficient file.
        predictor: in place of the method's own.
        table: calibrated products of the guided outputs, in place of a file's.
        to_host: keep changes of blocks in the host's memory.
        notes: sentences for the summary.
        on_close: gets the run when it has ended, for nodes that measure.
        log: keeps the runs for a report.
    """

    method: Method
    node_id: str | None = None
    coefficients: str = "auto"
    predictor: Predictor | None = None
    table: GramTable | None = field(default=None, compare=False, repr=False)
    to_host: bool = False
    notes: tuple[str, ...] = ()
    on_close: Callable[[Run], None] | None = None
    off: str | None = None
    log: RunLog = field(default_factory=RunLog, compare=False, repr=False)

    @property
    def negative(self) -> bool:
        """Whether it is one of the negative conditioning."""
        return self.method.level is Level.NEGATIVE

    @property
    def place(self) -> int:
        """Among the caches of a model, from the outer to the inner."""
        return _place(self.method.level)


def _place(level: Level) -> int:
    return _BESIDE.index(level) + 1 if level in _BESIDE else 0


def install(model: Any, cache: Cache) -> Any:
    """A clone of the model with a cache, or the model itself where that is impossible. One fits on
    a model, besides one of the negative conditioning and one of branches: the last one counts, and says
    what it replaced.

    Raises:
        ValueError: if the method does not fit the network, naming the field.
    """
    inside = cache.method.level is Level.BLOCKS
    if inside and (why := block_hooks.why_refused(model, cache.method)):
        ProgressText(cache.node_id).refuse(why)
        return model
    kept = [c for c in caches_of(model) if c.place != cache.place]
    gone = [c for c in caches_of(model) if c.place == cache.place]
    others = [
        c
        for c in gone
        if (c.node_id is None or c.node_id != cache.node_id) and not isinstance(c.method, Plain)
    ]
    for other in others:
        ProgressText(other.node_id).replaced(cache.method.name, cache.node_id)
    notes = (
        f"{c.method.name} on the same model is off: the last cache on a model counts"
        for c in others
    )
    cache = replace(cache, notes=(*cache.notes, *notes))
    return _with(model, sorted([*kept, cache], key=lambda c: c.place))


def remove(model: Any, level: Level | None = None) -> Any:
    """A clone of the model without caches, or without the one that one of this level would replace."""
    kept = [c for c in caches_of(model) if level is not None and c.place != _place(level)]
    return _with(model, kept)


def caches_of(model: Any) -> tuple[Cache, ...]:
    """What a model carries, from the outer cache to the inner one."""
    found = model.model_options.get("transformer_options", {}).get(KEY, ())
    return found if isinstance(found, tuple) else ()


def _with(model: Any, caches: Sequence[Cache]) -> Any:
    """A clone of the model with these caches alone."""
    patched = model.clone()
    for kind in WRAPPERS:
        patched.remove_wrappers_with_key(kind, KEY)
    options = patched.model_options.setdefault("transformer_options", {})
    if any(c.method.level is Level.BLOCKS for c in caches_of(model)):
        block_hooks.unhook(options)
    options.pop(KEY, None)
    if not caches:
        return patched
    options[KEY] = tuple(caches)
    inside = any(c.method.level is Level.BLOCKS for c in caches)
    for kind, wrapper in WRAPPERS.items():
        if inside or kind != WrappersMP.APPLY_MODEL:
            patched.add_wrapper_with_key(kind, KEY, wrapper)
    # Others may sample in parts: outside of them, a run is one run whatever the order of nodes.
    around = patched.wrappers[WrappersMP.OUTER_SAMPLE]
    patched.wrappers[WrappersMP.OUTER_SAMPLE] = {KEY: around.pop(KEY), **around}
    if inside:
        block_hooks.hook(options, patched.model.diffusion_model)
    return patched


def _prepare_sampling(
    executor: Any, model: Any, noise_shape: Any, conds: Any, *args: Any, **kwargs: Any
) -> Any:
    """Make room for the caches: the host takes what sampling needs from the shape of the noise."""
    run = session.session_of(kwargs.get("model_options") or (args[0] if args else None))
    for active in run.caches if run is not None else ():
        known = active.run, active.network, model, noise_shape, len(conds)
        noise_shape = active.guard(sampling.shape_with_room, *known) or noise_shape
    return executor(model, noise_shape, conds, *args, **kwargs)


WRAPPERS: dict[str, Callable[..., Any]] = {
    WrappersMP.OUTER_SAMPLE: sampling.outer_sample,
    WrappersMP.PREPARE_SAMPLING: _prepare_sampling,
    WrappersMP.SAMPLER_SAMPLE: sampling.sampler_sample,
    WrappersMP.PREDICT_NOISE: session.predict_noise,
    WrappersMP.CALC_COND_BATCH: session.calc_cond_batch,
    WrappersMP.APPLY_MODEL: sampling.apply_model,
}
