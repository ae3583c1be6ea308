"""What the host is about to sample: schedule, sampler, guidance and memory, as a cache has to know it. A
run begins and ends here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from typing import Any

import comfy.samplers
import torch
import torch.distributed as dist
from comfy.model_patcher import create_model_options_clone
from comfy.model_sampling import CONST
from comfy.patcher_extension import WrappersMP

from ...cache_core.decide.layout import Layout
from ...cache_core.decide.policies import RunPlan, SamplerTraits, same_sigma
from ...cache_core.methods.base import Level, Method, Plain, Start
from ...cache_core.outputs import OutputCache
from ...cache_core.planning.gram import GramTable
from ...cache_core.planning.prior import filled
from ...cache_core.predict.predictors import UNKNOWN
from ...cache_core.predict.row import Stream
from ...cache_core.run.agreement import Agree, same_everywhere
from ...cache_core.run.report import RunReport
from ...cache_core.run.run import Run
from . import below, block_hooks, branches, coefficients, ranks
from .conditionings import MEMORY, WHY_MEMORY, breaks_of, likeness, other_cache
from .progress import STATISTICS, ProgressText, finished, log_fault, refused, tell
from .session import KEY, Active, Session, session_of


@dataclass(frozen=True)
class _Entry:
    """Evaluations of each step, and of the first and last ones where they differ.

    The last counts apply to schedules that end at sigma 0, where a sampler has no second point.
    """

    each: int = 1
    head: tuple[int, ...] = ()
    tail: tuple[int, ...] = ()
    stochastic: bool = False
    # Whether the option eta = 0 turns the added noise off.
    eta: bool = False
    # Whether it sums derivatives, with or without memory of earlier ones.
    sums: bool = False
    # Whether it is of second order along one path of noise, a Brownian tree of the seed.
    path: bool = False
    # Whether each step puts wholly new noise on what the model made of the last.
    anew: bool = False
    # Whether it draws polynomials through the last four of them, at their own distances.
    carries: bool = False

    def evaluations(self, steps: int, ends_at_zero: bool) -> tuple[int, ...]:
        counts = [self.each] * steps
        counts[: len(self.head)] = self.head
        if ends_at_zero and self.tail:
            counts[-len(self.tail) :] = self.tail
        # A run may have fewer steps than those that differ: the last ones of each count.
        return tuple(counts[len(counts) - steps :])


_ONE = _Entry()
_SUM = _Entry(sums=True)
_FOUR = _Entry(sums=True, carries=True)
_TWO = _Entry(2, tail=(1,))
_ONE_NOISY = _Entry(stochastic=True)
_ONE_ETA = _Entry(stochastic=True, eta=True)
_TWO_ETA = _Entry(2, tail=(1,), stochastic=True, eta=True)

_SAMPLERS: Mapping[str, _Entry] = {
    **dict.fromkeys(
        (
            "euler",
            "ipndm",
            "deis",
            "dpmpp_2m",
            "res_multistep",
            "gradient_estimation",
            "unipc",
            "unipc_bh2",
        ),
        _SUM,
    ),
    **dict.fromkeys(("lms", "ipndm_v"), _FOUR),
    **dict.fromkeys(
        (
            "euler_cfg_pp",
            "dpmpp_2m_cfg_pp",
            "res_multistep_cfg_pp",
            "gradient_estimation_cfg_pp",
            "cfgpp_ud10_ab",
        ),
        _ONE,
    ),
    **dict.fromkeys(("ddpm", "er_sde", "sa_solver"), _ONE_NOISY),
    "lcm": replace(_ONE_NOISY, anew=True),
    **dict.fromkeys(
        (
            "euler_ancestral",
            "euler_ancestral_cfg_pp",
            "dpmpp_2m_sde",
            "dpmpp_2m_sde_gpu",
            "dpmpp_2m_sde_heun",
            "dpmpp_2m_sde_heun_gpu",
            "dpmpp_3m_sde",
            "dpmpp_3m_sde_gpu",
            "res_multistep_ancestral",
            "res_multistep_ancestral_cfg_pp",
        ),
        _ONE_ETA,
    ),
    **dict.fromkeys(("heun", "dpm_2", "exp_heun_2_x0"), _TWO),
    **dict.fromkeys(
        (
            "dpm_2_ancestral",
            "dpmpp_2s_ancestral",
            "dpmpp_2s_ancestral_cfg_pp",
            "seeds_2",
            "exp_heun_2_x0_sde",
        ),
        _TWO_ETA,
    ),
    **dict.fromkeys(("dpmpp_sde", "dpmpp_sde_gpu"), replace(_TWO_ETA, path=True)),
    "heunpp2": _Entry(3, tail=(2, 1)),
    "seeds_3": _Entry(3, tail=(1,), stochastic=True, eta=True),
    "sa_solver_pece": _Entry(2, head=(1,), stochastic=True),
}
# They choose their own sigmas, so that each evaluation has to be measured, but add no noise.
_FREE_ODE = frozenset({"dpm_fast", "dpm_adaptive"})
# It samples one part of a video after the other, see `MEMORY`.
_IN_PARTS = "ar_video"
# Places of the denoising by which it is told how much of it a run goes through.
_PLACES = 40
# Scales of guidance within so much of each other count as one.
_SCALES = 1.5
_ALONE = "One step is computed: there is nothing to predict it from"
# Said where a cache that stands behind another wrapper of batches often finds no history.
MOVING = (
    "A node before this one asks for parts that change from step to step, such as windows that move: "
    "put this node before it"
)


def schedule_of(model: Any, sampler_name: str, scheduler: str, steps: int) -> tuple[float, ...]:
    """Sigmas that the host samples, the final one included: for some samplers it drops one of the
    scheduler's."""
    sampler = comfy.samplers.KSampler(
        model, steps, model.load_device, sampler_name, scheduler, model_options={}
    )
    return tuple(float(sigma) for sigma in sampler.sigmas.tolist())


