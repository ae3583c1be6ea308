"""Every sampler of the host: evaluations are counted rightly and results stay sane."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import comfy.sample
import comfy.samplers
import pytest
import torch
from scaling_cache.cache_core.methods.base import Plain
from scaling_cache.cache_core.run.run import Run
from scaling_cache.nodes.host.cache import Cache, install, remove
from scaling_cache.nodes.host.sampling import log_snr, sampler_traits, schedule_of
from scaling_cache.nodes.scaling_cache import ScalingCache

from testbed import networks

from .conftest import conditioning, counting

ADAPTIVE = {"dpm_adaptive"}
# Evaluate at sigmas of their own choice, so no step schedule says how many they need.
FREE = {"dpm_adaptive", "dpm_fast"}
STOCHASTIC = {
    name
    for name in comfy.samplers.SAMPLER_NAMES
    if any(part in name for part in ("ancestral", "sde", "ddpm", "lcm", "seeds", "sa_solver"))
}


@pytest.mark.parametrize("cfg", [1.0, 4.0])
@pytest.mark.parametrize("name", comfy.samplers.SAMPLER_NAMES)
def test_evaluations_and_result(name: str, cfg: float, tiny: Any, cached: Any, sample: Any):
    # uni_pc leaves its mark on the schedule it is given, so each run gets its own
    plain_model, everything = counting(tiny)
    plain = sample(plain_model, name, cfg=cfg)
    again = sample(tiny, name, cfg=cfg)
    assert torch.equal(plain, again), "the host itself must be repeatable for this comparison"

    model, reports = cached(speedup=2.0)
    # Inside the pack's wrapper: counts what the model really ran for.
    model, computed = counting(model)
    result = sample(model, name, cfg=cfg)
    (report,) = reports

    assert report.computed == len(computed.sigmas)
    if name not in ADAPTIVE:
        assert report.evaluations == len(everything.sigmas)
        assert computed.sigmas[0] == everything.sigmas[0]
    assert not any("does not follow" in note for note in report.notes)
    assert not any("stopped" in note for note in report.notes)
    share = report.computed / report.evaluations
    assert share < (0.85 if name in STOCHASTIC or name in FREE else 0.6)
    assert torch.isfinite(result).all()
    if name not in STOCHASTIC:
        distance = (result - plain).norm() / plain.norm()
        assert distance < 0.25, "random weights are a rough field, but not that rough"


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("name", comfy.samplers.SAMPLER_NAMES)
def test_evaluations_of_a_run_of_hardly_any_steps(name: str, steps: int, tiny: Any, sample: Any):
    """Those that differ at its ends may be all that there are."""
    runs: list[Run] = []
    model, everything = counting(install(tiny, Cache(Plain(), on_close=runs.append)))
    sample(model, name, steps=steps)
    (run,) = runs
    assert run.report.evaluations == len(everything.sigmas)
    schedule = schedule_of(tiny, name, "simple", steps)
    counted = sampler_traits(comfy.samplers.sampler_object(name), schedule).evaluations
    assert counted is None or sum(counted) == len(everything.sigmas)


@pytest.mark.parametrize("name", comfy.samplers.SAMPLER_NAMES)
def test_a_part_of_a_schedule_that_does_not_end_at_zero(
    name: str, tiny: Any, cached: Any, sample: Any
):
    part = {"steps": 20, "start_step": 2, "last_step": 14, "force_full_denoise": False}
    plain_model, everything = counting(tiny)
    sample(plain_model, name, **part)
    model, reports = cached(speedup=2.0)
    model, computed = counting(model)
    sample(model, name, **part)
    (report,) = reports
    assert report.computed == len(computed.sigmas)
    if name not in ADAPTIVE:
        assert report.evaluations == len(everything.sigmas)
        assert report.computed < report.evaluations
    assert not any("does not follow" in note for note in report.notes)


@pytest.mark.parametrize("name", ["wan_causal"])
def test_a_sampler_that_makes_a_video_part_by_part_is_refused(
    name: str, cached: Any, said: list[str]
):
    """Each call of its model adds to a memory of the parts before: one that is left out is lost."""
    model = networks.build(name)
    sampler = comfy.samplers.ksampler("ar_video", {"num_frame_per_block": 1})
    plain = sampled_by(model, sampler, name)
    patched, reports = cached(model, speedup=2.0)
    assert torch.equal(sampled_by(patched, sampler, name), plain)
    assert not reports
    assert [line for line in said if "part by part" in line]


def test_a_memory_in_the_options_ends_the_caching(cached: Any):
    """A sampler of another name that does the same, from its fifth step on."""

    def remembering(model: Any, x: Any, sigmas: Any, extra_args: Any, **_: Any) -> Any:
        for step, (sigma, following) in enumerate(pairwise(sigmas)):
            if step == 5:
                extra_args["model_options"]["transformer_options"]["ar_state"] = {}
            denoised = model(x, sigma * x.new_ones([len(x)]), **extra_args)
            x = denoised + (x - denoised) * following / sigma
        return x

    model, reports = cached(networks.build("wan"), speedup=2.0)
    sampled_by(model, comfy.samplers.KSAMPLER(remembering), "wan")
    (report,) = reports
    assert [record.computed for record in report.records][5:] == [1] * 7
    assert not all(record.computed for record in report.records[:5])
    assert any("part by part" in note for note in report.notes)


def sampled_by(model: Any, sampler: Any, name: str) -> torch.Tensor:
    """What a sampler of the host makes of a tiny network in 12 steps, of one conditioning at a time."""
    latent = torch.zeros(1, *networks.spec_of(name).latent)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(1))
    sampling = model.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(sampling, "simple", 12)
    texts = networks.conditioning(name, 2), networks.conditioning(name, 3)
    with torch.inference_mode():
        return comfy.sample.sample_custom(
            model, noise, 1.0, sampler, sigmas, *texts, latent, disable_pbar=True, seed=4
        )


@pytest.mark.parametrize("name", ["euler", "dpmpp_2m", "uni_pc", "heun", "euler_ancestral"])
def test_at_1x_every_bit_is_the_hosts(name: str, tiny: Any, sample: Any):
    plain = sample(tiny, name)
    (off,) = ScalingCache.execute(tiny, 1.0, "target speed-up", 0.0, 1.0).args
    assert torch.equal(sample(off, name), plain)
    (on,) = ScalingCache.execute(tiny, 2.0, "target speed-up", 0.0, 1.0).args
    half = sample(on, name)
    assert not torch.equal(half, plain)
    (words,) = ScalingCache.execute(tiny, 1.0, "balanced", 0.0, 1.0).args
    assert torch.equal(sample(words, name), half)
    assert torch.equal(sample(remove(on), name), plain)
    assert torch.equal(sample(tiny, name), plain), "the model that was given is left alone"


@pytest.mark.parametrize("scheduler", comfy.samplers.SCHEDULER_NAMES)
def test_every_scheduler(scheduler: str, cached: Any, sample: Any):
    model, reports = cached(speedup=2.0)
    model, computed = counting(model)
    assert torch.isfinite(sample(model, scheduler=scheduler)).all()
    assert reports[0].computed == len(computed.sigmas) < reports[0].evaluations
    assert not reports[0].notes


def test_a_sampler_nobody_knows_is_cached_with_care(cached: Any, tiny: Any):
    def my_own(model: Any, x: Any, sigmas: Any, extra_args: Any, **_: Any) -> Any:
        for now, after in pairwise(sigmas):
            denoised = model(x, now * x.new_ones([x.shape[0]]), **extra_args)
            x = denoised + (x - denoised) * after / now
        return x

    model, reports = cached(speedup=3.0)
    noise = torch.randn(1, 16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        result = comfy.sample.sample_custom(
            model,
            noise,
            4.0,
            comfy.samplers.KSAMPLER(my_own),
            torch.linspace(1, 0, 21),
            conditioning(1),
            conditioning(2),
            torch.zeros_like(noise),
            disable_pbar=True,
        )
    assert torch.isfinite(result).all()
    assert reports[0].evaluations == 20
    assert 10 <= reports[0].computed < 20
    assert "is not known" in reports[0].notes[-1]


@pytest.mark.parametrize("churn", [5.0, 20.0])
@pytest.mark.parametrize("speedup", [2.0, 3.0, 4.0])
def test_noise_added_by_churn(churn: float, speedup: float, tiny: Any, cached: Any):
    """The sampler evaluates above its schedule, more than once in one place. Of the few steps that it
    comes by, a slower target may compute all."""
    sigmas = schedule_of(tiny, "euler", "simple", 20)
    sampler = comfy.samplers.ksampler("euler", {"s_churn": churn})
    noise = torch.randn(1, 16, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    def sampled(model: Any) -> torch.Tensor:
        torch.manual_seed(0)
        with torch.inference_mode():
            return comfy.sample.sample_custom(
                model,
                noise,
                4.0,
                sampler,
                torch.tensor(sigmas),
                conditioning(1),
                conditioning(2),
                torch.zeros_like(noise),
                disable_pbar=True,
                seed=1,
            )

    plain_model, everything = counting(tiny)
    plain = sampled(plain_model)
    model, reports = cached(speedup=speedup)
    model, computed = counting(model)
    result = sampled(model)
    (report,) = reports
    assert len(everything.sigmas) == report.evaluations == 20
    assert report.computed == len(computed.sigmas) < 20
    assert not any("stopped" in note or "Error" in note for note in report.notes)
    assert torch.isfinite(result).all()
    assert 0 < (result - plain).norm() / plain.norm() < 0.3


def test_the_signal_of_a_larger_latent_is_told_earlier(tiny: Any):
    """Where noise rules, places level off, and later the more positions there are to average over."""
    schedule = tuple(1 - i / 100 for i in range(101))
    small, large = (log_snr(tiny, schedule, (1, 16, 1, n, n)) for n in (16, 128))
    assert small is not None
    assert large is not None
    assert small[0] == pytest.approx(math.log(1 / 30))
    assert large[0] == pytest.approx(small[0] - math.log(8))
    assert small[1] - small[0] < 0.1 < 0.9 < large[1] - large[0]
    for places in (small, large):
        assert places[50:100] == pytest.approx(
            [math.log((1 - s) / s) for s in schedule[50:100]], abs=1e-3
        )


@pytest.mark.parametrize("shift", [3.0, 30.0, 300.0])
def test_no_two_steps_of_a_schedule_share_a_place(shift: float, tiny: Any, sample: Any):
    """However far a schedule leans towards the noise: a line needs two places."""
    times = [1 - i / 20 for i in range(21)]
    schedule = tuple(shift * t / (1 + (shift - 1) * t) for t in times)
    places = log_snr(tiny, schedule, (1, 16, 1, 8, 8))
    assert places is not None
    assert all(a < b for a, b in pairwise(places))
