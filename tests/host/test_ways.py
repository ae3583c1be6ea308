"""Ways people sample: guiders, masks, areas, timed conditionings, windows, guidance nodes, faults."""

from __future__ import annotations

import gc
import inspect
import weakref
from functools import partial
from typing import Any

import comfy.cldm.cldm
import comfy.context_windows as windows
import comfy.controlnet
import comfy.model_base
import comfy.model_management as mm
import comfy.sample
import comfy.sampler_helpers
import comfy.samplers
import comfy_extras.nodes_custom_sampler as custom
import node_helpers
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from scaling_cache.cache_core.methods import CfgCache, FirstBlockCache, Method, ScalingCache
from scaling_cache.cache_core.methods.base import Few
from scaling_cache.cache_core.outputs import OutputCache
from scaling_cache.cache_core.predict.predictors import History
from scaling_cache.nodes.host.cache import Cache, caches_of
from scaling_cache.nodes.host.session import KEY

from testbed import networks
from testbed.install import cached as put
from testbed.methods import entries
from testbed.observe import watching

from .conftest import conditioning, counting

SIGMAS = torch.linspace(1, 0, 17)


def noise(size: int = 8, frames: int = 1) -> Any:
    return torch.randn(1, 16, frames, size, size, generator=torch.Generator().manual_seed(0))


