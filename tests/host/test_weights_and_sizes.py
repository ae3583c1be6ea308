"""Weights of other types, LoRA, hooks and compilation; masks, tiles, previews and batches of other sizes:
at 1x the host's result bit for bit, at 2x a sane one, on whole steps and inside the network."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import comfy.hooks
import comfy.model_management as mm
import comfy.nested_tensor
import comfy.sample
import comfy.sd
import pytest
import torch
from comfy.patcher_extension import CallbacksMP
from comfy_api.torch_helpers import set_torch_compile_wrapper

from testbed import networks
from testbed.further import FURTHER
from testbed.methods import entries
from testbed.observe import listening, refusal, watching

STEPS = 12
NAME = "flux"
SPREAD = 0.05
CACHES = ("Scaling Cache", "MagCache")
LAYER = "diffusion_model.double_blocks.1.img_attn.proj"

Sample = Callable[[Any], torch.Tensor]


def put(model: Any, cache: str, everything: bool = False, steps: int = STEPS) -> Any:
    entry = next(e for e in entries() if e.name == cache)
    return entry.put(model, steps, everything, "none")


def sample(model: Any, **more: Any) -> torch.Tensor:
    return networks.sample(model, NAME, STEPS, **more)


def check(model: Any, cache: str, run: Sample, far: float = 0.3) -> tuple[torch.Tensor, Any]:
    """At 1x bit for bit, at 2x near; gives the result at 2x and its report."""
    plain = run(model)
    assert torch.equal(run(put(model, cache, True)), plain)
    with listening() as lines, watching(put(model, cache)) as (watched, seen):
        result = run(watched)
    assert not refusal(lines)
    (report,) = seen.reports
    assert report.computed < report.evaluations
    assert result.shape == plain.shape
    assert torch.isfinite(result).all()
    assert 0 < (result - plain).norm() / plain.norm() < far
    return result, report


@pytest.fixture(scope="module")
def flux() -> Any:
    return networks.build(NAME, spread=SPREAD)


def lora(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        f"{LAYER}.lora_up.weight": torch.randn(32, 4, generator=generator),
        f"{LAYER}.lora_down.weight": torch.randn(4, 32, generator=generator),
    }


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2], ids=str
)
def test_weights_of_other_types(dtype: torch.dtype, cache: str) -> None:
    model = networks.build(NAME, dtype=dtype, spread=SPREAD)
    assert model.model.diffusion_model.double_blocks[0].img_attn.proj.weight.dtype is dtype
    check(model, cache, sample)


@pytest.mark.parametrize("cache", CACHES)
def test_a_lora_before_or_after_the_cache(cache: str, flux: Any) -> None:
    def with_lora(model: Any) -> Any:
        return comfy.sd.load_lora_for_models(model, None, lora(), 1.0, 0.0)[0]

    changed = with_lora(flux)
    assert not torch.equal(sample(changed), sample(flux))
    result, _ = check(changed, cache, sample)
    assert torch.equal(sample(with_lora(put(flux, cache))), result)


@pytest.mark.parametrize("cache", CACHES)
def test_weights_that_stay_off_the_device(cache: str, flux: Any) -> None:
    """Low memory: the host casts and patches each weight as it is used."""
    cpu = torch.device("cpu")
    changed = comfy.sd.load_lora_for_models(flux, None, lora(), 1.0, 0.0)[0]
    loaded = sample(changed)
    mm.unload_all_models()
    low = changed.clone()
    low.add_callback_with_key(
        CallbacksMP.ON_LOAD, "low", lambda patcher, *_: patcher.partially_unload(cpu, 2**40)
    )
    modules = list(flux.model.diffusion_model.modules())
    streamed: list[int] = []

    def look(*_: Any) -> None:
        streamed.append(sum(getattr(module, "comfy_cast_weights", False) for module in modules))

    handle = flux.model.diffusion_model.register_forward_hook(look)
    try:
        check(low, cache, sample)
        assert torch.equal(sample(low), loaded)
    finally:
        handle.remove()
        mm.unload_all_models()
    assert min(streamed) > 40


@pytest.mark.parametrize("cache", CACHES)
def test_a_scheduled_lora_on_one_conditioning(
    cache: str, flux: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights change in mid-run: what was kept before says nothing about the steps after."""
    texts = networks.conditioning

    def hooked(name: str, seed: int) -> Any:
        group = comfy.hooks.create_hook_lora(lora(), 1.0, 0.0)
        frames = comfy.hooks.HookKeyframeGroup()
        frames.add(comfy.hooks.HookKeyframe(0.0, 0.0))
        frames.add(comfy.hooks.HookKeyframe(1.0, 0.5))
        group.set_keyframes_on_hooks(frames)
        text = texts(name, seed)
        return comfy.hooks.set_hooks_for_conditioning(text, group) if seed == 2 else text

    before = sample(flux)
    monkeypatch.setattr(networks, "conditioning", hooked)
    assert not torch.equal(sample(flux), before), "the hook must do something"
    check(flux, cache, sample)
    monkeypatch.undo()
    assert torch.equal(sample(flux), before)