def sampler_traits(sampler: Any, sigmas: tuple[float, ...]) -> SamplerTraits:
    """Traits of a host sampler object on a schedule.

    A sampler that is not known is measured and taken for a noisy one: that predicts less, and is
    safe for any.
    """
    function = getattr(sampler, "sampler_function", None)
    hosts = str(getattr(function, "__module__", type(sampler).__module__)).startswith("comfy.")
    name = getattr(function, "__name__", type(sampler).__name__)
    name = name.removeprefix("sample_").removesuffix("_function")
    options: Mapping[str, Any] = getattr(sampler, "extra_options", None) or {}
    churned = bool(options.get("s_churn", 0.0))
    # Another pack may call a sampler of its own by a known name.
    entry = _SAMPLERS.get(name) if hosts else None
    if entry is None:
        noisy = churned or not hosts or name not in _FREE_ODE
        inner = [o for o in options.values() if isinstance(o, comfy.samplers.Sampler)]
        once = len(inner) == 1 and sampler_traits(inner[0], sigmas).single
        return SamplerTraits(name, None, stochastic=noisy, once=once)
    silent = entry.eta and options.get("eta") == 0
    return SamplerTraits(
        name,
        entry.evaluations(len(sigmas) - 1, sigmas[-1] == 0),
        stochastic=churned or (entry.stochastic and not silent),
        sums=entry.sums and not churned,
        carries=entry.carries,
        path=entry.path and not silent,
        anew=entry.anew,
    )


# Signal over noise that a model can just tell from noise alone in a latent of 16 x 16, about what suits
# the demo models. Noise averages out over more positions, so it falls with the root of their number
# (Esser et al., arXiv 2403.03206, section 5.3.2).
_TOLD, _POSITIONS = 1 / 30, 16 * 16


def log_snr(
    patcher: Any, schedule: tuple[float, ...], shape: Sequence[int], louder: float = 1.0
) -> tuple[float, ...] | None:
    """Logarithm of signal over noise at each sigma of a schedule, which levels off where a model cannot
    tell the signal; None if it does not rise throughout.

    A flow model mixes `(1 - sigma)` of the picture with sigma of noise, the others add noise of size
    sigma. Cut off at a thousandth of noise, or below the smallest part that the schedule holds.

    Args:
        shape: of the latent, [batch, channels, ...].
        louder: how much more signal it carries at the same noise.
    """
    flow = isinstance(patcher.get_model_object("model_sampling"), CONST)
    told = _TOLD * math.sqrt(_POSITIONS / max(math.prod(shape[2:]), 1))
    # A cut within the schedule would put two of its steps in one place, with no line between them.
    least = min([1e-3, *(0.5 * sigma for sigma in schedule if sigma > 0)])
    inside = [max(sigma, least) for sigma in schedule]
    ratios = [louder * (1 - sigma if flow else 1.0) / sigma for sigma in inside]
    places = tuple(math.log(math.hypot(ratio, told)) for ratio in ratios)
    falls = all(a > b >= 0 for a, b in pairwise(schedule))
    return places if falls and all(a < b for a, b in pairwise(places)) else None


