"""One sampling run as the host's wrappers see it: they bracket it and ask its caches, outer to inner.

Only the frozen caches in the model's options, with the numbers in their logs, outlive a run. Every
call into a cache goes through a guard: a fault of ours must not cost the user the picture.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from comfy.model_patcher import create_model_options_clone
from comfy.patcher_extension import WrappersMP

from ...cache_core.decide.policies import SIGMA_TOLERANCE
from ...cache_core.run.run import Run
from . import sampling
from .block_hooks import Network
from .call_identity import Call, describe_call
from .progress import SECONDS_BETWEEN_UPDATES, ProgressText, finished, give_up, tell

KEY = "scaling_cache"


@dataclass
class Active:
    """One cache in one run.

    Attributes:
        cache: as the model carries it.
        run: its state.
        progress: where it reports.
        network: what its hooks know of the blocks, for a method inside the network.
        told: seconds at which it last reported.
    """

    cache: Any
    run: Run
    progress: ProgressText
    network: Network | None = None
    told: float = 0.0

    def guard(self, do: Callable[..., Any], *args: Any) -> Any:
        """What a call into the cache gives; None where it fails, and then the run stops caching. On
        several ranks the fault is raised, see `give_up`."""
        try:
            return do(*args)
        except Exception as error:
            give_up(self.run, error)
            return None

    def begin(self, sigma: Callable[[], float], x: Any) -> None:
        """Start an evaluation; report a few times per second."""
        self.run.begin(sigma, x)
        now = time.perf_counter()
        if now - self.told >= SECONDS_BETWEEN_UPDATES and len(self.run.report.records) > 1:
            self.told = now if tell(self.progress.update, self.run.report) else math.inf

    def close(self, result: Any) -> None:
        """End the run: drop all tensors, say what it was. It is kept for a report if it has a result."""
        if result is not None:
            self.guard(sampling.check, self.cache.method, self.run, result)
        report = self.guard(self.run.close) or self.run.report
        tell(self.progress.summarise, self.cache.method, report)
        if self.cache.on_close is not None:
            tell(self.cache.on_close, self.run)
        if result is not None:
            self.cache.log.add(finished(self.cache.method.name, report, self.cache.node_id))


@dataclass
class Session:
    """One sampling run.

    Attributes:
        about: what is sampled.
        caches: from the outer to the inner.
        calls: batches of conditionings in this evaluation so far.
        done: steps of the schedule that were handed to the sampler.
    """

    about: sampling.Sampling
    caches: list[Active] = field(default_factory=list)
    calls: int = 0
    done: int = 0

    def __deepcopy__(self, memo: Any) -> Session:
        """Some packs copy the options deeply at each call, and all of them are of this run."""
        return self

    def begin(self) -> None:
        """Plan the run of each cache."""
        found = [(cache, sampling.start(cache, self.about)) for cache in self.about.caches]
        self.caches = [Active(cache, *parts) for cache, parts in found if parts is not None]
        self.done = 0

    def follow(self, sigmas: torch.Tensor) -> None:
        """The sampler begins with these sigmas: with the schedule or its next part, or else with one
        of its own, which then is the one that counts."""
        if self.caches and self.caches[0].guard(self._departs, sigmas):
            if self.done:
                self.close(sigmas)
            self.about = replace(self.about, sigmas=sigmas)
            self.begin()
        self.done += len(sigmas) - 1

    def _departs(self, sigmas: torch.Tensor) -> bool:
        begun = tuple(sigmas.tolist())
        expected = self.about.schedule[self.done : self.done + len(begun)]
        return len(expected) != len(begun) or not all(map(_near, begun, expected))

    def close(self, result: Any) -> None:
        """End the run of each cache.

        Args:
            result: what was sampled, None if it did not come to an end.
        """
        caches, self.caches = self.caches, []
        for active in caches:
            if result is not None and not active.run.report.records:
                guider = type(self.about.guider).__name__
                active.run.report.note(f"{guider} passes the cache by: every step is computed")
            tell(active.close, result)


def _near(here: float, there: float) -> bool:
    return abs(here - there) <= SIGMA_TOLERANCE * max(abs(there), 1e-3)


def session_of(model_options: Any) -> Session | None:
    """The run that options belong to, if it is cached."""
    found = ((model_options or {}).get("transformer_options") or {}).get(KEY)
    return found if isinstance(found, Session) else None


def outer_sample(
    executor: Any, noise: Any, latent_image: Any, sampler: Any, sigmas: Any, *args: Any, **kw: Any
) -> Any:
    """Make the state of this run, and drop it whatever happens."""
    guider = executor.class_obj
    saved = guider.model_options
    caches = saved.get("transformer_options", {}).get(KEY)
    if not isinstance(caches, tuple):
        return executor(noise, latent_image, sampler, sigmas, *args, **kw)
    # Latents that are sampled together, as of video and sound, come as one row: the first one counts.
    shape = tuple((kw.get("latent_shapes") or [noise.shape])[0])
    session = Session(sampling.Sampling(guider, sampler, sigmas, shape, caches))
    session.begin()
    guider.model_options = _arranged(saved, session)
    result = None
    try:
        result = executor(noise, latent_image, sampler, sigmas, *args, **kw)
    finally:
        guider.model_options = saved
        session.close(result)
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
    return options


def sampler_sample(
    executor: Any, model_wrap: Any, sigmas: Any, extra_args: Any, *args: Any, **kw: Any
) -> Any:
    """The sampler begins, for a run or a part of it."""
    session = session_of((extra_args or {}).get("model_options"))
    if session is not None:
        session.follow(sigmas)
    return executor(model_wrap, sigmas, extra_args, *args, **kw)


def predict_noise(
    executor: Any, x: Any, timestep: Any, model_options: Any = None, *args: Any, **kwargs: Any
) -> Any:
    """An evaluation: decided once for all calls that it makes, handed over with what is owed."""
    session = session_of(model_options)
    if session is None:
        return executor(x, timestep, model_options, *args, **kwargs)
    session.calls = 0
    if sampling.MEMORY in model_options["transformer_options"]:
        for active in (a for a in session.caches if not a.run.sealed):
            active.run.stop(sampling.WHY_MEMORY)
    for active in session.caches:
        active.guard(active.begin, lambda: float(timestep.reshape(-1)[0]), x)
    guided = executor(x, timestep, model_options, *args, **kwargs)
    for active in session.caches:
        handed = active.guard(active.run.hand_over, x, guided)
        guided = guided if handed is None else handed
    return guided


def calc_cond_batch(
    executor: Any, model: Any, conds: Any, x_in: Any, timestep: Any, model_options: Any
) -> Any:
    """A batch of conditionings: what the caches can answer is not computed."""
    session = session_of(model_options)

    def compute(wanted: Any) -> Any:
        return executor(model, wanted, x_in, timestep, model_options)

    if session is None or not session.caches:
        return compute(conds)
    first, number = session.caches[0], session.calls
    session.calls += 1
    call = first.guard(lambda: describe_call(conds, x_in, first.run.sigma, number, model_options))
    for active in session.caches:
        if call is None and not active.run.sealed:
            active.run.stop("the conditionings could not be told apart")
        if call is not None and active.network is not None:
            active.guard(active.network.begin, call)
    if call is None:
        return compute(conds)
    return _answer(session.caches, call, conds, compute, x_in, timestep)


def _answer(
    caches: Sequence[Active], call: Call, conds: Any, compute: Any, x: Any, sigma: Any
) -> Any:
    """Outputs of a batch of conditionings, by the outermost cache and what it leaves to the others."""
    if not caches:
        return compute(conds)
    active, *inner = caches
    skipped = active.guard(active.run.skips, call.keys, x, call.active) or (False,) * len(conds)
    wanted, outputs = conds, [None] * len(conds)
    if True in skipped:
        wanted = [None if skip else cond for cond, skip in zip(conds, skipped, strict=True)]
    if False in skipped:
        outputs = _answer(inner, call, wanted, compute, x, sigma)
    if wanted is not conds:
        outputs = [None if skip else out for out, skip in zip(outputs, skipped, strict=True)]
    done = active.guard(active.run.complete, call.keys, x, sigma, outputs, call.active)
    if done is None:  # a fault: nothing more is left out
        return outputs if wanted is conds else _answer(inner, call, conds, compute, x, sigma)
    return done
