"""Wrappers, samplers and guiders as other packs have them, around and inside of the cache."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import comfy.samplers
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy.samplers import KSAMPLER
from comfy_execution.utils import CurrentNodeContext
from scaling_cache.cache_core.methods import ScalingCache
from scaling_cache.cache_core.predict.predictors import TURNED, UNKNOWN
from scaling_cache.nodes.host.below import WHY_REPLACED
from scaling_cache.nodes.host.progress import STATISTICS
from scaling_cache.nodes.host.sampling import MOVING
from torch import Tensor

from testbed import networks
from testbed.install import cached
from testbed.observe import listening, refusal

NAME, STEPS, FEWER = "sd3", 40, 20


@pytest.fixture(scope="module")
def model() -> Any:
    return networks.build(NAME, spread=0.1)


def run(
    model: Any, steps: int = STEPS, sampler: Any = None, guider: Any = None, batch: int = 1
) -> Tensor:
    """Sample as SamplerCustomAdvanced does."""
    latent = networks.empty(NAME, batch)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(1))
    sigmas = comfy.samplers.calculate_sigmas(
        model.get_model_object("model_sampling"), "simple", steps
    )
    made = (guider or comfy.samplers.CFGGuider)(model)
    made.set_conds(networks.conditioning(NAME, 2), networks.conditioning(NAME, 3))
    made.set_cfg(4.0)
    sampler = sampler or comfy.samplers.sampler_object("euler")
    with torch.inference_mode():
        return made.sample(noise, latent, sampler, sigmas, disable_pbar=True, seed=1)


def wrapped(kind: str, function: Any) -> Callable[[Any], Any]:
    def put(model: Any) -> Any:
        clone = model.clone()
        clone.add_wrapper_with_key(kind, "another pack", function)
        return clone

    return put


def counted(model: Any) -> tuple[Any, list[float]]:
    seen: list[float] = []

    def note(executor: Any, x: Tensor, t: Tensor, *args: Any, **kwargs: Any) -> Any:
        seen.append(float(t.reshape(-1)[0]))
        return executor(x, t, *args, **kwargs)

    return wrapped(WrappersMP.APPLY_MODEL, note)(model), seen


def off(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


# --- what wrappers do


def twice(ex: Any, x: Tensor, t: Tensor, options: Any, *args: Any, **kw: Any) -> Tensor:
    return (ex(x, t, options, *args, **kw) + ex(x + 0.01, t, options, *args, **kw)) / 2


def by_name(ex: Any, x: Tensor, t: Tensor, options: Any, *args: Any, **kw: Any) -> Tensor:
    return ex(x, t, model_options=options, seed=args[0] if args else kw.get("seed"))


def deep(ex: Any, x: Tensor, t: Tensor, options: Any, *args: Any, **kw: Any) -> Tensor:
    return ex(x, t, copy.deepcopy(options), *args, **kw)


def deep_batch(ex: Any, model: Any, conds: Any, x: Tensor, t: Tensor, options: Any) -> Any:
    return ex(model, conds, x, t, copy.deepcopy(options))


def outer_by_name(
    ex: Any, noise: Any, latent: Any, sampler: Any, sigmas: Any, mask: Any, *args: Any, **kw: Any
) -> Any:
    names = dict(zip(("callback", "disable_pbar", "seed"), args, strict=False))
    return ex(noise, latent, sampler=sampler, sigmas=sigmas, denoise_mask=mask, **names, **kw)


def in_parts(length: int) -> Any:
    def parts(ex: Any, noise: Any, latent: Any, sampler: Any, sigmas: Any, *args: Any, **kw: Any):
        for i in range(0, len(sigmas) - 1, length):
            latent = ex(noise, latent, sampler, sigmas[i : i + length + 1], *args, **kw)
            noise = torch.zeros_like(noise)
        return latent

    return parts


def again(ex: Any, *args: Any, **kw: Any) -> Any:
    ex(*args, **kw)
    return ex(*args, **kw)


def every_other_sigma(ex: Any, wrap: Any, sigmas: Tensor, *args: Any, **kw: Any) -> Any:
    return ex(wrap, torch.cat([sigmas[:-1:2], sigmas[-1:]]), *args, **kw)


def lower_sigmas(ex: Any, wrap: Any, sigmas: Tensor, *args: Any, **kw: Any) -> Any:
    changed = sigmas.clone()
    changed[1:-1] *= 0.9
    return ex(wrap, changed, *args, **kw)


WRAPPERS = {
    "evaluates twice": (WrappersMP.PREDICT_NOISE, twice),
    "evaluates by name": (WrappersMP.PREDICT_NOISE, by_name),
    "copies the options of evaluations": (WrappersMP.PREDICT_NOISE, deep),
    "copies the options of batches": (WrappersMP.CALC_COND_BATCH, deep_batch),
    "samples by name": (WrappersMP.OUTER_SAMPLE, outer_by_name),
    "samples in two parts": (WrappersMP.OUTER_SAMPLE, in_parts(20)),
    "samples in parts of five": (WrappersMP.OUTER_SAMPLE, in_parts(5)),
    "samples twice": (WrappersMP.OUTER_SAMPLE, again),
    "drops sigmas": (WrappersMP.SAMPLER_SAMPLE, every_other_sigma),
    "lowers sigmas": (WrappersMP.SAMPLER_SAMPLE, lower_sigmas),
}


@pytest.mark.parametrize("before", [True, False], ids=["before the cache", "behind the cache"])
@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapper(name: str, before: bool, model: Any) -> None:
    """As near as fewer steps, whichever node comes first, and what is said to run is what runs."""
    put = wrapped(*WRAPPERS[name])
    plain_model, everything = counted(put(model))
    plain, few = run(plain_model), run(put(model), FEWER)
    bottom, ran = counted(model)
    runs: list[Any] = []
    found = (
        cached(put(bottom), ScalingCache(2.0), runs)
        if before
        else put(cached(bottom, ScalingCache(2.0), runs))
    )
    assert off(run(found), plain) <= max(off(few, plain), 0.01)
    assert 0.4 * len(everything) <= len(ran) <= len(everything)
    # Each evaluation of the last runs was counted where it was asked for.
    assert sum(r.report.evaluations for r in runs) in (len(everything), len(everything) // 2)


@pytest.mark.parametrize("name", WRAPPERS)
def test_each_run_that_was_begun_is_over(name: str, model: Any) -> None:
    """Also where the sampler goes its own way from its first step on."""
    made = wrapped(*WRAPPERS[name])(cached(model, ScalingCache(2.0), node_id="1"))
    with CurrentNodeContext(name, "2"):
        run(made)
    states = [told["state"] for told in STATISTICS.of(name)["runs"]]
    assert set(states) == {"done"}, states


def windows(ex: Any, model: Any, conds: Any, x: Tensor, t: Tensor, options: Any) -> Any:
    """Halves of a batch that move from step to step, as AnimateDiff-Evolved asks for them."""
    inside = options["transformer_options"]
    step = int((inside["sample_sigmas"] > t[0]).sum())
    outs = [torch.zeros_like(x) for _ in conds]
    for start in (0, 2):
        frames = [(start + step + i) % 4 for i in range(2)]
        told = {**options, "transformer_options": {**inside, "ad_params": {"sub_idxs": frames}}}
        for out, part in zip(outs, ex(model, conds, x[frames], t[frames], told), strict=True):
            out[frames] = part
    return outs


def test_the_worse_order_is_told(model: Any) -> None:
    """Behind windows that move nothing is predicted; in front of them as much as was asked for."""
    put = wrapped(WrappersMP.CALC_COND_BATCH, windows)
    found: dict[str, Any] = {}
    for order in ("behind", "in front"):
        runs: list[Any] = []
        made = (
            cached(put(model), ScalingCache(2.0), runs)
            if order == "behind"
            else put(cached(model, ScalingCache(2.0), runs))
        )
        run(made, FEWER, batch=4)
        found[order] = runs[0].report
    assert MOVING in found["behind"].notes
    assert found["behind"].computed == found["behind"].evaluations
    assert MOVING not in found["in front"].notes
    assert found["in front"].computed <= FEWER // 2 + 1


def other_prompt(step: int) -> Any:
    """Puts another prompt below all nodes, from a step of the schedule on."""

    def applied(ex: Any, x: Tensor, t: Tensor, *args: Any, **kw: Any) -> Tensor:
        concat, text, *rest = args
        levels = rest[1]["sample_sigmas"]
        asked = text.flip(1) if float(rest[1]["sigmas"][0]) <= float(levels[step]) else text
        return ex(x, t, concat, asked, *rest, **kw)

    return applied


@pytest.mark.parametrize("before", [True, False], ids=["before the cache", "behind the cache"])
def test_a_prompt_that_is_replaced_below_the_cache(before: bool, model: Any) -> None:
    """All is computed from where it is noticed, and the node says why; a wrapper that replaces nothing
    costs nothing."""
    computed: dict[int, int] = {}
    for step in (0, FEWER, STEPS):
        put = wrapped(WrappersMP.APPLY_MODEL, other_prompt(step))
        runs: list[Any] = []
        made = cached(put(model) if before else model, ScalingCache(2.0), runs)
        result = run(made if before else put(made))
        (report,) = [run.report for run in runs]
        computed[step] = report.computed
        assert any(WHY_REPLACED in note for note in report.notes) == (step < STEPS)
        if step == 0:
            assert torch.equal(result, run(put(model)))
    assert computed[0] == STEPS
    assert STEPS // 2 < computed[FEWER] < STEPS
    assert computed[STEPS] == STEPS // 2


@pytest.mark.parametrize("at", [FEWER, FEWER + 1])
def test_a_text_that_is_replaced_in_its_place(at: int, model: Any) -> None:
    """Computed at the step at which another node puts another text into a conditioning with its id."""
    space = model.get_model_object("model_sampling")
    level = float(comfy.samplers.calculate_sigmas(space, "simple", STEPS)[at])

    class Replacing(comfy.samplers.CFGGuider):
        def predict_noise(self, x: Any, timestep: Any, model_options: Any = None, seed: Any = None):
            if float(timestep[0]) <= level:
                texts = [self.conds[name][0]["model_conds"] for name in ("positive", "negative")]
                texts[0]["c_crossattn"] = texts[1]["c_crossattn"]
            return super().predict_noise(x, timestep, model_options, seed)

    run(cached(model, ScalingCache(2.0), runs := []), guider=Replacing)
    assert at in [record.step for record in runs[0].report.records if record.computed]
    assert runs[0].report.count(UNKNOWN) or runs[0].report.count(TURNED)


def test_no_repair_between_scales_of_guidance(model: Any) -> None:
    """A guider that takes a scale of 6 and one of 1.5 in turn comes nearer than fewer steps do, since
    neither is repaired by the other's outputs."""

    class InTurn(comfy.samplers.CFGGuider):
        def predict_noise(self, x: Any, timestep: Any, model_options: Any = None, seed: Any = None):
            levels = model_options["transformer_options"]["sample_sigmas"]
            step = int((levels > timestep[0]).sum())
            conds = self.conds["negative"], self.conds["positive"]
            options = {"model_options": model_options, "seed": seed}
            scale = 1.5 if step % 2 else 6.0
            return comfy.samplers.sampling_function(
                self.inner_model, x, timestep, *conds, scale, **options
            )

    plain = run(model, guider=InTurn)
    with_repair = run(cached(model, ScalingCache(2.0), runs := []), guider=InTurn)
    without = run(cached(model, ScalingCache(2.0, corrects=False), []), guider=InTurn)
    assert runs[0].report.computed == STEPS // 2
    assert off(with_repair, plain) <= 1.2 * off(without, plain)


