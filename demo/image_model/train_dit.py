"""Train the demo's image transformer on encoded frames.

python -m demo.image_model.train_dit --minutes 60 --rate 3.5e-3 --compile
"""

from __future__ import annotations

import random

import torch
from torch import Tensor

from ..model.loop import arguments_of, train
from ..model.networks import export
from ..model.objectives import flow
from ..model.train_dit import DROPOUT, prompt_of
from ..model.training import CACHE
from ..nodes.vocabulary import encode, pool
from .encode_frames import BANK
from .networks import SD3_FILE, make_sd3

NAME = "sd3"
BATCH = 48


def main() -> None:
    options = arguments_of(__doc__).parse_args()
    random.seed(1)
    torch.manual_seed(1)
    content = torch.load(CACHE / BANK, weights_only=True)
    latents, words = content["frames"].float(), content["words"].tolist()

    def draw(_: int) -> tuple[Tensor, dict[str, Tensor]]:
        chosen = torch.randint(len(latents), (BATCH,))
        prompts = [
            None if random.random() < DROPOUT else prompt_of(words[i]) for i in chosen.tolist()
        ]
        texts = {
            "context": torch.cat([encode(p) for p in prompts]).to(options.device),
            "y": torch.cat([pool(p) for p in prompts]).to(options.device),
        }
        return latents[chosen].to(options.device), texts

    net = make_sd3().to(options.device)
    even = torch.ones((), device=options.device)
    ema = train(NAME, net, net.joint_blocks, draw, flow(even), options)
    export(ema.weights, SD3_FILE)


if __name__ == "__main__":
    main()
