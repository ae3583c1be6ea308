"""Predict the change that a span of blocks makes from its changes at earlier computed steps.

A predictor is a weighted sum of remembered changes, newest first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from .predictors import taylor_weights

Weights = Sequence[float | torch.Tensor]


@dataclass(frozen=True)
class Past:
    """What was known at one computed step.

    Attributes:
        step: index of the step.
        probe: change that the first blocks made then, where the predictor asks for it.
    """

    step: int
    probe: torch.Tensor | None = None


class StackPredictor(Protocol):
    """Weights of the remembered changes.

    Attributes:
        name: for docs.
        depth: how many computed steps are remembered.
        aligned: whether it compares the probe of the step with the remembered ones.
    """

    @property
    def name(self) -> str: ...

    @property
    def depth(self) -> int: ...

    @property
    def aligned(self) -> bool: ...

    def weights(self, past: Sequence[Past], now: Past) -> Weights:
        """One weight per entry of `past`, newest first; never read from the device."""
        ...


@dataclass(frozen=True)
class Reuse:
    """Repeat the newest change."""

    name: str = "reuse"
    depth: int = 1
    aligned: bool = False

    def weights(self, past: Sequence[Past], now: Past) -> Weights:
        return (1.0,)


@dataclass(frozen=True)
class Taylor:
    """Forecast of TaylorSeer (Liu et al., arXiv 2503.06923; code Shenyi-Z/TaylorSeer).

    Attributes:
        order: highest difference, 1 to 3; lower while fewer steps were computed.
    """

    order: int

    @property
    def name(self) -> str:
        return f"Taylor, order {self.order}"

    @property
    def depth(self) -> int:
        return self.order + 1

    @property
    def aligned(self) -> bool:
        return False

    def weights(self, past: Sequence[Past], now: Past) -> Weights:
        return taylor_weights([entry.step for entry in past], now.step)


@dataclass(frozen=True)
class Align:
    """Trajectory alignment of DiCache (arXiv 2508.17356): as far along the line through the last two
    changes as the first blocks have gone along theirs.

    With probe p and change r: `r_2 + g (r_1 - r_2)`, `g = mean|p - p_2| / mean|p_1 - p_2|`, clamped.

    Attributes:
        low, high: limits of g.
    """

    low: float = 1.0
    high: float = 1.5
    name: str = "trajectory alignment"
    depth: int = 2
    aligned: bool = True

    def weights(self, past: Sequence[Past], now: Past) -> Weights:
        if len(past) < 2 or now.probe is None:
            return (1.0, *(0.0 for _ in past[1:]))
        newest, older = past[0].probe, past[1].probe
        assert newest is not None
        assert older is not None
        apart = (newest.float() - older.float()).abs().mean()
        gone = (now.probe.float() - older.float()).abs().mean()
        along = torch.where(apart > 0, gone / apart, torch.ones_like(apart))
        along = along.clamp(self.low, self.high)
        return (along, 1 - along)


REUSE = Reuse()
