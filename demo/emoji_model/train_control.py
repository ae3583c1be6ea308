"""Train the demo's ControlNet: outlines say where a picture's lines are.

    python -m demo.emoji_model.train_control --minutes 20 --rate 1e-3

It starts as the first blocks of the emoji model, which itself stays as it is. That draws every picture
one way round; here half of them are mirrored, and the outlines tell. Pictures whose names are held out
are.
"""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor, nn

from ..host.inprocess import import_host
from ..model.loop import arguments_of, train
from ..model.networks import export
from ..model.objectives import flow
from ..nodes.emoji import all_names, encode, held_out_prompts, pool
from .control import CONTROL_FILE, make_control, names_of_the_host, outlines
from .evaluate import SHIFT, load_vae
from .networks import SD3_FILE, make_sd3
from .pictures import render
from .train_dit import some

NAME = "emoji_control"
BATCH, GROUP = 32, 16


class Steered(nn.Module):
    """The emoji model with a ControlNet, of which the latter alone has weights to learn."""

    def __init__(self, model: nn.Module, control: nn.Module) -> None:
        super().__init__()
        self._model = (model,)
        self.control = control

    def forward(
        self, noisy: Tensor, time: Tensor, hint: Tensor, transformer_options: Any, **texts: Tensor
    ) -> Tensor:
        steer = self.control(noisy, time, hint=hint, **texts)
        return self._model[0](
            noisy, time, control=steer, transformer_options=transformer_options, **texts
        )


def bank() -> tuple[Tensor, Tensor, list[list[str]]]:
    """Latents of pictures either way round, of their outlines, and the words of each."""
    import_host()
    import comfy.latent_formats

    vae, space, draw = load_vae(), comfy.latent_formats.SD3(), random.Random(1)
    held_out = set(map(str, held_out_prompts()))
    names = {text: name for text, name in all_names().items() if name not in held_out}
    texts, latents, hints, words = list(names), [], [], []
    for first in range(0, len(texts), GROUP):
        group = texts[first : first + GROUP]
        pictures = torch.stack([render(text, draw) for text in group])
        for shown in (pictures, pictures.flip(-1)):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                found, lines = (
                    vae.encode(x.movedim(1, -1)).float() for x in (shown, outlines(shown))
                )
            latents.append(space.process_in(found))
            # The host's ControlNets of this model take hints that are scaled alone.
            hints.append(lines * space.scale_factor)
            words += [names[text].split() for text in group]
    return torch.cat(latents), torch.cat(hints), words


def main() -> None:
    options = arguments_of(__doc__).parse_args()
    random.seed(1)
    torch.manual_seed(1)
    with torch.no_grad():
        latents, hints, words = bank()
    import comfy.utils

    model = make_sd3()
    model.load_state_dict(comfy.utils.load_torch_file(str(SD3_FILE)))
    net = Steered(model.requires_grad_(False), make_control(model)).to(options.device)
    model.to(options.device)

    def draw(_: int) -> tuple[Tensor, dict[str, Tensor]]:
        chosen = torch.randint(len(latents), (BATCH,))
        prompts = [some(words[i]) for i in chosen.tolist()]
        given = {
            "hint": hints[chosen],
            "context": torch.cat([encode(p) for p in prompts]),
            "y": torch.cat([pool(p) for p in prompts]),
        }
        given = {name: value.to(options.device) for name, value in given.items()}
        return latents[chosen].to(options.device), given

    even = torch.ones((), device=options.device)
    ema = train(NAME, net, net.control.joint_blocks, draw, flow(even, SHIFT), options)
    weights = {name.removeprefix("control."): value for name, value in ema.weights.items()}
    export(names_of_the_host(weights), CONTROL_FILE)


if __name__ == "__main__":
    main()