def over_run(
    table: GramTable, patcher: Any, schedule: tuple[float, ...], shape: Sequence[int]
) -> GramTable:
    """A calibrated table that knows the noise levels of a run too, as far as the model tells them."""
    sigmas = table.joined(schedule[:-1])
    places = log_snr(patcher, tuple(sigmas), shape)
    return table if places is None else filled(table, sigmas, places)


def streams_of(
    patcher: Any, schedule: tuple[float, ...], shapes: Sequence[Sequence[int]]
) -> tuple[Stream, ...]:
    """The streams of a row; none where there is only one.

    The host samples all of them on the first one's schedule. A second one with a schedule of its own it
    carries larger, by what makes its signal over noise the same as there.

    Args:
        shapes: of latents that are sampled together, [batch, channels, ...].
    """
    louder = getattr(patcher.get_model_object("model_sampling"), "audio_scale", 1.0)
    found = [
        Stream(math.prod(shape[1:]), log_snr(patcher, schedule, shape, louder if i == 1 else 1.0))
        for i, shape in enumerate(shapes)
        if math.prod(shape[1:])
    ]
    return tuple(found) if len(found) > 1 else ()


@dataclass(frozen=True)
class Sampling:
    """A run that is about to begin.

    Attributes:
        guider: the host's, with model, model options and, where it has one, the guidance scale.
        sampler: the host's.
        sigmas: of the schedule, the final one included.
        shape: of the latent, [batch, channels, ...]; of the first one where several are sampled together.
        caches: that the model carries.
        shapes: of all latents that are sampled together.
        goes_on: whether no noise is added, as where another sampler has begun.
    """

    guider: Any
    sampler: Any
    sigmas: torch.Tensor
    shape: tuple[int, ...]
    caches: Sequence[Any] = ()
    shapes: Sequence[Sequence[int]] = ()
    goes_on: bool = False

    @cached_property
    def schedule(self) -> tuple[float, ...]:
        """The sigmas as numbers."""
        return tuple(self.sigmas.tolist())

    @property
    def scale(self) -> float | None:
        """Of the guidance, None if it works in another way."""
        return guidance_scale(self.guider)

    @property
    def patcher(self) -> Any:
        return self.guider.model_patcher

    @property
    def options(self) -> Mapping[str, Any]:
        """The transformer options of the run."""
        return self.guider.model_options.get("transformer_options", {})

    @property
    def conds(self) -> Mapping[str, Any]:
        """Lists of conditionings by name; none of a guider that holds them in its own way."""
        return getattr(self.guider, "conds", None) or {}

    @property
    def itemsize(self) -> int:
        """Bytes of a number in the network."""
        base = self.patcher.model
        return (base.manual_cast_dtype or base.get_dtype()).itemsize

    @property
    def covers(self) -> float:
        """Share of the whole denoising that this is a part of, 0 to 1. What begins from another picture
        changes as much as a whole run does."""
        to_sigma = self.patcher.get_model_object("model_sampling").percent_to_sigma
        levels = [float(to_sigma((i + 0.5) / _PLACES)) for i in range(_PLACES)]
        first = self.schedule[0] * (1 + 1e-3) if self.goes_on else math.inf
        last = self.schedule[-1]
        return sum(last <= level <= first for level in levels) / _PLACES

    @property
    def breaks(self) -> tuple[int, ...]:
        """Steps at which the network is asked something else."""
        to_sigma = self.patcher.get_model_object("model_sampling").percent_to_sigma
        return breaks_of(self.conds, self.guider.model_options, to_sigma, self.schedule)

    def between(self, start: float, end: float) -> tuple[int, int]:
        """Half-open range of the steps between two shares of the denoising."""
        sampling = self.patcher.get_model_object("model_sampling")
        # At the ends of the range the host names sigmas that a schedule may pass by rounding.
        first = float(sampling.percent_to_sigma(start)) if start > 0 else math.inf
        last = float(sampling.percent_to_sigma(end)) if end < 1 else -math.inf
        inside = [i for i, sigma in enumerate(self.schedule[:-1]) if last < sigma <= first]
        return (inside[0], inside[-1] + 1) if inside else (0, 0)


