"""Inputs and outputs of the nodes, each that several nodes have once, and how nodes end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import comfy.samplers
from comfy_api.latest import io

from ..cache_core.methods.base import FASTEST, FEW, Method, Plain, one_of
from ..cache_core.methods.scaling import MODES, Mode
from ..cache_core.predict.predictors import Predictor
from .host.cache import Cache, install
from .host.compat import advanced, schema, telling
from .host.presets import AUTO, thresholds_of
from .host.progress import ProgressText, node_of

CATEGORY = "advanced/model"
DEVICES = ("model device", "cpu")
_WORDS = ("cache", "speed up", "faster", "skip steps", "加速", "缓存")


def number(
    name: str,
    default: float,
    low: float,
    high: float,
    tooltip: str,
    step: float | None = None,
    folded: bool = False,
) -> io.Input:
    """A whole number, or with a step a decimal one.

    Args:
        folded: away under the advanced inputs, and optional; as in all others.
    """
    if step is None:
        whole = {"default": int(default), "min": int(low), "max": int(high)}
        return _made(io.Int, name, tooltip, folded, **whole)
    return _made(io.Float, name, tooltip, folded, default=default, min=low, max=high, step=step)


def choice(
    name: str,
    options: Sequence[str],
    tooltip: str,
    default: str | None = None,
    folded: bool = False,
) -> io.Input:
    """One of some words; the first of them by default."""
    own = {"options": list(options), "default": default or options[0]}
    return _made(io.Combo, name, tooltip, folded, **own)


def switch(name: str, default: bool, tooltip: str, folded: bool = False) -> io.Input:
    """On or off."""
    return _made(io.Boolean, name, tooltip, folded, default=default)


def text(name: str, tooltip: str, default: str = "", folded: bool = False) -> io.Input:
    """A line of text."""
    return _made(io.String, name, tooltip, folded, default=default)


def _made(kind: Any, name: str, tooltip: str, folded: bool, **own: Any) -> io.Input:
    more = {"optional": True} if folded else {}
    found = kind.Input(name, tooltip=tooltip, **own, **more)
    return advanced(found) if folded else found


def model(tooltip: str = "The model to make faster.") -> io.Input:
    """Of a node that puts a cache on it: by this the live view knows the node."""
    return telling(io.Model.Input("model", tooltip=tooltip), scaling_cache=True)


def speedup(default: float) -> io.Input:
    words = (
        "How much faster sampling should be. 1.0 is off, 2.0 computes half of the steps. Higher "
        "is faster and further from the full result: above 4.0 for drafts of long runs."
    )
    return number("speedup", default, 1.0, FASTEST, words, step=0.1)


def mode(tooltip: str = "") -> io.Input:
    words = (
        "Target speed-up: compute as few steps as 'speedup' asks for. Near-lossless, balanced and "
        "fast draft: 1.5x, 2x and 3x, whatever 'speedup' says. Error budget: predict as long as the "
        "estimated error stays within 'budget'."
    )
    needed = {Mode.TARGET: ["speedup"], Mode.BUDGET: ["budget"]}
    uses = {name: needed.get(mode, []) for name, mode in MODES.items()}
    return using(choice("mode", list(MODES), tooltip or words), uses)


def using(widget: io.Input, uses: Mapping[str, Sequence[str]]) -> io.Input:
    """Let an input say which others its values need, as JSON has them: the node hides those that are
    named for other values alone."""
    return telling(widget, uses={value: list(names) for value, names in uses.items()})


def recommended(method: str, threshold: float | None, words: str = "0 is {}") -> str:
    """What is recommended, for the label of an input.

    Args:
        method: its name.
        threshold: None where it is the model's.
        words: with the place of the threshold.
    """
    if threshold is not None:
        return words.format(f"{threshold:g}")
    known = thresholds_of(method).values()
    return words.format(f"the model's, {min(known):g} to {max(known):g}")


def model_type(method: str, tooltip: str, field: str, words: str = "0 is {}") -> io.Input:
    """Whose published settings to take.

    Args:
        method: name of a method that has some.
        field: whose label says the threshold that they have.
        words: with the place of the threshold.
    """
    thresholds = {AUTO: None, **thresholds_of(method)}
    told = {key: recommended(method, value, words) for key, value in thresholds.items()}
    chosen = using(choice("model_type", list(told), tooltip), {})
    return telling(chosen, recommended={field: told})


def predictor(names: Sequence[str]) -> io.Input:
    words = (
        "How a skipped output is made. Scaling follows the line through the last two outputs as far "
        "as it proved right; least squares weighs the last three as calibrated and needs "
        "coefficients; auto takes least squares where a calibration of this model found it nearer and "
        "the sampler adds no noise, else scaling; order 0 repeats the last output; order 1 and 2 "
        "extrapolate."
    )
    return choice("predictor", names, words, folded=True)


def placed_steps(warmup: int, max_gap: int) -> list[io.Input]:
    """Where steps are computed whatever the target, and the user's own list."""
    head = (
        "Steps at the start that are always computed. 0 leaves them to the target or the budget, "
        "which place every step."
    )
    gap = "At most so many steps are predicted in a row; above 4x up to 12."
    return [
        number("warmup", warmup, 0, 1000, head, folded=True),
        number("max_gap", max_gap, 1, 1000, gap, folded=True),
    ]


