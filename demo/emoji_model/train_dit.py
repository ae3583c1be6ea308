"""Train the emoji model's transformer on encoded renderings.

    python -m demo.emoji_model.train_dit --minutes 90 --rate 3e-3
    python -m demo.emoji_model.train_dit --minutes 60 --rate 3e-3 --resume

The second line goes on from the last checkpoint, which is written every few minutes. Without `--compile`:
compiled, torch 2.13 gives no numbers in bfloat16 on a CPU.
"""

from __future__ import annotations

import random

import torch
from torch import Tensor

from ..model.loop import arguments_of, train
from ..model.networks import export
from ..model.objectives import flow
from ..model.training import CACHE
from ..nodes.emoji import Words, all_names, encode, pool
from .encode import BANK
from .networks import SD3_FILE, make_sd3

NAME = "emoji"
BATCH = 64
# Prompts left out, for guidance, and prompts with some of their words: a picture has to be found by any.
DROPOUT, PARTS = 0.1, 0.4


def some(words: list[str]) -> Words | None:
    """The words of a picture, in any order, as a user may ask for it."""
    chance = random.random()
    if chance < DROPOUT:
        return None
    if chance < DROPOUT + PARTS:
        words = [w for w in words if random.random() < 0.6] or [random.choice(words)]
    return Words(random.sample(words, len(words)))


def main() -> None:
    options = arguments_of(__doc__).parse_args()
    content = torch.load(CACHE / BANK, weights_only=True)
    latents, which = content["latents"], content["which"].tolist()
    names = [name.split() for name in all_names().values()]

    def draw(_: int) -> tuple[Tensor, dict[str, Tensor]]:
        chosen = torch.randint(len(latents), (BATCH,))
        prompts = [some(names[which[i]]) for i in chosen.tolist()]
        texts = {
            "context": torch.cat([encode(p) for p in prompts]).to(options.device),
            "y": torch.cat([pool(p) for p in prompts]).to(options.device),
        }
        return latents[chosen].float().to(options.device), texts

    net = make_sd3().to(options.device)
    even = torch.ones((), device=options.device)
    ema = train(NAME, net, net.joint_blocks, draw, flow(even), options)
    export(ema.weights, SD3_FILE)


if __name__ == "__main__":
    main()
