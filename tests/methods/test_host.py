"""The nodes and the ways in which a cache has to step aside, in the real host."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from testbed import networks
from testbed.watch import Watch


@pytest.fixture(scope="module")
def nets(comfy: Path) -> Any:
    return networks


@pytest.fixture(scope="module")
def flux(nets: Any) -> Any:
    return nets.build("flux")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the node tells the user."""
    from scaling_cache.nodes.host.progress import ProgressText

    texts: list[str] = []
    monkeypatch.setattr(ProgressText, "finish", lambda self, text: texts.append(text))
    return texts


def install(model: Any, method: Any, **more: Any) -> Any:
    from scaling_cache.nodes.host.cache import Cache
    from scaling_cache.nodes.host.cache import install as put

    return put(model, Cache(method, **more))


def mag(**more: Any) -> Any:
    from scaling_cache.cache_core.methods import MagCache

    return MagCache(((1.0, *[0.97] * 9),), 0.1, 3, 0.2, **more)


MAG_STEPS = [0, 1, 4, 7]


def steps(nets: Any, model: Any, cached: Any, name: str = "flux", **more: Any) -> list[int]:
    with Watch(model.model.diffusion_model, name) as watch:
        nets.sample(cached, name, **more)
    return [i for i, call in enumerate(watch.calls) if call.out is not None]


def test_the_summary_counts_steps(nets: Any, flux: Any, said: list[str]) -> None:
    assert steps(nets, flux, install(flux, mag())) == MAG_STEPS
    assert said[-1].startswith("MagCache: computed 4 of 10 evaluations")


@pytest.mark.parametrize("more", [{"cfg": 1.0}, {"batch": 2}, {"batch": 3, "cfg": 1.0}])
def test_batches_and_single_branches(nets: Any, flux: Any, more: dict[str, Any]) -> None:
    assert steps(nets, flux, install(flux, mag()), **more) == MAG_STEPS


def test_each_image_of_a_batch_keeps_its_own_change(nets: Any, flux: Any) -> None:
    """The first image of a batch is the one that would come alone."""
    import comfy.sample

    def sample(count: int) -> torch.Tensor:
        noise = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(1))
        other = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(9))
        cond = [[torch.ones(1, 5, 24), {"pooled_output": torch.ones(1, 16)}]]
        full = torch.cat([noise, other])[:count]
        with torch.inference_mode():
            return comfy.sample.sample(
                install(flux, mag()),
                full,
                10,
                3.0,
                "euler",
                "simple",
                cond,
                [[torch.zeros(1, 5, 24), cond[0][1]]],
                torch.zeros_like(full),
                disable_pbar=True,
                seed=1,
            )

    torch.testing.assert_close(sample(2)[:1], sample(1), rtol=1e-4, atol=1e-4)


