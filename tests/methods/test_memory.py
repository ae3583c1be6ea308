"""What a cache holds is told to the host before it loads the model, and to the user after the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from testbed import networks as nets

pytestmark = pytest.mark.usefixtures("comfy")
STEPS = 10
# The networks of testbed whose stream holds the picture's tokens and little else.
NETWORKS = ("flux", "wan", "ltxv", "mochi", "qwen_image", "sd3", "auraflow", "lumina2", "sd15")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Bytes for which the host makes room beside the model, each time that it loads one."""
    import comfy.model_management as mm

    found: list[float] = []
    load = mm.load_models_gpu

    def loading(models: Any, memory_required: float = 0, **more: Any) -> Any:
        found.append(more.get("minimum_memory_required", memory_required))
        return load(models, memory_required=memory_required, **more)

    monkeypatch.setattr(mm, "load_models_gpu", loading)
    return found


def check_room(asked: list[float], held: int, width: int) -> None:
    """The room is what is held, rounded up to what the host takes for a column of the latent."""
    plain, cached = asked
    asked.clear()
    assert held <= cached - plain <= 4 * held + plain / width


@pytest.mark.parametrize("name", NETWORKS)
def test_the_host_is_told_what_a_stack_cache_holds(name: str, asked: list[float]):
    from scaling_cache.cache_core.methods import DeepCache, FirstBlockCache, TaylorSeer
    from scaling_cache.nodes.host.cache import Cache, install

    model = nets.build(name)
    methods = (DeepCache(3, order=1),) if name == "sd15" else (TaylorSeer(3), FirstBlockCache(0.9))
    for method in methods:
        runs: list[Any] = []
        nets.sample(model, name, steps=STEPS)
        nets.sample(install(model, Cache(method, on_close=runs.append)), name, steps=STEPS, batch=1)
        held = runs[0].report.cache_bytes
        assert held > 0
        check_room(asked, held, nets.spec_of(name).latent[-1])


def test_tensors_as_documented(comfy: Path):
    """The table of docs/memory.md, for methods that skip up to the end of the network."""
    from scaling_cache.cache_core import methods as found
    from scaling_cache.nodes.host.cache import Cache, install

    model = nets.build("flux")
    tensor = 4 * 4 * 32 * 4  # 16 tokens of 32 numbers in float32
    for method, tensors in (
        (found.MagCache(((1.0, *[0.97] * 9),), 0.1, 3, 0.2), 1),
        (found.FirstBlockCache(0.9), 2),
        (found.DBCache(0.9, first=1, head=3), 2),
        (found.DBCache(0.9, first=1, head=3, order=2), 4),
        (found.TaylorSeer(3, order=2), 3),
        (found.DiCache(0.9), 6),
    ):
        runs: list[Any] = []
        cached = install(model, Cache(method, on_close=runs.append))
        nets.sample(cached, "flux", steps=STEPS)
        assert runs[0].report.cache_bytes == 2 * tensors * tensor, method
        assert runs[0].expected_bytes(tensor, 2) == 2 * tensors * tensor, method


def test_a_cache_in_the_hosts_memory_needs_no_room(asked: list[float]):
    from scaling_cache.cache_core.methods import TaylorSeer
    from scaling_cache.nodes.host.cache import Cache, install

    model = nets.build("flux")
    nets.sample(model, "flux", steps=STEPS)
    nets.sample(install(model, Cache(TaylorSeer(3), to_host=True)), "flux", steps=STEPS)
    assert asked[0] == asked[1]


@pytest.mark.parametrize("name", ["Scaling Cache", "EasyCache"])
def test_the_host_is_told_what_a_step_cache_holds(
    name: str, asked: list[float], monkeypatch: pytest.MonkeyPatch
):
    from scaling_cache.cache_core.methods import EasyCache, ScalingCache
    from scaling_cache.cache_core.outputs import OutputCache
    from scaling_cache.nodes.host.cache import Cache, install

    reports: list[Any] = []
    close = OutputCache.close
    monkeypatch.setattr(OutputCache, "close", lambda run: reports.append(close(run)) or reports[-1])
    model = nets.build("flux")
    method = ScalingCache() if name == "Scaling Cache" else EasyCache(0.5)
    nets.sample(model, "flux", steps=STEPS)
    nets.sample(install(model, Cache(method, "none")), "flux", steps=STEPS)
    held = reports[0].cache_bytes
    latent = 16 * 8 * 8 * 4
    assert held == latent * (2 * 2 + 3 if name == "Scaling Cache" else 2 + 3)
    check_room(asked, held, 8)


def test_bytes_of_a_token_as_documented():
    """The worked example of docs/memory.md."""
    from scaling_cache.cache_core.calibration.attention import picture_tokens

    # Wan 2.1 14B, 832x480, 81 frames: the VAE leaves 21 frames of 104 x 60; bfloat16, width 5120.
    tokens = picture_tokens(torch.Size((1, 16, 21, 60, 104)), 2)
    assert tokens == 32760
    text = (Path(__file__).parents[2] / "docs" / "memory.md").read_text()
    for tensors, conditionings in ((1, 2), (2, 2), (6, 2)):
        size = tokens * 5120 * 2 * tensors * conditionings
        assert f"{size / 2**20:.0f} MiB" in text
    assert f"{16 * 21 * 60 * 104 * 4 / 2**20:.1f} MiB" in text
