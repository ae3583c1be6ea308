"""Train the demo's VAE on clips from code.

    python -m demo.model.train_vae --minutes 22
    python -m demo.model.train_vae --minutes 10 --resume
    python -m demo.model.train_vae --minutes 10 --decoder-only --rate 1.5e-3

Short crops first, longer clips in the last third. The decoder alone, on clips of full length, can follow
when the transformer has been trained, as the latents stay what they are. bfloat16 on the CPU, or on a GPU
with --device cuda.
"""

from __future__ import annotations

import argparse
import random

import torch
from torch import Tensor

from ..nodes.vocabulary import training_prompts
from .clips import FRAMES, SIZE, render
from .encode_clips import BANK
from .muon import Muon
from .networks import VAE_FILE, export, fold_statistics, make_vae
from .training import CACHE, Ema, Progress, averaged, cosine, reconstruct, save, start

NAME = "vae"
NOISE = 0.03  # added to latents, so that the decoder forgives small errors


def batch(count: int, frames: int, size: int) -> Tensor:
    """Random crops in space and time [count, 3, frames, size, size], -1 to 1."""
    prompts = training_prompts()
    crops = []
    for _ in range(count):
        clip = render(random.choice(prompts), random.randrange(2**30))
        stride = random.choice([1, 2]) if 2 * frames <= FRAMES else 1
        first = random.randrange(FRAMES - (frames - 1) * stride)
        y, x = random.randrange(SIZE - size + 1), random.randrange(SIZE - size + 1)
        part = clip[:, first : first + (frames - 1) * stride + 1 : stride]
        crops.append(part[:, :, y : y + size, x : x + size])
    return torch.stack(crops) * 2 - 1


def slopes(x: Tensor) -> tuple[Tensor, Tensor]:
    """Differences between neighbouring pixels: outlines count as much as areas."""
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def loss_of(decoded: Tensor, clip: Tensor, latent: Tensor) -> Tensor:
    error = decoded - clip
    edges = sum((a - b).abs().mean() for a, b in zip(slopes(decoded), slopes(clip), strict=True))
    small = 1e-4 * latent.square().mean() + 1e-3 * torch.relu(latent.abs() - 3).mean()
    return error.abs().mean() + 2 * error.square().mean() + 0.5 * edges + small


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=22)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--decoder-only", action="store_true")
    arguments = parser.parse_args()
    random.seed(0)
    torch.manual_seed(0)
    vae = make_vae().to(arguments.device)
    if arguments.decoder_only:
        vae.load_state_dict(averaged(NAME))
        vae.encoder.requires_grad_(False)
        vae.conv1.requires_grad_(False)
    trained = [p for p in vae.parameters() if p.requires_grad]
    kernels = [p for p in trained if p.ndim >= 3 and p.shape[0] > 3 and p.numel() > 512]
    chosen = {id(p) for p in kernels}
    others = [p for p in trained if id(p) not in chosen]
    optimizers = [
        Muon(kernels, lr=arguments.rate),
        torch.optim.AdamW(others, lr=arguments.rate, betas=(0.9, 0.98)),
    ]
    ema = Ema(vae, 0.998)
    start(NAME, vae, ema, optimizers, arguments.resume)
    progress = Progress(arguments.minutes)
    while progress.running:
        rate = arguments.rate * min(1, progress.steps / 30) * cosine(progress.done, 0.03)
        if arguments.decoder_only:
            clip = batch(2, FRAMES, 64)
        else:
            clip = batch(4, 5, 64) if progress.done < 0.7 else batch(1, 9, 112)
        clip = clip.to(arguments.device)
        progress.step(reconstruct(vae, clip, NOISE, loss_of, optimizers, ema, rate))
    save(NAME, vae, ema, optimizers, progress)
    if arguments.decoder_only:
        bank = torch.load(CACHE / BANK, weights_only=True)
        export(fold_statistics(ema.weights, bank["mean"], bank["std"]), VAE_FILE)


if __name__ == "__main__":
    main()
