"""What all caches do around a sampling run: make the state, hand it to the wrappers, drop it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from comfy.model_patcher import create_model_options_clone

from ...cache_core.agreement import Agree, alone
from ...cache_core.plan import Refusal
from ...cache_core.report import RunReport
from ...cache_core.run_log import RunLog
from .progress import ProgressText, log_fault
from .runs import finished, refused


class Config(Protocol):
    """Immutable configuration carried by a model."""

    @property
    def node_id(self) -> str | None:
        """Node to report on, None for scripts."""
        ...

    @property
    def log(self) -> RunLog:
        """Where the runs are kept for a report."""
        ...


class Session(Protocol):
    """State of one run."""

    @property
    def name(self) -> str:
        """What the user calls the method."""
        ...

    @property
    def report(self) -> RunReport:
        """What happened so far."""
        ...

    def close(self) -> str:
        """Drop all tensors; gives the summary for the user."""
        ...


class Run(Protocol):
    """What can be stopped."""

    @property
    def agree(self) -> Agree:
        """Makes what decisions are taken from the same on all ranks."""
        ...

    def stop(self, why: str) -> None:
        """Drop the cache and compute what follows."""
        ...


@dataclass(frozen=True)
class Sampling:
    """What the host is about to sample.

    Attributes:
        guider: the host's, with model, model options and, where it has one, the guidance scale.
        sampler: the host's.
        schedule: sigmas, the final one included.
        shape: of the latent, [batch, channels, ...].
    """

    guider: Any
    sampler: Any
    schedule: tuple[float, ...]
    shape: tuple[int, ...]


Wrappers = Mapping[str, Callable[..., Any]]
Start = Callable[[Any, Sampling, ProgressText], Session | Refusal]


def put(model: Any, key: str, wrappers: Wrappers, config: Config) -> Any:
    """A clone of the model with these wrappers and their configuration; earlier ones are replaced."""
    patched = take(model, key, wrappers)
    for kind, wrapper in wrappers.items():
        patched.add_wrapper_with_key(kind, key, wrapper)
    patched.model_options.setdefault("transformer_options", {})[key] = config
    return patched


def take(model: Any, key: str, wrappers: Wrappers) -> Any:
    """A clone of the model without them."""
    patched = model.clone()
    for kind in wrappers:
        patched.remove_wrappers_with_key(kind, key)
    patched.model_options.get("transformer_options", {}).pop(key, None)
    return patched


def other_cache(options: Mapping[str, Any]) -> Refusal | None:
    """Why a model that carries a cache of the host is not cached; None if it carries none.

    Args:
        options: the transformer options of the run.
    """
    if "easycache" not in options:
        return None
    return Refusal("EasyCache or LazyCache is on the same model: remove one of the two nodes")


def give_up(run: Run, error: Exception) -> None:
    """A fault of the cache, memory included, must not cost the user the picture.

    Raises:
        Exception: the fault, where a picture is computed on several ranks: the others go on to skip, and
            would leave this one waiting for them.
    """
    if run.agree is not alone:
        raise error
    run.stop(log_fault("caching stopped for this run", error))


def sample(
    key: str, kind: type[Any], start: Start, executor: Any, args: tuple[Any, ...], kwargs: Any
) -> Any:
    """Run the sampler with a session in place of the configuration that the model carries.

    Args:
        key: place of the configuration in the model's options.
        kind: type of the configuration; anything else there is left alone.
        start: makes the session from configuration, what is sampled, and progress.
        executor: the host's, of OUTER_SAMPLE.
        args, kwargs: of OUTER_SAMPLE: noise, latent, sampler, sigmas and more.
    """
    guider = executor.class_obj
    saved = guider.model_options
    config = saved.get("transformer_options", {}).get(key)
    if not isinstance(config, kind):
        return executor(*args, **kwargs)
    progress = ProgressText(config.node_id)
    noise, _, sampler, sigmas = args[:4]
    schedule = tuple(float(s) for s in sigmas.tolist())
    session = start(config, Sampling(guider, sampler, schedule, tuple(noise.shape)), progress)
    if isinstance(session, Refusal):
        progress.refuse(session.reason)
        config.log.add(refused(session.reason, config.node_id))
        return executor(*args, **kwargs)
    progress.start(session.name, session.report)
    options = create_model_options_clone(saved)
    options["transformer_options"][key] = session
    guider.model_options = options
    try:
        result = executor(*args, **kwargs)
    finally:
        guider.model_options = saved
        progress.finish(session.close())
    config.log.add(finished(session.name, session.report, config.node_id))
    return result


def sigma_range(patcher: Any, start: float, end: float) -> tuple[float, float]:
    """Sigmas at two shares of the denoising. At the ends of the range the host names sigmas that a
    schedule may pass by rounding, so these are beyond any schedule."""
    sampling = patcher.get_model_object("model_sampling")
    return (
        float(sampling.percent_to_sigma(start)) if start > 0 else math.inf,
        float(sampling.percent_to_sigma(end)) if end < 1 else -math.inf,
    )
