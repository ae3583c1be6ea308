"""DeepCache on tiny UNets in the real host, watched by module hooks that know nothing of the cache."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import comfy.model_management as mm
import comfy.sample
import pytest
import torch
from comfy.ldm.modules.diffusionmodules import openaimodel
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_freelunch import FreeU_V2
from comfy_extras.nodes_hypertile import HyperTile
from scaling_cache.cache_core.blocks import NetworkCall
from scaling_cache.cache_core.methods import DeepCache
from scaling_cache.nodes.block_caches import (
    ScalingDeltaCache,
    ScalingFirstBlockCache,
    ScalingMagCache,
    ScalingTeaCache,
)
from scaling_cache.nodes.cfg_cache import ScalingCfgCache
from scaling_cache.nodes.host.cache import Cache, caches_of
from scaling_cache.nodes.host.calibrating import Plan
from scaling_cache.nodes.host.profile import measure
from scaling_cache.nodes.step_cache_advanced import ScalingStepCacheAdvanced

from testbed import networks
from testbed.install import cached
from testbed.unets import UNETS

from .every import EVERY, TRANSFORMERS

STEPS = 10
Build = Callable[[str], Any]


def deep(interval: int = 3, first: int = 1, **more: Any) -> DeepCache:
    return DeepCache(interval, first, **more)


Place = tuple[str, int]


@dataclass
class Seen:
    """One call of the network.

    Attributes:
        args, kwargs: of the call.
        ran: layers that ran, by block.
        into: what the first layer of each block was given.
        out: what the last layer of each block gave.
        result: of the call.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    ran: set[Place] = field(default_factory=set)
    into: dict[Place, torch.Tensor] = field(default_factory=dict)
    out: dict[Place, torch.Tensor] = field(default_factory=dict)
    result: torch.Tensor | None = None


