"""Room for the cache on the device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


def prepare_sampling(
    executor: Any, model: Any, noise_shape: Any, *args: Any, count: int, **kwargs: Any
) -> Any:
    """Let the host load its models such that the cache fits beside them.

    The host has no way to reserve memory: it takes what sampling needs from the shape of the noise. So it
    is told of a larger one, of which nothing but the estimate is made.

    Args:
        executor: the host's, of PREPARE_SAMPLING, with its arguments after it.
        count: bytes that the cache will hold on the device.
    """
    return executor(model, with_room(model, noise_shape, count), *args, **kwargs)


def with_room(model: Any, shape: Any, count: int) -> Any:
    """A shape that the host estimates to need so many bytes more; the same one if it cannot be told."""
    plain = isinstance(shape, Sequence) and len(shape) and all(isinstance(n, int) for n in shape)
    own = model.model.memory_required(list(shape)) if plain and count > 0 else 0
    if own <= 0:
        return shape
    *rest, last = shape
    return [*rest, math.ceil(last * (1 + count / own))]
