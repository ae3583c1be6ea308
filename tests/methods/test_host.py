"""The nodes and the ways in which a cache has to step aside, in the real host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import comfy.model_management as mm
import comfy.sample
import numpy as np
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_easycache import EasyCacheNode
from scaling_cache.cache_core.blocks import NetworkCall
from scaling_cache.cache_core.decide.layout import Layout, Span
from scaling_cache.cache_core.decide.policies import Listed, RunPlan
from scaling_cache.cache_core.methods import (
    METHODS,
    FirstBlockCache,
    Inputs,
    Level,
    MagCache,
    Method,
    ScalingCache,
)
from scaling_cache.cache_core.methods.base import BlockMethod, parse_ranges
from scaling_cache.cache_core.methods.combinations import predictors
from scaling_cache.nodes import NODES, profile_blocks
from scaling_cache.nodes.block_caches import (
    ScalingDeltaCache,
    ScalingFirstBlockCache,
    ScalingMagCache,
    ScalingTeaCache,
)
from scaling_cache.nodes.cfg_cache import ScalingCfgCache
from scaling_cache.nodes.host import profile
from scaling_cache.nodes.host.cache import Cache, caches_of, remove
from scaling_cache.nodes.host.presets import facts_of
from scaling_cache.nodes.host.profile import Profile, heat_map
from scaling_cache.nodes.profile_blocks import ScalingProfileBlocks
from scaling_cache.nodes.step_cache_advanced import ScalingStepCacheAdvanced

from testbed import networks
from testbed.install import cached
from testbed.watch import Watch

Build = Callable[[str], Any]


@pytest.fixture
def flux(built: Build) -> Any:
    return built("flux")


def mag(**more: Any) -> MagCache:
    return MagCache(((1.0, *[0.97] * 9),), 0.1, 3, 0.2, **more)


MAG_STEPS = [0, 1, 4, 7]


def steps(model: Any, name: str = "flux", **more: Any) -> list[int]:
    with Watch(model.model.diffusion_model, name) as watch:
        networks.sample(model, name, **more)
    return [i for i, call in enumerate(watch.calls) if call.out is not None]


def test_the_summary_counts_steps(flux: Any, said: list[str]) -> None:
    assert steps(cached(flux, mag())) == MAG_STEPS
    assert said[-1].startswith("MagCache: computed 4 of 10 evaluations")


@pytest.mark.parametrize("more", [{"cfg": 1.0}, {"batch": 2}, {"batch": 3, "cfg": 1.0}])
def test_batches_and_single_branches(flux: Any, more: dict[str, Any]) -> None:
    assert steps(cached(flux, mag()), **more) == MAG_STEPS


def test_each_image_of_a_batch_keeps_its_own_change(flux: Any) -> None:
    """The first image of a batch is the one that would come alone."""

    def sample(count: int) -> torch.Tensor:
        noise = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(1))
        other = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(9))
        cond = [[torch.ones(1, 5, 24), {"pooled_output": torch.ones(1, 16)}]]
        full = torch.cat([noise, other])[:count]
        with torch.inference_mode():
            return comfy.sample.sample(
                cached(flux, mag()),
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


def test_split_batches_keep_their_branches(flux: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little memory: the host runs one branch per call. The picture stays the same."""
    model = cached(flux, mag())
    together = networks.sample(model, "flux")

    def none(device: Any = None, torch_free_too: bool = False) -> Any:
        return (0, 0) if torch_free_too else 0

    monkeypatch.setattr(mm, "get_free_memory", none)
    with Watch(flux.model.diffusion_model, "flux") as watch:
        apart = networks.sample(model, "flux")
    assert len(watch.calls) == 20
    torch.testing.assert_close(apart, together, rtol=1e-3, atol=1e-3)


def test_a_second_evaluation_follows_the_first(flux: Any) -> None:
    model = cached(flux, mag())
    with Watch(flux.model.diffusion_model, "flux") as watch:
        networks.sample(model, "flux", sampler="heun")
    ran = [call.out is not None for call in watch.calls]
    expected = [step in MAG_STEPS for step in range(10) for _ in range(1 if step == 9 else 2)]
    assert ran == expected


def test_two_runs_are_equal_and_leave_nothing(flux: Any) -> None:
    model = cached(flux, mag())
    assert torch.equal(networks.sample(model, "flux"), networks.sample(model, "flux"))
    assert [type(cache) for cache in caches_of(model)] == [Cache]


