"""A small workflow in API format, and how to read what it saved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Workflow = dict[str, Any]

# Nodes of the workflow that tests look at.
CACHE, FAULT, SAMPLER, SAVE = "cache", "fault", "sampler", "save"


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def build(
    cache: dict[str, Any] | None = None,
    fault: dict[str, Any] | None = None,
    steps: int = 16,
    cfg: float = 4.0,
    sampler: str = "euler",
    seed: int = 1,
    size: int = 64,
    batch: int = 1,
    layers: int = 2,
) -> Workflow:
    """Tiny model, optionally a fault and the Scaling Cache node, a sampler and a saved latent."""
    model = ["model", 0]
    workflow = {
        "model": node("TestTinyModel", layers=layers),
        "positive": node("ScalingCacheDemoPrompt", text="red circle left night"),
        "negative": node("ScalingCacheDemoPrompt", text=""),
        "latent": node(
            "EmptyHunyuanLatentVideo", width=size, height=size, length=5, batch_size=batch
        ),
    }
    if fault is not None:
        workflow[FAULT] = node("TestFault", model=model, **{"step": 5, **fault})
        model = [FAULT, 0]
    if cache is not None:
        defaults = {
            "speedup": 2.0,
            "mode": "target speed-up",
            "start_percent": 0.0,
            "end_percent": 1.0,
        }
        workflow[CACHE] = node("ScalingCache", model=model, **{**defaults, **cache})
        model = [CACHE, 0]
    workflow[SAMPLER] = node(
        "KSampler",
        model=model,
        positive=["positive", 0],
        negative=["negative", 0],
        latent_image=["latent", 0],
        seed=seed,
        steps=steps,
        cfg=cfg,
        sampler_name=sampler,
        scheduler="simple",
        denoise=1.0,
    )
    workflow[SAVE] = node("SaveLatent", samples=[SAMPLER, 0], filename_prefix="test")
    return workflow


@pytest.fixture(scope="session")
def workflow() -> Callable[..., Workflow]:
    return build


@pytest.fixture
def latent(host: Any) -> Callable[..., bytes]:
    """Run a workflow to its end; the saved latent, without the metadata that names the prompt."""
    import safetensors.torch

    def run(prompt: Workflow) -> bytes:
        outcome = host.client.run(prompt)
        assert outcome.status == "success", outcome.messages[-1]
        (item,) = outcome.outputs[SAVE]["latents"]
        tensors = safetensors.torch.load(host.client.file(item))
        return tensors["latent_tensor"].numpy().tobytes()

    return run
