"""The step level knows nothing of the network: flow models of every family here, and an eps model."""

from __future__ import annotations

from typing import Any

import comfy.model_base
import comfy.model_patcher
import comfy.supported_models
import pytest
import torch

from testbed import networks

from .conftest import counting


@pytest.mark.parametrize("name", [n for n in networks.TITLES if n != "wan22_pair"])
def test_a_network_of_each_family(name: str, cached: Any):
    plain = networks.build(name)
    reference = networks.sample(plain, name)
    model, reports = cached(plain, speedup=2.0)
    model, computed = counting(model)
    result = networks.sample(model, name)
    (report,) = reports
    assert not report.notes
    assert report.computed == len(computed.sigmas) < report.evaluations
    assert torch.isfinite(result).all()
    # Random weights are a rough field: how near the result is says nothing here, the demo model does.
    assert not torch.equal(result, reference)
    assert torch.equal(networks.sample(plain, name), reference)


def tiny_unet() -> Any:
    """SD 1.5's UNet at a tenth of its width: predicts noise, on a discrete schedule."""
    config = {
        "image_size": 32,
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": 32,
        "num_res_blocks": [1, 1],
        "channel_mult": [1, 2],
        "num_heads": 2,
        "num_head_channels": -1,
        "use_spatial_transformer": True,
        "transformer_depth": [1, 1],
        "transformer_depth_output": [1, 1, 1, 1],
        "transformer_depth_middle": 1,
        "context_dim": 64,
        "use_linear_in_transformer": False,
        "adm_in_channels": None,
        "legacy": False,
        "use_temporal_attention": False,
        "use_temporal_resblock": False,
    }
    known = comfy.supported_models.SD15(config)
    known.unet_config["dtype"] = torch.float32
    model = comfy.model_base.BaseModel(known, device=torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    for value in model.diffusion_model.parameters():
        value.data = torch.randn(value.shape, generator=generator) * 0.05
        value.requires_grad = False
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(model, load_device=cpu, offload_device=cpu)


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "heun", "euler_ancestral"])
def test_an_eps_model(sampler: str, cached: Any, sample: Any):
    model = tiny_unet()
    texts = [
        [[torch.randn(1, 4, 64, generator=torch.Generator().manual_seed(i)), {}]] for i in (0, 1)
    ]
    more = {"positive": texts[0], "negative": texts[1], "latent": torch.zeros(1, 4, 8, 8)}
    more |= {"steps": 20, "scheduler": "karras"}
    reference = sample(model, sampler, **more)
    patched, reports = cached(model, speedup=2.0)
    patched, computed = counting(patched)
    result = sample(patched, sampler, **more)
    assert reports[0].computed == len(computed.sigmas) < reports[0].evaluations
    assert not any("does not follow" in note for note in reports[0].notes)
    assert 0 < (result - reference).norm() / reference.norm() < 0.3