def outer_sample(
    executor: Any, noise: Any, latent_image: Any, sampler: Any, sigmas: Any, *args: Any, **kw: Any
) -> Any:
    """A run: make its state, and drop it whatever happens."""
    guider = executor.class_obj
    saved = guider.model_options
    caches = saved.get("transformer_options", {}).get(KEY)
    if not isinstance(caches, tuple):
        return executor(noise, latent_image, sampler, sigmas, *args, **kw)
    # Latents that are sampled together, as of video and sound, come as one row.
    shapes = [tuple(shape) for shape in kw.get("latent_shapes") or [noise.shape]]
    first = next(filter(math.prod, shapes), shapes[0])
    session = Session(Sampling(guider, sampler, sigmas, first, caches, shapes))
    try:
        session.about = replace(session.about, goes_on=not bool(noise.any()))
        session.caches = begin(session.about)
        options = _arranged(saved, session)
        _hooked(options, session)
    except Exception as error:
        for active in session.caches:
            tell(STATISTICS.withdraw, active.run.report)
        _refuse(caches, error)
        return executor(noise, latent_image, sampler, sigmas, *args, **kw)
    guider.model_options = options
    result = None
    try:
        result = executor(noise, latent_image, sampler, sigmas, *args, **kw)
    finally:
        guider.model_options = saved
        tell(end, session, result)
    return result


def _arranged(model_options: Any, session: Session) -> Any:
    """The options of a run: our wrapper around an evaluation outside of all others, so that what they
    evaluate is one evaluation; ours around the sampler inside of them, where the sigmas are its own."""
    options = create_model_options_clone(model_options)
    options["transformer_options"][KEY] = session
    wrappers = options["transformer_options"]["wrappers"]
    for kind, first in ((WrappersMP.PREDICT_NOISE, True), (WrappersMP.SAMPLER_SAMPLE, False)):
        ours = {KEY: wrappers[kind].pop(KEY)}
        wrappers[kind] = {**ours, **wrappers[kind]} if first else {**wrappers[kind], **ours}
    around = wrappers.get(WrappersMP.APPLY_MODEL, {})
    if any(each for key, each in around.items() if key != KEY):
        wrappers[WrappersMP.APPLY_MODEL] = below.arrange(around, session)
    if session.about.scale is None:
        hear = options.get("sampler_post_cfg_function", [])
        options["sampler_post_cfg_function"] = [*hear, partial(_heard, session)]
    if any(active.cache.method.level is Level.BRANCHES for active in session.caches):
        branches.arrange(wrappers)
    return options


def _heard(session: Session, guided: Mapping[str, Any]) -> torch.Tensor:
    """A guider with scales of its own guides an evaluation: with some that are far from each other, what
    it makes of the outputs is on no line."""
    scale = guided.get("cond_scale")
    size = None
    if isinstance(scale, int | float) and 0 < scale < math.inf:
        size = round(math.log(scale, _SCALES))
    for active in session.caches:
        if isinstance(active.run, OutputCache):
            active.run.asked += (size,)
    return guided["denoised"]


def sampler_sample(
    executor: Any, model_wrap: Any, sigmas: Any, extra_args: Any, *args: Any, **kw: Any
) -> Any:
    """The sampler begins: with the schedule or its next part, or else with one of its own, which then
    is the one that counts."""
    session = session_of((extra_args or {}).get("model_options"))
    if session is not None and session.caches:
        session.caches[0].guard(_follow, session, sigmas, extra_args["model_options"])
    return executor(model_wrap, sigmas, extra_args, *args, **kw)


def apply_model(executor: Any, x: Any, t: Any, *args: Any, **kwargs: Any) -> Any:
    """A call of the network, for the cache inside it."""
    options = kwargs.get("transformer_options") or (args[3] if len(args) > 3 else None)
    session = session_of({"transformer_options": options})
    inside = [active for active in session.caches if active.network] if session is not None else []
    if not inside:
        return executor(x, t, *args, **kwargs)
    return block_hooks.apply_model(inside[0], executor, x, t, *args, **kwargs)


def _hooked(model_options: Any, session: Session) -> None:
    """Reach the blocks where a cache took to them for this run; one that always does has its hooks."""
    options = model_options["transformer_options"]
    wrappers = options["wrappers"].setdefault(WrappersMP.APPLY_MODEL, {})
    if KEY not in wrappers and any(active.network for active in session.caches):
        wrappers[KEY] = [apply_model]
        block_hooks.hook(options, session.about.patcher.model.diffusion_model)


