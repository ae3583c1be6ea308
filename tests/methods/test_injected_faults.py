"""A fault anywhere in the pack while the host samples costs no picture, leaves nothing behind and does
not change the next run. The environment sets how many are tried: `FAULTS`, and `SEED` which ones."""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from comfy.patcher_extension import WrappersMP
from scaling_cache.cache_core.methods import Level
from scaling_cache.cache_core.run.run import Run
from scaling_cache.nodes.host import progress, session
from scaling_cache.nodes.host.block_hooks import why_refused
from torch import nn

from testbed import networks

from .every import EVERY, put
from .strikes import Calls, Operations, Place

# With hooks and two stacks, two without hooks, and one of a time signal.
FAMILIES = ("flux", "hidream", "lumina2", "wan")
UNETS = ("sd15",)
RUNS: tuple[dict[str, Any], ...] = (
    {},
    {"cfg": 1.0},
    {"batch": 2},
    {"sampler": "heun"},
    {"sampler": "dpmpp_2m_sde"},
    {"sampler": "dpm_fast"},
)
ERRORS = (RuntimeError, torch.OutOfMemoryError, KeyError)
STEPS = 9
OURS = (torch.Tensor, session.Session, session.Active, Run)


@dataclass
class Bench:
    """A cached model and what its undisturbed run gives.

    Attributes:
        model: to sample with, with the cache.
        family: of the network.
        more: of `networks.sample`.
        ran: one entry per call of the network.
        calm, plain: results with and without the cache.
        places: functions of the pack that a run calls, and how often.
        operations: tensor operations of the pack in a run.
    """

    model: Any
    family: str
    more: dict[str, Any]
    plain: torch.Tensor
    ran: list[int] = field(default_factory=list)
    calm: torch.Tensor = field(init=False)
    places: dict[Any, int] = field(init=False)
    operations: int = field(init=False)

    def __post_init__(self) -> None:
        def count(executor: Any, *args: Any, **kwargs: Any) -> Any:
            self.ran.append(1)
            return executor(*args, **kwargs)

        self.model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "count", count)
        with Calls() as calls, Operations() as operations:
            self.calm = self.sample()
        self.places, self.operations = calls.seen, operations.count
        gc.collect()
        gc.freeze()

    def sample(self) -> torch.Tensor:
        self.ran.clear()
        return networks.sample(self.model, self.family, steps=STEPS, **self.more)

    def disturbed(self, fault: Calls | Operations) -> Iterator[str]:
        """What is wrong with a run that a fault strikes, and with the next one."""
        network = self.model.model.diffusion_model
        before = attributes(network)
        try:
            with fault:
                result = self.sample()
        except Exception as error:
            yield f"the picture is lost: {type(error).__name__}: {error}"
            error.__traceback__ = error.__context__ = error.__cause__ = None
        else:
            if result.shape != self.calm.shape or not bool(torch.isfinite(result).all()):
                yield "the picture is no picture"
            early = isinstance(fault, Calls) and fault.struck == 0
            if early and not any(torch.equal(result, r) for r in (self.plain, self.calm)):
                yield "the picture is neither the plain nor the cached one"
            del result
        if isinstance(fault, Calls) and fault.error is not None:
            fault.error.__traceback__ = fault.error.__context__ = None
        gc.collect()
        if left := [type(o).__name__ for o in gc.get_objects() if issubclass(type(o), OURS)]:
            yield f"left behind: {left}"
        if attributes(network) != before:
            yield "the network is not as it was"
        options = self.model.model_options["transformer_options"]
        if session.session_of(self.model.model_options) or "sigmas" in options:
            yield "the model carries a run"
        if not torch.equal(self.sample(), self.calm):
            yield "the next run differs"


def attributes(network: nn.Module) -> list[Any]:
    """What hooks and stand-ins would change of a network."""
    found: list[Any] = []
    for module in network.modules():
        found.append({name: id(value) for name, value in vars(module).items()})
        found.append((len(module._forward_hooks), len(module._forward_pre_hooks)))
    return found


