"""Run a model plainly and write down how its outputs relate, as a coefficient file."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from inspect import signature
from typing import Any

import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from comfy.patcher_extension import WrappersMP

from ...cache_core import VERSION
from ...cache_core.calibration.block_tables import BlockTable, WatchRun, WatchStack, make_table
from ...cache_core.calibration.files import MOST_STEPS, CoefficientFile, Provenance
from ...cache_core.calibration.recording import GramRecorder
from ...cache_core.decide.policies import Clock, SamplerTraits
from ...cache_core.decide.signals import SignalKind
from ...cache_core.methods.base import FEWEST_STEPS
from ...cache_core.planning.gram import total
from ...cache_core.predict.predictors import Quantity
from ...cache_core.run.run import Run
from ..families import find_family
from .cache import Cache, install, remove
from .coefficients import family as family_of
from .coefficients import fingerprint
from .conditionings import other_cache
from .sampling import log_snr, sampler_traits, schedule_of
from .sensitivity import measure_gains, nudged_steps, spread
from .trial_runs import RUNS, try_out

KEY = "scaling_cache_record"
# Branches of the recorder: conditionings by index, and what guidance made of them.
_POSITIVE, _NEGATIVE, _GUIDED = 0, 1, 2


@dataclass
class Watch:
    """Tells which run of how many is under way, and how long it all takes still.

    Attributes:
        runs: how many there are.
        tell: gets the words, about once per second.
    """

    runs: int
    tell: Callable[[str], None]
    _begun: int = field(default=0, init=False)
    _start: float = field(default_factory=time.monotonic, init=False)
    _told: float = field(default=0.0, init=False)

    @contextmanager
    def to_the_end(self) -> Iterator[None]:
        """Where the runs break off, what was said of the one under way is true no more."""
        try:
            yield
        except BaseException:
            if self._begun:
                self.tell("Stopped before the end")
            raise

    def around(self, callback: Callable[..., None]) -> Callable[..., None]:
        """The callback of the next run, watched."""
        self._begun += 1
        done = self._begun - 1
        self.runs = max(self.runs, self._begun)

        def step(index: int, denoised: Any, x: Any, steps: int) -> None:
            callback(index, denoised, x, steps)
            # A sampler that chooses its own steps may make more of them.
            share = (done + min((index + 1) / steps, 1.0)) / self.runs
            now = time.monotonic()
            if now - self._told < 1 and index:
                return
            self._told = now
            left = (now - self._start) * (1 / share - 1)
            time_left = f"{left:.0f} s" if left < 90 else f"{left / 60:.0f} min"
            self.tell(f"Run {done + 1} of {self.runs}, about {time_left} left")

        return step


@dataclass(frozen=True)
class Plan:
    """How to sample for a calibration.

    Attributes:
        seeds: one run each per positive conditioning.
        refine: measure too how errors of each step grow; takes about six further runs for each positive
            conditioning.
        watch: gets each step of each run.
    """

    seeds: Sequence[int]
    steps: int
    cfg: float
    sampler_name: str
    scheduler: str
    refine: bool = False
    watch: Watch | None = None

    def __post_init__(self) -> None:
        if self.steps < FEWEST_STEPS:
            raise ValueError(f"steps: must be {FEWEST_STEPS} or more, got {self.steps}")


def calibrate(
    model: Any,
    positives: Sequence[Any],
    negative: Any,
    latent: dict[str, Any],
    plan: Plan,
    keep: Callable[[CoefficientFile, int], None] = lambda file, runs: None,
    note: Callable[[str], None] = lambda text: None,
) -> CoefficientFile:
    """Sample plainly, once per conditioning and seed.

    Args:
        keep: gets what there is after each run, and how many there were.
        note: gets a sentence on what the file lacks.

    Raises:
        ValueError: naming the field, if the sampler is unfit or the model's output is unusable.
    """
    model = remove(model)
    schedule, traits = check(model, plan)
    if len(schedule) - 1 > MOST_STEPS:
        raise ValueError(
            f"steps: must be {MOST_STEPS} at most, the scheduler made {len(schedule) - 1}"
        )
    if traits.stochastic:
        why = "may add noise at each step" if traits.unknown else "adds noise at each step"
        raise _unfit(plan, why)
    if plan.refine and not traits.sums:
        # One output per step is played back, and none to functions that look at both conditionings.
        raise _unfit(plan, "needs more of a step than the output that refine plays back")
    watched, blocks = watch_blocks(model, note)
    image = _sized(model, latent)
    parts = image.unbind() if getattr(image, "is_nested", False) else []
    lengths = [size for size in (math.prod(part.shape[1:]) for part in parts) if size]
    recorders = [GramRecorder(schedule, lengths) for _ in positives]
    places = log_snr(model, schedule, image.shape) or schedule
    gains: list[dict[int, float]] = []

    def measured(begun: Sequence[GramRecorder]) -> CoefficientFile:
        """What all runs so far tell."""
        try:
            table = total([r.table(_POSITIVE, _NEGATIVE) for r in begun])
            guided = total([r.table(_GUIDED) for r in begun])
        except ValueError as error:
            raise ValueError(f"model: cannot be calibrated: {error}") from error
        found = spread(gains, len(schedule) - 1) if gains else None
        provenance = Provenance(
            family=family_of(model),
            fingerprint=fingerprint(model),
            sampler=plan.sampler_name,
            cfg=plan.cfg,
            shape=tuple(image.shape[1:]),
            samples=sum(r.samples for r in begun),
            pack_version=VERSION,
            source="Calibrate Cache",
        )
        return CoefficientFile(provenance, table, replace(guided, gains=found), blocks())

    for prompt, (positive, recorder) in enumerate(zip(positives, recorders, strict=True)):
        for i, seed in enumerate(plan.seeds):
            kept: list[torch.Tensor] | None = [] if plan.refine and i == 0 else None
            recorded = record(watched, recorder, Clock(schedule, traits.evaluations), kept)
            result = sample(recorded, positive, negative, latent, plan, seed)
            recorder.finish_run()
            done = prompt * len(plan.seeds) + i + 1
            keep(measured(recorders[: prompt + 1]), done)
            if kept is not None and len(kept) == len(schedule) - 1:
                again = partial(_again, positive, negative, latent, plan, seed)
                gains.append(
                    measure_gains(
                        model, schedule, places, traits.evaluations, kept, result.cpu(), again
                    )
                )
                keep(measured(recorders[: prompt + 1]), done)
    file, trial = measured(recorders), None
    if len(positives) > 1:
        # Each prompt with what the others taught, and with a seed that was not calibrated with.
        seed = seed_after(plan.seeds[-1], 1)
        again = [partial(_again, p, negative, latent, plan, seed) for p in positives]
        each = [r.table(_GUIDED) for r in recorders]
        others = [
            replace(total([*each[:i], *each[i + 1 :]]), gains=file.guided.gains)
            for i in range(len(positives))
        ]
        trial = try_out(model, list(zip(again, others, strict=True)), plan.steps, lengths)
    return replace(file, trial=trial)


def check(model: Any, plan: Plan) -> tuple[tuple[float, ...], SamplerTraits]:
    """Schedule and traits of the sampler, once it is seen that every step will be computed, at its own
    noise level.

    Raises:
        ValueError: naming the field, if another cache is on the model, or if the sampler makes a schedule
            of its own.
    """
    sampler = comfy.samplers.sampler_object(plan.sampler_name)
    function = getattr(sampler, "sampler_function", None)
    held = model.wrappers, list(model.object_patches.values()), function
    if other := other_cache(model.model_options, *held):
        raise ValueError(
            f"model: {other} is on it, and here every step is computed: remove that node"
        )
    schedule = schedule_of(model, plan.sampler_name, plan.scheduler, plan.steps)
    traits = sampler_traits(sampler, schedule)
    if traits.free:
        raise _unfit(plan, "chooses noise levels of its own")
    return schedule, traits


def _unfit(plan: Plan, why: str) -> ValueError:
    return ValueError(
        f"sampler_name: {plan.sampler_name} {why}; calibrate with euler, the coefficients serve other "
        "samplers"
    )


def seed_after(seed: int, count: int) -> int:
    """The seed so many after another; after the last one that there is comes 0."""
    return (seed + count) % 2**64


def runs_of(prompts: int, seeds: int, steps: int, refine: bool) -> int:
    """How often a calibration samples, about: a model may have steps at which nothing can be told."""
    nudged = len(nudged_steps(steps)) if refine else 0
    return prompts * (seeds + nudged + (RUNS if prompts > 1 else 0))


def watch_blocks(
    model: Any, note: Callable[[str], None] = lambda text: None
) -> tuple[Any, Callable[[], BlockTable | None]]:
    """A clone of the model that also measures its block stack in each run, and what gives the table in
    the end: None for a model whose blocks cannot be reached, for a UNet, which has no such stack, and
    where nothing was measured.

    Args:
        note: gets once why nothing was.
    """
    family = find_family(model.model.diffusion_model)
    if family is None or family.unet:
        return model, lambda: None
    offered = (s for s in (SignalKind.MODULATED, SignalKind.TIME_EMBEDDING) if family.offers(s))
    signal = next(offered, SignalKind.TOKENS)
    runs: list[Run] = []
    method = WatchStack(signal)
    if family.why_not(method, model.model.diffusion_model):
        method = WatchStack(signal, blocks=False)
    cache = Cache(method, on_close=runs.append)
    told: list[str] = []

    def table() -> BlockTable | None:
        watched = [r for r in runs if isinstance(r, WatchRun)]
        measured = [r.measured for r in watched if r.measured is not None]
        first = [r.first_block for r in watched if r.first_block is not None]
        each = [r.block_changes for r in watched if r.block_changes is not None]
        try:
            return make_table(signal, measured, first, each)
        except ValueError as error:
            if str(error) not in told:
                told.append(str(error))
                note(f"No coefficients for TeaCache and MagCache: {error}")
            return None

    return install(model, cache), table


def _again(
    positive: Any, negative: Any, latent: dict[str, Any], plan: Plan, seed: int, model: Any
) -> torch.Tensor:
    return sample(model, positive, negative, latent, plan, seed)


def sample(
    model: Any, positive: Any, negative: Any, latent: dict[str, Any], plan: Plan, seed: int
) -> torch.Tensor:
    """The result of one run, with the progress bar on the node. Several latents, as of video and sound,
    stand in a row: [batch, values]."""
    image = _sized(model, latent)
    callback = latent_preview.prepare_callback(model, plan.steps)
    result = comfy.sample.sample(
        model,
        comfy.sample.prepare_noise(image, seed, latent.get("batch_index")),
        plan.steps,
        plan.cfg,
        plan.sampler_name,
        plan.scheduler,
        positive,
        negative,
        image,
        noise_mask=latent.get("noise_mask"),
        callback=callback if plan.watch is None else plan.watch.around(callback),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=seed,
    )
    parts = [part.flatten(1) for part in result.unbind()] if result.is_nested else []
    return torch.cat(parts, 1) if parts else result


def _sized(model: Any, latent: dict[str, Any]) -> Any:
    """The latent as the host's sampler takes it: an empty one gets the channels and the size that the
    model needs, by the ratio it was made for where the host knows of one. In full precision: of half the
    host makes full after the first step, whose outputs then compare with no others."""
    fix = comfy.sample.fix_empty_latent_channels
    ratios = [n for n in signature(fix).parameters if n.startswith("downscale_ratio")]
    image = fix(model, latent["samples"], **{name: latent.get(name) for name in ratios})
    return image.float() if isinstance(image, torch.Tensor) else image


def record(
    model: Any, recorder: GramRecorder, clock: Clock, kept: list[torch.Tensor] | None = None
) -> Any:
    """A clone of the model whose next run is recorded.

    Args:
        kept: list that the derivatives with guidance are added to, on the CPU.
    """
    quantity = Quantity.DERIVATIVE

    def predict_noise(
        executor: Any, x: Any, timestep: Any, model_options: Any, *args: Any, **kwargs: Any
    ) -> Any:
        moment = clock.tick(float(timestep.reshape(-1)[0]) if clock.measures else None)
        guided = executor(x, timestep, model_options, *args, **kwargs)
        if moment.first:
            value = quantity.of(x, guided, timestep)
            recorder.observe(_GUIDED, moment.step, value)
            if kept is not None:
                kept.append(value.cpu())
        return guided

    def calc_cond_batch(
        executor: Any, model: Any, conds: Any, x: Any, timestep: Any, model_options: Any
    ) -> Any:
        outputs = executor(model, conds, x, timestep, model_options)
        for branch, (cond, output) in enumerate(zip(conds, outputs, strict=True)):
            if cond is not None and branch < _GUIDED and isinstance(output, torch.Tensor):
                recorder.observe(branch, clock.step, quantity.of(x, output, timestep))
        return outputs

    recorded = model.clone()
    recorded.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, predict_noise)
    recorded.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, KEY, calc_cond_batch)
    return recorded