def _follow(session: Session, sigmas: torch.Tensor, model_options: Any) -> None:
    """Plan anew where the sampler goes its own way."""
    if _departs(session, sigmas):
        if session.done:
            end(session, sigmas)
        for active in session.caches:
            tell(STATISTICS.withdraw, active.run.report)
        session.about = replace(session.about, sigmas=sigmas)
        session.caches, session.done = begin(session.about), 0
        _hooked(model_options, session)
    session.done += len(sigmas) - 1


def _departs(session: Session, sigmas: torch.Tensor) -> bool:
    """Whether sigmas are others than those of the schedule, from where the sampler is."""
    begun = sigmas.tolist()
    expected = session.about.schedule[session.done : session.done + len(begun)]
    return len(expected) != len(begun) or not all(map(same_sigma, begun, expected))


def _refuse(caches: Sequence[Any], error: Exception) -> None:
    """Say that a run goes without its caches after a fault of ours.

    Raises:
        Exception: the fault, where there are several ranks: others would wait for this one.
    """
    if not _alone():
        raise error
    why = log_fault("the run could not be planned", error)
    for cache in caches:
        _without(cache, why)


def _without(cache: Any, why: str) -> None:
    """Say, and keep for a report, that a run goes without a cache."""
    tell(ProgressText(cache.node_id).refuse, why)
    tell(lambda: cache.log.add(refused(why, cache.node_id)))


def _alone() -> bool:
    return not (dist.is_available() and dist.is_initialized())


def begin(about: Sampling) -> list[Active]:
    """The runs of all caches, from the outer to the inner; without those that go without, and why was
    said."""
    started = [_start(_fitted(cache, about), about) for cache in about.caches]
    return [active for active in started if active is not None]


def _fitted(cache: Any, about: Sampling) -> Any:
    """The cache as a run takes it: another method may take the place of its own where steps are few."""
    method = cache.method.within(len(about.schedule) - 1)
    return cache if method is cache.method else replace(cache, method=method, predictor=None)


def end(session: Session, result: Any) -> None:
    """Drop all tensors of a run, and say what it was. It is kept for a report if it came to its end.

    Args:
        result: what was sampled, None if it did not come to its end.
    """
    caches, session.caches = session.caches, []
    for active in caches:
        tell(_end, active, result, session.about)


def _end(active: Active, result: Any, about: Sampling) -> None:
    cache, run = active.cache, active.run
    if result is not None:
        if not run.report.records:
            guider = type(about.guider).__name__
            run.report.note(f"{guider} passes the cache by: every step is computed")
        if run.report.count(UNKNOWN) and _inside(about.options):
            run.report.note(MOVING)
        active.guard(check, cache.method, run, result)
    else:
        active.guard(run.cut_short)
    report = active.guard(run.close) or run.report
    if result is None:
        report.records[:] = [record for record in report.records if record.evaluations]
    tell(STATISTICS.end, report, result is not None)
    tell(active.progress.summarise, cache.method, report, result is None)
    if cache.on_close is not None:
        tell(cache.on_close, run)
    if result is not None:
        cache.log.add(finished(cache.method.name, report, cache.node_id))


def _inside(options: Any) -> bool:
    """Whether the cache stands behind a node that wraps batches of conditionings, and so is asked for
    each of its parts."""
    wrappers = options.get("wrappers", {})
    return next(iter(wrappers.get(WrappersMP.CALC_COND_BATCH, {})), KEY) != KEY


def _start(cache: Any, about: Sampling) -> Active | None:
    alone = _alone()
    try:
        agree = None if alone else ranks.agreement(about.options)
        alone = agree is None
        planned = plan(cache, about, agree)
    except Exception as error:
        if not alone:
            raise
        planned = log_fault("the run could not be planned", error)
    if isinstance(planned, str):
        _without(cache, planned)
        return None
    progress = ProgressText(cache.node_id, cache.off)
    report = planned[0].report
    tell(progress.start, cache.method.name, report)
    tell(lambda: STATISTICS.begin(finished(cache.method.name, report, cache.node_id)))
    return Active(cache, planned[0], progress, planned[1])


