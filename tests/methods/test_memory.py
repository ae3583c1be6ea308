"""What a cache holds is told to the host before it loads the model, and to the user after the run."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import comfy.model_management as mm
import pytest
import torch
from scaling_cache.cache_core.calibration.attention import picture_tokens
from scaling_cache.cache_core.methods import (
    DBCache,
    DeepCache,
    DiCache,
    EasyCache,
    FirstBlockCache,
    Level,
    MagCache,
    ScalingCache,
    TaylorSeer,
)
from scaling_cache.cache_core.run.run import Run
from scaling_cache.nodes.families import find_family
from scaling_cache.nodes.host.block_hooks import Network

from testbed import networks
from testbed.install import cached, sampled

from .every import EVERY, STEPS, network_of, put

# The networks of testbed whose stream holds the picture's tokens and little else.
NETWORKS = ("flux", "wan", "ltxv", "mochi", "qwen_image", "sd3", "auraflow", "lumina2", "sd15")
# Families of whose blocks the pack knows nothing.
BEYOND_REACH = (
    "cascade_b",
    "cascade_c",
    "wan_animate2",
    "hidream_o1",
    "seedvr2",
    "minimax_music3",
    "trellis2",
)
# Of text beside those of the picture, where spans end before the network does.
TEXT = 5 / 16
# Bytes of the latent of flux and sd15.
LATENT = 4 * 16 * 8 * 8


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Bytes for which the host makes room beside the model, each time that it loads one."""
    found: list[float] = []
    load = mm.load_models_gpu

    def loading(models: Any, memory_required: float = 0, **more: Any) -> Any:
        found.append(more.get("minimum_memory_required", memory_required))
        return load(models, memory_required=memory_required, **more)

    monkeypatch.setattr(mm, "load_models_gpu", loading)
    return found


def check_room(asked: list[float], held: int, width: int, least: float | None = None) -> None:
    """The room is what is held, rounded up to what the host takes for a column of the latent."""
    plain, cached = asked
    asked.clear()
    assert (held if least is None else least) <= cached - plain <= 4 * held + plain / width


@pytest.mark.parametrize("method", EVERY)
def test_the_host_is_told_of_every_method(
    method: str, asked: list[float], built: Callable[[str], Any]
) -> None:
    entry, runs = EVERY[method], []
    name = network_of(entry)
    networks.sample(built(name), name, steps=STEPS)
    networks.sample(put(entry, built(name), runs), name, steps=STEPS)
    held = runs[0].report.cache_bytes
    assert held > 0
    assert asked[1] > asked[0]
    # Inside the network it is told of the picture's tokens, which are nearly all of what is held.
    inside = entry.kind.level is Level.BLOCKS
    least = held / (1 + TEXT) - 2 * LATENT if inside else held
    check_room(asked, held, networks.spec_of(name).latent[-1], least)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_host_is_told_what_a_stack_cache_holds(
    name: str, asked: list[float], built: Callable[[str], Any]
) -> None:
    methods = (DeepCache(3, order=1),) if name == "sd15" else (TaylorSeer(3), FirstBlockCache(0.9))
    for method in methods:
        networks.sample(built(name), name, steps=STEPS)
        _, run = sampled(built(name), name, method, steps=STEPS, batch=1)
        held = run.report.cache_bytes
        assert held > 0
        check_room(asked, held, networks.spec_of(name).latent[-1])


@pytest.mark.parametrize("name", networks.TITLES)
def test_the_size_of_the_stream_is_known_in_every_family(
    name: str, built: Callable[[str], Any]
) -> None:
    model = built(name)
    network = model.model.diffusion_model
    family = find_family(network)
    assert (family is None) == (name in BEYOND_REACH)
    if family is None:
        return
    known = Network(family, family.layout(network))
    shape = networks.spec_of(name).latent
    one, two = (known.stream_bytes(model, (batch, *shape)) for batch in (1, 2))
    assert one > 0
    assert two == 2 * one


def test_tensors_as_documented(built: Callable[[str], Any]) -> None:
    """The table of docs/memory.md, for methods that skip up to the end of the network."""
    tensor = 4 * 4 * 32 * 4  # 16 tokens of 32 numbers in float32
    for method, tensors in (
        (MagCache(((1.0, *[0.97] * 9),), 0.1, 3, 0.2), 1),
        (FirstBlockCache(0.9), 2),
        (DBCache(0.9, first_blocks=1, warmup=3), 2),
        (DBCache(0.9, first_blocks=1, warmup=3, order=2), 4),
        (TaylorSeer(3, order=2), 3),
        (DiCache(0.9), 6),
    ):
        _, run = sampled(built("flux"), "flux", method, steps=STEPS)
        assert run.report.cache_bytes == 2 * tensors * tensor, method
        assert run.expected_bytes(tensor, 2) == 2 * tensors * tensor, method


def test_a_cache_in_the_hosts_memory_needs_no_room(
    asked: list[float], built: Callable[[str], Any]
) -> None:
    networks.sample(built("flux"), "flux", steps=STEPS)
    networks.sample(cached(built("flux"), TaylorSeer(3), to_host=True), "flux", steps=STEPS)
    assert asked[0] == asked[1]


@pytest.mark.parametrize(
    ("method", "latents"),
    [(ScalingCache(), 2 * 2 + 3), (EasyCache(0.5), 2 + 3)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_host_is_told_what_a_step_cache_holds(
    method: Any, latents: int, asked: list[float], built: Callable[[str], Any]
) -> None:
    runs: list[Run] = []
    networks.sample(built("flux"), "flux", steps=STEPS)
    networks.sample(cached(built("flux"), method, runs), "flux", steps=STEPS)
    held = runs[0].report.cache_bytes
    assert held == latents * math.prod(networks.spec_of("flux").latent) * 4
    check_room(asked, held, 8)


def test_bytes_of_a_token_as_documented() -> None:
    """The worked example of docs/memory.md."""
    # Wan 2.1 14B, 832x480, 81 frames: the VAE leaves 21 frames of 104 x 60; bfloat16, width 5120.
    tokens = picture_tokens(torch.Size((1, 16, 21, 60, 104)), 2)
    assert tokens == 32760
    text = (Path(__file__).parents[2] / "docs" / "memory.md").read_text()
    for tensors, conditionings in ((1, 2), (2, 2), (6, 2)):
        size = tokens * 5120 * 2 * tensors * conditionings
        assert f"{size / 2**20:.0f} MiB" in text
    assert f"{16 * 21 * 60 * 104 * 4 / 2**20:.1f} MiB" in text
