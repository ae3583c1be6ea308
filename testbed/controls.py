"""ControlNets and T2I adapters of tiny networks, with random weights, in the host's own classes."""

from __future__ import annotations

import math
from typing import Any

import comfy.ops
import torch
from comfy.cldm.cldm import ControlNet as UNetControl
from comfy.cldm.mmdit import ControlNet as SD3Control
from comfy.controlnet import ControlNet, T2IAdapter
from comfy.ldm.flux.controlnet import ControlNetFlux
from comfy.t2i_adapter.adapter import Adapter_light

from .networks import spec_of

_MADE: dict[str, Any] = {"operations": comfy.ops.disable_weight_init, "dtype": torch.float32}
_OF_THE_MODEL = (
    "out_channels",
    "image_model",
    "operations",
    "dtype",
    "device",
    "disable_unet_model_creation",
)
CPU = torch.device("cpu")


def control_for(model: Any, name: str, seed: int = 0, spread: float = 0.1) -> Any:
    """A ControlNet of a tiny network, as the host's loader makes it; one of a transformer takes a hint of
    the latent's size.

    Args:
        model: the host's patcher of the network.
        name: of the network.
        spread: standard deviation of the weights.
    """
    known = model.model.model_config.unet_config
    given = {k: v for k, v in known.items() if k not in _OF_THE_MODEL}
    ratio, extra = 1, ["y"]
    if name in ("sd15", "sdxl"):
        network, ratio = UNetControl(hint_channels=3, **given, **_MADE), 8
    elif name == "sd3":
        network = SD3Control(num_blocks=1, control_latent_channels=16, **given, **_MADE)
    else:
        given["out_channels"] = known["out_channels"]
        network = ControlNetFlux(latent_input=True, control_latent_channels=16, **given, **_MADE)
        extra = ["y", "guidance"]
    _fill(network, seed, spread)
    return ControlNet(network, compression_ratio=ratio, load_device=CPU, extra_conds=extra)


def adapter(seed: int = 0) -> Any:
    """A T2I adapter of the tiny Stable Diffusion 1.5."""
    network = Adapter_light(cin=192, channels=[32, 64, 128, 128], nums_rb=1)
    _fill(network, seed, 0.1)
    return T2IAdapter(network, network.input_channels, 8, "nearest-exact", CPU)


def hint_for(control: Any, name: str, seed: int = 5) -> torch.Tensor:
    """A random hint for the latent of a tiny network."""
    channels, *_, height, width = spec_of(name).latent
    ratio = control.compression_ratio
    shape = (1, 3 if ratio > 1 else channels, height * ratio, width * ratio)
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def put(
    conditioning: list[list[Any]],
    control: Any,
    name: str,
    strength: float = 1.0,
    span: tuple[float, float] = (0.0, 1.0),
    both: bool = True,
) -> list[list[Any]]:
    """A conditioning with a ControlNet on top of those that it has, as ControlNetApply gives it.

    Args:
        both: whether the negative one gets it by itself.
    """
    found = []
    for text, options in conditioning:
        mine = control.copy().set_cond_hint(hint_for(control, name), strength, span)
        mine.set_previous_controlnet(options.get("control"))
        found.append([text, {**options, "control": mine, "control_apply_to_uncond": both}])
    return found


def _fill(network: torch.nn.Module, seed: int, spread: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in [*network.parameters(), *network.buffers()]:
            if tensor.is_floating_point():
                size = (
                    spread / math.sqrt(max(1, tensor[0].numel() / 64))
                    if tensor.ndim > 1
                    else spread
                )
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * size)
    network.eval()
