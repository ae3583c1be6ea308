"""Randomised runs with faults: nothing of a run may outlive it, and the next one must be as if fresh."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, TypeVar

import comfy.model_management
import comfy.samplers
import hypothesis
import torch
from comfy.patcher_extension import WrappersMP
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from scaling_cache.cache_core.blocks import BlockCache
from scaling_cache.cache_core.run.run import Run
from scaling_cache.nodes.host.session import session_of

from . import networks
from .methods import Entry, entries

KEY = "soak"
T = TypeVar("T")


class Fault(Enum):
    """What goes wrong in a run."""

    NONE = "none"
    CANCEL = "cancelled by the user"
    ERROR = "exception in the network"
    NAN = "network gives NaN"
    MEMORY = "no memory on the skip path"


@dataclass(frozen=True)
class Case:
    """One run.

    Attributes:
        family, method: by name.
        wide: whether the latent is half as wide again.
        fault: what goes wrong.
        at: evaluation, call of the network or prediction at which it does, from 0.
    """

    family: str
    method: str
    sampler: str
    scheduler: str
    steps: int
    cfg: float
    batch: int
    wide: bool
    fault: Fault
    at: int


@dataclass
class Tally:
    """What came of many runs.

    Attributes:
        runs: how many.
        faults: how many of each were injected and struck.
        unable: runs that the host itself cannot sample, with or without the pack.
        tensors: that the pack held at some time, all runs together.
        failures: case and what was wrong.
    """

    runs: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    unable: int = 0
    tensors: int = 0
    failures: list[tuple[Case, str]] = field(default_factory=list)

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.runs + other.runs,
            self.faults + other.faults,
            self.unable + other.unable,
            self.tensors + other.tensors,
            self.failures + other.failures,
        )

    def summary(self) -> str:
        struck = ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items()))
        return (
            f"runs {self.runs}, faults injected {sum(self.faults.values())} ({struck or 'none'}), "
            f"impossible in the host alone {self.unable}, tensors held and let go {self.tensors}, "
            f"failures {len(self.failures)}"
        )


def cases() -> st.SearchStrategy[Case]:
    """Any run. The host must be importable."""
    methods = [entry.name for entry in entries() if not entry.needs_file]
    return st.builds(
        Case,
        family=st.sampled_from(list(networks.CATALOGUE)),
        method=st.sampled_from(methods),
        sampler=st.sampled_from(comfy.samplers.SAMPLER_NAMES),
        scheduler=st.sampled_from(comfy.samplers.SCHEDULER_NAMES),
        steps=st.integers(1, 16),
        cfg=st.sampled_from([1.0, 4.0, 7.5]),
        batch=st.integers(1, 3),
        wide=st.booleans(),
        fault=st.sampled_from(list(Fault)),
        # Of few evaluations, most of which do not reach the network: else most faults would not strike.
        at=st.integers(0, 4),
    ).filter(_possible)


def _possible(case: Case) -> bool:
    """Whether the host can sample it. Its adaptive sampler looks for a step width for ever once an output
    is not a number, and some conditioning here has the size of the latent that is not wide."""
    endless = case.sampler == "dpm_adaptive" and case.fault is Fault.NAN
    return not endless and not (case.wide and case.family in ("wan_camera", "wan_animate"))


def soak(runs: int, seed: int | None, say: Callable[[str], None] = lambda line: None) -> Tally:
    """Many runs; goes on after a failure.

    Args:
        seed: of the cases; None for always the same ones.
        say: hears of progress and failures.
    """
    tally = Tally()
    held: list[weakref.ref[Any]] = []

    def one(case: Case) -> None:
        tally.runs += 1
        held.clear()
        wrong = check(case, tally, held)
        tally.tensors += len(held)
        if wrong:
            tally.failures.append((case, wrong))
            say(f"{wrong}: {case}")
        if tally.runs % 100 == 0:
            say(tally.summary())

    draw(cases(), one, runs, seed)
    return tally


def draw(
    strategy: st.SearchStrategy[T], one: Callable[[T], None], runs: int, seed: int | None
) -> None:
    """Call a function with so many draws.

    Args:
        seed: of the draws; None for always the same ones.
    """
    chosen = settings(
        max_examples=runs,
        database=None,
        deadline=None,
        derandomize=seed is None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    test = chosen(hypothesis.given(strategy)(one))
    (test if seed is None else hypothesis.seed(seed)(test))()


def check(case: Case, tally: Tally, held: list[weakref.ref[Any]]) -> str:
    """Run a case, look for what is left of it, and run it again without the fault.

    Args:
        held: gets weak references to all tensors and sessions of the pack.

    Returns:
        What is wrong; empty if nothing is.
    """
    entry = next(entry for entry in entries() if entry.name == case.method)
    models = networks.build_stages(case.family)
    with torch.inference_mode(False):
        cached = [entry.put(model, case.steps, False, "none") for model in models]
    struck, error = _strike(case, cached, held)
    if struck:
        tally.faults[case.fault.value] += 1
    if error and not _expected(case, struck, error):
        if _plain_error(case) == error:
            tally.unable += 1
            return ""
        return f"raised {error}"
    gc.collect()
    if alive := sum(ref() is not None for ref in held):
        return f"{alive} tensors or sessions of the pack outlived the run"
    return _again(case, entry, cached)


def _again(case: Case, entry: Entry, cached: list[Any]) -> str:
    """Whether the next run is as a fresh one."""
    calm = replace(case, fault=Fault.NONE)
    fresh = [entry.put(m, case.steps, False, "none") for m in networks.build_stages(case.family)]
    try:
        after, other = _sample(calm, cached), _sample(calm, fresh)
    except Exception as error:
        return "" if _plain_error(calm) == _name(error) else f"next run raised {_name(error)}"
    if after.shape != other.shape:
        return "the next run has another shape than a fresh one"
    return "" if torch.equal(after.nan_to_num(), other.nan_to_num()) else "the next run differs"


def _strike(case: Case, cached: list[Any], held: list[weakref.ref[Any]]) -> tuple[bool, str]:
    """Whether the fault struck, and the exception that came out."""
    with _injected(case, cached, held) as (models, struck):
        try:
            _sample(case, models)
        except BaseException as error:
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            return bool(struck), _name(error)
    return bool(struck), ""


def _expected(case: Case, struck: bool, error: str) -> bool:
    wanted = {Fault.CANCEL: "InterruptProcessingException", Fault.ERROR: "InjectedError"}
    return struck and error.startswith(wanted.get(case.fault, "nothing"))


def _plain_error(case: Case) -> str:
    """What the host alone makes of a case without its fault."""
    try:
        _sample(case, networks.build_stages(case.family))
    except Exception as error:
        return _name(error)
    return ""


def _name(error: BaseException) -> str:
    text = str(error).splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"


def _sample(case: Case, models: list[Any]) -> torch.Tensor:
    *rest, last = networks.spec_of(case.family).latent
    shape = (case.batch, *rest, last * 3 // 2 if case.wide else last)
    return networks.sample_stages(
        models,
        case.family,
        case.steps,
        cfg=case.cfg,
        sampler=case.sampler,
        scheduler=case.scheduler,
        latent=torch.zeros(shape),
    )


class InjectedError(RuntimeError):
    """Of the network, at the call that a case names."""


@contextmanager
def _injected(
    case: Case, cached: list[Any], held: list[weakref.ref[Any]]
) -> Iterator[tuple[list[Any], list[int]]]:
    """Clones of the models that fail where the case says so, and a list that is filled when they do."""
    struck: list[int] = []
    handles: list[Any] = []
    models = []
    for model in cached:
        clone = model.clone()
        _add_wrappers(clone, case, held, struck)
        hook = _network_hook(case, struck)
        handles.append(model.model.diffusion_model.register_forward_hook(hook))
        models.append(clone)
    try:
        yield models, struck
    finally:
        for handle in handles:
            handle.remove()


def _network_hook(case: Case, struck: list[int]) -> Callable[..., Any]:
    calls = [0]

    def hook(module: Any, args: Any, out: Any) -> Any:
        calls[0] += 1
        if calls[0] - 1 != case.at:
            return None
        if case.fault is Fault.ERROR:
            struck.append(case.at)
            raise InjectedError("injected")
        if case.fault is Fault.NAN:
            struck.append(case.at)
            return torch.full_like(out, float("nan"))
        return None

    return hook


def _add_wrappers(model: Any, case: Case, held: list[weakref.ref[Any]], struck: list[int]) -> None:
    evaluations = [0]

    def outer(executor: Any, *args: Any, **kwargs: Any) -> Any:
        for found in _sessions(executor.class_obj.model_options):
            held.append(weakref.ref(found))
            if case.fault is Fault.MEMORY and isinstance(found, Run):
                _exhaust(found, case, struck)
        return executor(*args, **kwargs)

    def evaluate(
        executor: Any, x: Any, timestep: Any, options: Any, *more: Any, **named: Any
    ) -> Any:
        evaluations[0] += 1
        if case.fault is Fault.CANCEL and evaluations[0] - 1 == case.at:
            struck.append(case.at)
            raise comfy.model_management.InterruptProcessingException
        out = executor(x, timestep, options, *more, **named)
        known = {id(ref()) for ref in held}
        found = tensors_of(session_of(options))
        held.extend(weakref.ref(tensor) for tensor in found if id(tensor) not in known)
        return out

    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, outer)
    model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, evaluate)


def _sessions(options: Any) -> list[Any]:
    """The session of a run, its caches and their runs."""
    session = session_of(options)
    active = [] if session is None else [*session.caches]
    return [found for found in (session, *active, *(a.run for a in active)) if found is not None]


def _exhaust(run: Run, case: Case, struck: list[int]) -> None:
    """Let one prediction of a run find no memory."""
    calls = [0]

    def failing(predict: Callable[..., Any]) -> Callable[..., Any]:
        def broken(*args: Any, **kwargs: Any) -> Any:
            calls[0] += 1
            if calls[0] - 1 == case.at:
                struck.append(case.at)
                raise torch.OutOfMemoryError("injected")
            return predict(*args, **kwargs)

        return broken

    def opening(open_call: Callable[..., Any]) -> Callable[..., Any]:
        def opened(*args: Any) -> Any:
            if (call := open_call(*args)) is not None:
                call.add = failing(call.add)
            return call

        return opened

    def completing(complete: Callable[..., Any]) -> Callable[..., Any]:
        predict = failing(complete)

        def completed(key: Any, x: Any, sigma: Any, outputs: Any, active: Any) -> Any:
            skipped = any(output is None for output in outputs)
            return (predict if skipped else complete)(key, x, sigma, outputs, active)

        return completed

    run.complete = completing(run.complete)
    if isinstance(run, BlockCache):
        run.open = opening(run.open)


def tensors_of(root: Any) -> list[torch.Tensor]:
    """Tensors reachable through objects of the pack and containers, but not through those of the host."""
    found: list[torch.Tensor] = []
    seen: set[int] = set()
    todo = [root]
    while todo:
        thing = todo.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, torch.Tensor):
            found.append(thing)
        elif isinstance(thing, dict):
            todo += thing.values()
        elif isinstance(thing, (list, tuple, set, frozenset)):
            todo += thing
        elif type(thing).__module__.startswith("scaling_cache") and hasattr(thing, "__dict__"):
            todo += vars(thing).values()
        elif type(thing).__name__ == "deque":
            todo += list(thing)
    return found