def test_an_earlier_replacement_still_runs(flux: Any) -> None:
    seen: list[int] = []

    def earlier(args: dict[str, Any], extra: dict[str, Any]) -> Any:
        seen.append(1)
        return extra["original_block"](args)

    patched = flux.clone()
    patched.set_model_patch_replace(earlier, "dit", "double_block", 1)
    assert steps(cached(patched, mag())) == MAG_STEPS
    assert len(seen) == len(MAG_STEPS)
    kept = remove(cached(patched, mag())).model_options["transformer_options"]
    assert list(kept["patches_replace"]["dit"]) == [("double_block", 1)]


def test_a_later_replacement_turns_skipping_off(flux: Any, said: list[str]) -> None:
    model = cached(flux, mag())
    model.set_model_patch_replace(lambda a, e: e["original_block"](a), "dit", "single_block", 2)
    assert steps(model) == list(range(10))
    assert "Another node replaces blocks" in said[-1]


def test_controlnet_is_computed(flux: Any, said: list[str]) -> None:
    def control(executor: Any, x: Any, t: Any, cc: Any, ca: Any, _: Any, *a: Any, **k: Any) -> Any:
        return executor(x, t, cc, ca, {"input": [], "output": []}, *a, **k)

    controlled = flux.clone()
    controlled.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "control", control)
    assert steps(cached(controlled, mag())) == list(range(10))
    assert said[-1].count("ControlNet") == 1


def test_one_block_cache_per_model(flux: Any, said: list[str]) -> None:
    first = cached(flux, FirstBlockCache(0.9), node_id="1")
    assert steps(cached(first, mag(), node_id="2")) == MAG_STEPS
    assert "First Block Cache on the same model is off" in said[-1]


@pytest.mark.parametrize("last", ["blocks", "steps"])
def test_the_last_cache_on_a_model_counts(last: str, flux: Any, said: list[str]) -> None:
    whole = ScalingCache()
    if last == "blocks":
        assert steps(cached(cached(flux, whole, node_id="1"), mag(), node_id="2")) == MAG_STEPS
        counts, off = "MagCache: computed 4 of 10", "Scaling Cache"
    else:
        networks.sample(cached(cached(flux, mag(), node_id="1"), whole, node_id="2"), "flux")
        counts, off = "Scaling Cache: computed 8 of 10", "MagCache"
    assert len(said) == 1
    assert said[0].startswith(counts)
    assert f"{off} on the same model is off: the last cache on a model counts" in said[0]


def test_caches_of_scripts_say_so_too(flux: Any, said: list[str]) -> None:
    assert steps(cached(cached(flux, FirstBlockCache(0.9)), mag())) == MAG_STEPS
    assert "First Block Cache on the same model is off" in said[-1]


def test_it_steps_aside_for_the_hosts_own_cache(flux: Any, said: list[str]) -> None:
    easy = EasyCacheNode.execute(cached(flux, mag()), 0.2, 0.15, 0.95, False).result[0]
    networks.sample(easy, "flux")
    assert any("EasyCache" in text for text in said)


def test_a_compiled_model_is_not_cached(flux: Any, said: list[str]) -> None:
    compiled = flux.clone()
    compiled.add_wrapper_with_key(
        WrappersMP.APPLY_MODEL, "torch.compile", lambda executor, *a, **k: executor(*a, **k)
    )
    assert steps(cached(compiled, mag())) == list(range(10))
    assert "compiled" in said[-1]


@pytest.mark.parametrize("count", [1, 4, 7])
def test_short_runs_are_computed(flux: Any, said: list[str], count: int) -> None:
    assert steps(cached(flux, mag()), steps=count) == list(range(count))
    assert said[-1].startswith("Not cached.")


def test_the_window_limits_skipping(flux: Any) -> None:
    found = steps(cached(flux, mag(start_percent=0.6)))
    assert set(range(5)) <= set(found) < set(range(10))


def test_a_fault_costs_speed_and_not_the_picture(flux: Any, said: list[str]) -> None:
    @dataclass(frozen=True)
    class Faulty(FirstBlockCache):
        def policy(self, *args: Any) -> Any:
            raise RuntimeError("no memory left")

    assert torch.equal(
        networks.sample(cached(flux, Faulty(0.5)), "flux"), networks.sample(flux, "flux")
    )
    assert "no memory left" in said[-1]