@pytest.mark.parametrize("backend", ["eager", "inductor"])
def test_compiled_before_or_after_the_cache(backend: str, flux: Any) -> None:
    """Whole steps only: a decision per step cannot run inside compiled blocks."""
    if backend == "inductor" and not any(map(shutil.which, ("g++", "clang++", "cl"))):
        pytest.skip("inductor needs a C++ compiler")

    def compiled(model: Any) -> Any:
        clone = model.clone()
        set_torch_compile_wrapper(clone, backend=backend)
        return clone

    before, _ = check(compiled(flux), "Scaling Cache", sample)
    assert torch.equal(sample(compiled(put(flux, "Scaling Cache"))), before)
    plain = sample(compiled(flux))
    for model in (put(compiled(flux), "MagCache"), compiled(put(flux, "MagCache"))):
        with listening() as lines:
            assert torch.equal(sample(model), plain)
        assert "compiled" in refusal(lines)


@pytest.mark.parametrize("cache", CACHES)
def test_masked_and_default_conditionings(
    cache: str, flux: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = networks.conditioning
    left = torch.zeros(1, 8, 8)
    left[..., :4] = 1

    def masked(name: str, seed: int) -> Any:
        if seed != 2:
            return texts(name, seed)
        half = comfy.hooks.set_mask_for_conditioning(texts(name, 2), left, "default", 1.0)
        (both,) = comfy.hooks.set_default_conds_and_combine([half], [texts(name, 7)])
        return both

    before = sample(flux)
    monkeypatch.setattr(networks, "conditioning", masked)
    assert not torch.equal(sample(flux), before)
    check(flux, cache, sample)


@pytest.mark.parametrize("cache", CACHES)
def test_conditionings_split_over_calls(
    cache: str, flux: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too little memory for both at once."""
    together = sample(put(flux, cache))

    def none(device: Any = None, torch_free_too: bool = False) -> Any:
        return (0, 0) if torch_free_too else 0

    monkeypatch.setattr(mm, "get_free_memory", none)
    apart, _ = check(flux, cache, sample)
    torch.testing.assert_close(apart, together, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("cache", CACHES)
def test_batches_up_and_down_again(cache: str, flux: Any) -> None:
    cached = put(flux, cache)
    first = sample(cached)
    for batch in (2, 4, 3):
        result = sample(cached, batch=batch)
        assert result.shape[0] == batch
        assert torch.isfinite(result).all()
    assert torch.equal(sample(cached), first)


@pytest.mark.parametrize("cache", CACHES)
def test_tiles_as_an_upscaler_samples_them(cache: str, flux: Any) -> None:
    """Many small runs of one model, each on its own: in any order each tile is the same."""
    cached = put(flux, cache)
    picture = torch.randn(1, 16, 8, 24, generator=torch.Generator().manual_seed(0)) * 0.2

    def tile(index: int) -> torch.Tensor:
        part = picture[..., 8 * index : 8 * index + 8]
        return sample(cached, latent=part, denoise=0.4, seed=index)

    forward = [tile(i) for i in range(3)]
    backward = [tile(i) for i in (2, 1, 0)][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forward, backward, strict=True))
    assert not torch.equal(forward[0], forward[1])


@pytest.mark.parametrize("cache", CACHES)
def test_previews_come_at_every_step(cache: str, flux: Any) -> None:
    shown: list[torch.Tensor] = []

    def preview(step: int, denoised: torch.Tensor, x: torch.Tensor, total: int) -> None:
        assert (step, total) == (len(shown), STEPS)
        shown.append(denoised.clone())

    sample(put(flux, cache), callback=preview)
    assert len(shown) == STEPS
    assert all(torch.isfinite(one).all() for one in shown)
    assert not any(torch.equal(a, b) for a, b in pairwise(shown))


def test_guidance_that_changes_between_steps(flux: Any) -> None:
    """A sampler node's cfg function may ask for another strength at each step."""

    def rising(args: Any) -> torch.Tensor:
        share = 1 - float(args["sigma"][0])
        return args["input"] - (
            args["uncond_denoised"]
            + (1 + 4 * share) * (args["cond_denoised"] - args["uncond_denoised"])
        )

    changed = flux.clone()
    changed.set_model_sampler_cfg_function(rising)
    for cache in CACHES:
        check(changed, cache, sample)


def test_nested_latents_of_picture_and_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host joins them to one row for the sampler; the network takes that apart again."""
    spec = networks.spec_of("stable_audio")
    small = {**spec.network, "io_channels": 1}
    monkeypatch.setitem(FURTHER, "one_row", replace(spec, network=small, latent=(1, 48)))
    model = networks.build("one_row", spread=0.1)

    def run(model: Any) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        parts = [
            torch.randn(1, 2, 4, 4, generator=generator),
            torch.randn(1, 1, 16, generator=generator),
        ]
        noise = comfy.nested_tensor.NestedTensor(parts)
        latent = comfy.nested_tensor.NestedTensor([torch.zeros_like(p) for p in parts])
        texts = networks.conditioning("stable_audio", 2), networks.conditioning("stable_audio", 3)
        with torch.inference_mode():
            out = comfy.sample.sample(
                model,
                noise,
                STEPS,
                4.0,
                "euler",
                "simple",
                *texts,
                latent,
                disable_pbar=True,
                seed=1,
            )
        assert [tuple(t.shape) for t in out.unbind()] == [(1, 2, 4, 4), (1, 1, 16)]
        return torch.cat([t.flatten() for t in out.unbind()])

    for cache in CACHES:
        check(model, cache, run, far=0.6)
