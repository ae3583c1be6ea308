"""Train the demo's model of video with sound, on clips that are drawn as it goes.

nice -n 19 python -m demo.sound_model.train --minutes 35
"""

from __future__ import annotations

import math
import random

import torch
from torch import Tensor, nn

from ..model.loop import arguments_of, train
from ..model.networks import export
from ..model.objectives import flow
from .clips import MOMENTS, NOTES, PROMPTS, SOUND, VIDEO, encode, render
from .networks import FILE, LOUDER, initialise, make_base

NAME = "sound"
BATCH, DROPOUT = 16, 0.1
_VIDEO, _SOUND = math.prod(VIDEO), NOTES * MOMENTS


class Rows(nn.Module):
    """The network on rows, as objectives have them."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, time: Tensor, **more: Tensor) -> Tensor:
        video, sound = x.split([_VIDEO, _SOUND], -1)
        found = self.net([video.reshape(-1, *VIDEO), sound.reshape(-1, *SOUND)], time, **more)
        return torch.cat([part.flatten(1)[:, None] for part in found], -1)


def main() -> None:
    options = arguments_of(__doc__).parse_args()
    random.seed(1)
    torch.manual_seed(1)
    inner = initialise(make_base().diffusion_model)
    net = Rows(inner).to(options.device)

    def draw(_: int) -> tuple[Tensor, dict[str, Tensor]]:
        prompts = random.choices(PROMPTS, k=BATCH)
        video, sound = render(prompts, random.randrange(2**30))
        told = [None if random.random() < DROPOUT else prompt for prompt in prompts]
        row = torch.cat([video.flatten(1), sound.flatten(1) * LOUDER], 1)[:, None]
        return row.to(options.device), {"context": encode(told).to(options.device)}

    # Both streams count alike: the sound is few numbers, and its velocities are LOUDER times as large.
    counts = torch.ones(1, 1, _VIDEO + _SOUND)
    counts[..., _VIDEO:] = _VIDEO / _SOUND / LOUDER**2
    ema = train(NAME, net, inner.blocks, draw, flow(counts / 2), options)
    export({name.removeprefix("net."): value for name, value in ema.weights.items()}, FILE)


if __name__ == "__main__":
    main()
