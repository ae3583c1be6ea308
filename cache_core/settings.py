"""What a user sets on the node, checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

# A run this short has no steps between which outputs change slowly.
FEWEST_STEPS = 8

_E = TypeVar("_E", bound=Enum)


class Mode(Enum):
    """How the steps to compute are chosen. The values are what the user reads."""

    TARGET = "target speed-up"
    BUDGET = "error budget"


class PredictorKind(Enum):
    """How a skipped output is predicted. The values are what the user reads."""

    SCALING = "scaling"
    ORDER_0 = "order 0"
    ORDER_1 = "order 1"
    ORDER_2 = "order 2"

    @property
    def order(self) -> int:
        """Past slopes the predictor needs."""
        return {"order 0": 0, "order 2": 2}.get(self.value, 1)


@dataclass(frozen=True)
class Settings:
    """Settings of one Scaling Cache node.

    Attributes:
        speedup: steps over computed steps to aim at, 1.0 (off) to 4.0.
        mode: aim at a speed-up or stay within an error budget.
        budget: allowed mean relative error of the outputs, 0 to 1.
        start_percent: share of the denoising before which every step is computed, 0 to 1.
        end_percent: share of the denoising after which every step is computed, 0 to 1.
        predictor: how a skipped output is predicted.
        warmup: steps at the start that are always computed, 1 or more.
        max_gap: steps that may be predicted in a row, 1 or more.

    Raises:
        ValueError: naming the field and the allowed values.
    """

    speedup: float = 2.0
    mode: Mode = Mode.TARGET
    budget: float = 0.02
    start_percent: float = 0.0
    end_percent: float = 1.0
    predictor: PredictorKind = PredictorKind.SCALING
    warmup: int = 3
    max_gap: int = 6

    def __post_init__(self) -> None:
        _between("speedup", self.speedup, 1.0, 4.0)
        _between("budget", self.budget, 0.0, 1.0)
        _between("start_percent", self.start_percent, 0.0, 1.0)
        _between("end_percent", self.end_percent, 0.0, 1.0)
        _between("warmup", self.warmup, 1, 1000)
        _between("max_gap", self.max_gap, 1, 1000)
        if self.start_percent > self.end_percent:
            raise ValueError(
                f"start_percent: must not be above end_percent, got {self.start_percent} and "
                f"{self.end_percent}"
            )

    @property
    def off(self) -> bool:
        """Whether these settings ask for no caching at all."""
        if self.mode is Mode.TARGET:
            return self.speedup == 1.0
        return self.budget == 0.0


def choose(field: str, kind: type[_E], value: str) -> _E:
    """The member of an enum that the user named.

    Raises:
        ValueError: naming the field and the allowed values.
    """
    try:
        return kind(value)
    except ValueError:
        allowed = ", ".join(repr(member.value) for member in kind)
        raise ValueError(f"{field}: must be one of {allowed}, got {value!r}") from None


def _between(field: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{field}: must be between {low} and {high}, got {value}")