def plan(
    cache: Any, about: Sampling, agree: Agree | None
) -> tuple[Run, block_hooks.Network | None] | str:
    """The run of a cache, and inside the network what its hooks know; or why it goes without.

    Args:
        cache: as the model carries it.
        about: what is sampled.
        agree: of the ranks.
    """
    method, network = cache.method, None
    if not (agree is None or isinstance(method, Plain)):
        told = likeness(about.conds, inside=method.level is Level.BLOCKS)
        if not same_everywhere(agree, repr((about.schedule, about.shape, told)).encode()):
            return "The GPUs sample different sizes, steps or conditionings: every step is computed"
    steps = len(about.schedule) - 1
    report = RunReport(steps, notes=list(cache.notes), asked=method.asked)
    traits = sampler_traits(about.sampler, about.schedule)
    if isinstance(method, Plain):
        bare = RunPlan(about.schedule, traits, (0, steps))
        return method.start(Start(bare, report)), None
    if traits.name == _IN_PARTS or MEMORY in about.options:
        return WHY_MEMORY
    patches = list(about.patcher.object_patches.values())
    function = getattr(about.sampler, "sampler_function", None)
    other = other_cache(about.guider.model_options, patches, function)
    if method.level in (Level.STEP, Level.BLOCKS) and other:
        return f"{other} is on the same model: remove one of the two nodes"
    if steps == 1:
        return _ALONE
    if steps < method.fewest:
        return f"{steps} steps: with fewer than {method.fewest} every step is computed"
    if method.level is Level.BLOCKS:
        network = block_hooks.network_of(about.patcher, method, about.options, about.shape)
        if isinstance(network, str):
            return method.unreached or network
    beside = method.level is Level.BRANCHES
    if beside and (why := branches.why_not(about.conds)):
        return why
    window = about.between(method.start_percent, method.end_percent)
    if window[0] >= window[1]:
        if method.level is Level.STEP:
            return "start_percent and end_percent leave no step to predict"
        return "start_percent and end_percent leave no step to skip"
    table = cache.table
    if cache.coefficients != coefficients.NONE:
        table = coefficients.table_for(cache, about, traits, agree, report.note)
    if table is not None:
        table = over_run(table, about.patcher, about.schedule, about.shape)
    parts = Start(
        RunPlan(
            about.schedule,
            traits,
            window,
            report.note,
            table,
            log_snr(about.patcher, about.schedule, about.shape),
            has_guidance(about.guider),
            about.breaks,
            about.scale,
            streams_of(about.patcher, about.schedule, about.shapes),
            about.covers,
        ),
        report,
        agree,
        cache.predictor,
        about.between,
        Layout(()) if network is None else network.layout,
        cache.to_host,
        negative=not any(other.negative for other in about.caches),
        beside=branches.room(about.conds, about.shape, about.itemsize) if beside else 0,
    )
    try:
        return method.start(parts), network
    except ValueError as error:
        return str(error)


def check(method: Method, run: Run, result: torch.Tensor) -> None:
    """Stop a run whose result is not finite, so that it is said. The host reads the result next anyway,
    and most methods inside the network have read nothing before."""
    told = isinstance(method, Plain) or run.sealed
    if not (told or bool(torch.isfinite(result).all())):
        run.stop("the model's output is not finite")


def guidance_scale(guider: Any) -> float | None:
    """The scale at which a guider pulls outputs from the negative to the positive conditioning; None if
    it works in another way."""
    # One that does may still hold the scale that all guiders begin with.
    if getattr(type(guider), "predict_noise", None) is not comfy.samplers.CFGGuider.predict_noise:
        return None
    return float(guider.cfg)


def has_guidance(guider: Any) -> bool:
    """Whether guidance pulls the outputs: by a scale, in a guider's own way, or learned by the model,
    which then takes the scale as an input."""
    config = getattr(guider.model_patcher.model, "model_config", None)
    learned = getattr(config, "unet_config", {}).get("guidance_embed", False)
    return learned or guidance_scale(guider) != 1.0


def shape_with_room(
    run: Run,
    network: block_hooks.Network | None,
    model: Any,
    shape: Sequence[int],
    conditionings: int,
) -> Any:
    """A shape of the noise with which the host makes room for a run too."""
    unit = math.prod(shape) * 4 if network is None else network.stream_bytes(model, shape)
    return with_room(model, shape, run.expected_bytes(unit, conditionings))


def with_room(model: Any, shape: Any, count: int) -> Any:
    """A shape of the noise that the host estimates to need so many bytes more; the same if it cannot be
    told. The host has no way to reserve memory: it takes what sampling needs from that shape.

    Args:
        model: the host's patcher.
        count: bytes that a cache will hold on the device.
    """
    plain = isinstance(shape, Sequence) and len(shape) and all(isinstance(n, int) for n in shape)
    own = model.model.memory_required(list(shape)) if plain and count > 0 else 0
    if own <= 0:
        return shape
    *rest, last = shape
    return [*rest, math.ceil(last * (1 + count / own))]
