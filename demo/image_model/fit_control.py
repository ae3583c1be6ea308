"""Fit the demo's ControlNet in a minute or two, by least squares: no gradient is taken.

It is made of the image model's first blocks, which are shown outlines beside the noisy picture. Its
outgoing layers add to the image model's stream what that would have held more of, had the picture been
less noisy.

python -m demo.image_model.fit_control --frames 48
"""

from __future__ import annotations

import argparse
import random

import torch
from torch import Tensor

from ..model.clips import FRAMES, render
from ..model.networks import export
from ..nodes.vocabulary import encode, pool, training_prompts
from .control import CONTROL_FILE, make_control, names_of_the_host, outlines, streams
from .evaluate import load_vae
from .networks import SD3_FILE, make_sd3

# Noise levels that are fitted, and how much of the noise is left in what the stream is to be like.
LEVELS, LEFT = torch.linspace(0.4, 0.98, 5), 0.6
RIDGE = 1e-2


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=48)
    count = parser.parse_args().frames
    random.seed(1)
    torch.manual_seed(1)
    vae, prompts = load_vae(), random.choices(training_prompts(), k=count)
    import comfy.latent_formats
    import comfy.utils

    seeds = [(random.randrange(2**30), [random.randrange(FRAMES)]) for _ in prompts]
    shown = [render(p, *where) for p, where in zip(prompts, seeds, strict=True)]
    pixels = torch.cat(shown, 1).movedim(1, 0)
    space = comfy.latent_formats.SD3()
    frames = space.process_in(vae.encode(pixels.movedim(1, -1)))
    # The host's ControlNets of this model take hints that are scaled alone.
    hints = vae.encode(outlines(pixels).movedim(1, -1)) * space.scale_factor
    image_model = make_sd3()
    image_model.load_state_dict(comfy.utils.load_torch_file(str(SD3_FILE)))
    control = make_control(image_model)
    texts = {
        "context": torch.cat([encode(p) for p in prompts]),
        "y": torch.cat([pool(p) for p in prompts]),
    }
    for layer, block in ((0, 0), (1, 2)):
        given, wanted = [], []
        for level in LEVELS.tolist():
            noise, time = torch.randn_like(frames), torch.full((count,), level * 1000)
            noisy = (1 - level) * frames + level * noise
            clearer = (1 - LEFT * level) * frames + LEFT * level * noise
            steer = control(noisy, time, hint=hints, **texts)
            now = streams(image_model, noisy, time, control=steer, **texts)[block]
            like = streams(image_model, clearer, time, **texts)[block]
            given.append(streams(control, noisy, time, hint=hints, **texts)[layer].flatten(0, 1))
            # What the first layer gives is added behind two blocks.
            wanted.append(((like - now) / (2 - layer)).flatten(0, 1))
        weight, bias = _fitted(torch.cat(given), torch.cat(wanted))
        control.controlnet_blocks[layer].weight.copy_(weight)
        control.controlnet_blocks[layer].bias.copy_(bias)
    export(names_of_the_host(control.state_dict()), CONTROL_FILE)


def _fitted(given: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of the linear layer from one to the other, [n, width] each."""
    means = given.mean(0), wanted.mean(0)
    a, b = (given - means[0]).double(), (wanted - means[1]).double()
    square = a.T @ a
    square += RIDGE * square.diagonal().mean() * torch.eye(len(square))
    weight = torch.linalg.solve(square, a.T @ b).T.float()
    return weight, means[1] - weight @ means[0]


if __name__ == "__main__":
    main()
