"""Train the UNet's autoencoder on frames from code.

    python -m demo.unet_model.train_vae --minutes 14

Crops of 64x64 pixels; the latents are drawn to mean 0 and spread 1 in every channel, as the decoder's
first layer squeezes large values.
"""

from __future__ import annotations

import argparse
import random

import torch
from torch import Tensor, nn

from ..emoji_model.networks import make_taesd
from ..model.clips import FRAMES, SIZE, render
from ..model.muon import Muon
from ..model.networks import export
from ..model.train_vae import NOISE, slopes
from ..model.training import Ema, Progress, cosine, reconstruct, save, start
from ..nodes.vocabulary import training_prompts
from .networks import VAE_FILE

NAME = "taesd"
CROP, BATCH = 64, 8


def batch() -> Tensor:
    """Random crops [8, 3, 64, 64], -1 to 1."""
    prompts = training_prompts()
    crops = []
    for _ in range(BATCH // 2):
        frame = render(random.choice(prompts), random.randrange(2**30), [random.randrange(FRAMES)])[
            :, 0
        ]
        for _ in range(2):
            y, x = random.randrange(SIZE - CROP + 1), random.randrange(SIZE - CROP + 1)
            crops.append(frame[:, y : y + CROP, x : x + CROP])
    return torch.stack(crops) * 2 - 1


def loss_of(decoded: Tensor, frame: Tensor, latent: Tensor) -> Tensor:
    error = decoded - frame
    edges = sum((a - b).abs().mean() for a, b in zip(slopes(decoded), slopes(frame), strict=True))
    mean = latent.mean((0, 2, 3)).square().mean()
    spread = (latent.std((0, 2, 3)) - 1).square().mean()
    return error.abs().mean() + 2 * error.square().mean() + 0.5 * edges + 0.02 * (mean + spread)


def with_host_scale(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights whose latents the host's SD3 latent format brings to mean 0 and spread 1."""
    from comfy.latent_formats import SD3

    wanted = SD3()
    scale, shift = torch.tensor(wanted.scale_factor), torch.tensor(wanted.shift_factor)
    return {**weights, "vae_scale": scale, "vae_shift": shift}


def optimizers_of(vae: nn.Module, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for what is trained of the kernels, AdamW for the rest."""
    trained = [p for p in vae.parameters() if p.requires_grad]
    kernels = [p for p in trained if p.ndim == 4 and p.shape[0] > 3 and p.shape[1] > 3]
    chosen = {id(p) for p in kernels}
    others = [p for p in trained if id(p) not in chosen]
    return [Muon(kernels, lr=rate), torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=14)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    random.seed(0)
    torch.manual_seed(0)
    vae = make_taesd().to(options.device, memory_format=torch.channels_last)
    optimizers = optimizers_of(vae, options.rate)
    ema = Ema(vae, 0.997)
    start(NAME, vae, ema, optimizers, options.resume)
    progress = Progress(options.minutes)
    while progress.running:
        rate = options.rate * min(1, (progress.steps + 1) / 40) * cosine(progress.done, 0.03)
        frame = batch().to(options.device, memory_format=torch.channels_last)
        progress.step(reconstruct(vae, frame, NOISE, loss_of, optimizers, ema, rate))
    save(NAME, vae, ema, optimizers, progress)
    export(with_host_scale(ema.weights), VAE_FILE)


if __name__ == "__main__":
    main()
