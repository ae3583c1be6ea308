"""Stack level: a clone of the model whose blocks ask a StackRun whether to run.

OUTER_SAMPLE brackets a sampling run, PREDICT_NOISE an evaluation, CALC_COND_BATCH names the branches,
APPLY_MODEL a call of the network, and the replacement hooks of `blocks`, or `stand_ins` where the host
has none, do the skipping. Only the frozen `StackCache` and the hooks live longer than a run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP

from ...cache_core.attention import picture_tokens
from ...cache_core.blocks import Layout
from ...cache_core.checks import check_window
from ...cache_core.clock import Clock
from ...cache_core.combinations import why_not_inside
from ...cache_core.methods.base import Method
from ...cache_core.mix_run import MixRun, run_kind
from ...cache_core.plan import Refusal, too_short
from ...cache_core.report import RunReport
from ...cache_core.run_log import RunLog
from ...cache_core.schedules import steps_in_window
from ...cache_core.signals import changes_along
from ...cache_core.stack_predictors import StackPredictor
from ...cache_core.stack_run import Branch, NetworkCall, StackRun
from ..families import find_family, why_not
from ..families.base import Family
from . import bracket, cfg, mix, ranks
from .blocks import KEY, BlockPatch, BlockWalk, CacheFault
from .branches import describe_call
from .memory import prepare_sampling
from .progress import ProgressText, log
from .samplers import sampler_traits
from .stand_ins import hiding, stand_ins
from .unet import UNetWalk, changes_blocks
from .wrappers import KEY as STEP_KEY


@dataclass(frozen=True)
class StackCache:
    """Immutable configuration carried by the model.

    Attributes:
        method: what decides, with its settings.
        start_percent: share of the denoising before which every step is computed, 0 to 1.
        end_percent: share of the denoising after which every step is computed, 0 to 1.
        to_host: keep the cache in the host's memory.
        node_id: node to report on, None for scripts.
        notes: sentences for the summary.
        predictor: in place of the method's own.
        on_close: gets the run when it has ended, for nodes that measure.
        run: kind of its loop, None for the method's own.
        log: keeps the runs for a report.
    """

    method: Method
    start_percent: float = 0.0
    end_percent: float = 1.0
    to_host: bool = False
    node_id: str | None = None
    notes: tuple[str, ...] = ()
    predictor: StackPredictor | None = None
    on_close: Callable[[StackRun], None] | None = None
    run: type[StackRun] | None = None
    log: RunLog = field(default_factory=RunLog, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_window(self.start_percent, self.end_percent)


Walk = BlockWalk | UNetWalk


@dataclass(frozen=True)
class OneCall:
    """What a call of the network has of its run: the host may make several at once, each on a device of
    its own."""

    walk: Walk


@dataclass
class Session:
    """One sampling run as the wrappers see it.

    Attributes:
        run: the loop.
        family: of the model.
        layout: its blocks.
        progress: where to report.
        on_close: gets the run when it has ended.
        calls: conditioning batches in this evaluation so far.
        key: identity of the conditioning batch that is under way.
        seen: branches of that batch so far; two areas of one prompt share all names.
        opening: held while a call of the network is set up.
    """

    run: StackRun
    family: Family
    layout: Layout
    progress: ProgressText
    on_close: Callable[[StackRun], None] | None = None
    calls: int = 0
    key: Hashable = None
    seen: Counter[Hashable] = field(default_factory=Counter)
    opening: Lock = field(default_factory=Lock)

    @property
    def name(self) -> str:
        return self.run.method.name

    @property
    def report(self) -> RunReport:
        return self.run.report

    def close(self) -> str:
        """Drop all tensors; gives the summary for the user."""
        summary = f"{self.name}: {self.run.close().summary()}"
        if self.on_close is not None:
            self.on_close(self.run)
        return summary


def why_unsupported(model: Any, method: Method | type[Method]) -> str:
    """Why this model cannot be cached below the step by this method; empty if it can."""
    network = model.model.diffusion_model
    family = find_family(network)
    return why_not(network) if family is None else why_not_inside(method, family.unet)


def install(model: Any, cache: StackCache) -> Any:
    """A clone of the model that caches below the step, or the model itself where that is impossible.

    One such cache fits on a model: the last one counts and says so.

    Raises:
        ValueError: if the method does not fit the network, naming the field.
    """
    network = model.model.diffusion_model
    family = find_family(network)
    why = why_unsupported(model, cache.method)
    if why or family is None:
        ProgressText(cache.node_id).refuse(why)
        return model
    if why := family.why_not(cache.method, network):
        ProgressText(cache.node_id).refuse(why)
        return model
    before = model.model_options.get("transformer_options", {}).get(KEY)
    if isinstance(before, StackCache) and before.node_id != cache.node_id:
        note = f"{before.method.name} on the same model is off: one block cache per model"
        cache = replace(cache, notes=(*cache.notes, note))
    patched = bracket.put(remove(model), KEY, _WRAPPERS, cache)
    cfg.move_inside(patched)
    options = patched.model_options["transformer_options"]
    earlier = options.get("patches_replace", {}).get("dit", {})
    for number, (kind, index) in family.hooks(network).items():
        patch = BlockPatch(number, earlier.get((kind, index)))
        patched.set_model_patch_replace(patch, "dit", kind, index)
    return patched


def remove(model: Any) -> Any:
    """A clone of the model without this cache; replacements that were there before it stay."""
    patched = bracket.take(model, KEY, _WRAPPERS)
    options = patched.model_options.get("transformer_options", {})
    replaced = options.get("patches_replace", {})
    if "dit" in replaced:
        kept: dict[Any, Any] = {}
        for key, patch in replaced["dit"].items():
            while isinstance(patch, BlockPatch):
                patch = patch.earlier
            if patch is not None:
                kept[key] = patch
        options["patches_replace"] = {**replaced, "dit": kept}
    return patched


def _outer_sample(executor: Any, *args: Any, **kwargs: Any) -> Any:
    """Make the state of this run, and drop it whatever happens."""
    return bracket.sample(KEY, StackCache, _start, executor, args, kwargs)


def _start(
    cache: StackCache,
    sampling: bracket.Sampling,
    progress: ProgressText,
) -> Session | Refusal:
    """Plan a run, or say why it is sampled plainly."""
    guider, schedule = sampling.guider, sampling.schedule
    options = guider.model_options.get("transformer_options", {})
    if (refusal := bracket.other_cache(options)) is not None:
        return refusal
    # Its configuration, or its session where its wrapper is the outer one.
    if STEP_KEY in options:
        return Refusal("Scaling Cache is on the same model: remove one of the two nodes")
    compiled = options.get("wrappers", {}).get(WrappersMP.APPLY_MODEL, {})
    if "torch.compile" in compiled:
        return Refusal("The model is compiled: a decision per step cannot run inside it")
    patcher = guider.model_patcher
    network = patcher.model.diffusion_model
    family = find_family(network)
    why = why_unsupported(patcher, cache.method)
    if why or family is None:
        return Refusal(why)
    steps = len(schedule) - 1
    if (refusal := too_short(steps)) is not None:
        return refusal
    ends = bracket.sigma_range(patcher, cache.start_percent, cache.end_percent)
    window = steps_in_window(schedule, *ends)
    if window[0] >= window[1]:
        return Refusal("start_percent and end_percent leave no step to skip")
    layout = family.layout(network)
    traits = sampler_traits(sampling.sampler, schedule)
    report = RunReport(steps)
    for note in cache.notes:
        report.note(note)
    try:
        run = (cache.run or run_kind(cache.method))(
            method=cache.method,
            layout=layout,
            clock=Clock(schedule, traits.evaluations),
            window=window,
            report=report,
            to_host=cache.to_host,
            predictor=cache.predictor,
            agree=ranks.agreement(options),
        )
    except ValueError as error:
        return Refusal(str(error))
    if isinstance(run, MixRun):
        mix.prepare(run, patcher, options, schedule)
    return Session(run, family, layout, progress, cache.on_close)


def _prepare_sampling(
    executor: Any, model: Any, noise_shape: Any, conds: Any, *args: Any, **kwargs: Any
) -> Any:
    """Make room for the cache."""
    options = kwargs.get("model_options") or (args[0] if args else None) or {}
    session = options.get("transformer_options", {}).get(KEY)
    count = 0
    if isinstance(session, Session):
        try:
            count = expected_bytes(session, model.model, noise_shape, len(conds))
        except Exception as error:
            log.debug("[Scaling Cache] the size of the cache is not known: %s", error)
    return prepare_sampling(executor, model, noise_shape, conds, *args, count=count, **kwargs)


def expected_bytes(session: Session, base: Any, shape: Any, conditionings: int) -> int:
    """Bytes that a run will hold on the device, about.

    Args:
        base: the host's model.
        shape: of the latent [samples, channels, (frames,) height, width].
    """
    network, family = base.diffusion_model, session.family
    tokens = shape[0] * picture_tokens(shape, family.patch(network))
    dtype = base.manual_cast_dtype or base.get_dtype()
    stream = tokens * family.width(network) * dtype.itemsize
    return session.run.expected_bytes(stream, conditionings)


def _predict_noise(
    executor: Any, x: Any, timestep: Any, model_options: Any, *args: Any, **kwargs: Any
) -> Any:
    """Start an evaluation."""
    session = model_options.get("transformer_options", {}).get(KEY)
    if isinstance(session, Session):
        session.calls = 0
        session.run.begin(lambda: float(timestep.reshape(-1)[0]))
        session.progress.update(session.run.report)
    return executor(x, timestep, model_options, *args, **kwargs)


def _calc_cond_batch(
    executor: Any, model: Any, conds: Any, x: Any, timestep: Any, model_options: Any
) -> Any:
    """Name the conditionings that the next calls of the network hold."""
    session = model_options.get("transformer_options", {}).get(KEY)
    if isinstance(session, Session):
        moment = session.run.moment
        sigma = session.run.clock.sigmas[0] if moment is None else moment.sigma
        call = describe_call(conds, x, sigma, session.calls, model_options)
        session.key = call.key
        session.calls += 1
        session.seen = Counter()
        if isinstance(session.run, MixRun):
            return mix.run_conditionings(
                session.run, call, executor, model, conds, x, timestep, model_options
            )
    return executor(model, conds, x, timestep, model_options)


def _apply_model(
    executor: Any,
    x: Any,
    t: Any,
    c_concat: Any = None,
    c_crossattn: Any = None,
    control: Any = None,
    transformer_options: Any = None,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Let the blocks of this call of the network find its branches."""
    options = transformer_options if transformer_options is not None else {}
    session = options.get(KEY)
    opened, own = None, {**options}
    if isinstance(session, Session):
        try:
            with session.opening:
                opened = _open(session, executor.class_obj, x, control, own)
        except Exception as error:
            bracket.give_up(session.run, error)
    if not isinstance(session, Session) or opened is None:
        return executor(x, t, c_concat, c_crossattn, control, transformer_options, *args, **kwargs)
    call, walk = opened
    own[KEY] = OneCall(walk)
    try:
        with _hiding(walk):
            out = executor(x, t, c_concat, c_crossattn, control, own, *args, **kwargs)
    except CacheFault as fault:
        bracket.give_up(session.run, fault.error)
        return executor(x, t, c_concat, c_crossattn, control, transformer_options, *args, **kwargs)
    if not call.decided and not session.run.sealed and not walk.off:
        session.run.plain("The host did not run the blocks of this model")
    return out