def advanced(guider: Any, value: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """SamplerCustomAdvanced without its node: the guider samples."""
    with torch.inference_mode():
        return guider.sample(
            value,
            torch.zeros_like(value),
            comfy.samplers.sampler_object("euler"),
            SIGMAS,
            denoise_mask=mask,
            disable_pbar=True,
            seed=0,
        )


def guiders(model: Any) -> dict[str, Any]:

    cfg = comfy.samplers.CFGGuider(model)
    cfg.set_conds(conditioning(1), conditioning(2))
    cfg.set_cfg(3.0)
    basic = custom.Guider_Basic(model)
    basic.set_conds(conditioning(1))
    dual = custom.Guider_DualCFG(model)
    dual.set_conds(conditioning(1), conditioning(2), conditioning(3))
    dual.set_cfg(3.0, 2.0)
    return {"cfg": cfg, "basic": basic, "dual": dual}


@pytest.mark.parametrize("name", ["cfg", "basic", "dual"])
def test_guiders(name: str, tiny: Any, cached: Any):
    plain_model, everything = counting(tiny)
    plain = advanced(guiders(plain_model)[name], noise())
    model, reports = cached(speedup=2.0)
    model, computed = counting(model)
    guider = guiders(model)[name]
    options = guider.model_options
    result = advanced(guider, noise())
    assert guider.model_options is options
    assert len(everything.sigmas) == reports[0].evaluations == 16
    assert len(computed.sigmas) == reports[0].computed == 8
    assert (result - plain).norm() / plain.norm() < 0.2


def test_inpainting_keeps_what_is_masked_out(cached: Any):
    model, reports = cached(speedup=2.0)
    guider = guiders(model)["cfg"]
    mask = torch.zeros(1, 1, 1, 8, 8)
    mask[..., :4] = 1
    result = advanced(guider, noise(), mask)
    plain_part = result[..., 4:]
    assert reports[0].computed == 8
    # The latent there was zero, whatever the host's latent format makes of zero.
    torch.testing.assert_close(
        plain_part, plain_part.mean((-1, -2), keepdim=True).expand_as(plain_part)
    )
    assert result[..., :4].std() > 0.1


def test_image_to_image(cached: Any, sample: Any):
    model, reports = cached(speedup=2.0)
    latent = 0.1 * noise()
    result = sample(model, steps=16, denoise=0.6, latent=latent)
    assert torch.isfinite(result).all()
    assert (reports[0].computed, reports[0].evaluations) == (8, 16)


def test_two_sizes_and_batches_on_one_model(cached: Any, sample: Any):
    model, reports = cached(speedup=2.0)
    first = sample(model)
    for change in ({"batch": 3}, {"size": 12}, {"steps": 20}, {"cfg": 1.0}):
        assert torch.isfinite(sample(model, **change)).all()
    assert torch.equal(sample(model), first)
    assert all(not report.notes for report in reports)
    assert [r.computed for r in reports] == [6, 6, 6, 10, 6, 6]


def test_images_of_a_batch_do_not_influence_each_other(cached: Any, sample: Any):
    """Each sample of a batch is predicted with the alpha of its own."""
    model, _ = cached(speedup=2.0)
    both = sample(model, latent=torch.zeros(2, 16, 1, 8, 8))

    value = torch.randn(2, 16, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        alone = comfy.sample.sample(
            model,
            value[1:],
            12,
            4.0,
            "euler",
            "simple",
            conditioning(2),
            conditioning(3),
            torch.zeros(1, 16, 1, 8, 8),
            disable_pbar=True,
            seed=4,
        )
    torch.testing.assert_close(both[1:], alone, rtol=1e-3, atol=1e-3)


def test_a_timed_conditioning_is_computed_where_it_begins(tiny: Any, cached: Any, sample: Any):
    late = node_helpers.conditioning_set_values(
        conditioning(9), {"start_percent": 0.0, "end_percent": 0.4}
    ) + node_helpers.conditioning_set_values(
        conditioning(2), {"start_percent": 0.4, "end_percent": 1.0}
    )
    plain_model, everything = counting(tiny)
    sample(plain_model, steps=20, positive=late)
    model, reports = cached(speedup=2.0)
    model, computed = counting(model)
    result = sample(model, steps=20, positive=late)
    (report,) = reports
    assert torch.isfinite(result).all()
    # The range is known before the run, and steps are planned around it.
    switch = tiny.get_model_object("model_sampling").percent_to_sigma(0.4)
    first_new = next(s for s in everything.sigmas if s < switch)
    assert first_new in computed.sigmas
    assert len(computed.sigmas) == report.computed
    assert report.computed == 12
    assert any("asked something else at step" in note for note in report.notes)


def test_area_conditionings(cached: Any, sample: Any):
    both = conditioning(1, area=(1, 8, 4, 0, 0, 0), strength=1.0) + conditioning(2)
    model, reports = cached(speedup=2.0)
    model, computed = counting(model)
    assert torch.isfinite(sample(model, positive=both)).all()
    assert reports[0].computed == len(computed.sigmas) == 6


def test_without_guidance_the_unconditional_part_stays_zero(cached: Any, sample: Any):
    model, _ = cached(speedup=2.0)
    outputs = []

    def watch(executor: Any, x: Any, timestep: Any, options: Any, seed: Any) -> Any:
        def keep(args: Any) -> Any:
            outputs.append(args["uncond_denoised"])
            return args["denoised"]

        options = {**options, "sampler_post_cfg_function": [keep]}
        return executor(x, timestep, options, seed)

    model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "watch", watch)
    sample(model, cfg=1.0)
    assert len(outputs) == 12
    assert all(out.abs().max() == 0 for out in outputs)


def test_context_windows_each_have_their_history(tiny: Any, cached: Any, sample: Any):
    def windowed(model: Any) -> Any:
        patched = model.clone()
        patched.model_options["context_handler"] = windows.IndexListContextHandler(
            context_schedule=windows.get_matching_context_schedule("standard_static"),
            fuse_method=windows.get_matching_fuse_method("pyramid"),
            context_length=4,
            context_overlap=1,
            dim=2,
        )
        windows.create_prepare_sampling_wrapper(patched)
        return patched

    latent = torch.zeros(1, 16, 10, 4, 4)
    plain_model, everything = counting(windowed(tiny))
    plain = sample(plain_model, latent=latent)
    model, reports = cached(windowed(tiny), speedup=2.0)
    model, computed = counting(model)
    result = sample(model, latent=latent)
    per_step = len(everything.sigmas) // 12
    assert per_step >= 3
    assert reports[0].computed == 6
    assert len(computed.sigmas) == 6 * per_step
    assert (result - plain).norm() / plain.norm() < 0.25


def test_a_guidance_node_that_evaluates_again(tiny: Any, cached: Any, sample: Any):
    """As the host's perturbed-attention and skip-layer nodes: another batch from a CFG function."""

    def guided(model: Any) -> Any:
        def extra(args: Any) -> Any:
            options = {**args["model_options"]}
            options.pop("sampler_post_cfg_function", None)
            (other,) = comfy.samplers.calc_cond_batch(
                args["model"], [args["cond"]], args["input"], args["sigma"], options
            )
            return args["denoised"] + 0.5 * (args["cond_denoised"] - 0.9 * other)

        patched = model.clone()
        patched.set_model_sampler_post_cfg_function(extra)
        return patched

    plain_model, everything = counting(guided(tiny))
    plain = sample(plain_model)
    model, reports = cached(guided(tiny), speedup=2.0)
    model, computed = counting(model)
    result = sample(model)
    assert (len(everything.sigmas), len(computed.sigmas)) == (24, 12)
    assert reports[0].computed == 6
    assert (result - plain).norm() / plain.norm() < 0.25


def test_a_controlnet_does_not_run_on_predicted_steps(cached: Any, sample: Any):
    class Counted(comfy.controlnet.ControlBase):
        calls = 0

        def get_control(self, *_: Any) -> None:
            self.calls += 1

        def copy(self) -> Counted:
            return self

        def get_models(self) -> list[Any]:
            return []

    control = Counted()
    positive = conditioning(1, control=control, control_apply_to_uncond=True)
    model, reports = cached(speedup=2.0)
    sample(model, positive=positive)
    assert reports[0].computed == 6
    assert control.calls == 6


@pytest.mark.parametrize("cache", ["Scaling Cache", "CFG Cache"])
def test_a_real_controlnet(cache: str):
    """The host's own network on a UNet: it runs with each computed conditioning and with no other."""

    unet = networks.build("sd15", spread=0.05)
    config = {**networks.spec_of("sd15").network, "hint_channels": 3}
    del config["out_channels"], config["transformer_depth_output"]
    network = comfy.cldm.cldm.ControlNet(**config, num_heads=8, dtype=torch.float32)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for value in network.parameters():
            value.copy_(torch.randn(value.shape, generator=generator) * 0.05)
    rows: list[int] = []
    network.register_forward_hook(lambda _, args, out: rows.append(len(out["middle"][0])))
    cpu = torch.device("cpu")
    control = comfy.controlnet.ControlNet(network, load_device=cpu)
    control.set_cond_hint(torch.rand(1, 3, 128, 128, generator=generator), 0.8)
    more = {"control": control, "control_apply_to_uncond": True}

    def run(model: Any, **more: Any) -> torch.Tensor:
        rows.clear()
        positive, negative = (networks.conditioning("sd15", seed) for seed in (2, 3))
        for ((_, told),) in (positive, negative):
            told.update(more)
        noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))
        how = (12, 4.0, "euler", "normal", positive, negative, torch.zeros_like(noise))
        with torch.inference_mode():
            return comfy.sample.sample(model, noise, *how, disable_pbar=True, seed=4)

    entry = next(e for e in entries() if e.name == cache)
    plain = run(unet, **more)
    assert sum(rows) == 24
    assert not torch.equal(plain, run(unet))
    assert torch.equal(run(entry.put(unet, 12, True, "none"), **more), plain)
    assert sum(rows) == 24
    with watching(entry.put(unet, 12, False, "none")) as (watched, seen):
        result = run(watched, **more)
    (report,) = seen.reports
    assert sum(rows) == (2 * report.computed if cache == "Scaling Cache" else 12 + report.computed)
    assert sum(rows) < 24
    assert 0 < (result - plain).norm() / plain.norm() < 0.3


