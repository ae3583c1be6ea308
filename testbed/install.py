"""A cache on a model, as scripts put it there, and what came of its runs."""

from __future__ import annotations

from typing import Any

import torch
from scaling_cache.cache_core.methods import Method
from scaling_cache.cache_core.run.run import Run
from scaling_cache.nodes.host.cache import Cache, install

from . import networks


def cached(
    model: Any,
    method: Method,
    runs: list[Run] | None = None,
    coefficients: str = "none",
    **more: Any,
) -> Any:
    """A clone of a model with a cache, or the model itself where it cannot have it.

    Args:
        runs: gets each run as it ends, whatever ended it.
        coefficients: "auto", "none" or the name of a coefficient file.
        more: of the `Cache`.
    """
    on_close = None if runs is None else runs.append
    return install(model, Cache(method, coefficients=coefficients, on_close=on_close, **more))


def sampled(model: Any, name: str, method: Method, **more: Any) -> tuple[torch.Tensor, Run]:
    """The result of a tiny network with a cache, and the run.

    Args:
        name: of the network.
        more: of `networks.sample`.
    """
    result = networks.sample(cached(model, method, runs := []), name, **more)
    (run,) = runs
    return result, run