# --- samplers


def two_evaluations(model: Any, x: Tensor, sigmas: Tensor, extra_args: Any, **_: Any) -> Tensor:
    ones = x.new_ones([len(x)])
    for i in range(len(sigmas) - 1):
        first = model(x, sigmas[i] * ones, **extra_args)
        second = model(x + 0.02 * x.sin(), sigmas[i] * ones, **extra_args)
        denoised = (first + second) / 2
        x = denoised + (x - denoised) * sigmas[i + 1] / sigmas[i]
    return x


def half_size(model: Any, x: Tensor, sigmas: Tensor, extra_args: Any, **_: Any) -> Tensor:
    """Begins at half size, as progressive upscaling does."""
    ones, scale = x.new_ones([len(x)]), torch.nn.functional.interpolate
    for i in range(len(sigmas) - 1):
        if i < len(sigmas) // 3:
            small = model(scale(x, scale_factor=0.5), sigmas[i] * ones, **extra_args)
            denoised = scale(small, size=x.shape[-2:])
        else:
            denoised = model(x, sigmas[i] * ones, **extra_args)
        x = denoised + (x - denoised) * sigmas[i + 1] / sigmas[i]
    return x


@pytest.mark.parametrize("borrowed", ["sample_euler", "sample_heun", "sample_of_my_own"])
@pytest.mark.parametrize("function", [two_evaluations, half_size])
def test_a_sampler_of_another_pack(function: Any, borrowed: str, model: Any) -> None:
    """A name of the host's says nothing of how it samples."""

    def sampled(*args: Any, **kw: Any) -> Any:
        return function(*args, **kw)

    sampled.__name__ = borrowed
    sampler = KSAMPLER(sampled)
    plain, few = run(model, sampler=sampler), run(model, FEWER, sampler=sampler)
    runs: list[Any] = []
    result = run(cached(model, ScalingCache(2.0), runs), sampler=sampler)
    assert off(result, plain) <= max(off(few, plain), 0.01)
    assert "is not known" in " ".join(runs[0].report.notes)


