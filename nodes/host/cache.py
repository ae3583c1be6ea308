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


@dataclass(frozen=True)
class Cache:
    """Immutable configuration carried by the model.

    Attributes:
        method: what decides, with its settings.
        node_id: node to report on, None for scripts.
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
    log: RunLog = field(default_factory=RunLog, compare=False, repr=False)

    @property
    def negative(self) -> bool:
        """Whether it is one of the negative conditioning, which goes with any other."""
        return self.method.level is Level.NEGATIVE


def install(model: Any, cache: Cache) -> Any:
    """A clone of the model with a cache, or the model itself where that is impossible. One fits on
    a model, besides one of the negative conditioning: the last one counts, and says what it
    replaced.

    Raises:
        ValueError: if the method does not fit the network, naming the field.
    """
    inside = cache.method.level is Level.BLOCKS
    if inside and (why := block_hooks.why_refused(model, cache.method)):
        ProgressText(cache.node_id).refuse(why)
        return model
    kept = [c for c in caches_of(model) if c.negative is not cache.negative]
    gone = [c for c in caches_of(model) if c.negative is cache.negative]
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
    return _with(model, (*kept, cache) if cache.negative else (cache, *kept))


def remove(model: Any, negative: bool | None = None) -> Any:
    """A clone of the model without caches, or without those of the negative conditioning (True) or
    of all else (False)."""
    kept = [c for c in caches_of(model) if negative is not None and c.negative is not negative]
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
        block_hooks.hook(patched)
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


def _apply_model(executor: Any, x: Any, t: Any, *args: Any, **kwargs: Any) -> Any:
    """A call of the network, for the cache inside it."""
    options = kwargs.get("transformer_options") or (args[3] if len(args) > 3 else None)
    run = session.session_of({"transformer_options": options})
    inside = [active for active in run.caches if active.network] if run is not None else []
    if not inside:
        return executor(x, t, *args, **kwargs)
    return block_hooks.apply_model(inside[0], executor, x, t, *args, **kwargs)


WRAPPERS: dict[str, Callable[..., Any]] = {
    WrappersMP.OUTER_SAMPLE: sampling.outer_sample,
    WrappersMP.PREPARE_SAMPLING: _prepare_sampling,
    WrappersMP.SAMPLER_SAMPLE: sampling.sampler_sample,
    WrappersMP.PREDICT_NOISE: session.predict_noise,
    WrappersMP.CALC_COND_BATCH: session.calc_cond_batch,
    WrappersMP.APPLY_MODEL: _apply_model,
}