class Watch:
    """Records the calls of a UNet while the context is open."""

    def __init__(self, model: Any) -> None:
        self.network = model.model.diffusion_model
        self.calls: list[Seen] = []
        self._handles: list[Any] = []

    @property
    def places(self) -> dict[Place, Any]:
        net = self.network
        found = {("input", i): block for i, block in enumerate(net.input_blocks)}
        found |= {("output", i): block for i, block in enumerate(net.output_blocks)}
        return found if net.middle_block is None else {**found, ("middle", 0): net.middle_block}

    def __enter__(self) -> Watch:
        add = self._handles.append
        add(self.network.register_forward_pre_hook(self._begin, with_kwargs=True))
        add(self.network.register_forward_hook(self._end))
        for place, block in self.places.items():
            add(block[0].register_forward_pre_hook(self._enter(place)))
            add(block[-1].register_forward_hook(self._leave(place)))
            for layer in block:
                add(layer.register_forward_pre_hook(self._ran(place)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _begin(self, module: Any, args: Any, kwargs: Any) -> None:
        kept = tuple(a.clone() if isinstance(a, torch.Tensor) else a for a in args)
        self.calls.append(Seen(kept, dict(kwargs)))

    def _end(self, module: Any, args: Any, out: Any) -> None:
        self.calls[-1].result = out.clone()

    def _enter(self, place: Place) -> Any:
        def hook(module: Any, args: Any) -> None:
            self.calls[-1].into[place] = args[0].clone()

        return hook

    def _leave(self, place: Place) -> Any:
        def hook(module: Any, args: Any, out: Any) -> None:
            self.calls[-1].out[place] = out.clone()

        return hook

    def _ran(self, place: Place) -> Any:
        return lambda module, args: self.calls[-1].ran.add(place)


def run(model: Any, name: str, method: Any, **more: Any) -> tuple[Any, Watch]:
    with Watch(model) as watch:
        out = networks.sample(cached(model, method), name, **{"steps": STEPS, **more})
    return out, watch


def live(watch: Watch, first: int) -> set[Place]:
    """Blocks that run at every step."""
    count = len(watch.network.output_blocks)
    return {("input", i) for i in range(first)} | {("output", count - 1 - i) for i in range(first)}


def computed(watch: Watch) -> list[int]:
    """Calls in which all blocks ran."""
    return [i for i, call in enumerate(watch.calls) if call.ran == set(watch.places)]


def entering(watch: Watch, call: Seen, first: int) -> torch.Tensor:
    """What entered the first live output block, without the skip connection joined to it."""
    count = len(watch.network.output_blocks)
    skip = call.out["input", first - 1]
    return call.into["output", count - first][:, : -skip.shape[1]]


def shallow(network: Any, call: Seen, first: int, stream: torch.Tensor) -> torch.Tensor:
    """The live blocks alone on a deep stream, written again."""
    x, times = call.args
    emb = network.time_embed(
        openaimodel.timestep_embedding(times, network.model_channels).to(x.dtype)
    )
    if call.kwargs.get("y") is not None:
        emb = emb + network.label_emb(call.kwargs["y"])
    frames = {"num_video_frames": call.kwargs.get("num_video_frames")}
    text, skips, h = call.kwargs["context"], [], x
    for block in network.input_blocks[:first]:
        h = openaimodel.forward_timestep_embed(block, h, emb, text, {}, **frames)
        skips.append(h)
    for block in network.output_blocks[-first:]:
        stream = torch.cat([stream, skips.pop()], 1)
        size = skips[-1].shape if skips else None
        stream = openaimodel.forward_timestep_embed(block, stream, emb, text, {}, size, **frames)
    return network.out(stream)


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    scale = max(float(expected.abs().max()), 1.0)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * scale)


def check(watch: Watch, expected: list[int], first: int) -> None:
    """The right steps are computed; on the others only the live blocks run, on what was kept."""
    assert computed(watch) == expected
    kept = None
    for call in watch.calls:
        stream = entering(watch, call, first)
        if call.ran == set(watch.places):
            kept = stream
            continue
        assert call.ran == live(watch, first)
        assert kept is not None
        close(stream, kept)
        with torch.inference_mode():
            assert call.result is not None
            close(call.result, shallow(watch.network, call, first, kept))


@pytest.mark.parametrize("name", ["sd15", "sdxl", "no_middle", "svd"])
class TestEveryUNet:
    @pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m"])
    def test_computing_all_changes_nothing(self, name: str, sampler: str, built: Build) -> None:
        model = built(name)
        plain = networks.sample(model, name, steps=STEPS, sampler=sampler)
        assert torch.isfinite(plain).all()
        for method in (deep(1), deep(3, start_percent=1.0)):
            out = networks.sample(cached(model, method), name, steps=STEPS, sampler=sampler)
            assert torch.equal(out, plain)
        assert not torch.equal(run(model, name, deep(3), sampler=sampler)[0], plain)

    @pytest.mark.parametrize("interval", [2, 3, 5])
    def test_steps_between_run_the_shallow_blocks_on_what_was_kept(
        self, name: str, interval: int, built: Build
    ) -> None:
        _, watch = run(built(name), name, deep(interval))
        check(watch, list(range(0, STEPS, interval)), 1)

    def test_more_blocks_stay_live(self, name: str, built: Build) -> None:
        """At each depth, also where the size of the latent does not divide evenly."""
        model, spec = built(name), UNETS[name]
        count = len(model.model.diffusion_model.input_blocks)
        latent = torch.zeros(1, *spec.latent)[..., :13, :11]
        for first in range(1, count):
            with Watch(model) as watch:
                _sample(cached(model, deep(4, first)), spec, latent)
            check(watch, [0, 4], first)

    def test_the_model_without_the_node_is_untouched(self, name: str, built: Build) -> None:
        model = built(name)
        before = dict(vars(model.model.diffusion_model))
        plain = networks.sample(model, name, steps=STEPS)
        run(model, name, deep(3))
        assert dict(vars(model.model.diffusion_model)) == before
        assert torch.equal(networks.sample(model, name, steps=STEPS), plain)


def _sample(model: Any, spec: Any, latent: torch.Tensor, seed: int = 1) -> torch.Tensor:
    """The host's KSampler on a latent of any size, 8 steps."""
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(seed))
    cond = [[torch.ones(1, 5, spec.width), dict(spec.more)]]
    none = [[torch.zeros(1, 5, spec.width), dict(spec.more)]]
    with torch.inference_mode():
        return comfy.sample.sample(
            model, noise, 8, 3.0, "euler", "simple", cond, none, latent, disable_pbar=True, seed=1
        )


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_forecasts(name: str, order: int, built: Build) -> None:
    """TaylorSeer's recursion over differences of the kept tensors, written again."""
    _, watch = run(built(name), name, deep(3, 2, order=order), steps=14)
    assert computed(watch) == [0, 3, 6, 9, 12]
    kept: list[torch.Tensor] = []
    last = 0
    for step, call in enumerate(watch.calls):
        stream = entering(watch, call, 2)
        if step % 3 == 0:
            row = [stream]
            for older in kept[:order]:
                row.append((row[-1] - older) / (step - last))
            kept, last = row, step
            continue
        terms = [d * (step - last) ** i / math.factorial(i) for i, d in enumerate(kept)]
        close(stream, torch.stack(terms).sum(0))


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
@pytest.mark.parametrize(
    "more",
    [
        {"cfg": 1.0},
        {"batch": 2},
        {"batch": 3, "cfg": 1.0, "sampler": "dpmpp_2m"},
        {"sampler": "euler_ancestral"},
    ],
)
def test_conditionings_batches_and_samplers(name: str, more: dict[str, Any], built: Build) -> None:
    _, watch = run(built(name), name, deep(3), **more)
    count = more.get("batch", 1) * (1 if more.get("cfg") == 1.0 else 2)
    assert {call.args[0].shape[0] for call in watch.calls} == {count}
    check(watch, [0, 3, 6, 9], 1)