@pytest.fixture(scope="module")
def benches(built: Callable[[str], Any], plain: Callable[..., Any]) -> Iterator[Any]:
    """Gives the bench of a method on a family with one of the `RUNS`; None where nothing is
    left out. All runs tell of themselves at each step, as to a browser."""

    @cache
    def bench(method: str, family: str, number: int = 0) -> Bench | None:
        entry, more = EVERY[method], RUNS[number]
        model = built(family)
        inside = entry.kind.level is Level.BLOCKS
        if inside and why_refused(model, entry.method(model, STEPS, False)):
            return None
        untouched = plain(family, steps=STEPS, **more)
        made = Bench(put(entry, model, steps=STEPS, node_id="1"), family, more, untouched)
        return None if torch.equal(made.calm, made.plain) else made

    yield bench
    gc.unfreeze()


@contextmanager
def told() -> Iterator[None]:
    """Each step is told, to a host that has a browser."""
    queue = SimpleNamespace(currently_running={})
    deaf = {"send_progress_text": lambda *_: None, "send_sync": lambda *_: None}
    server = SimpleNamespace(client_id="1", prompt_queue=queue, **deaf)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "_server", lambda: server)
        patch.setattr(session, "SECONDS_BETWEEN_UPDATES", 0.0)
        patch.setattr(progress.log, "disabled", True)
        yield


# Places that are tried of one bench, which takes a few runs to make.
EACH = 10


def strike(benches: Any, methods: Sequence[str], tries: int, seed: int) -> list[str]:
    """Tries at random, of each method in turn; gives what went wrong."""
    chance = random.Random(seed)
    wrong: list[str] = []
    with told():
        for turn in range(tries // EACH):
            method, bench = methods[turn % len(methods)], None
            while bench is None:
                family = chance.choice(UNETS if EVERY[method].kind.unet else FAMILIES)
                bench = benches(method, family, chance.randrange(len(RUNS)))
            for _ in range(EACH):
                code = chance.choice(list(bench.places))
                place = Place(code, chance.randrange(bench.places[code]))
                fault = Calls(place, chance.choice(ERRORS)("a fault of the pack"), bench.ran)
                found = [*bench.disturbed(fault)]
                if fault.struck is None:
                    found.append("nothing was injected")
                wrong += [f"{method} on {bench.family}, {bench.more}: {place}: {w}" for w in found]
    return wrong


def test_a_few_faults(benches: Any) -> None:
    few = ("Scaling Cache", "EasyCache", "First Block Cache")
    assert not (wrong := strike(benches, few, 3 * EACH, 0)), "\n".join(wrong)


def test_many_faults(benches: Any) -> None:
    tries, seed = int(os.environ.get("FAULTS", "200")), int(os.environ.get("SEED", "1"))
    assert not (wrong := strike(benches, list(EVERY), tries, seed)), "\n".join(wrong)


def test_a_fault_in_any_call_of_the_network(benches: Any) -> None:
    """With a negative conditioning that is left out there is one to go back to, and one without."""
    with told():
        bench = benches("MixCache", "wan")
        code = next(code for code in bench.places if code.co_name == "_why_plain")
        faults = [
            Calls(Place(code, i), RuntimeError("a fault"), bench.ran)
            for i in range(bench.places[code])
        ]
        assert not (wrong := [w for fault in faults for w in bench.disturbed(fault)]), wrong


def exhaust(benches: Any, methods: Sequence[str], tries: int, seed: int) -> list[str]:
    """No memory at some tensor operations of each method, at even distances; gives what went wrong."""
    wrong: list[str] = []
    for method in methods:
        with told():
            bench = benches(method, UNETS[0] if EVERY[method].kind.unet else FAMILIES[0])
            count = min(tries, bench.operations)
            for place in range(count):
                at = (place * bench.operations + seed * bench.operations // 10) // count
                fault = Operations(at % bench.operations)
                found = [*bench.disturbed(fault)]
                if not fault.place:
                    found.append("nothing was injected")
                wrong += [f"{method}: operation {at}, {fault.place}: {w}" for w in found]
    return wrong


def test_no_memory_at_a_few_operations(benches: Any) -> None:
    few = ("Scaling Cache", "EasyCache", "First Block Cache")
    assert not (wrong := exhaust(benches, few, 6, 0)), "\n".join(wrong)


def test_no_memory_at_many_operations(benches: Any) -> None:
    tries, seed = int(os.environ.get("OPERATIONS", "8")), int(os.environ.get("SEED", "1"))
    assert not (wrong := exhaust(benches, list(EVERY), tries, seed)), "\n".join(wrong)