@pytest.mark.parametrize("name", ["flux", "hidream"])
@pytest.mark.parametrize("part", ["add", "decide", "keep"])
def test_a_fault_between_two_blocks_runs_the_network_again(
    name: str, part: str, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With hooks and with stand-ins: what was skipped before the fault is computed after all."""
    model = networks.build(name)

    def broken(*_: Any) -> Any:
        raise torch.OutOfMemoryError("no memory left")

    monkeypatch.setattr(NetworkCall, part, broken)
    assert torch.equal(networks.sample(cached(model, mag()), name), networks.sample(model, name))
    assert "no memory left" in said[-1]


def test_a_method_from_outside_the_package_runs(flux: Any, said: list[str]) -> None:
    @dataclass(frozen=True)
    class EverySecond(BlockMethod):
        name: ClassVar[str] = "Every second"

        def spans(self, layout: Layout) -> tuple[Span, ...]:
            return (Span(0, layout.total - 1),)

        def policy(self, plan: RunPlan, span: Span, layout: Layout, branch: int) -> Listed:
            return Listed(range(0, plan.steps, 2))

    assert steps(cached(flux, EverySecond())) == [0, 2, 4, 6, 8]
    assert said[-1].startswith("Every second: computed 5 of 10")


class TestNodes:
    def test_every_schema_is_valid(self) -> None:
        ids = [node.GET_SCHEMA().node_id for node in NODES]
        assert len(ids) == len(set(ids)) == 13

    def test_teacache(self, flux: Any, said: list[str]) -> None:
        model = ScalingTeaCache.execute(flux, "auto", 0.4, 0.0, 1.0).result[0]
        networks.sample(model, "flux")
        assert said[-1].startswith("TeaCache: computed")
        assert "Polynomial: flux" in said[-1]
        assert ScalingTeaCache.execute(flux, "mochi", 0.4, 0.0, 1.0).result[0] is flux
        assert said[-1] == "Not cached. mochi is for Mochi models, this one is Flux"
        with pytest.raises(ValueError, match="model_type: must be one of auto, "):
            ScalingTeaCache.execute(flux, "nothing", 0.4, 0.0, 1.0)
        with pytest.raises(ValueError, match="rel_l1_thresh"):
            ScalingTeaCache.execute(flux, "auto", 11.0, 0.0, 1.0)
        with pytest.raises(ValueError, match="start_percent"):
            ScalingTeaCache.execute(flux, "auto", 0.4, 0.8, 0.2)
        with pytest.raises(ValueError, match="cache_device"):
            ScalingTeaCache.execute(flux, "auto", 0.4, 0.0, 1.0, "disk")

    def test_a_family_without_a_polynomial(self, said: list[str]) -> None:
        sd3 = networks.build("sd3")
        assert ScalingTeaCache.execute(sd3, "auto", 0.4, 0.0, 1.0).result[0] is sd3
        assert said[-1].startswith("Not cached. No published settings fit this SD3 model")

    def test_magcache(self, flux: Any, said: list[str]) -> None:
        published = ScalingMagCache.execute(flux, "auto", True, 0.0, 0, 0.0, 0.0, 1.0).result[0]
        found = steps(published, steps=28)
        assert found == [0, 1, 2, 5, 9, 11, 17, 23, 26]
        off = ScalingMagCache.execute(flux, "auto", False, 0.0, 0, 0.0, 0.0, 1.0).result[0]
        assert steps(off) == list(range(10))

    def test_first_block_cache_on_the_cpu(self, flux: Any, said: list[str]) -> None:
        here = networks.sample(
            ScalingFirstBlockCache.execute(flux, 0.9, 0.0, 1.0).result[0], "flux"
        )
        assert torch.equal(
            here,
            networks.sample(
                ScalingFirstBlockCache.execute(flux, 0.9, 0.0, 1.0, "cpu").result[0], "flux"
            ),
        )

    def test_delta_cache(self, flux: Any, said: list[str]) -> None:
        def run(settings: str, blocks: str, single: str) -> Any:
            return ScalingDeltaCache.execute(flux, settings, blocks, single, 6, 2, 0.0, 1.0).result[
                0
            ]

        assert steps(run("custom", "0-1", "0-2")) == [0, 1, 2, 3, 4, 5, 6, 8]
        assert run("hunyuan_video", "", "") is flux
        assert said[-1] == "Not cached. hunyuan_video does not fit the blocks of this model"
        assert run("custom", " ", "") is flux
        assert said[-1].startswith("Not cached. No block is named: Profile Blocks")
        for blocks, single, field in (
            ("9", "", "blocks"),
            ("1,0", "", "blocks"),
            ("0", "1-9", "single_blocks"),
            ("0", "x", "single_blocks"),
        ):
            with pytest.raises(ValueError, match=f"^{field}: "):
                run("custom", blocks, single)

    def test_a_model_without_block_hooks(self, said: list[str]) -> None:
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


# What Step Cache (Advanced) offers.
OFFERED = [kind for kind in METHODS if kind.level is not Level.NEGATIVE]


def in_words(kind: type[Method]) -> str:
    return f"{kind.name}, {kind.level.value}"


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
        return ScalingStepCacheAdvanced.execute(model, **inputs).result[0]

    @pytest.mark.parametrize("kind", OFFERED, ids=in_words)
    def test_every_offered_combination_runs(
        self, kind: type[Method], built: Build, said: list[str]
    ) -> None:
        name = "sd15" if kind.unet else "flux"
        for predictor in ("auto", *predictors(kind.name, kind.level)):
            model = self.make(
                built(name),
                method=kind.name,
                granularity=kind.level.value,
                predictor=predictor,
                threshold=0.9,
                blocks="0",
            )
            said.clear()
            assert torch.isfinite(networks.sample(model, name)).all()
            assert said[-1].startswith(f"{kind.name}: computed"), (predictor, said)

    def test_there_are_many_combinations(self) -> None:
        offered = [predictors(kind.name, kind.level) for kind in OFFERED]
        assert all(offered)
        assert sum(1 + len(names) for names in offered) > 50

    def test_the_schedule_is_the_methods_own(self, flux: Any) -> None:
        seer = {"method": "TaylorSeer", "interval": 3, "warmup": 2}
        assert steps(self.make(flux, **seer, granularity="blocks")) == [0, 1, 4, 7]
        with Watch(flux.model.diffusion_model, "flux") as watch:
            networks.sample(self.make(flux, **seer), "flux")
        assert len(watch.calls) == 4

    def test_one_method_takes_the_place_of_the_other(self, flux: Any) -> None:
        block = self.make(flux, method="TaylorSeer", granularity="blocks")
        step = self.make(block, method="TaylorSeer", granularity="whole step")
        with Watch(flux.model.diffusion_model, "flux") as watch:
            networks.sample(step, "flux")
        assert len(watch.calls) == 4
        assert all(call.out is not None for call in watch.calls)

    def test_off_is_the_model_without_a_cache(self, flux: Any) -> None:
        off = self.make(flux, speedup=1.0)
        assert torch.equal(networks.sample(off, "flux"), networks.sample(flux, "flux"))

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
            ({"speedup": 7.0}, "speedup"),
        ],
    )
    def test_bad_values_are_named(self, more: dict[str, Any], field: str, flux: Any) -> None:
        with pytest.raises(ValueError, match=f"^{field}: "):
            self.make(flux, **more)

    def test_bad_combinations_are_refused_before_anything_runs(self) -> None:
        assert ScalingStepCacheAdvanced.validate_inputs("TeaCache", "auto", "Taylor 1") is True
        assert ScalingStepCacheAdvanced.validate_inputs("TeaCache", "auto", None) is True
        with pytest.raises(ValueError, match="which this method does not run before it decides"):
            ScalingStepCacheAdvanced.validate_inputs("TeaCache", "auto", "alignment")

    @pytest.mark.parametrize("field", ADVANCED)
    @pytest.mark.parametrize("kind", OFFERED, ids=in_words)
    def test_a_method_uses_what_the_node_says_it_uses(
        self, kind: type[Method], field: str, built: Build
    ) -> None:
        """The frontend hides the rest: a change of it must change nothing."""
        model = facts_of(built("sd15" if kind.unet else "flux"))
        plain = Inputs(
            threshold=0.5,
            interval=3,
            first_blocks=2,
            last_blocks=1,
            blocks="0-1",
            single_blocks="0",
            max_gap=4,
            power=1.4,
            center=4,
        )
        other = replace(plain, **{field: ADVANCED[field]})
        assert plain != other
        made = [kind.from_inputs(inputs, model) for inputs in (plain, other)]
        assert not any(isinstance(method, str) for method in made)
        assert (made[0] != made[1]) == (field in kind.uses)

    @pytest.mark.parametrize("kind", OFFERED, ids=in_words)
    def test_every_method_takes_the_window(self, kind: type[Method], built: Build) -> None:
        model = facts_of(built("sd15" if kind.unet else "flux"))
        inputs = Inputs(blocks="0", start_percent=0.2, end_percent=0.7)
        made = kind.from_inputs(inputs, model)
        assert isinstance(made, Method)
        assert (made.start_percent, made.end_percent) == (0.2, 0.7)

    def test_a_model_without_hooks_says_why(self, said: list[str]) -> None:
        class Model:
            class model:
                diffusion_model = torch.nn.Identity()

        model = Model()
        assert self.make(model, method="DBCache") is model
        assert "no usable hooks" in said[-1]

    def test_the_cfg_cache_node(self, flux: Any, said: list[str]) -> None:
        model = ScalingCfgCache.execute(flux, 3, 0.0, 1.0).result[0]
        model = self.make(model, method="TaylorSeer", granularity="blocks")
        networks.sample(model, "flux")
        assert any("both conditionings computed" in text for text in said)
        # Three more for the negative conditioning, where it missed a computed step.
        assert any(text.startswith("TaylorSeer: computed 7 of 10") for text in said)
        off = ScalingCfgCache.execute(flux, 1, 0.0, 1.0).result[0]
        assert torch.equal(networks.sample(off, "flux"), networks.sample(flux, "flux"))
        with pytest.raises(ValueError, match=r"^interval: "):
            ScalingCfgCache.execute(flux, 0, 0.0, 1.0)


class TestProfile:
    def make(self, model: Any, **more: Any) -> Any:
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
            return ScalingProfileBlocks.execute(model, **inputs).result

    def test_it_measures_each_block_and_ranks_them(
        self, flux: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
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

    def test_delta_cache_takes_the_lists(self, flux: Any, said: list[str]) -> None:
        _, blocks, single, _ = self.make(flux, skip=0.4)
        model = ScalingDeltaCache.execute(flux, "custom", blocks, single, 2, 3, 0.0, 1.0).result[0]
        with Watch(flux.model.diffusion_model, "flux") as watch:
            networks.sample(model, "flux")
        assert {len(call.ran) for call in watch.calls} == {3, 5}

    def test_it_changes_nothing_and_refuses_what_it_cannot_profile(
        self, flux: Any, said: list[str]
    ) -> None:
        plain = networks.sample(flux, "flux")
        assert self.make(cached(flux, mag()))[1:] == self.make(flux)[1:]
        assert torch.equal(networks.sample(flux, "flux"), plain)
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
        self, rank_by: str, flux: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
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
            assert line == f"{name}{'*' if number in chosen else ''}: {numbers}"
        assert len(lines) == 5

    def test_the_node_shows_picture_and_numbers(self, flux: Any) -> None:
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

    def test_without_preferences_blocks_are_ranked_by_stability(self) -> None:
        """The host gives the attention of PixArt no options."""
        model, more = (
            networks.build("pixart"),
            {"latent_image": {"samples": torch.zeros(1, 4, 48, 48)}},
        )
        _, *lists, text = self.make(model, rank_by="background", **more)
        assert lists == list(self.make(model, rank_by="stability", **more)[1:3])
        first, second, *lines = text.splitlines()
        assert first.startswith("No foreground preference: the attention could not be followed")
        assert second == "Blocks to skip (*), by stability:"
        assert len(lines) == 3
        assert not any("foreground" in line for line in lines)

    def test_equal_prompts_have_no_foreground(self, flux: Any) -> None:
        same = [[torch.ones(1, 5, 24), {"pooled_output": torch.ones(1, 16)}]]
        text = self.make(flux, positive=same, negative=same, rank_by="both")[3]
        assert "so there is no foreground" in text
        assert "by stability:" in text

    def test_the_heat_map_has_a_column_for_the_foreground(self) -> None:
        layout = Layout((("double_block", 2), ("single_block", 1)))
        changes = np.full((3, 30), 0.5)
        changes[:, 0] = np.nan
        plain = heat_map(Profile(changes, layout), {})[0].numpy()
        both = heat_map(Profile(changes, layout, np.array([0.75, 0.25, 0.5])), {})[0].numpy()
        side, left, gap = 28, 128, 20
        # A line more says what the column is.
        top = 3 * side + gap
        column = left + 30 * side + gap
        assert both.shape == (plain.shape[0] + side, plain.shape[1] + side + gap, 3)
        np.testing.assert_array_equal(
            both[top:, : column - gap], plain[top - side :, : column - gap]
        )
        rows = [top, top + side, top + 2 * side + gap]
        for row, colour in zip(rows, ([252, 240, 165], [13, 8, 60], [190, 55, 84]), strict=True):
            cell = both[row : row + side, column : column + side]
            np.testing.assert_allclose(cell, np.broadcast_to(colour, cell.shape) / 255, atol=1e-6)
        # White around it.
        for around in (both[rows[1] + side : rows[2]], both[top:, column + side :]):
            assert (around == 1).all()