def test_evaluations_of_a_step_share_its_decision(built: Build) -> None:
    _, watch = run(built("sd15"), "sd15", deep(3), sampler="heun")
    steps = [step for step in range(STEPS) for _ in range(1 if step == STEPS - 1 else 2)]
    check(watch, [i for i, step in enumerate(steps) if step % 3 == 0], 1)


def test_conditionings_in_calls_of_their_own(built: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little memory: one conditioning per call, each on its own kept tensor."""

    def none(device: Any = None, torch_free_too: bool = False) -> Any:
        return (0, 0) if torch_free_too else 0

    together, _ = run(built("sdxl"), "sdxl", deep(3))
    monkeypatch.setattr(mm, "get_free_memory", none)
    apart, watch = run(built("sdxl"), "sdxl", deep(3))
    assert len(watch.calls) == 2 * STEPS
    torch.testing.assert_close(apart, together, rtol=1e-3, atol=1e-3)


def test_each_image_of_a_batch_is_the_one_that_would_come_alone(built: Build) -> None:
    spec = UNETS["sdxl"]
    model = cached(built("sdxl"), deep(3))
    batch = _sample(model, spec, torch.zeros(2, *spec.latent))
    alone = _sample(model, spec, torch.zeros(1, *spec.latent))
    assert not torch.allclose(batch[0], batch[1])
    torch.testing.assert_close(batch[:1], alone, rtol=1e-3, atol=1e-3)


def test_the_schedule_may_be_closer_around_a_step(built: Build) -> None:
    _, watch = run(built("sd15"), "sd15", deep(2, power=1.4, center=3))
    check(watch, [0, 2, 3, 4, 7], 1)


def test_the_window_limits_skipping(built: Build) -> None:
    _, watch = run(built("sd15"), "sd15", deep(5, start_percent=0.4))
    found = computed(watch)
    assert set(range(4)) <= set(found) < set(range(STEPS))


def test_in_half_precision_what_was_kept_is_repeated_bit_for_bit() -> None:
    model = networks.build("sdxl", dtype=torch.bfloat16)
    _, watch = run(model, "sdxl", deep(3))
    kept = None
    for step, call in enumerate(watch.calls):
        stream = entering(watch, call, 1)
        assert stream.dtype == torch.bfloat16
        kept = stream if step % 3 == 0 else kept
        assert kept is not None
        assert torch.equal(stream, kept)


def test_transformers_keep_their_numbers(built: Build) -> None:
    """The host counts those that ran, and patches such as GLIGEN's go by the number."""
    seen: list[tuple[Any, int]] = []

    def note(n: Any, context: Any, value: Any, extra: Any) -> Any:
        seen.append((extra["block"], extra["transformer_index"]))
        return n, context, value

    model = built("sd15").clone()
    model.set_model_attn1_patch(note)
    networks.sample(model, "sd15", steps=STEPS)
    plain = dict(seen)
    assert len(set(plain.values())) == len(plain) == 16
    seen.clear()
    _, watch = run(model, "sd15", deep(3, 3))
    assert computed(watch) == [0, 3, 6, 9]
    # Two transformers below three live blocks, three above: those of the skipped steps.
    assert len(seen) == 4 * 16 + 6 * 5
    assert all(plain[block] == index for block, index in seen)


class TestStepsAside:
    def test_controlnet(self, built: Build, said: list[str]) -> None:
        model = built("sd15").clone()
        shape = (2, 128, 2, 2)
        add = torch.randn(shape, generator=torch.Generator().manual_seed(1))

        def control(executor: Any, *args: Any, **kwargs: Any) -> Any:
            given = {"input": [], "middle": [add.clone()], "output": []}
            return executor(*args[:4], given, *args[5:], **kwargs)

        model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "control", control)
        plain = networks.sample(model, "sd15", steps=STEPS)
        assert not torch.equal(plain, networks.sample(built("sd15"), "sd15", steps=STEPS))
        out, watch = run(model, "sd15", deep(3))
        assert computed(watch) == list(range(STEPS))
        assert torch.equal(out, plain)
        assert said[-1].count("ControlNet") == 1

    @pytest.mark.parametrize("kind", ["input", "input_after_skip", "output", "freeu"])
    def test_patches_on_blocks(self, kind: str, built: Build, said: list[str]) -> None:
        model = built("sd15").clone()
        if kind == "freeu":
            model = FreeU_V2().patch(model, 1.3, 1.4, 0.9, 0.2)[0]
        elif kind == "output":
            model.set_model_output_block_patch(lambda h, skip, options: (h * 0.9, skip))
        elif kind == "input":
            model.set_model_input_block_patch(lambda h, options: h * 0.9)
        else:
            model.set_model_input_block_patch_after_skip(lambda h, options: h * 0.9)
        plain = networks.sample(model, "sd15", steps=STEPS)
        assert not torch.equal(plain, networks.sample(built("sd15"), "sd15", steps=STEPS))
        out, watch = run(model, "sd15", deep(3))
        assert computed(watch) == list(range(STEPS))
        assert torch.equal(out, plain)
        assert said[-1].count("Another node patches blocks of this model") == 1

    def test_patches_on_attention_are_fine(self, built: Build) -> None:
        model = HyperTile().execute(built("sd15"), 32, 2, 0, False)[0]
        tiled, watch = run(model, "sd15", deep(3))
        assert computed(watch) == [0, 3, 6, 9]
        assert not torch.equal(tiled, run(built("sd15"), "sd15", deep(3))[0])

    def test_short_runs_are_computed(self, built: Build, said: list[str]) -> None:
        _, watch = run(built("sd15"), "sd15", deep(3), steps=7)
        assert computed(watch) == list(range(7))
        assert said[-1].startswith("Not cached. 7 steps")


