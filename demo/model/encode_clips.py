"""Encode clips and single frames once, so that the transformer trains on latents.

    python -m demo.model.encode_clips --frames 3200 --clips 1000

Also writes the VAE's weights file, with the statistics of its latents folded in.
"""

from __future__ import annotations

import argparse
import random

import torch
from torch import Tensor

from ..nodes.vocabulary import WORDS, Prompt, training_prompts
from .clips import FRAMES, render
from .networks import VAE_FILE, export, fold_statistics, make_vae
from .training import CACHE, averaged

BANK = "bank.pt"


def words_of(prompt: Prompt) -> list[int]:
    return [WORDS.index(word) for word in prompt]


@torch.inference_mode()
def encode(vae, count: int, group: int, single: bool, device: str) -> tuple[Tensor, Tensor]:
    """Latents in float16 and the words of their prompts, as numbers [count, 4]."""
    prompts = training_prompts()
    latents, words = [], []
    for _ in range(count // group):
        clips = []
        for _ in range(group):
            prompt = random.choice(prompts)
            clip = render(prompt, random.randrange(2**30))
            clips.append(clip[:, [random.randrange(FRAMES)]] if single else clip)
            words.append(words_of(prompt))
        with torch.autocast(device, dtype=torch.bfloat16):
            latents.append(vae.encode(torch.stack(clips).to(device) * 2 - 1).half().cpu())
    return torch.cat(latents), torch.tensor(words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=3200)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    random.seed(0)
    weights = averaged("vae")
    vae = make_vae().to(arguments.device)
    vae.load_state_dict(weights)
    frames, frame_words = encode(vae, arguments.frames, 16, True, arguments.device)
    clips, clip_words = encode(vae, arguments.clips, 4, False, arguments.device)
    values = clips.float()
    mean, std = values.mean((0, 2, 3, 4)), values.std((0, 2, 3, 4))
    bank = {
        "frames": frames,
        "frame_words": frame_words,
        "clips": clips,
        "clip_words": clip_words,
        "mean": mean,
        "std": std,
    }
    torch.save(bank, CACHE / BANK)
    export(fold_statistics(weights, mean, std), VAE_FILE)


if __name__ == "__main__":
    main()