def coefficients(names: Sequence[str]) -> io.Input:
    words = (
        "Coefficients for the predictors auto and least squares. Auto takes a file that was made for "
        "this model; none uses none; or choose a file."
    )
    return choice("coefficients", names, words, folded=True)


def computed_steps() -> io.Input:
    words = (
        "Steps to compute, such as 0-2, 5, 8, in place of a target. The first step is 0. The node names "
        "those of a run after it: copy and edit them. Empty for none."
    )
    return text("computed_steps", words, folded=True)


def corrector(default: bool) -> io.Input:
    words = (
        "At each computed step, make good what the skipped ones before it missed. Closer to the full "
        "result at no cost; works with samplers that add no noise and evaluate once per step."
    )
    return switch("corrector", default, words, folded=True)


def few_steps() -> io.Input:
    words = (
        "What is left out where steps are few. Auto: whole steps from 5 steps on, and never so many that "
        "sampling with fewer steps would come nearer; with 4 steps at most middle blocks at one. "
        "Whole steps, from 5 steps on: as many as 'speedup' asks for. Middle blocks, from 4 steps on: no "
        "whole steps."
    )
    return choice("few_steps", list(FEW), words, folded=True)


def window(start: float = 0.0, end: float = 1.0, verb: str = "Skip") -> list[io.Input]:
    """Start and end percent."""
    words = f"{verb} nothing {{}} this share of the denoising is done."
    return [
        number("start_percent", start, 0.0, 1.0, words.format("before"), step=0.01),
        number("end_percent", end, 0.0, 1.0, words.format("after"), step=0.01),
    ]


def budget(default: float) -> io.Input:
    """Not folded away: the mode shows or hides it."""
    words = (
        "Error budget mode only: allowed mean error of the model's outputs, as a share of their size. "
        "0.02 is hard to see; 0 is off."
    )
    limits: dict[str, Any] = {"min": 0.0, "max": 1.0, "step": 0.001}
    return io.Float.Input("budget", tooltip=words, optional=True, default=default, **limits)


def cache_device() -> io.Input:
    words = "Where the cache is kept. The CPU saves video memory and costs transfer time."
    return choice("cache_device", DEVICES, words, folded=True)


def blocks(folded: bool = False) -> list[io.Input]:
    """Lists of blocks for Delta Cache."""
    words = "Blocks to skip, such as 0, 2-7. The double blocks of a two-stack model."
    single = "Single blocks to skip, in models that have them."
    return [text("blocks", words, folded=folded), text("single_blocks", single, folded=folded)]


def plain_run() -> list[io.Input]:
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
        number(
            "steps",
            30,
            1,
            1000,
            "As many as you sample with, or more: fewer can be served from more.",
        ),
        number("cfg", 5.0, 0.0, 100.0, "As you sample.", step=0.1),
        choice(
            "sampler_name",
            comfy.samplers.KSampler.SAMPLERS,
            "One that adds no noise; the result serves other samplers too.",
            default="euler",
        ),
        choice("scheduler", comfy.samplers.KSampler.SCHEDULERS, "As you sample.", default="simple"),
    ]


def aliases(*more: str) -> list[str]:
    """Words by which a node is found."""
    return [*more, *_WORDS]


def cache_node(
    node_id: str, name: str, description: str, words: Sequence[str], own: Sequence[io.Input]
) -> io.Schema:
    """Schema of a node with MODEL in and MODEL out.

    Args:
        name: as the user reads it.
        words: by which it is found, besides those of all caches.
        own: its inputs, the model among them.
    """
    return schema(
        node_id=node_id,
        display_name=name,
        category=CATEGORY,
        description=description,
        search_aliases=aliases(*words),
        hidden=[io.Hidden.unique_id],
        inputs=list(own),
        outputs=[io.Model.Output(display_name="model", tooltip="The model, faster.")],
    )


def off(cls: Any, model: Any) -> io.NodeOutput:
    """A model that computes all steps, as the settings ask for; what the node showed is of other
    ones.

    Its runs are timed, for a report that compares with them.
    """
    ProgressText(node_of(cls)).off()
    return io.NodeOutput(install(model, Cache(Plain(), off=node_of(cls))))


def refused(cls: Any, model: Any, why: str) -> io.NodeOutput:
    """The model as it came, and the reason on the node."""
    ProgressText(node_of(cls)).refuse(why)
    return io.NodeOutput(model)


def cached(
    cls: Any,
    model: Any,
    method: Method | str,
    device: str,
    *notes: str,
    predictor: Predictor | None = None,
) -> io.NodeOutput:
    """The model with a cache, or as it came with the reason on the node.

    Args:
        method: or why this model cannot have it.
        device: where changes of blocks are kept.
        predictor: in place of the method's own.

    Raises:
        ValueError: naming the field, if a setting is out of range or does not fit the network.
    """
    one_of("cache_device", DEVICES, device)
    if isinstance(method, str):
        return refused(cls, model, method)
    if method.off:
        return off(cls, model)
    cache = Cache(
        method, node_of(cls), predictor=predictor, to_host=device == DEVICES[1], notes=notes
    )
    return io.NodeOutput(install(model, cache))