class TestFaults:
    @pytest.mark.parametrize("name", ["sd15", "no_middle"])
    def test_an_error_in_the_network_leaves_no_trace(self, name: str, built: Build) -> None:
        model = built(name)
        network = model.model.diffusion_model
        before = dict(vars(network))
        plain = networks.sample(model, name, steps=STEPS)
        calls = 0

        def fail(module: Any, args: Any) -> None:
            nonlocal calls
            calls += 1
            if calls == 5:
                assert "output_blocks" in vars(network)
                raise RuntimeError("broken")

        # The last block runs at every step: the fifth is a skipped one.
        handle = network.output_blocks[-1][0].register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="broken"):
            networks.sample(cached(model, deep(3)), name, steps=STEPS)
        handle.remove()
        assert dict(vars(network)) == before
        assert torch.equal(networks.sample(model, name, steps=STEPS), plain)

    @pytest.mark.parametrize("where", ["keep_whole", "recall", "decide"])
    def test_a_fault_of_the_cache_costs_speed_and_not_the_picture(
        self,
        where: str,
        built: Build,
        said: list[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def fail(*args: Any) -> Any:
            raise RuntimeError("no memory left")

        plain = networks.sample(built("sd15"), "sd15", steps=STEPS)
        monkeypatch.setattr(NetworkCall, where, fail)
        out, watch = run(built("sd15"), "sd15", deep(3))
        assert torch.equal(out, plain)
        assert computed(watch) == list(range(STEPS))
        assert said[-1].startswith("DeepCache: computed 10 of 10")
        assert "Caching stopped: RuntimeError: no memory left" in said[-1]
        assert "did not run" not in said[-1]

    def test_nothing_outlives_a_run(self, built: Build) -> None:
        runs: list[Any] = []
        model = cached(built("sd15"), deep(3), runs)
        first = networks.sample(model, "sd15", steps=STEPS)
        assert torch.equal(networks.sample(model, "sd15", steps=STEPS), first)
        assert [r.nbytes for r in runs] == [0, 0]
        # Two conditionings, 32 channels of 16 by 16, float32.
        assert {r.report.cache_bytes for r in runs} == {2 * 32 * 16 * 16 * 4}
        assert [type(cache) for cache in caches_of(model)] == [Cache]


def test_weights_patched_in_a_deep_block_count(built: Build) -> None:
    """As LoRA patches them."""
    model = built("sd15").clone()
    key = "diffusion_model.middle_block.0.in_layers.2.weight"
    weight = model.model.diffusion_model.middle_block[0].in_layers[2].weight
    change = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    assert model.add_patches({key: (change,)}, 1.0) == [key]
    plain = networks.sample(model, "sd15", steps=STEPS)
    assert torch.equal(run(model, "sd15", deep(1))[0], plain)
    _, watch = run(model, "sd15", deep(3))
    check(watch, [0, 3, 6, 9], 1)
    _, without = run(built("sd15"), "sd15", deep(3))
    patched, unpatched = (entering(w, w.calls[1], 1) for w in (watch, without))
    assert not torch.allclose(patched, unpatched, atol=1e-3)


class TestWhatFits:
    def test_a_unet_is_refused_by_the_other_methods(self, built: Build, said: list[str]) -> None:
        model = built("sdxl")
        names = [EVERY[name].kind.name for name in TRANSFORMERS]
        for result in (
            ScalingTeaCache.execute(model, "auto", 0.4, 0.0, 1.0),
            ScalingTeaCache.execute(model, "flux", 0.4, 0.0, 1.0),
            ScalingMagCache.execute(model, "auto", True, 0.1, 2, 0.2, 0.0, 1.0),
            ScalingFirstBlockCache.execute(model, 0.1, 0.0, 1.0),
            ScalingDeltaCache.execute(model, "custom", "0", "", 6, 6, 0.0, 1.0),
            *(_advanced(model, method=name, granularity="blocks", blocks="0") for name in names),
        ):
            assert result.result[0] is model
        assert len(said) == 5 + len(names)
        assert all("this model is a UNet: use DeepCache of the Step Cache" in t for t in said)

    def test_a_transformer_is_refused(self, said: list[str]) -> None:
        flux = networks.build("flux")
        assert _advanced(flux, method="DeepCache").result[0] is flux
        assert said[-1].startswith("Not cached. DeepCache is for UNets such as SD 1.5 and SDXL")
        assert cached(flux, deep()) is flux
        assert said[-1].startswith("Not cached. DeepCache is for UNets")

    def test_profiling_refuses_a_unet(self, built: Build) -> None:
        plan = Plan([1], 10, 3.0, "euler", "simple")
        found = measure(built("sd15"), [], [], {"samples": torch.zeros(1, 4, 16, 16)}, plan)
        assert isinstance(found, str)
        assert "this model is a UNet" in found

    @pytest.mark.parametrize(("name", "most"), [("sd15", 11), ("sdxl", 8)])
    def test_a_block_must_be_left_to_skip(self, name: str, most: int, built: Build) -> None:
        _advanced(built(name), method="DeepCache", first_blocks=most)
        why = f"^first_blocks: must be at most {most} in this model, got {most + 1}"
        with pytest.raises(ValueError, match=why):
            _advanced(built(name), method="DeepCache", first_blocks=most + 1)


class TestNode:
    def test_it_runs_as_set(self, built: Build, said: list[str]) -> None:
        model = _advanced(built("sdxl"), method="DeepCache", interval=4, first_blocks=2).result[0]
        with Watch(built("sdxl")) as watch:
            networks.sample(model, "sdxl", steps=STEPS)
        check(watch, [0, 4, 8], 2)
        assert said[-1].startswith("DeepCache: computed 3 of 10 evaluations")

    def test_the_predictor_may_be_chosen(self, built: Build) -> None:
        pictures = [
            networks.sample(
                _advanced(built("sdxl"), method="DeepCache", predictor=name).result[0],
                "sdxl",
                steps=14,
            )
            for name in ("auto", "reuse", "Taylor 1", "Taylor 2", "Taylor 3")
        ]
        assert torch.equal(pictures[0], pictures[1])
        assert len({float(p.sum()) for p in pictures[1:]}) == 4
        with pytest.raises(ValueError, match="which this method does not run before it decides"):
            _advanced(built("sdxl"), method="DeepCache", predictor="alignment")
        with pytest.raises(ValueError, match=r"^granularity: DeepCache works inside"):
            _advanced(built("sdxl"), method="DeepCache", granularity="whole step")

    def test_the_schedule_may_be_chosen(self, built: Build) -> None:
        model = _advanced(built("sd15"), method="DeepCache", interval=2, power=1.4, center=3)
        model = model.result[0]
        with Watch(built("sd15")) as watch:
            networks.sample(model, "sd15", steps=STEPS)
        check(watch, [0, 2, 3, 4, 7], 1)

    def test_the_cache_may_be_on_the_cpu(self, built: Build) -> None:
        here = _advanced(built("sd15"), method="DeepCache").result[0]
        there = _advanced(built("sd15"), method="DeepCache", cache_device="cpu").result[0]
        assert torch.equal(networks.sample(here, "sd15"), networks.sample(there, "sd15"))

    def test_together_with_the_cfg_cache(self, built: Build, said: list[str]) -> None:
        model = ScalingCfgCache.execute(built("sd15"), 3, 0.0, 1.0).result[0]
        both = _advanced(model, method="DeepCache").result[0]
        with Watch(built("sd15")) as watch:
            out = networks.sample(both, "sd15", steps=STEPS)
        assert torch.isfinite(out).all()
        assert {call.args[0].shape[0] for call in watch.calls} == {1, 2}
        assert any(text.startswith("DeepCache: computed") for text in said)


def _advanced(model: Any, **more: Any) -> Any:
    inputs: dict[str, Any] = {
        "granularity": "auto",
        "predictor": "auto",
        "speedup": 2.0,
        "threshold": 0.0,
        "interval": 3,
        "warmup": 2,
        "max_gap": 6,
        "start_percent": 0.0,
        "end_percent": 1.0,
        **more,
    }
    return ScalingStepCacheAdvanced.execute(model, **inputs)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"interval": 0}, "interval"),
        ({"first": 0}, "first_blocks"),
        ({"order": 4}, "order"),
        ({"power": 0.9}, "power"),
        ({"power": math.nan}, "power"),
        ({"center": -1}, "center"),
    ],
)
def test_values_out_of_range_name_the_field(more: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: must be between"):
        deep(**more)
