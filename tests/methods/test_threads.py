"""Two threads on one network, one of them cached or both: each gets what it gets alone."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any

import comfy.model_management
import comfy.model_patcher
import pytest
import torch
from scaling_cache.cache_core.methods import DeepCache, FirstBlockCache, Method
from scaling_cache.nodes.host.presets import facts_of

from testbed import networks
from testbed.install import cached
from testbed.observe import block_names

STEPS = 8
CASES: dict[str, tuple[str, type[Method]]] = {
    "hooks": ("flux", FirstBlockCache),
    "two stacks without hooks": ("hidream", FirstBlockCache),
    "one stack without hooks": ("lumina2", FirstBlockCache),
    "named blocks without hooks": ("cosmos", FirstBlockCache),
    "UNet": ("sd15", DeepCache),
}


def sharing(model: Any) -> Any:
    """Another ModelPatcher of the same network: the host keeps in the model which one is under way."""
    return comfy.model_patcher.ModelPatcher(
        copy(model.model), load_device=model.load_device, offload_device=model.offload_device
    )


@pytest.fixture(autouse=True)
def one_loads_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's list of loaded models is not made for threads: it takes out what another has taken."""
    loads, lock = comfy.model_management.load_models_gpu, threading.Lock()

    def load(*args: Any, **kwargs: Any) -> Any:
        with lock:
            return loads(*args, **kwargs)

    monkeypatch.setattr(comfy.model_management, "load_models_gpu", load)


@contextmanager
def changing_often(network: Any) -> Iterator[None]:
    """Threads change before each block."""
    handles = [
        network.get_submodule(name).register_forward_pre_hook(lambda *_: time.sleep(5e-4))
        for name in block_names(network)
    ]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
        for handle in handles:
            handle.remove()


def together(runs: dict[str, Callable[[], torch.Tensor]]) -> dict[str, Any]:
    """What each gives in a thread of its own, or its error."""
    found: dict[str, Any] = {}
    start = threading.Barrier(len(runs))

    def work(name: str) -> None:
        start.wait()
        try:
            found[name] = runs[name]()
        except Exception as error:
            found[name] = error

    threads = [threading.Thread(target=work, args=(name,)) for name in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize("case", CASES)
def test_each_gets_what_it_gets_alone(case: str, built: Callable[[str], Any]) -> None:
    name, kind = CASES[case]
    model = built(name)
    network = model.model.diffusion_model
    method = kind.example(False, STEPS, facts_of(model))
    models = {
        "cached": cached(sharing(model), method),
        "cached as well": cached(sharing(model), method),
        "plain": sharing(model),
    }
    assert all(m.model.diffusion_model is network for m in models.values())
    before = dict(vars(network))

    def run(who: str, seed: int) -> torch.Tensor:
        return networks.sample(models[who], name, steps=STEPS, seed=seed)

    seeds = {who: seed for seed, who in enumerate(models)}
    alone = {who: run(who, seed) for who, seed in seeds.items()}
    assert not torch.equal(alone["cached"], run("plain", seeds["cached"])), "nothing is skipped"
    pairs = [("cached", "plain"), ("cached", "cached as well")]
    with changing_often(network):
        for pair in pairs:
            found = together({who: lambda who=who: run(who, seeds[who]) for who in pair})
            for who, result in found.items():
                assert isinstance(result, torch.Tensor), result
                assert torch.equal(result, alone[who]), f"{who} of {pair}"
    assert dict(vars(network)) == before