def _open(
    session: Session, base: Any, x: Any, control: Any, options: dict[str, Any]
) -> tuple[NetworkCall, Walk] | None:
    """Set up the walk through the blocks; None if this call has to run plainly."""
    run, network = session.run, base.diffusion_model
    if control is not None:
        run.plain("ControlNet adds to the blocks: steps with it are computed")
        return None
    if not _intact(options, session.family.hooks(network)):
        run.plain("Another node replaces blocks of this model: steps with it are computed")
        return None
    if session.family.unet and changes_blocks(options):
        run.plain("Another node patches blocks of this model: steps with it are computed")
        return None
    if run.needs_changes:
        run.changes = _time_changes(session, base, x)
    names = zip(options["cond_or_uncond"], options["uuids"], strict=True)
    branches: list[Branch] = []
    shape = (x.shape[0] // len(options["uuids"]), *x.shape[1:])
    for index, uuid in names:
        session.seen[index, uuid] += 1
        key = (session.key, index, uuid, session.seen[index, uuid], shape)
        branches.append(Branch(key, index))
    call = run.open(branches)
    if call is None:
        return None
    if session.family.unet:
        return call, UNetWalk(run, call, session.family, network, options)
    return call, BlockWalk(run, call, session.family, network, session.layout, x.shape[0])


def _hiding(walk: Walk) -> AbstractContextManager[None]:
    """Hide the blocks that have no hooks for the call under way."""
    found = walk.stand_ins() if isinstance(walk, UNetWalk) else stand_ins(walk)
    return hiding(walk.network, found)


def _intact(options: dict[str, Any], hooks: dict[int, tuple[str, int]]) -> bool:
    """Whether each block still has this cache's hook: guidance nodes replace some for their calls."""
    patches = options.get("patches_replace", {}).get("dit", {})
    return all(
        isinstance(patches.get(key), BlockPatch) and patches[key].number == number
        for number, key in hooks.items()
    )


def _time_changes(session: Session, base: Any, x: torch.Tensor) -> tuple[float, ...]:
    """Changes of a time signal at all steps, in one pass and one read before the first step."""
    run = session.run
    sigmas = torch.tensor(run.clock.sigmas[:-1], device=x.device)
    timesteps = base.model_sampling.timestep(sigmas).float()
    dtype = base.manual_cast_dtype or base.get_dtype()
    signal = session.family.time[run.method.signal](base.diffusion_model, timesteps, dtype)
    return tuple(run.agree(changes_along(signal)).tolist())


_WRAPPERS = {
    WrappersMP.OUTER_SAMPLE: _outer_sample,
    WrappersMP.PREPARE_SAMPLING: _prepare_sampling,
    WrappersMP.PREDICT_NOISE: _predict_noise,
    WrappersMP.CALC_COND_BATCH: _calc_cond_batch,
    WrappersMP.APPLY_MODEL: _apply_model,
}
