"""Quality of the trained UNet: prints one JSON line.

Held-out frames are reconstructed by the autoencoder; held-out prompts are sampled and read by `measure`.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..host.loaders import sample_euler
from ..model.clips import FRAMES, render
from ..model.evaluate import CFG, HELD_OUT_SEED
from ..model.measure import read_clip
from ..nodes.vocabulary import Prompt, held_out_prompts
from .networks import LATENT, conditioning, load_model, load_vae


@dataclass(frozen=True)
class Quality:
    """Shares are 0 to 1.

    Attributes:
        vae_psnr: mean over held-out frames, dB.
        vae_psnr_worst: of the worst of them.
        colour: share of samples with the asked colour.
        shape: share of samples with the asked shape.
        samples: number of prompts.
        steps: sampling steps.
    """

    vae_psnr: float
    vae_psnr_worst: float
    colour: float
    shape: float
    samples: int
    steps: int


def reconstruct(vae: Any, frames: int) -> list[float]:
    """PSNR of held-out frames after encoding and decoding."""
    scores = []
    for i, prompt in enumerate(held_out_prompts()[:frames]):
        frame = render(prompt, HELD_OUT_SEED + i, [i % FRAMES]).permute(1, 2, 3, 0)
        error = (vae.decode(vae.encode(frame)) - frame).square().mean()
        scores.append(float(-10 * torch.log10(error)))
    return scores


def sample(model: Any, vae: Any, prompts: list[Prompt], steps: int, seed: int) -> Tensor:
    """Pictures [n, height, width, 3] by the host's euler sampler."""
    given = conditioning(list(prompts)), conditioning([None])
    latents = sample_euler(model, (len(prompts), *LATENT), steps, CFG, given, seed)
    return vae.decode(latents).clamp(0, 1)


@torch.inference_mode()
def evaluate(samples: int, steps: int, sheet: Path | None = None) -> Quality:
    """Measure the committed weights."""
    vae, model = load_vae(), load_model()
    scores = reconstruct(vae, min(samples, 16))
    prompts = held_out_prompts()[:samples]
    pictures = sample(model, vae, prompts, steps, 0)
    readings = [read_clip(picture.expand(2, -1, -1, -1).numpy()) for picture in pictures]
    pairs = list(zip(readings, prompts, strict=True))
    if sheet is not None:
        draw_sheet(pictures[:24], prompts[:24], sheet)
    return Quality(
        vae_psnr=float(np.mean(scores)),
        vae_psnr_worst=min(scores),
        colour=float(np.mean([r.colour == p.colour for r, p in pairs])),
        shape=float(np.mean([r.shape == p.shape for r, p in pairs])),
        samples=samples,
        steps=steps,
    )


def draw_sheet(pictures: Tensor, prompts: list[Prompt], path: Path) -> None:
    """Picture with six samples per row, the prompt above."""
    tiles = []
    for picture, prompt in zip(pictures, prompts, strict=True):
        line = Image.new("RGB", (picture.shape[1], 20), "white")
        text = f"{prompt.colour} {prompt.shape} {prompt.background}"
        ImageDraw.Draw(line).text((2, 3), text, fill="black")
        tiles.append(np.concatenate([np.asarray(line), (picture * 255).byte().numpy()]))
    rows = [np.concatenate(tiles[i : i + 6], 1) for i in range(0, len(tiles), 6)]
    Image.fromarray(np.concatenate(rows)).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    quality = evaluate(options.samples, options.steps, options.sheet)
    print(json.dumps(asdict(quality)))


if __name__ == "__main__":
    main()
