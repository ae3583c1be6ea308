"""The demo's models by the host's own loaders and sampler, in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .inprocess import import_host


def load_autoencoder(file: Path) -> Any:
    """As VAELoader gives it."""
    import_host()
    import comfy.sd
    import comfy.utils

    return comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(file)))


def load_shifted(file: Path, shift: float) -> Any:
    """A model as UNETLoader and ModelSamplingSD3 give it."""
    import_host()
    import comfy.sd
    from comfy_extras.nodes_model_advanced import ModelSamplingSD3

    (model,) = ModelSamplingSD3().patch(comfy.sd.load_diffusion_model(str(file)), shift)
    return model


def sample_euler(
    model: Any,
    shape: tuple[int, ...],
    steps: int,
    cfg: float,
    conditioning: tuple[list[list[Any]], list[list[Any]]],
    seed: int,
) -> Tensor:
    """Latents by the host's euler sampler with the scheduler simple.

    Args:
        shape: of the latents, the batch included.
        conditioning: positive and negative one.
    """
    import comfy.sample

    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return comfy.sample.sample(
        model,
        noise,
        steps,
        cfg,
        "euler",
        "simple",
        *conditioning,
        torch.zeros_like(noise),
        disable_pbar=True,
        seed=seed,
    )
