"""One sampling run as the host's wrappers see it: each evaluation asks its caches, outer to inner.
`sampling` begins and ends it.

Only the frozen caches in the model's options, with the numbers in their logs, outlive a run. Every
call into a cache goes through a guard: a fault of ours must not cost the user the picture.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...cache_core.run.run import Run
from .block_hooks import Network
from .conditionings import MEMORY, WHY_MEMORY, Call, describe_call
from .progress import SECONDS_BETWEEN_UPDATES, ProgressText, give_up, tell

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


@dataclass
class Session:
    """One sampling run.

    Attributes:
        about: what is sampled, see `Sampling`.
        caches: from the outer to the inner.
        calls: batches of conditionings in this evaluation so far.
        done: steps of the schedule that were handed to the sampler.
    """

    about: Any
    caches: list[Active] = field(default_factory=list)
    calls: int = 0
    done: int = 0

    def __deepcopy__(self, memo: Any) -> Session:
        """Some packs copy the options deeply at each call, and all of them are of this run."""
        return self


def session_of(model_options: Any) -> Session | None:
    """The run that options belong to, if it is cached."""
    found = ((model_options or {}).get("transformer_options") or {}).get(KEY)
    return found if isinstance(found, Session) else None


def predict_noise(
    executor: Any, x: Any, timestep: Any, model_options: Any = None, *args: Any, **kwargs: Any
) -> Any:
    """An evaluation: decided once for all calls that it makes, handed over with what is owed."""
    session = session_of(model_options)
    if session is None:
        return executor(x, timestep, model_options, *args, **kwargs)
    session.calls = 0
    if MEMORY in model_options["transformer_options"]:
        for active in (a for a in session.caches if not a.run.sealed):
            active.run.stop(WHY_MEMORY)
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
    call = first.guard(describe_call, conds, x_in, first.run, number, model_options)
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
