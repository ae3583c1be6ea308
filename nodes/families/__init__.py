"""Model families: how to reach the block stacks of each. To add one: a file like the others, and its
line in `FAMILIES`."""

from __future__ import annotations

from typing import Any

from . import (
    ace_step,
    auraflow,
    boogu,
    chroma,
    cogvideox,
    cosmos,
    ernie,
    flux,
    hidream,
    hunyuan3d,
    hunyuan_video,
    hydit,
    ideogram4,
    joyimage,
    kandinsky5,
    krea2,
    lens,
    ltxav,
    ltxv,
    lumina2,
    mage_flow,
    minimax_h3,
    mochi,
    omnigen2,
    pixart,
    pixeldit,
    qwen_image,
    sd3,
    stable_audio,
    triposplat,
    unet,
    wan,
)
from .family import Family

FAMILIES: tuple[Family, ...] = (
    flux.FAMILY,
    chroma.FAMILY,
    wan.FAMILY,
    hunyuan_video.FAMILY,
    ltxv.FAMILY,
    mochi.FAMILY,
    qwen_image.FAMILY,
    sd3.FAMILY,
    auraflow.FAMILY,
    lumina2.FAMILY,
    hidream.FAMILY,
    cosmos.COSMOS,
    cosmos.PREDICT2,
    pixart.FAMILY,
    wan.S2V,
    hunyuan3d.V2,
    hunyuan3d.V21,
    hydit.FAMILY,
    ace_step.FAMILY,
    omnigen2.FAMILY,
    stable_audio.FAMILY,
    lens.FAMILY,
    mage_flow.FAMILY,
    joyimage.FAMILY,
    krea2.FAMILY,
    ernie.FAMILY,
    ideogram4.FAMILY,
    kandinsky5.FAMILY,
    cogvideox.FAMILY,
    boogu.FAMILY,
    ace_step.V15,
    ltxav.FAMILY,
    minimax_h3.FAMILY,
    pixeldit.FAMILY,
    triposplat.FAMILY,
    unet.FAMILY,
)


def find_family(network: Any) -> Family | None:
    """The family of a network, None if its blocks cannot be reached.

    Known by the name of its class: importing the host's model modules here would load them all, and
    they move between releases.
    """
    kind = type(network)
    name = f"{kind.__module__}.{kind.__qualname__}"
    return next((f for f in FAMILIES if any(name.endswith(end) for end in f.classes)), None)


def why_not(network: Any) -> str:
    """Sentence for a network without a family."""
    return (
        f"The host has no usable hooks around the blocks of {type(network).__name__}: use the "
        "Scaling Cache node, which works with any model"
    )