# --- installed twice, taken off, next to others


def test_applied_twice_the_last_one_counts(cached: Any, sample: Any):
    model, _ = cached(speedup=3.0)
    model, reports = cached(model, speedup=2.0)
    sample(model)
    assert len(reports) == 1
    assert reports[0].computed == 6


def test_only_the_frozen_settings_outlive_a_run(cached: Any, sample: Any):
    model, _ = cached(speedup=2.0)
    sample(model)
    (kept,) = caches_of(model)
    assert model.model_options["transformer_options"][KEY] == (kept,)
    assert isinstance(kept, Cache)
    with pytest.raises(AttributeError):
        kept.method = None


# --- called by other packs


CALLED: dict[str, Any] = {
    WrappersMP.OUTER_SAMPLE: partial(comfy.samplers.CFGGuider.outer_sample, None),
    WrappersMP.PREPARE_SAMPLING: comfy.sampler_helpers._prepare_sampling,
    WrappersMP.PREDICT_NOISE: partial(comfy.samplers.CFGGuider.predict_noise, None),
    WrappersMP.CALC_COND_BATCH: comfy.samplers._calc_cond_batch,
    WrappersMP.APPLY_MODEL: partial(comfy.model_base.BaseModel._apply_model, None),
}


@pytest.mark.parametrize(
    "method",
    [ScalingCache(few=Few.STEPS), FirstBlockCache(0.5), CfgCache(3)],
    ids=lambda method: method.name,
)
@pytest.mark.parametrize("kind", CALLED)
def test_arguments_by_name(kind: str, method: Method, tiny: Any, sample: Any):
    signature, seen = inspect.signature(CALLED[kind]), []

    def call(executor: Any, *args: Any, **kwargs: Any) -> Any:
        given = dict(signature.bind(*args, **kwargs).arguments)
        given |= given.pop("kwargs", {})
        seen.append(given)
        return executor(**given)

    other = tiny.clone()
    other.add_wrapper_with_key(kind, "another pack", call)
    expected = sample(put(tiny, method))
    assert not torch.equal(expected, sample(tiny))
    assert torch.equal(sample(put(other, method, runs := [])), expected)
    assert seen
    assert not runs[0].report.notes


