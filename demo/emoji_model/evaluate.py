"""Quality of the trained emoji model through the host's own loaders: prints one JSON line.

    python -m demo.emoji_model.evaluate --samples 200 --sheet samples.png

Names that belong to one picture are sampled, and `reader` says what each sample shows. Where the font is
installed, held-out renderings are reconstructed by the autoencoder.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..host.loaders import load_autoencoder, load_shifted, sample_euler
from ..nodes.emoji import Words, all_names, all_prompts, encode, pool
from .networks import CHANNELS, SD3_FILE, VAE_FILE
from .pictures import FONT, render
from .reader import HELD_OUT_SEED, load_reader, smaller

LATENT = (CHANNELS, 16, 16)
SHIFT, CFG, STEPS = 10.0, 5.0, 50
BATCH = 20


@dataclass(frozen=True)
class Quality:
    """Shares are 0 to 1.

    Attributes:
        vae_psnr: mean over held-out renderings, dB; None without the font.
        first: share of samples whose name the reader puts first.
        five: among the first five.
        half: PSNR of samples with half the steps against all, mean.
        samples: number of prompts.
        steps: sampling steps.
    """

    vae_psnr: float | None
    first: float
    five: float
    half: float
    samples: int
    steps: int


def load_vae() -> Any:
    return load_autoencoder(VAE_FILE)


def load_model(shift: float = SHIFT) -> Any:
    """The model as UNETLoader and ModelSamplingSD3 give it."""
    return load_shifted(SD3_FILE, shift)


def conditioning(prompts: list[Words | None]) -> list[list[Any]]:
    """What the demo's prompt node gives, for a batch of prompts."""
    pooled = torch.cat([pool(p) for p in prompts])
    return [[torch.cat([encode(p) for p in prompts]), {"pooled_output": pooled}]]


def asked(count: int) -> list[Words]:
    """Names, always the same."""
    prompts = all_prompts()
    random.Random(7).shuffle(prompts)
    return prompts[:count]


def psnr(pictures: Tensor, others: Tensor) -> Tensor:
    """Of each pair [n, ...], dB."""
    return -10 * torch.log10((pictures - others).square().flatten(1).mean(1))


def reconstruct(vae: Any, count: int) -> float | None:
    """Mean PSNR of held-out renderings after encoding and decoding."""
    if not FONT.exists():
        return None
    draw = random.Random(HELD_OUT_SEED)
    texts = draw.sample(list(all_names()), count)
    pictures = torch.stack([render(text, draw) for text in texts]).movedim(1, -1)
    return float(psnr(vae.decode(vae.encode(pictures)), pictures).mean())


def sample(model: Any, vae: Any, prompts: list[Words], steps: int, cfg: float = CFG) -> Tensor:
    """Pictures [n, 128, 128, 3] by the host's euler sampler."""
    pictures = []
    for first in range(0, len(prompts), BATCH):
        group = prompts[first : first + BATCH]
        given = conditioning(list(group)), conditioning([None])
        latents = sample_euler(model, (len(group), *LATENT), steps, cfg, given, first)
        pictures.append(vae.decode(latents).clamp(0, 1))
    return torch.cat(pictures)


@torch.inference_mode()
def evaluate(options: argparse.Namespace) -> Quality:
    """Measure the committed weights."""
    vae, model, reader = load_vae(), load_model(options.shift), load_reader()
    prompts = asked(options.samples)
    pictures = sample(model, vae, prompts, options.steps, options.cfg)
    halves = sample(model, vae, prompts[:BATCH], options.steps // 2, options.cfg)
    names = list(all_names().values())
    wanted = torch.tensor([names.index(str(p)) for p in prompts])
    best = reader(smaller(pictures.movedim(-1, 1))).topk(5).indices == wanted[:, None]
    if options.sheet is not None:
        draw_sheet(pictures[:48], prompts[:48], options.sheet)
    return Quality(
        vae_psnr=reconstruct(vae, 32),
        first=float(best[:, 0].float().mean()),
        five=float(best.any(1).float().mean()),
        half=float(psnr(pictures[: len(halves)], halves).mean()),
        samples=options.samples,
        steps=options.steps,
    )


def draw_sheet(pictures: Tensor, prompts: list[Words], path: Path) -> None:
    """Picture with eight samples per row, the prompt above."""
    tiles = []
    for picture, prompt in zip(pictures, prompts, strict=True):
        line = Image.new("RGB", (picture.shape[1], 20), "white")
        ImageDraw.Draw(line).text((2, 3), str(prompt)[:22], fill="black")
        tiles.append(np.concatenate([np.asarray(line), (picture * 255).byte().numpy()]))
    rows = [np.concatenate(tiles[i : i + 8], 1) for i in range(0, len(tiles) - len(tiles) % 8, 8)]
    Image.fromarray(np.concatenate(rows)).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--cfg", type=float, default=CFG)
    parser.add_argument("--shift", type=float, default=SHIFT)
    parser.add_argument("--sheet", type=Path)
    print(json.dumps(asdict(evaluate(parser.parse_args()))))


if __name__ == "__main__":
    main()