def test_a_guider_that_passes_the_cache_by(model: Any) -> None:
    class Own(comfy.samplers.CFGGuider):
        def predict_noise(self, x: Any, timestep: Any, model_options: Any = None, seed: Any = None):
            return self.inner_model.apply_model(
                x, timestep, c_crossattn=self.text, y=self.pooled, transformer_options={}
            )

        def outer_predict_noise(
            self, x: Any, timestep: Any, model_options: Any = None, seed: Any = None
        ):
            return self.predict_noise(x, timestep, model_options, seed)

        def set_conds(self, positive: Any, negative: Any) -> None:
            super().set_conds(positive, negative)
            self.text, more = positive[0]
            self.pooled = more.get("pooled_output", torch.zeros(1, 2048))

    plain = run(model, guider=Own)
    runs: list[Any] = []
    result = run(cached(model, ScalingCache(2.0), runs), guider=Own)
    assert torch.equal(result, plain)
    assert runs[0].report.notes == ["Own passes the cache by: every step is computed"]


@pytest.mark.parametrize("module", ["custom_nodes.ComfyUI-TeaCache.nodes", "fsampler.sampling"])
def test_a_cache_of_another_pack_is_named(module: str, model: Any) -> None:
    def wrapper(apply: Any, args: Any) -> Any:
        return apply(args["input"], args["timestep"], **args["c"])

    wrapper.__module__ = module
    other = model.clone()
    other.set_model_unet_function_wrapper(wrapper)
    with listening() as lines:
        result = run(cached(other, ScalingCache(2.0)))
    assert torch.equal(result, run(other))
    assert "is on the same model: remove one of the two nodes" in refusal(lines)