def test_split_batches_keep_their_branches(
    nets: Any, flux: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too little memory: the host runs one branch per call. The picture stays the same."""
    import comfy.model_management as mm

    cached = install(flux, mag())
    together = nets.sample(cached, "flux")

    def none(device: Any = None, torch_free_too: bool = False) -> Any:
        return (0, 0) if torch_free_too else 0

    monkeypatch.setattr(mm, "get_free_memory", none)
    with Watch(flux.model.diffusion_model, "flux") as watch:
        apart = nets.sample(cached, "flux")
    assert len(watch.calls) == 20
    torch.testing.assert_close(apart, together, rtol=1e-3, atol=1e-3)


def test_a_second_evaluation_follows_the_first(nets: Any, flux: Any) -> None:
    cached = install(flux, mag())
    with Watch(flux.model.diffusion_model, "flux") as watch:
        nets.sample(cached, "flux", sampler="heun")
    ran = [call.out is not None for call in watch.calls]
    expected = [step in MAG_STEPS for step in range(10) for _ in range(1 if step == 9 else 2)]
    assert ran == expected


def test_two_runs_are_equal_and_leave_nothing(nets: Any, flux: Any) -> None:
    from scaling_cache.nodes.host.block_hooks import KEY
    from scaling_cache.nodes.host.cache import Cache

    cached = install(flux, mag())
    assert torch.equal(nets.sample(cached, "flux"), nets.sample(cached, "flux"))
    assert isinstance(cached.model_options["transformer_options"][KEY], Cache)


def test_an_earlier_replacement_still_runs(nets: Any, flux: Any) -> None:
    seen: list[int] = []

    def earlier(args: dict[str, Any], extra: dict[str, Any]) -> Any:
        seen.append(1)
        return extra["original_block"](args)

    patched = flux.clone()
    patched.set_model_patch_replace(earlier, "dit", "double_block", 1)
    assert steps(nets, flux, install(patched, mag())) == MAG_STEPS
    assert len(seen) == len(MAG_STEPS)
    from scaling_cache.nodes.host.cache import remove

    kept = remove(install(patched, mag())).model_options["transformer_options"]
    assert list(kept["patches_replace"]["dit"]) == [("double_block", 1)]


def test_a_later_replacement_turns_skipping_off(nets: Any, flux: Any, said: list[str]) -> None:
    cached = install(flux, mag())
    cached.set_model_patch_replace(lambda a, e: e["original_block"](a), "dit", "single_block", 2)
    assert steps(nets, flux, cached) == list(range(10))
    assert "Another node replaces blocks" in said[-1]


def test_controlnet_is_computed(nets: Any, flux: Any, said: list[str]) -> None:
    from comfy.patcher_extension import WrappersMP

    def control(executor: Any, x: Any, t: Any, cc: Any, ca: Any, _: Any, *a: Any, **k: Any) -> Any:
        return executor(x, t, cc, ca, {"input": [], "output": []}, *a, **k)

    controlled = flux.clone()
    controlled.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "control", control)
    assert steps(nets, flux, install(controlled, mag())) == list(range(10))
    assert said[-1].count("ControlNet") == 1


def test_one_block_cache_per_model(nets: Any, flux: Any, said: list[str]) -> None:
    from scaling_cache.cache_core.methods import FirstBlockCache

    first = install(flux, FirstBlockCache(0.9), node_id="1")
    assert steps(nets, flux, install(first, mag(), node_id="2")) == MAG_STEPS
    assert "First Block Cache on the same model is off" in said[-1]


def test_it_steps_aside_for_the_other_caches(nets: Any, flux: Any, said: list[str]) -> None:
    from scaling_cache.cache_core.methods import ScalingCache
    from scaling_cache.nodes.host.cache import Cache
    from scaling_cache.nodes.host.cache import install as put

    whole = Cache(ScalingCache(), "none")
    for both in (put(install(flux, mag()), whole), install(put(flux, whole), mag())):
        said.clear()
        nets.sample(both, "flux")
        assert any(t.startswith("Not cached. Scaling Cache is on the same model") for t in said)
        assert any(t.startswith("Scaling Cache: computed 5 of 10") for t in said)
    from comfy_extras.nodes_easycache import EasyCacheNode

    easy = EasyCacheNode.execute(install(flux, mag()), 0.2, 0.15, 0.95, False).result[0]
    nets.sample(easy, "flux")
    assert any("EasyCache" in text for text in said)


def test_a_compiled_model_is_not_cached(nets: Any, flux: Any, said: list[str]) -> None:
    from comfy.patcher_extension import WrappersMP

    compiled = flux.clone()
    compiled.add_wrapper_with_key(
        WrappersMP.APPLY_MODEL, "torch.compile", lambda executor, *a, **k: executor(*a, **k)
    )
    assert steps(nets, flux, install(compiled, mag())) == list(range(10))
    assert "compiled" in said[-1]


@pytest.mark.parametrize("count", [1, 4, 7])
def test_short_runs_are_computed(nets: Any, flux: Any, said: list[str], count: int) -> None:
    assert steps(nets, flux, install(flux, mag()), steps=count) == list(range(count))
    assert said[-1].startswith("Not cached.")


def test_the_window_limits_skipping(nets: Any, flux: Any) -> None:
    found = steps(nets, flux, install(flux, mag(), start_percent=0.6))
    assert set(range(5)) <= set(found) < set(range(10))


def test_a_fault_costs_speed_and_not_the_picture(nets: Any, flux: Any, said: list[str]) -> None:
    from scaling_cache.cache_core.methods import FirstBlockCache

    @dataclass(frozen=True)
    class Faulty(FirstBlockCache):
        def policy(self, *args: Any) -> Any:
            raise RuntimeError("no memory left")

    assert torch.equal(nets.sample(install(flux, Faulty(0.5)), "flux"), nets.sample(flux, "flux"))
    assert "no memory left" in said[-1]


@pytest.mark.parametrize("name", ["flux", "hidream"])
@pytest.mark.parametrize("part", ["add", "decide", "keep"])
def test_a_fault_between_two_blocks_runs_the_network_again(
    nets: Any, name: str, part: str, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With hooks and with stand-ins: what was skipped before the fault is computed after all."""
    from scaling_cache.cache_core.blocks import NetworkCall

    model = nets.build(name)

    def broken(*_: Any) -> Any:
        raise torch.OutOfMemoryError("no memory left")

    monkeypatch.setattr(NetworkCall, part, broken)
    assert torch.equal(nets.sample(install(model, mag()), name), nets.sample(model, name))
    assert "no memory left" in said[-1]


def test_a_method_from_outside_the_package_runs(nets: Any, flux: Any, said: list[str]) -> None:
    from scaling_cache.cache_core.decide.layout import Layout, Span
    from scaling_cache.cache_core.decide.policies import Listed, RunPlan
    from scaling_cache.cache_core.methods import Method

    @dataclass(frozen=True)
    class EverySecond(Method):
        name: ClassVar[str] = "Every second"

        def spans(self, layout: Layout) -> tuple[Span, ...]:
            return (Span(0, layout.total - 1),)

        def policy(self, span: Span, layout: Layout, frame: RunPlan) -> Listed:
            return Listed(frozenset(range(0, frame.steps, 2)))

    assert steps(nets, flux, install(flux, EverySecond())) == [0, 2, 4, 6, 8]
    assert said[-1].startswith("Every second: computed 5 of 10")


class TestNodes:
    def test_every_schema_is_valid(self, comfy: Path) -> None:
        import scaling_cache.nodes as pack

        pack.register_folder()
        ids = [node.GET_SCHEMA().node_id for node in pack.NODES]
        assert len(ids) == len(set(ids)) == 12

    def test_teacache(self, nets: Any, flux: Any, said: list[str]) -> None:
        from scaling_cache.nodes.block_caches import ScalingTeaCache as Node

        cached = Node.execute(flux, "auto", 0.4, 0.0, 1.0).result[0]
        nets.sample(cached, "flux")
        assert said[-1].startswith("TeaCache: computed")
        assert "Polynomial: flux" in said[-1]
        assert Node.execute(flux, "mochi", 0.4, 0.0, 1.0).result[0] is flux
        assert said[-1] == "Not cached. mochi is for Mochi models, this one is Flux"
        with pytest.raises(ValueError, match="model_type: must be one of auto, "):
            Node.execute(flux, "nothing", 0.4, 0.0, 1.0)
        with pytest.raises(ValueError, match="rel_l1_thresh"):
            Node.execute(flux, "auto", 11.0, 0.0, 1.0)
        with pytest.raises(ValueError, match="start_percent"):
            Node.execute(flux, "auto", 0.4, 0.8, 0.2)
        with pytest.raises(ValueError, match="cache_device"):
            Node.execute(flux, "auto", 0.4, 0.0, 1.0, "disk")

    def test_a_family_without_a_polynomial(self, nets: Any, said: list[str]) -> None:
        from scaling_cache.nodes.block_caches import ScalingTeaCache

        sd3 = nets.build("sd3")
        assert ScalingTeaCache.execute(sd3, "auto", 0.4, 0.0, 1.0).result[0] is sd3
        assert said[-1].startswith("Not cached. No published settings fit this SD3 model")

    def test_magcache(self, nets: Any, flux: Any, said: list[str]) -> None:
        from scaling_cache.nodes.block_caches import ScalingMagCache as Node

        published = Node.execute(flux, "auto", True, 0.0, 0, 0.0, 0.0, 1.0).result[0]
        found = steps(nets, flux, published, steps=28)
        assert found == [0, 1, 2, 5, 9, 11, 17, 23, 26]
        off = Node.execute(flux, "auto", False, 0.0, 0, 0.0, 0.0, 1.0).result[0]
        assert steps(nets, flux, off) == list(range(10))

    def test_first_block_cache_on_the_cpu(self, nets: Any, flux: Any, said: list[str]) -> None:
        from scaling_cache.nodes.block_caches import ScalingFirstBlockCache as Node

        here = nets.sample(Node.execute(flux, 0.9, 0.0, 1.0).result[0], "flux")
        assert torch.equal(
            here, nets.sample(Node.execute(flux, 0.9, 0.0, 1.0, "cpu").result[0], "flux")
        )

    def test_delta_cache(self, nets: Any, flux: Any, said: list[str]) -> None:
        from scaling_cache.nodes.block_caches import ScalingDeltaCache as Node

        def run(settings: str, blocks: str, single: str) -> Any:
            return Node.execute(flux, settings, blocks, single, 6, 2, 0.0, 1.0).result[0]

        assert steps(nets, flux, run("custom", "0-1", "0-2")) == [0, 1, 2, 3, 4, 5, 6, 8]
        assert run("hunyuan_video", "", "") is flux
        assert said[-1] == "Not cached. hunyuan_video does not fit the blocks of this model"
        for blocks, single, field in (
            ("", "", "blocks"),
            ("9", "", "blocks"),
            ("1,0", "", "blocks"),
            ("0", "1-9", "single_blocks"),
            ("0", "x", "single_blocks"),
        ):
            with pytest.raises(ValueError, match=f"^{field}: "):
                run("custom", blocks, single)

    def test_a_model_without_block_hooks(self, comfy: Path, said: list[str]) -> None:
        from scaling_cache.nodes.block_caches import (
            ScalingDeltaCache,
            ScalingFirstBlockCache,
            ScalingMagCache,
            ScalingTeaCache,
        )

        class Model:
            class model:
                diffusion_model = torch.nn.Identity()

        model = Model()
        for result in (
            ScalingTeaCache.execute(model, "auto", 0.4, 0.0, 1.0),
            ScalingTeaCache.execute(model, "flux", 0.4, 0.0, 1.0),
            ScalingMagCache.execute(model, "auto", True, 0.1, 2, 0.2, 0.0, 1.0),
            ScalingFirstBlockCache.execute(model, 0.1, 0.0, 1.0),
            ScalingDeltaCache.execute(model, "custom", "0", "", 6, 6, 0.0, 1.0),
        ):
            assert result.result[0] is model
        assert len(said) == 5
        assert all("no usable hooks around the blocks of Identity" in text for text in said)


# Inputs of Step Cache (Advanced) that not all methods use, each with another value.
ADVANCED = {
    "speedup": 3.0,
    "threshold": 0.4,
    "interval": 4,
    "order": 2,
    "first_blocks": 1,
    "last_blocks": 0,
    "blocks": "0",
    "single_blocks": "1",
    "warmup": 2,
    "max_gap": 5,
    "power": 1.3,
    "center": 3,
}


class TestAdvanced:
    def make(self, model: Any, **more: Any) -> Any:
        from scaling_cache.nodes.step_cache_advanced import ScalingStepCacheAdvanced as Node

        inputs: dict[str, Any] = {
            "method": "Scaling Cache",
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
        return Node.execute(model, **inputs).result[0]

    def test_every_offered_combination_runs(self, nets: Any, flux: Any, said: list[str]) -> None:
        from scaling_cache.cache_core.methods.combinations import (
            METHOD_NAMES,
            granularities,
            predictors,
        )

        seen = 0
        unet = nets.build("sd15")
        for method in METHOD_NAMES:
            name, base = ("sd15", unet) if method == "DeepCache" else ("flux", flux)
            for level in granularities(method):
                for predictor in ("auto", *predictors(method, level)):
                    model = self.make(
                        base,
                        method=method,
                        granularity=level.value,
                        predictor=predictor,
                        threshold=0.9,
                        blocks="0",
                    )
                    said.clear()
                    assert torch.isfinite(nets.sample(model, name)).all()
                    assert said[-1].startswith(f"{method}: computed"), (method, predictor, said)
                    seen += 1
        assert seen > 50

    def test_the_schedule_is_the_methods_own(self, nets: Any, flux: Any) -> None:
        seer = {"method": "TaylorSeer", "interval": 3, "warmup": 2}
        assert steps(nets, flux, self.make(flux, **seer, granularity="blocks")) == [0, 1, 4, 7]
        with Watch(flux.model.diffusion_model, "flux") as watch:
            nets.sample(self.make(flux, **seer), "flux")
        assert len(watch.calls) == 4

    def test_one_method_takes_the_place_of_the_other(self, nets: Any, flux: Any) -> None:
        block = self.make(flux, method="TaylorSeer", granularity="blocks")
        step = self.make(block, method="TaylorSeer", granularity="whole step")
        with Watch(flux.model.diffusion_model, "flux") as watch:
            nets.sample(step, "flux")
        assert len(watch.calls) == 4
        assert all(call.out is not None for call in watch.calls)

    def test_off_is_the_model_without_a_cache(self, nets: Any, flux: Any) -> None:
        off = self.make(flux, speedup=1.0)
        assert torch.equal(nets.sample(off, "flux"), nets.sample(flux, "flux"))

    @pytest.mark.parametrize(
        ("more", "field"),
        [
            ({"method": "EasyCache", "threshold": 11.0}, "threshold"),
            ({"method": "DBCache", "first_blocks": 3}, "first_blocks"),
            (
                {"method": "DBCache", "first_blocks": 2, "last_blocks": 3},
                "first_blocks, last_blocks",
            ),
            ({"method": "Delta Cache", "blocks": "9"}, "blocks"),
            ({"method": "TaylorSeer", "order": 4}, "order"),
            ({"method": "TeaCache", "granularity": "whole step"}, "granularity"),
            ({"predictor": "alignment"}, "predictor"),
            ({"cache_device": "disk"}, "cache_device"),
            ({"speedup": 5.0}, "speedup"),
        ],
    )
    def test_bad_values_are_named(self, more: dict[str, Any], field: str, flux: Any) -> None:
        with pytest.raises(ValueError, match=f"^{field}: "):
            self.make(flux, **more)

    def test_bad_combinations_are_refused_before_anything_runs(self, comfy: Path) -> None:
        from scaling_cache.nodes.step_cache_advanced import ScalingStepCacheAdvanced as Node

        assert Node.validate_inputs("TeaCache", "auto", "Taylor 1") is True
        assert Node.validate_inputs("TeaCache", "auto", None) is True
        why = Node.validate_inputs("TeaCache", "auto", "alignment")
        assert "which this method does not run before it decides" in why

    @pytest.mark.parametrize("field", ADVANCED)
    def test_a_method_uses_what_the_node_says_it_uses(
        self, nets: Any, flux: Any, field: str
    ) -> None:
        """The frontend greys out the rest: a change of it must change nothing."""
        from scaling_cache.cache_core.methods.combinations import (
            METHOD_NAMES,
            Granularity,
            granularities,
        )
        from scaling_cache.nodes.recipes import RECIPES, Inputs, make_inside, make_on_steps

        unet = nets.build("sd15")
        plain = Inputs(2.0, 0.5, 3, 1, 2, 1, "0-1", "0", 3, 4, 1.4, 4, 0.0, 1.0)
        other = replace(plain, **{field: ADVANCED[field]})
        assert set(RECIPES) == set(METHOD_NAMES)
        for method in METHOD_NAMES:
            model = unet if method == "DeepCache" else flux
            for level in granularities(method):
                if level is Granularity.STEP:
                    made = [make_on_steps(method, inputs) for inputs in (plain, other)]
                else:
                    made = [make_inside(method, inputs, model) for inputs in (plain, other)]
                assert (made[0] != made[1]) == (field in RECIPES[method].uses), (method, level)

    def test_a_model_without_hooks_says_why(self, said: list[str]) -> None:
        class Model:
            class model:
                diffusion_model = torch.nn.Identity()

        model = Model()
        assert self.make(model, method="DBCache") is model
        assert "no usable hooks" in said[-1]

    def test_the_cfg_cache_node(self, nets: Any, flux: Any, said: list[str]) -> None:
        from scaling_cache.nodes.cfg_cache import ScalingCfgCache as Node

        model = Node.execute(flux, 3, 0.0, 1.0).result[0]
        cached = self.make(model, method="TaylorSeer", granularity="blocks")
        nets.sample(cached, "flux")
        assert any("both conditionings computed" in text for text in said)
        assert any(text.startswith("TaylorSeer: computed 4 of 10") for text in said)
        off = Node.execute(flux, 1, 0.0, 1.0).result[0]
        assert torch.equal(nets.sample(off, "flux"), nets.sample(flux, "flux"))
        with pytest.raises(ValueError, match=r"^interval: "):
            Node.execute(flux, 0, 0.0, 1.0)


class TestProfile:
    def make(self, model: Any, **more: Any) -> Any:
        from scaling_cache.nodes.profile_blocks import ScalingProfileBlocks as Node

        def conditioning(seed: int) -> Any:
            generator = torch.Generator().manual_seed(seed)
            text = torch.randn(1, 5, 24, generator=generator)
            return [[text, {"pooled_output": torch.ones(1, 16)}]]

        inputs: dict[str, Any] = {
            "positive": conditioning(2),
            "negative": conditioning(3),
            "latent_image": {"samples": torch.zeros(1, 16, 8, 8)},
            "seed": 1,
            "steps": 10,
            "cfg": 3.0,
            "sampler_name": "euler",
            "scheduler": "simple",
            "skip": 0.6,
            **more,
        }
        with torch.inference_mode():
            return Node.execute(model, **inputs).result

    def test_it_measures_each_block_and_ranks_them(
        self, nets: Any, flux: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from scaling_cache.cache_core.methods.base import parse_ranges
        from scaling_cache.nodes.host import profile

        measured: list[Any] = []
        draw = profile.heat_map
        monkeypatch.setattr(
            "scaling_cache.nodes.profile_blocks.heat_map",
            lambda found, chosen: measured.append(found) or draw(found, chosen),
        )
        with Watch(flux.model.diffusion_model, "flux") as watch:
            picture, blocks, single, _ = self.make(flux)
        changes = measured[0].changes
        assert changes.shape == (5, 10)
        assert bool((changes[:, 1:] > 0).all())
        assert not bool((changes[:, 0] > 0).any())
        # Block 0 once more, from hooks that know nothing of the pack.
        deltas = [call.after_first - call.into for call in watch.calls]
        for step in range(1, 10):
            halves = zip(deltas[step].chunk(2), deltas[step - 1].chunk(2), strict=True)
            parts = [float((a - b).abs().mean() / b.abs().mean()) for a, b in halves]
            assert changes[0, step] == pytest.approx(sum(parts) / 2, rel=1e-4)
        chosen = [*parse_ranges("blocks", blocks), *(2 + i for i in parse_ranges("s", single))]
        means = changes[:, 1:].mean(1)
        assert sorted(chosen) == sorted(means.argsort()[:3].tolist())
        assert picture.shape[0] == 1
        assert picture.shape[-1] == 3
        assert 0 <= float(picture.min()) < float(picture.max()) <= 1

    def test_delta_cache_takes_the_lists(self, nets: Any, flux: Any, said: list[str]) -> None:
        from scaling_cache.nodes.block_caches import ScalingDeltaCache

        _, blocks, single, _ = self.make(flux, skip=0.4)
        model = ScalingDeltaCache.execute(flux, "custom", blocks, single, 2, 3, 0.0, 1.0).result[0]
        with Watch(flux.model.diffusion_model, "flux") as watch:
            nets.sample(model, "flux")
        assert {len(call.ran) for call in watch.calls} == {3, 5}

    def test_it_changes_nothing_and_refuses_what_it_cannot_profile(
        self, nets: Any, flux: Any, said: list[str]
    ) -> None:
        plain = nets.sample(flux, "flux")
        assert self.make(install(flux, mag()))[1:] == self.make(flux)[1:]
        assert torch.equal(nets.sample(flux, "flux"), plain)
        with pytest.raises(ValueError, match=r"^steps: "):
            self.make(flux, steps=5)
        with pytest.raises(
            ValueError, match=r"^rank_by: must be one of stability, background, both"
        ):
            self.make(flux, rank_by="foreground")
        with pytest.raises(ValueError, match=r"^skip: "):
            self.make(flux, skip=1.5)

    @pytest.mark.parametrize("rank_by", ["stability", "background", "both"])
    def test_the_criterion_chooses_the_blocks(
        self, rank_by: str, nets: Any, flux: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from scaling_cache.cache_core.methods.base import parse_ranges
        from scaling_cache.nodes.host import profile

        measured: list[Any] = []
        draw = profile.heat_map
        monkeypatch.setattr(
            "scaling_cache.nodes.profile_blocks.heat_map",
            lambda found, chosen: measured.append(found) or draw(found, chosen),
        )
        _, blocks, single, text = self.make(flux, rank_by=rank_by, skip=0.4)
        changes, preferences = measured[0].changes[:, 1:].mean(1), measured[0].preferences
        assert preferences.shape == (5,)
        assert len(set(preferences)) > 1
        places = {
            "stability": changes.argsort().argsort() * 1.0,
            "background": np.array([(preferences < p).sum() * 1.0 for p in preferences]),
        }
        same = np.array([(preferences == p).sum() for p in preferences])
        places["both"] = places["stability"] + places["background"] + (same - 1) / 2
        wanted = sorted(range(5), key=lambda b: (places[rank_by][b], changes[b]))[:2]
        chosen = [*parse_ranges("blocks", blocks), *(2 + i for i in parse_ranges("s", single))]
        assert chosen == sorted(wanted)
        first, *lines = text.splitlines()
        assert first == f"Blocks to skip (*), by {rank_by}:"
        for number, line in enumerate(lines):
            name = f"double_block {number}" if number < 2 else f"single_block {number - 2}"
            numbers = f"change {changes[number]:.3f}, foreground {preferences[number]:.3f}"
            assert line == f"{name}: {numbers}{' *' if number in chosen else ''}"
        assert len(lines) == 5

    def test_the_node_shows_picture_and_numbers(self, nets: Any, flux: Any) -> None:
        from scaling_cache.nodes import profile_blocks

        shown: list[Any] = []
        output = profile_blocks.io.NodeOutput
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                profile_blocks.io,
                "NodeOutput",
                lambda *args, ui: shown.append(ui) or output(*args, ui=ui),
            )
            text = self.make(flux)[3]
        assert shown[0]["text"] == (text,)
        assert len(shown[0]["images"]) == 1

    def test_without_preferences_blocks_are_ranked_by_stability(self, nets: Any) -> None:
        """The host gives the attention of PixArt no options."""
        model, more = nets.build("pixart"), {"latent_image": {"samples": torch.zeros(1, 4, 48, 48)}}
        _, *lists, text = self.make(model, rank_by="background", **more)
        assert lists == list(self.make(model, rank_by="stability", **more)[1:3])
        first, second, *lines = text.splitlines()
        assert first.startswith("No foreground preference: the attention could not be followed")
        assert second == "Blocks to skip (*), by stability:"
        assert len(lines) == 3
        assert not any("foreground" in line for line in lines)

    def test_equal_prompts_have_no_foreground(self, nets: Any, flux: Any) -> None:
        same = [[torch.ones(1, 5, 24), {"pooled_output": torch.ones(1, 16)}]]
        text = self.make(flux, positive=same, negative=same, rank_by="both")[3]
        assert "so there is no foreground" in text
        assert "by stability:" in text

    def test_the_heat_map_has_a_column_for_the_foreground(self, comfy: Path) -> None:
        from scaling_cache.cache_core.decide.layout import Layout
        from scaling_cache.nodes.host.profile import Profile, heat_map

        layout = Layout((("double_block", 2), ("single_block", 1)))
        changes = np.full((3, 30), 0.5)
        changes[:, 0] = np.nan
        plain = heat_map(Profile(changes, layout), {})[0].numpy()
        both = heat_map(Profile(changes, layout, np.array([0.75, 0.25, 0.5])), {})[0].numpy()
        side, left, top, gap = 14, 64, 40, 10
        column = left + 30 * side + gap
        assert both.shape == (plain.shape[0], plain.shape[1] + side + gap, 3)
        np.testing.assert_array_equal(both[top:, : column - gap], plain[top:, : column - gap])
        rows = [top, top + side, top + 2 * side + gap]
        for row, colour in zip(rows, ([252, 240, 165], [13, 8, 60], [190, 55, 84]), strict=True):
            cell = both[row : row + side, column : column + side]
            np.testing.assert_allclose(cell, np.broadcast_to(colour, cell.shape) / 255, atol=1e-6)
        # White around it.
        for around in (both[rows[1] + side : rows[2]], both[top:, column + side :]):
            assert (around == 1).all()
