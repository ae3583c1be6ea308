"""Encode frames once, so that the UNet trains on latents.

python -m demo.unet_model.encode_frames --frames 6000
"""

from __future__ import annotations

import argparse
import random

import torch

from ..emoji_model.networks import make_taesd
from ..model.clips import FRAMES, render
from ..model.encode_clips import words_of
from ..model.training import CACHE, averaged
from ..nodes.vocabulary import training_prompts

BANK = "frames.pt"
GROUP = 16


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=6000)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    random.seed(0)
    vae = make_taesd().to(options.device)
    vae.load_state_dict(averaged("taesd"))
    prompts, latents, words = training_prompts(), [], []
    for _ in range(options.frames // GROUP):
        frames = []
        for _ in range(GROUP):
            prompt = random.choice(prompts)
            frames.append(render(prompt, random.randrange(2**30), [random.randrange(FRAMES)])[:, 0])
            words.append(words_of(prompt))
        with torch.autocast(options.device, dtype=torch.bfloat16):
            latents.append(vae.encode(torch.stack(frames).to(options.device) * 2 - 1).half().cpu())
    torch.save({"frames": torch.cat(latents), "words": torch.tensor(words)}, CACHE / BANK)


if __name__ == "__main__":
    main()
