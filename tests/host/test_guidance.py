"""The host's own guidance nodes with a cache on the same model, on whole steps and inside the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.samplers
import pytest
import torch
from comfy_extras import (
    nodes_apg,
    nodes_cfg,
    nodes_custom_sampler,
    nodes_easycache,
    nodes_freelunch,
    nodes_fresca,
    nodes_mahiro,
    nodes_model_advanced,
    nodes_pag,
    nodes_perpneg,
    nodes_sag,
    nodes_sd3,
    nodes_slg,
    nodes_tcfg,
)

from testbed import networks
from testbed.methods import entries
from testbed.observe import listening, refusal, watching

STEPS = 12
CACHES = ("Scaling Cache", "MagCache", "DeepCache")


def _pag(model: Any, name: str) -> Any:
    return nodes_pag.PerturbedAttentionGuidance.execute(model, 3.0).result[0]


def _slg(model: Any, name: str) -> Any:
    return nodes_slg.SkipLayerGuidanceDiT.execute(model, 2.0, 0.0, 1.0, "1", "0").result[0]


def _slg_simple(model: Any, name: str) -> Any:
    return nodes_slg.SkipLayerGuidanceDiTSimple.execute(model, 0.0, 1.0, "1", "0").result[0]


def _slg_sd3(model: Any, name: str) -> Any:
    return nodes_sd3.SkipLayerGuidanceSD3.execute(model, "1", 2.0, 0.0, 1.0).result[0]


def _apg(model: Any, name: str) -> Any:
    return nodes_apg.APG.execute(model, 1.0, 5.0, -0.5).result[0]


def _perp_neg(model: Any, name: str) -> Any:
    return nodes_perpneg.PerpNeg.execute(model, networks.conditioning(name, 5), 1.0).result[0]


def _cfg_zero(model: Any, name: str) -> Any:
    return nodes_cfg.CFGZeroStar.execute(model).result[0]


def _cfg_norm(model: Any, name: str) -> Any:
    return nodes_cfg.CFGNorm.execute(model, 1.0).result[0]


def _rescale(model: Any, name: str) -> Any:
    return nodes_model_advanced.RescaleCFG().patch(model, 0.7)[0]


def _tcfg(model: Any, name: str) -> Any:
    return nodes_tcfg.TCFG.execute(model).result[0]


def _mahiro(model: Any, name: str) -> Any:
    return nodes_mahiro.Mahiro.execute(model).result[0]


def _fresca(model: Any, name: str) -> Any:
    return nodes_fresca.FreSca.execute(model, 1.0, 1.25, 2).result[0]


def _sag(model: Any, name: str) -> Any:
    return nodes_sag.SelfAttentionGuidance.execute(model, 0.5, 2.0).result[0]


def _free_u(model: Any, name: str) -> Any:
    # For widths of 1280 and 640, which a tiny UNet does not have: it changes nothing but is there.
    return nodes_freelunch.FreeU_V2().patch(model, 1.3, 1.4, 0.9, 0.2)[0]


def _shift(model: Any, name: str) -> Any:
    return nodes_model_advanced.ModelSamplingSD3().patch(model, 5.0)[0]


def _zsnr(model: Any, name: str) -> Any:
    return nodes_model_advanced.ModelSamplingDiscrete().patch(model, "v_prediction", True)[0]


Guidance = Callable[[Any, str], Any]
# On a UNet, on a transformer, or on both.
BOTH: tuple[Guidance, ...] = (
    _apg,
    _perp_neg,
    _cfg_zero,
    _cfg_norm,
    _rescale,
    _tcfg,
    _mahiro,
    _fresca,
)
PLAN: list[tuple[Guidance, str, str]] = [
    *((guidance, "qwen_image", cache) for guidance in BOTH for cache in CACHES[:2]),
    *((guidance, "qwen_image", cache) for guidance in (_slg, _slg_simple) for cache in CACHES[:2]),
    *((_slg_sd3, "sd3", cache) for cache in CACHES[:2]),
    *((_shift, "sd3", cache) for cache in CACHES[:2]),
    *((g, "tiny_unet", c) for g in (_pag, _sag, _free_u, _zsnr) for c in (CACHES[0], CACHES[2])),
]


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    found = {name: networks.build(name, spread=0.05) for name in ("qwen_image", "sd3")}
    found["tiny_unet"] = networks.build("sd15", spread=0.05)
    return found


def sample(model: Any, name: str, **more: Any) -> torch.Tensor:
    return networks.sample(model, "sd15" if name == "tiny_unet" else name, STEPS, **more)


@pytest.mark.parametrize("order", ["guidance first", "cache first"])
@pytest.mark.parametrize(
    ("guidance", "name", "cache"),
    PLAN,
    ids=[f"{guidance.__name__[1:]}-{name}-{cache}" for guidance, name, cache in PLAN],
)
def test_a_guidance_node_of_the_host(
    guidance: Guidance, name: str, cache: str, order: str, models: dict[str, Any]
) -> None:
    entry = next(e for e in entries() if e.name == cache)
    base = models[name]

    def both(everything: bool) -> Any:
        if order == "guidance first":
            return entry.put(guidance(base, name), STEPS, everything, "none")
        return guidance(entry.put(base, STEPS, everything, "none"), name)

    plain_model = guidance(base, name)
    with watching(plain_model) as (watched, everything):
        plain = sample(watched, name)
    assert torch.equal(sample(both(True), name), plain), "with every step computed"
    with listening() as lines, watching(both(False)) as (watched, seen):
        result = sample(watched, name)
    assert not refusal(lines)
    (report,) = seen.reports
    assert torch.isfinite(result).all()
    assert result.shape == plain.shape
    assert report.evaluations == STEPS
    per_step = len(everything.evaluations) // STEPS
    computed = [e for e in seen.evaluations if e.ran == set(seen.blocks)]
    if cache == "Scaling Cache":
        assert report.computed == 6
        assert len(seen.evaluations) == 6 * per_step
    elif report.computed == STEPS:
        assert report.notes, "what could not be skipped is said"
    else:
        assert 0 < len(computed) < len(everything.evaluations)
    if report.computed < STEPS:
        assert not torch.equal(result, plain)
        assert (result - plain).norm() / plain.norm() < 0.5


def test_every_guidance_node_changes_something(models: dict[str, Any]) -> None:
    """Else the tests above would show nothing."""
    for guidance, name in {(guidance, name) for guidance, name, _ in PLAN} - {
        (_free_u, "tiny_unet")
    }:
        base = models[name]
        assert not torch.equal(sample(guidance(base, name), name), sample(base, name)), guidance


def test_with_guidance_late_steps_count_for_more(models: dict[str, Any]) -> None:
    entry, steps = next(e for e in entries() if e.name == "Scaling Cache"), 24

    def computed(model: Any, name: str, cfg: float) -> list[float]:
        with watching(entry.put(model, steps, False, "none")) as (watched, seen):
            networks.sample(watched, name, steps, cfg)
        assert len(seen.evaluations) == steps // 2
        return [evaluation.sigma for evaluation in seen.evaluations]

    guided = computed(models["sd3"], "sd3", 4.0)
    assert sum(guided) < sum(computed(models["sd3"], "sd3", 1.0)), "later steps have smaller sigmas"
    assert computed(models["sd3"], "sd3", 7.0) == guided
    flux = networks.build("flux", spread=0.05)
    assert computed(flux, "flux", 1.0) == computed(flux, "flux", 4.0), "it learned guidance"


def guided_by(make: Callable[..., Any], model: Any, *settings: Any) -> torch.Tensor:
    """SD3 sampled with a guider of three conditionings."""
    texts = [networks.conditioning("sd3", seed) for seed in (1, 2, 3)]
    guider = make(model, *texts, *settings).result[0]
    sampling = model.get_model_object("model_sampling")
    value = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return guider.sample(
            value,
            torch.zeros_like(value),
            comfy.samplers.sampler_object("euler"),
            comfy.samplers.calculate_sigmas(sampling, "simple", STEPS),
            disable_pbar=True,
            seed=0,
        )


def test_a_guider_with_scales_of_its_own_guides(models: dict[str, Any]) -> None:
    """It keeps the scale of 1 that all guiders begin with."""
    entry = next(e for e in entries() if e.name == "Scaling Cache")
    computed = []
    for make, settings in (
        (nodes_custom_sampler.DualCFGGuider.execute, (3.0, 4.0, "regular")),
        (nodes_perpneg.PerpNegGuider.execute, (4.0, 1.0)),
    ):
        with watching(entry.put(models["sd3"], STEPS, False, "none")) as (model, seen):
            guided_by(make, model, *settings)
        computed.append([evaluation.sigma for evaluation in seen.evaluations])
    assert computed[0] == computed[1]


def test_perp_neg_guider(models: dict[str, Any]) -> None:
    """It calls the conditioning batch with three conditionings."""
    name = "sd3"

    def run(model: Any) -> torch.Tensor:
        return guided_by(nodes_perpneg.PerpNegGuider.execute, model, 4.0, 1.0)

    entry = next(e for e in entries() if e.name == "Scaling Cache")
    plain = run(models[name])
    assert torch.equal(run(entry.put(models[name], STEPS, True, "none")), plain)
    with watching(entry.put(models[name], STEPS, False, "none")) as (model, seen):
        result = run(model)
    assert [e.conditionings for e in seen.evaluations] == [3] * 6
    assert 0 < (result - plain).norm() / plain.norm() < 0.5


@pytest.mark.parametrize("node", ["EasyCacheNode", "LazyCacheNode"])
@pytest.mark.parametrize("cache", CACHES[:2])
def test_the_hosts_own_cache_is_named_and_left_alone(
    node: str, cache: str, models: dict[str, Any]
) -> None:
    entry = next(e for e in entries() if e.name == cache)
    own = getattr(nodes_easycache, node).execute(models["sd3"], 0.2, 0.15, 0.95, False).result[0]
    plain = sample(own, "sd3")
    both = entry.put(own, STEPS, False, "none")
    with listening() as lines:
        assert torch.equal(sample(both, "sd3"), plain)
    assert "EasyCache or LazyCache" in refusal(lines)
    after = getattr(nodes_easycache, node).execute(
        entry.put(models["sd3"], STEPS, False, "none"), 0.2, 0.15, 0.95, False
    )
    with listening() as lines:
        assert torch.equal(sample(after.result[0], "sd3"), plain)
    assert "EasyCache or LazyCache" in refusal(lines)
