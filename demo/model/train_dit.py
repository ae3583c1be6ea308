"""Train the demo's diffusion transformer on encoded clips.

    python -m demo.model.train_dit --frames-only --minutes 7 --rate 1.5e-3
    python -m demo.model.train_dit --resume --minutes 29 --rate 1.5e-3
    python -m demo.model.train_dit --resume --minutes 33 --rate 3.5e-3

Single frames first, as they are five times cheaper, then clips with some frames in between.
"""

from __future__ import annotations

import random

import torch
from torch import Tensor

from ..nodes.vocabulary import WORDS, Prompt, encode
from .encode_clips import BANK
from .loop import arguments_of, train
from .networks import WAN_FILE, export, make_wan
from .objectives import flow
from .training import CACHE, cosine

NAME = "wan"
DROPOUT = 0.12  # prompts left out, for guidance
CLIPS, FRAMES = 10, 40  # batch sizes of about the same cost


class Bank:
    """Normalised latents with prompts."""

    def __init__(self, device: str) -> None:
        content = torch.load(CACHE / BANK, weights_only=True)
        self._device = device
        mean, std = (content[k].reshape(1, -1, 1, 1, 1) for k in ("mean", "std"))
        # The decoder amplifies channels by about their spread: errors count likewise.
        self.importance = (std / std.mean()).to(device)
        self._sets = {
            kind: ((content[kind].float() - mean) / std, content[f"{kind[:-1]}_words"])
            for kind in ("frames", "clips")
        }

    def draw(self, kind: str, count: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Random latents and their text embeddings, some of them empty."""
        latents, words = self._sets[kind]
        chosen = torch.randint(len(latents), (count,))
        texts = [
            encode(None if random.random() < DROPOUT else prompt_of(row))
            for row in words[chosen].tolist()
        ]
        return latents[chosen].to(self._device), {"context": torch.cat(texts).to(self._device)}


def prompt_of(words: list[int]) -> Prompt:
    return Prompt(*(WORDS[i] for i in words))


def main() -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("--frames-only", action="store_true")
    options = parser.parse_args()
    random.seed(1)
    torch.manual_seed(1)
    net = make_wan().to(options.device)
    bank = Bank(options.device)

    def draw(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        clips = not options.frames_only and step % 8 != 0
        return bank.draw("clips", CLIPS) if clips else bank.draw("frames", FRAMES)

    def fall(done: float) -> float:
        return 1.0 if options.frames_only else cosine(done, 0.02, hold=0.35)

    ema = train(NAME, net, net.blocks, draw, flow(bank.importance), options, fall)
    export(ema.weights, WAN_FILE)


if __name__ == "__main__":
    main()
