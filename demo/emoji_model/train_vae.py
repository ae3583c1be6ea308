"""Train the emoji model's autoencoder on renderings of the font.

    python -m demo.emoji_model.train_vae --steps 2000
    python -m demo.emoji_model.train_vae --steps 6000 --decoder-only

Crops of 48x48 pixels of as many pictures; the latents are drawn to mean 0
and spread 1 in every channel. The decoder alone can follow when the transformer has been trained, as the
latents stay what they are.
"""

from __future__ import annotations

import argparse
import random

import torch
from torch import Tensor

from ..model.networks import export
from ..model.train_vae import NOISE
from ..model.training import Ema, Progress, averaged, cosine, reconstruct, save, start
from ..nodes.emoji import all_names
from ..unet_model.train_vae import loss_of, optimizers_of, with_host_scale
from .networks import VAE_FILE, make_vae
from .pictures import SIZE, render

NAME = "emoji_vae"
CROP, BATCH = 48, 8
SAVE_EVERY = 100


def batch() -> Tensor:
    """Random crops [8, 3, 48, 48], -1 to 1, each of another picture."""
    names, crops = list(all_names()), []
    for _ in range(BATCH):
        picture = render(random.choice(names), random.Random(random.random()))
        y, x = random.randrange(SIZE - CROP + 1), random.randrange(SIZE - CROP + 1)
        crops.append(picture[:, y : y + CROP, x : x + CROP])
    return torch.stack(crops) * 2 - 1


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--decoder-only", action="store_true")
    options = parser.parse_args()
    torch.manual_seed(0)
    vae = make_vae().to(options.device, memory_format=torch.channels_last)
    name = NAME
    if options.decoder_only:
        name = f"{NAME}_decoder"
        vae.load_state_dict(averaged(NAME))
        vae.taesd_encoder.requires_grad_(False)
    optimizers = optimizers_of(vae, options.rate)
    ema = Ema(vae, 0.997)
    progress = Progress(0, last=options.steps)
    progress.steps = start(name, vae, ema, optimizers, options.resume)
    random.seed(progress.steps)
    torch.manual_seed(progress.steps)
    while progress.running:
        rate = options.rate * min(1, (progress.steps + 1) / 40) * cosine(progress.done, 0.03)
        frame = batch().to(options.device, memory_format=torch.channels_last)
        progress.step(reconstruct(vae, frame, NOISE, loss_of, optimizers, ema, rate))
        if progress.steps % SAVE_EVERY == 0 or not progress.running:
            save(name, vae, ema, optimizers, progress)
    export(with_host_scale(ema.weights), VAE_FILE)


if __name__ == "__main__":
    main()
