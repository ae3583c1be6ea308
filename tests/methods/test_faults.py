"""Whatever ends a run below the step leaves nothing behind, and a fault of the cache costs no picture."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from testbed import networks as nets

pytestmark = pytest.mark.usefixtures("comfy")
STEPS = 10
NAMES = (
    "MagCache",
    "First Block Cache",
    "DBCache",
    "DiCache",
    "TaylorSeer",
    "MixCache",
    "DeepCache",
)


@pytest.fixture(scope="module")
def models(comfy: Path) -> dict[str, Any]:
    return {name: nets.build(name) for name in ("flux", "sd15")}


def methods() -> dict[str, Any]:
    from scaling_cache.cache_core import methods as found

    made = (
        found.MagCache(((1.0, *[0.97] * 9),), 0.1, 3, 0.2),
        found.FirstBlockCache(0.9, 2),
        found.DBCache(0.9, first=1, last=1, head=2, max_gap=2),
        found.DiCache(0.9, max_gap=2),
        found.TaylorSeer(3, head=2),
        found.MixCache(5.0, trigger=9.0, head=2),
        found.DeepCache(3),
    )
    return {method.name: method for method in made}


def network_of(name: str) -> str:
    return "sd15" if name == "DeepCache" else "flux"


def install(model: Any, method: Any, runs: list[Any] | None = None) -> Any:
    from scaling_cache.nodes.host.cache import Cache
    from scaling_cache.nodes.host.cache import install as put

    return put(model, Cache(method, on_close=None if runs is None else runs.append))


def skipped(run: Any) -> bool:
    """Whether anything was left out at all, so that a test of it says something."""
    return any(r.computed == 0 or "left out" in r.reason for r in run.report.records)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref]:
    """Weak references to all tensors that caches remember or predict."""
    from scaling_cache.cache_core.blocks import NetworkCall

    refs: list[weakref.ref] = []
    remember, add = NetworkCall._remember, NetworkCall.add

    def remembering(call: Any, span: Any, changes: Any) -> None:
        refs.extend(weakref.ref(c) for c in changes if c is not None)
        remember(call, span, changes)
        for state in call._states:
            for change in state.changes[span]:
                refs.extend(weakref.ref(s) for s in change.streams if s is not None)

    def adding(call: Any, span: Any, before: Any) -> Any:
        out = add(call, span, before)
        refs.extend(weakref.ref(s) for s in out if s is not None)
        return out

    monkeypatch.setattr(NetworkCall, "_remember", remembering)
    monkeypatch.setattr(NetworkCall, "add", adding)
    return refs


def failing(model: Any, step: int, error: BaseException) -> Any:
    """A clone whose network fails at a step, after the cache has begun it."""
    from comfy.patcher_extension import WrappersMP

    seen = -1

    def fail(executor: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == step:
            raise error
        return executor(*args, **kwargs)

    patched = model.clone()
    patched.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "fail", fail)
    return patched


@pytest.mark.parametrize("kind", ["error", "cancel"])
@pytest.mark.parametrize("name", NAMES)
def test_an_end_at_any_step_leaves_nothing(
    name: str, kind: str, models: dict[str, Any], held: list[weakref.ref]
):
    import comfy.model_management as mm

    error = RuntimeError("injected") if kind == "error" else mm.InterruptProcessingException()
    model, method = models[network_of(name)], methods()[name]
    network = model.model.diffusion_model
    before = dict(vars(network))
    fresh = nets.sample(install(model, method, runs := []), network_of(name), steps=STEPS)
    assert skipped(runs[0])
    for step in range(STEPS):
        broken = failing(install(model, method, runs), step, error)
        with pytest.raises(type(error)):
            nets.sample(broken, network_of(name), steps=STEPS)
        error.__traceback__ = None
        assert runs[-1].nbytes == 0
    gc.collect()
    assert held
    assert not [ref for ref in held if ref() is not None]
    assert dict(vars(network)) == before
    again = nets.sample(install(model, method), network_of(name), steps=STEPS)
    assert torch.equal(again, fresh)


@pytest.mark.parametrize("where", ["decide", "add", "keep"])
@pytest.mark.parametrize("name", [n for n in NAMES if n != "DeepCache"])
def test_no_memory_for_the_cache_costs_no_picture(
    name: str, where: str, models: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    from scaling_cache.cache_core.blocks import NetworkCall

    plain = nets.sample(models["flux"], "flux", steps=STEPS)
    failed = 0

    def full(*_: Any) -> Any:
        nonlocal failed
        failed += 1
        raise torch.OutOfMemoryError("no memory left")

    cached = install(models["flux"], methods()[name], runs := [])
    kind = NetworkCall
    if name == "MixCache" and where == "keep":
        from scaling_cache.cache_core.methods.mixcache import MixCall as kind
    monkeypatch.setattr(kind, where, full)
    result = nets.sample(cached, "flux", steps=STEPS)
    assert failed == 1, "it is not tried again"
    assert any("no memory left" in note for note in runs[0].report.notes)
    torch.testing.assert_close(result, plain, rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_that_are_no_numbers_end_with_their_run(
    name: str, models: dict[str, Any], held: list[weakref.ref]
):
    from comfy.patcher_extension import WrappersMP

    model, method = models[network_of(name)], methods()[name]
    fresh = nets.sample(install(model, method), network_of(name), steps=STEPS)
    for value in (float("nan"), float("inf")):
        spoilt = model.clone()
        calls = 0

        def spoil(executor: Any, *args: Any, value: float = value, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            out = executor(*args, **kwargs)
            return out * value if calls == 3 else out

        spoilt.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "spoil", spoil)
        nets.sample(install(spoilt, method, runs := []), network_of(name), steps=STEPS)
        assert runs[0].nbytes == 0
    gc.collect()
    assert not [ref for ref in held if ref() is not None]
    again = nets.sample(install(model, method), network_of(name), steps=STEPS)
    assert torch.equal(again, fresh)


def test_twenty_prompts_with_changing_settings(models: dict[str, Any], held: list[weakref.ref]):
    """Each gives what it gives alone, whatever came before it, and nothing stays alive."""
    from scaling_cache.cache_core.blocks import BlockCache
    from scaling_cache.cache_core.methods import EasyCache, ScalingCache
    from scaling_cache.cache_core.methods.mixcache import MixRun
    from scaling_cache.cache_core.outputs import OutputCache
    from scaling_cache.nodes.host.cache import Cache
    from scaling_cache.nodes.host.cache import install as install_step

    made = methods()
    shapes = ({}, {"batch": 2}, {"cfg": 1.0}, {"steps": 12}, {"sampler": "heun"})

    def prompt(number: int) -> torch.Tensor:
        more = {"steps": STEPS, **shapes[number % 5]}
        name = NAMES[number % len(NAMES)]
        model = models[network_of(name)]
        if number % 4 == 3:
            settings = (
                ScalingCache(speedup=1.5 + number % 3 / 2) if number % 8 == 3 else EasyCache(0.5)
            )
            cached = install_step(model, Cache(settings, "none"))
        else:
            cached = install(model, made[name])
        return nets.sample(cached, network_of(name), **more)

    forwards = {number: prompt(number) for number in range(10)}
    backwards = {number: prompt(number) for number in reversed(range(10))}
    assert all(torch.equal(forwards[n], backwards[n]) for n in forwards)
    gc.collect()
    assert not [ref for ref in held if ref() is not None]
    kinds = (OutputCache, BlockCache, MixRun)
    assert not [found for found in gc.get_objects() if type(found) in kinds]
