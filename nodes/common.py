"""What the nodes have in common: inputs, and how they end."""

from __future__ import annotations

from typing import Any

import comfy.samplers
from comfy_api.latest import io

from ..cache_core.methods.base import Method
from .host import stopwatch
from .host.compat import advanced
from .host.progress import ProgressText
from .host.stack import StackCache, install

CATEGORY = "advanced/model"
DEVICES = ["model device", "cpu"]


def model_input() -> io.Input:
    return io.Model.Input("model", tooltip="The model to make faster.")


def window_inputs(start: float = 0.0, end: float = 1.0, verb: str = "Skip") -> list[io.Input]:
    """Start and end percent."""
    return [
        io.Float.Input(
            name,
            default=default,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip=f"{verb} nothing {where} this share of the denoising is done.",
        )
        for name, default, where in (
            ("start_percent", start, "before"),
            ("end_percent", end, "after"),
        )
    ]


def device_input() -> io.Input:
    return advanced(
        io.Combo.Input(
            "cache_device",
            options=DEVICES,
            default=DEVICES[0],
            optional=True,
            tooltip="Where the cache is kept. The CPU saves video memory and costs transfer time.",
        )
    )


def gap_input(default: int, tooltip: str) -> io.Input:
    return advanced(
        io.Int.Input("max_gap", default=default, min=0, max=1000, optional=True, tooltip=tooltip)
    )


def run_inputs() -> list[io.Input]:
    """What a plain run needs besides the model."""
    return [
        io.Conditioning.Input("positive", tooltip="A prompt that is typical of yours."),
        io.Conditioning.Input("negative", tooltip="The negative prompt."),
        io.Latent.Input("latent_image", tooltip="An empty latent of your usual size."),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=0xFFFFFFFFFFFFFFFF,
            control_after_generate=False,
            tooltip="Seed of the first run; further runs count up from it.",
        ),
        io.Int.Input(
            "steps",
            default=30,
            min=1,
            max=1000,
            tooltip="As many as you sample with, or more: fewer can be served from more.",
        ),
        io.Float.Input("cfg", default=5.0, min=0.0, max=100.0, step=0.1, tooltip="As you sample."),
        io.Combo.Input(
            "sampler_name",
            options=comfy.samplers.KSampler.SAMPLERS,
            default="euler",
            tooltip="One that adds no noise; the result serves other samplers too.",
        ),
        io.Combo.Input(
            "scheduler",
            options=comfy.samplers.KSampler.SCHEDULERS,
            default="simple",
            tooltip="As you sample.",
        ),
    ]


def model_output() -> list[io.Output]:
    return [io.Model.Output(display_name="model", tooltip="The model, faster.")]


def node_id(cls: Any) -> str | None:
    return getattr(getattr(cls, "hidden", None), "unique_id", None)


def off(cls: Any, model: Any) -> io.NodeOutput:
    """A model without the cache, as the settings ask for; what the node showed is of other ones.

    Its runs are timed, for a report that compares with them.
    """
    ProgressText(node_id(cls)).off()
    return io.NodeOutput(stopwatch.install(model))


def refused(cls: Any, model: Any, why: str) -> io.NodeOutput:
    """The model as it came, and the reason on the node."""
    ProgressText(node_id(cls)).refuse(why)
    return io.NodeOutput(model)


def cached(
    cls: Any,
    model: Any,
    method: Method,
    start_percent: float,
    end_percent: float,
    cache_device: str,
    *notes: str,
) -> io.NodeOutput:
    """The model with a cache.

    Raises:
        ValueError: naming the field, if a setting is out of range or does not fit the network.
    """
    to_host = on_host(cache_device)
    cache = StackCache(method, start_percent, end_percent, to_host, node_id(cls), notes)
    return io.NodeOutput(install(model, cache))


def on_host(cache_device: str) -> bool:
    """Whether the cache is kept in the host's memory.

    Raises:
        ValueError: if the device is not offered.
    """
    if cache_device not in DEVICES:
        raise ValueError(f"cache_device: must be one of {', '.join(DEVICES)}, got {cache_device!r}")
    return cache_device == DEVICES[1]
