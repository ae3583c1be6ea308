"""Encode renderings once, so that the transformer trains on latents.

    python -m demo.emoji_model.encode --renderings 6

What an earlier run has encoded stays, and counts.
"""

from __future__ import annotations

import argparse
import random

import torch
from torch import Tensor

from ..model.training import CACHE, averaged
from ..nodes.emoji import all_names
from .networks import make_vae
from .pictures import render
from .train_vae import NAME as VAE_NAME

BANK = "emoji_latents.pt"
GROUP = 16


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--renderings", type=int, default=6, help="of every picture")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    vae = make_vae().to(options.device)
    vae.load_state_dict(averaged(VAE_NAME))
    names = list(all_names())
    latents: list[Tensor] = []
    if (CACHE / BANK).exists():
        latents.append(torch.load(CACHE / BANK, weights_only=True)["latents"])
    for turn in range(sum(map(len, latents)) // len(names), options.renderings):
        draw = random.Random(turn)
        for first in range(0, len(names), GROUP):
            group = names[first : first + GROUP]
            pictures = torch.stack([render(text, draw) for text in group])
            with torch.autocast(options.device, dtype=torch.bfloat16):
                latents.append(vae.encode(pictures.to(options.device) * 2 - 1).half().cpu())
        which = torch.arange(len(names)).repeat(turn + 1)
        torch.save({"latents": torch.cat(latents), "which": which}, CACHE / BANK)
        print(f"{len(which)} encoded", flush=True)


if __name__ == "__main__":
    main()
