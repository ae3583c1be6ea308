"""Pictures and poses that a model is shown: at a noise level of their own, and in the caches that newer
hosts have for them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from scaling_cache.cache_core.methods import Level
from scaling_cache.cache_core.run.run import Run
from scaling_cache.nodes.families import find_family

from testbed import networks

from ..methods.every import EVERY, left_out, put

STEPS = 10
STEP_METHODS = [name for name, entry in EVERY.items() if entry.kind.level is not Level.BLOCKS]
Shown = Callable[[str], Any]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    """Gives a tiny network that is asked with pictures to look at."""

    def build(name: str) -> Any:
        spec = networks.spec_of(name)
        pictures = [torch.ones(1, spec.latent[0], 4, 4)]
        # Those of the host with guidance of their own fail on pictures at noise level zero.
        network = {k: v for k, v in spec.network.items() if k != "guidance_embed"}
        more = {"reference_latents": pictures, "reference_latents_method": "index_timestep_zero"}
        spec = replace(spec, more={**spec.more, **more}, network=network)
        monkeypatch.setattr(networks, "spec_of", lambda _: spec)
        return networks.build(name)

    return build


def node(module: str, name: str) -> Any:
    """A node of the host, or a skipped test."""
    found = getattr(importlib.import_module(f"comfy_extras.{module}"), name, None)
    return found or pytest.skip("not in this host")


def go_together(method: str, model: Any, name: str) -> None:
    """Off it is the host's own run; on, steps are left out, and the next run is the same."""
    entry, runs = EVERY[method], list[Run]()
    plain = networks.sample(model, name, steps=STEPS)
    assert torch.equal(
        networks.sample(put(entry, model, everything=True), name, steps=STEPS), plain
    )
    skipping = put(entry, model, runs)
    result = networks.sample(skipping, name, steps=STEPS)
    assert torch.isfinite(result).all()
    assert left_out(runs[0]), runs[0].report.notes
    assert not any("stopped" in note for note in runs[0].report.notes), runs[0].report.notes
    assert torch.equal(networks.sample(skipping, name, steps=STEPS), result)


@pytest.mark.parametrize("method", [n for n, entry in EVERY.items() if not entry.kind.unet])
def test_pictures_that_are_read_once(method: str, shown: Shown) -> None:
    cache = node("nodes_flux", "FluxKVCache")
    model = cache.execute(shown("flux2")).result[0]
    go_together(method, model, "flux2")


@pytest.mark.parametrize("method", STEP_METHODS)
def test_a_pose_that_is_read_once(method: str) -> None:
    cache = node("nodes_wan", "WanAnimate2Cache")
    model = cache.execute(networks.build("wan_animate2"), "cpu", "default").result[0]
    go_together(method, model, "wan_animate2")


@pytest.mark.parametrize(
    ("name", "module"),
    [("flux2", "double_blocks.0.img_attn.qkv"), ("z_image", "layers.0.attention")],
)
def test_the_modulated_input_of_pictures(name: str, module: str, shown: Shown) -> None:
    """What is compared is what the first attention gets, where some tokens are at noise level zero."""
    model = shown(name)
    network = model.model.diffusion_model
    modulated = find_family(network).modulated  # pyright: ignore[reportOptionalMemberAccess]
    found: list[torch.Tensor] = []
    used: list[torch.Tensor] = []

    def before(block: Any, args: Any, kwargs: Any) -> None:
        streams = {"img": args[0]} if args else {k: v for k, v in kwargs.items() if "dims" not in k}
        found.append(modulated(network, {**streams, "args": args, "kwargs": kwargs}))

    block = network.get_submodule(".".join(module.split(".")[:2]))
    block.register_forward_pre_hook(before, with_kwargs=True)
    network.get_submodule(module).register_forward_pre_hook(
        lambda _, args: used.append(args[0].clone())
    )
    networks.sample(model, name, steps=2)
    assert len(found) == len(used) > 0
    for one, other in zip(found, used, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