# --- faults


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref]:
    """Weak references to all tensors that histories get to hold."""
    refs: list[weakref.ref] = []
    learn = History.learn

    def learning(history: History, newest: Any, numbers: Any) -> float | None:
        refs.append(weakref.ref(newest.value))
        return learn(history, newest, numbers)

    monkeypatch.setattr(History, "learn", learning)
    return refs


def failing(model: Any, step: int, error: BaseException) -> Any:
    def fail(executor: Any, *args: Any, **kwargs: Any) -> Any:
        fail.seen += 1
        if fail.seen > step:
            raise error
        return executor(*args, **kwargs)

    fail.seen = 0
    patched = model.clone()
    patched.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "fail", fail)
    return patched


@pytest.mark.parametrize("step", range(12))
def test_an_exception_at_any_step_leaves_nothing(
    step: int, cached: Any, sample: Any, held: list[weakref.ref]
):
    model, _ = cached(speedup=2.0)
    fresh = sample(model)
    with pytest.raises(RuntimeError, match="injected"):
        sample(failing(model, step, RuntimeError("injected")))
    gc.collect()
    assert held
    assert not any(ref() is not None for ref in held)
    assert torch.equal(sample(model), fresh)


def test_cancelling_leaves_nothing(cached: Any, sample: Any, held: list[weakref.ref]):
    model, _ = cached(speedup=2.0)
    fresh = sample(model)
    with pytest.raises(mm.InterruptProcessingException):
        sample(failing(model, 5, mm.InterruptProcessingException()))
    gc.collect()
    assert not any(ref() is not None for ref in held)
    assert torch.equal(sample(model), fresh)


@pytest.mark.parametrize(
    "method", ["begin", "_decide", "skips", "complete", "_predict", "_observe", "hand_over"]
)
@pytest.mark.parametrize(
    ("kind", "text"), [(RuntimeError, "a bug"), (torch.OutOfMemoryError, "no memory left")]
)
def test_a_fault_of_the_cache_costs_no_picture(
    method: str,
    kind: type[Exception],
    text: str,
    tiny: Any,
    cached: Any,
    sample: Any,
    monkeypatch: Any,
):
    plain = sample(tiny)
    model, reports = cached(speedup=2.0)

    def broken(*_: Any, **__: Any) -> Any:
        raise kind(text)

    monkeypatch.setattr(OutputCache, method, broken)
    assert torch.equal(sample(model), plain)
    assert any(text in note for note in reports[0].notes)


@pytest.mark.parametrize("corrector", [False, True])
def test_holds_two_latents_per_conditioning_and_three_for_the_corrector(
    cached: Any, sample: Any, corrector: bool
):
    model, reports = cached(speedup=2.0, corrects=corrector)
    sample(model, size=16)
    latent = 16 * 16 * 16 * 4
    assert 4 * latent <= reports[0].cache_bytes <= (7 if corrector else 4) * latent
