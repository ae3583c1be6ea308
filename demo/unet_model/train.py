"""Train the demo's UNet on encoded frames.

python -m demo.unet_model.train --minutes 60 --rate 2e-3
"""

from __future__ import annotations

import random

import torch
from torch import Tensor

from ..model.loop import arguments_of, train
from ..model.networks import export
from ..model.objectives import epsilon
from ..model.train_dit import DROPOUT, prompt_of
from ..model.training import CACHE
from .encode_frames import BANK
from .networks import UNET_FILE, initialise, make_base, words

NAME = "unet"
BATCH = 32


def main() -> None:
    options = arguments_of(__doc__).parse_args()
    random.seed(1)
    torch.manual_seed(1)
    base = make_base()
    content = torch.load(CACHE / BANK, weights_only=True)
    latents = base.process_latent_in(content["frames"].float())
    rows = content["words"].tolist()

    def draw(_: int) -> tuple[Tensor, dict[str, Tensor]]:
        chosen = torch.randint(len(latents), (BATCH,))
        prompts = [
            None if random.random() < DROPOUT else prompt_of(rows[i]) for i in chosen.tolist()
        ]
        context = torch.cat([words(p) for p in prompts])
        return latents[chosen].to(options.device), {"context": context.to(options.device)}

    net = initialise(base.diffusion_model).to(options.device)
    alphas = 1 / (1 + base.model_sampling.sigmas**2)
    blocks = [net.input_blocks, net.middle_block, net.output_blocks]
    ema = train(NAME, net, blocks, draw, epsilon(alphas), options)
    export(ema.weights, UNET_FILE)


if __name__ == "__main__":
    main()
