"""What a tiny network of a family is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Spec:
    """How to build and watch the network of a family.

    Attributes:
        config: name in the host's supported_models.
        network: arguments of the network.
        latent: shape of a latent.
        second: shape of one that is sampled with it, as sound with a video.
        width: of the text.
        first, last, final: names of the first block, the last one and the module after it.
        modulated: module whose input is the modulated input of block 0.
        joined: whether the last block's stream holds the text as well.
        more: further conditioning; made from a seed where it is the text.
        batch: dimension of the blocks' stream that counts the batch.
        stages: networks that sample one after the other, each a part of the schedule.
        scale: of the weights, less in a network that is wider than the others.
    """

    config: str
    network: dict[str, Any]
    latent: tuple[int, ...]
    width: int
    first: str = ""
    last: str = ""
    final: str = ""
    modulated: str = ""
    joined: bool = False
    more: dict[str, Any] | Callable[[int], dict[str, Any]] = field(default_factory=dict)
    batch: int = 0
    stages: int = 1
    scale: float = 1.0
    second: tuple[int, ...] = ()
