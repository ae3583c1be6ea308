"""Whatever ends a run leaves nothing behind, and no memory for the cache costs no picture."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import comfy.model_management as mm
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from scaling_cache.cache_core.blocks import NetworkCall
from scaling_cache.cache_core.methods import Level
from scaling_cache.cache_core.run.run import Run
from scaling_cache.nodes.host.session import Active

from testbed import networks
from testbed.methods import Entry
from testbed.soak import tensors_of

from .every import EVERY, STEPS, TRANSFORMERS, left_out, network_of, put

Build = Callable[[str], Any]


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref]:
    """Weak references to all tensors that caches remember, give or predict."""
    refs: list[weakref.ref] = []
    guard, add = Active.guard, NetworkCall.add

    def note(found: Any) -> Any:
        known = {id(ref()) for ref in refs}
        refs.extend(weakref.ref(tensor) for tensor in tensors_of(found) if id(tensor) not in known)
        return found

    def guarding(active: Active, do: Any, *args: Any) -> Any:
        result = note(guard(active, do, *args))
        note(active.run)
        return result

    monkeypatch.setattr(Active, "guard", guarding)
    monkeypatch.setattr(NetworkCall, "add", lambda call, *args: note(add(call, *args)))
    return refs


def nothing_is_left(held: list[weakref.ref]) -> bool:
    gc.collect()
    return bool(held) and not [ref for ref in held if ref() is not None]


def failing(model: Any, where: str, call: int, error: BaseException) -> Any:
    """A clone that fails at a call of one of the host's functions, within those of the cache."""
    seen = -1

    def fail(executor: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == call:
            raise error
        return executor(*args, **kwargs)

    patched = model.clone()
    patched.add_wrapper_with_key(where, "fail", fail)
    return patched


def calls(entry: Entry, model: Any, where: str) -> int:
    """How often a cached run calls one of the host's functions."""
    seen: list[int] = []

    def count(executor: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(1)
        return executor(*args, **kwargs)

    cached = put(entry, model)
    cached.add_wrapper_with_key(where, "count", count)
    networks.sample(cached, network_of(entry), steps=STEPS)
    return len(seen)


@pytest.mark.parametrize("kind", ["error", "cancel"])
@pytest.mark.parametrize("method", EVERY)
def test_an_end_at_any_step_leaves_nothing(
    method: str, kind: str, built: Build, held: list[weakref.ref]
) -> None:
    entry = EVERY[method]
    name, model = network_of(entry), built(network_of(entry))
    error = RuntimeError("injected") if kind == "error" else mm.InterruptProcessingException()
    # A step that is skipped as a whole can be cancelled as well.
    evaluation = kind == "cancel" and entry.kind.level is Level.STEP
    where = WrappersMP.PREDICT_NOISE if evaluation else WrappersMP.APPLY_MODEL
    network = model.model.diffusion_model
    before = dict(vars(network))
    runs: list[Run] = []
    fresh = networks.sample(put(entry, model, runs), name, steps=STEPS)
    assert left_out(runs[0])
    count = calls(entry, model, where)
    assert count > STEPS // 3
    for call in range(count):
        broken = failing(put(entry, model, runs), where, call, error)
        with pytest.raises(type(error)):
            networks.sample(broken, name, steps=STEPS)
        error.__traceback__ = None
        assert runs[-1].nbytes == 0
        records = runs[-1].report.records
        assert all(record.evaluations for record in records), "what came to no end does not count"
        assert not evaluation or len(records) == call
    assert len(runs) == 1 + count
    assert nothing_is_left(held)
    assert dict(vars(network)) == before
    assert torch.equal(networks.sample(put(entry, model), name, steps=STEPS), fresh)


@pytest.mark.parametrize("where", ["decide", "add", "keep"])
@pytest.mark.parametrize("method", TRANSFORMERS)
def test_no_memory_for_the_cache_costs_no_picture(
    method: str,
    where: str,
    built: Build,
    plain: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor is it computed beside what the call that failed held: that may be what memory is short of."""
    failed = 0
    made: list[weakref.ref] = []

    def full(*_: Any) -> Any:
        nonlocal failed
        failed += 1
        raise torch.OutOfMemoryError("no memory left")

    for kind in (NetworkCall, *NetworkCall.__subclasses__()):
        if where in vars(kind):
            monkeypatch.setattr(kind, where, full)

    def alone(executor: Any, *args: Any, **kwargs: Any) -> Any:
        assert not [ref for ref in made if ref() is not None]
        return executor(*args, **kwargs)

    runs: list[Run] = []
    model = put(EVERY[method], built("flux"), runs)
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "alone", alone)
    embedder = model.model.diffusion_model.pe_embedder
    hook = embedder.register_forward_hook(lambda *call: made.append(weakref.ref(call[-1])))
    try:
        result = networks.sample(model, "flux", steps=STEPS)
    finally:
        hook.remove()
    assert failed == 1, "it is not tried again"
    assert len(made) > STEPS
    assert any("no memory left" in note for note in runs[0].report.notes)
    assert torch.equal(result, plain("flux", steps=STEPS))


@pytest.mark.parametrize("method", EVERY)
def test_outputs_that_are_no_numbers_end_with_their_run(
    method: str, built: Build, held: list[weakref.ref]
) -> None:
    entry = EVERY[method]
    name, model = network_of(entry), built(network_of(entry))
    fresh = networks.sample(put(entry, model), name, steps=STEPS)
    for value in (float("nan"), float("inf")):
        spoilt = model.clone()
        count = 0

        def spoil(executor: Any, *args: Any, value: float = value, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            out = executor(*args, **kwargs)
            return out * value if count == 3 else out

        spoilt.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "spoil", spoil)
        runs: list[Run] = []
        networks.sample(put(entry, spoilt, runs), name, steps=STEPS)
        assert count >= 3
        assert runs[0].nbytes == 0
        said = [note for note in runs[0].report.notes if "finite" in note]
        assert said == ["Caching stopped: the model's output is not finite"]
    assert nothing_is_left(held)
    assert torch.equal(networks.sample(put(entry, model), name, steps=STEPS), fresh)


def test_many_prompts_with_changing_settings(built: Build, held: list[weakref.ref]) -> None:
    """Each gives what it gives alone, whatever came before it, and nothing stays alive."""
    shapes = ({}, {"batch": 2}, {"cfg": 1.0}, {"steps": 12}, {"sampler": "heun"})
    names = list(EVERY)

    def prompt(number: int) -> torch.Tensor:
        more = {"steps": STEPS, **shapes[number % len(shapes)]}
        entry = EVERY[names[number % len(names)]]
        name = network_of(entry)
        return networks.sample(put(entry, built(name), steps=more["steps"]), name, **more)

    numbers = range(len(names) + 3)
    forwards = {number: prompt(number) for number in numbers}
    backwards = {number: prompt(number) for number in reversed(numbers)}
    assert all(torch.equal(forwards[n], backwards[n]) for n in forwards)
    del forwards, backwards
    assert nothing_is_left(held)
    assert not [found for found in gc.get_objects() if issubclass(type(found), Run)]
