"""A ControlNet of the emoji model, in the host's own class for Stable Diffusion 3: outlines say
where the lines are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from ..host.inprocess import import_host
from ..nodes.emoji import Words
from .evaluate import load_model, load_vae, sample
from .networks import CHANNELS, DEPTH, WEIGHTS, settings

CONTROL_FILE = WEIGHTS.with_name("control_weights") / "scalingcache_demo_emoji_control.safetensors"
BLOCKS = 2
_CONTRAST = 6.0
# Steps of a sample whose outlines are shown.
_SAMPLED = 20


def make_control(model: nn.Module) -> Any:
    """The network with the first blocks of the model, which see the hint as they do the picture. It
    changes nothing before it has learned."""
    import_host()
    from comfy.cldm.mmdit import ControlNet

    net = ControlNet(num_blocks=BLOCKS, control_latent_channels=CHANNELS, **settings())
    net.requires_grad_(True)
    own = net.load_state_dict(model.state_dict(), strict=False).missing_keys
    for name, value in net.named_parameters():
        if name in own:
            nn.init.zeros_(value)
    net.pos_embed_input.proj.weight.data.copy_(net.x_embedder.proj.weight)
    return net


def names_of_the_host(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names by which ControlNetLoader knows a ControlNet of Stable Diffusion 3."""
    import comfy.utils

    left, found = dict(weights), {}
    names = comfy.utils.mmdit_to_diffusers({"depth": DEPTH, "num_blocks": BLOCKS})
    for name, place in names.items():
        own, part = (place, None) if isinstance(place, str) else place[:2]
        if own in weights:
            left.pop(own, None)
            found[name] = weights[own] if part is None else weights[own].narrow(*part)
    return {**left, **found}


def load_control() -> Any:
    """As ControlNetLoader gives it."""
    import_host()
    from comfy.controlnet import load_controlnet

    return load_controlnet(str(CONTROL_FILE))


def mirrored(prompts: list[Words]) -> Tensor:
    """Samples the other way round, [n, 3, 128, 128]: what the model would not draw by itself."""
    return sample(load_model(), load_vae(), prompts, _SAMPLED).movedim(-1, 1).flip(-1)


def outlines(pictures: Tensor) -> Tensor:
    """White lines on black where neighbouring pixels differ: [n, 3, height, width], 0 to 1."""
    right = functional.pad(pictures.diff(dim=3), (0, 1, 0, 0))
    below = functional.pad(pictures.diff(dim=2), (0, 0, 0, 1))
    edges = (right.square() + below.square()).sum(1, keepdim=True).sqrt()
    return (_CONTRAST * edges).clamp(0, 1).expand(-1, 3, -1, -1)
