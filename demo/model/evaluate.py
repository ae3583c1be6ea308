"""Quality of the trained model through the host's own loaders: prints one JSON line.

Held-out clips are reconstructed by the VAE; held-out prompts are sampled and read by `measure`.
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

from ..host.loaders import load_autoencoder, load_shifted, sample_euler
from ..nodes.vocabulary import Prompt, encode, held_out_prompts
from .clips import FRAMES, render
from .measure import read_clip
from .networks import VAE_FILE, WAN_FILE

SHIFT, CFG = 3.0, 4.0
# Seeds of clips that training does not draw from in practice: it takes seeds at random from 2^30.
HELD_OUT_SEED = 2**31


@dataclass(frozen=True)
class Quality:
    """Shares are 0 to 1.

    Attributes:
        vae_psnr: mean over held-out clips, dB.
        vae_psnr_worst: of the worst of them.
        colour: share of samples with the asked colour.
        shape: share of samples with the asked shape.
        motion: mean change between neighbouring frames, 0 to 1.
        moving: share of samples that change more from frame to frame than a still clip.
        samples: number of prompts.
        steps: sampling steps.
    """

    vae_psnr: float
    vae_psnr_worst: float
    colour: float
    shape: float
    motion: float
    moving: float
    samples: int
    steps: int


def load_vae() -> Any:
    return load_autoencoder(VAE_FILE)


def load_model(shift: float = SHIFT) -> Any:
    """The model as UNETLoader and ModelSamplingSD3 give it."""
    return load_shifted(WAN_FILE, shift)


def reconstruct(vae: Any, clips: int) -> list[float]:
    """PSNR of each held-out clip after encoding and decoding."""
    scores = []
    for i, prompt in enumerate(held_out_prompts()[:clips]):
        clip = render(prompt, HELD_OUT_SEED + i).permute(1, 2, 3, 0)
        error = (vae.decode(vae.encode(clip))[0] - clip).square().mean()
        scores.append(float(-10 * torch.log10(error)))
    return scores


def sample(model: Any, vae: Any, prompts: list[Prompt], steps: int, seed: int) -> Tensor:
    """Clips [n, frames, height, width, 3] by the host's euler sampler."""
    shape = (len(prompts), 16, (FRAMES + 3) // 4, 16, 16)
    given = [[torch.cat([encode(p) for p in prompts]), {}]], [[encode(None), {}]]
    latents = sample_euler(model, shape, steps, CFG, given, seed)
    return vae.decode(latents).clamp(0, 1)


@torch.inference_mode()
def evaluate(samples: int, steps: int, batch: int, sheet: Path | None = None) -> Quality:
    """Measure the committed weights."""
    vae, model = load_vae(), load_model()
    scores = reconstruct(vae, min(samples, 16))
    prompts = held_out_prompts()[:samples]
    clips = torch.cat(
        [sample(model, vae, prompts[i : i + batch], steps, i) for i in range(0, samples, batch)]
    )
    readings = [read_clip(clip.numpy()) for clip in clips]
    pairs = list(zip(readings, prompts, strict=True))
    if sheet is not None:
        draw_sheet(clips[:12], prompts[:12], sheet)
    still = 0.002
    return Quality(
        vae_psnr=float(np.mean(scores)),
        vae_psnr_worst=min(scores),
        colour=float(np.mean([r.colour == p.colour for r, p in pairs])),
        shape=float(np.mean([r.shape == p.shape for r, p in pairs])),
        motion=float(np.mean([r.motion for r in readings])),
        moving=float(np.mean([r.motion > still for r in readings])),
        samples=samples,
        steps=steps,
    )


def draw_sheet(clips: Tensor, prompts: list[Prompt], path: Path) -> None:
    """Picture with two clips per row, four frames each, the prompt above."""
    tiles = []
    for clip, prompt in zip(clips, prompts, strict=True):
        frames = torch.cat([clip[i] for i in (0, 5, 10, 16)], 1)
        line = Image.new("RGB", (frames.shape[1], 20), "white")
        ImageDraw.Draw(line).text((4, 3), str(prompt), fill="black")
        picture = (frames * 255).byte().numpy()
        tiles.append(np.concatenate([np.asarray(line), picture]))
    rows = [np.concatenate(tiles[i : i + 2], 1) for i in range(0, len(tiles), 2)]
    Image.fromarray(np.concatenate(rows)).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--sheet", type=Path)
    arguments = parser.parse_args()
    quality = evaluate(arguments.samples, arguments.steps, arguments.batch, arguments.sheet)
    print(json.dumps(asdict(quality)))


if __name__ == "__main__":
    main()
