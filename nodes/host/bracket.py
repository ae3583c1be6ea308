"""What all caches do around a sampling run: make the state, hand it to the wrappers, drop it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

from comfy.model_patcher import create_model_options_clone

from ...cache_core.plan import Refusal
from .progress import ProgressText


class Config(Protocol):
    """Immutable configuration carried by a model."""

    @property
    def node_id(self) -> str | None:
        """Node to report on, None for scripts."""
        ...


class Session(Protocol):
    """State of one run."""

    def close(self) -> str:
        """Drop all tensors; gives the summary for the user."""
        ...


Start = Callable[[Any, Any, Any, tuple[float, ...], ProgressText], Session | Refusal]


def sample(
    key: str, kind: type[Any], start: Start, executor: Any, args: tuple[Any, ...], kwargs: Any
) -> Any:
    """Run the sampler with a session in place of the configuration that the model carries.

    Args:
        key: place of the configuration in the model's options.
        kind: type of the configuration; anything else there is left alone.
        start: makes the session from configuration, guider, sampler, sigmas and progress.
        executor: the host's, of OUTER_SAMPLE.
        args, kwargs: of OUTER_SAMPLE: noise, latent, sampler, sigmas and more.
    """
    guider = executor.class_obj
    saved = guider.model_options
    config = saved.get("transformer_options", {}).get(key)
    if not isinstance(config, kind):
        return executor(*args, **kwargs)
    progress = ProgressText(config.node_id)
    schedule = tuple(float(s) for s in args[3].tolist())
    session = start(config, guider, args[2], schedule, progress)
    if isinstance(session, Refusal):
        progress.finish(f"Not cached. {session.reason}")
        return executor(*args, **kwargs)
    options = create_model_options_clone(saved)
    options["transformer_options"][key] = session
    guider.model_options = options
    try:
        return executor(*args, **kwargs)
    finally:
        guider.model_options = saved
        progress.finish(session.close())


def sigma_range(patcher: Any, start: float, end: float) -> tuple[float, float]:
    """Sigmas at two shares of the denoising. At the ends of the range the host names sigmas that a
    schedule may pass by rounding, so these are beyond any schedule."""
    sampling = patcher.get_model_object("model_sampling")
    return (
        float(sampling.percent_to_sigma(start)) if start > 0 else math.inf,
        float(sampling.percent_to_sigma(end)) if end < 1 else -math.inf,
    )
