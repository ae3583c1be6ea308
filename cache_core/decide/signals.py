"""What a method compares from step to step, and how a difference becomes a number."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import torch


class SignalKind(Enum):
    """Where the compared tensor comes from. The values are what the docs print.

    TIME depends on the timestep alone, so that all its changes are known before the run.
    """

    NONE = "none"
    INPUT = "input of the model"
    TIME_EMBEDDING = "time embedding"
    TIME_PROJECTION = "time projection"
    TOKENS = "tokens that enter block 0"
    MODULATED = "modulated input of block 0"
    PROBE = "residual of the first blocks"
    PROBE_OUTPUT = "output of the first blocks"

    @property
    def is_time(self) -> bool:
        return self in (SignalKind.TIME_EMBEDDING, SignalKind.TIME_PROJECTION)

    @property
    def is_probe(self) -> bool:
        """Whether the first blocks have to run for it."""
        return self in (SignalKind.PROBE, SignalKind.PROBE_OUTPUT)


class Reference(Enum):
    """When the tensor that the signal is compared with is replaced by the signal."""

    NONE = "none"
    EVERY_CALL = "every call"
    COMPUTED_ONLY = "computed calls"


def change_and_size(now: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """`mean|now - before|` and `mean|before|` over all elements [2], on the device, float32 or wider.

    Kept apart so that ranks which hold a part of the tensor each can take means of both.
    """
    wide = torch.promote_types(now.dtype, torch.float32)
    before = before.to(wide)
    return torch.stack([(now.to(wide) - before).abs().mean(), before.abs().mean()])


def relative(parts: torch.Tensor) -> torch.Tensor:
    """Changes over sizes [..., 2] as relative changes [...]. Zero where nothing changed, also where the
    size is zero."""
    change, size = parts.unbind(-1)
    return torch.where(change == 0, change, change / size)


def relative_change(now: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """`mean|now - before| / mean|before|` over all elements, a scalar on the device, float32 or wider.

    Zero where nothing changed, also where `before` is zero.
    """
    return relative(change_and_size(now, before))


def changes_along(signals: torch.Tensor) -> torch.Tensor:
    """Relative change of each row [steps, ...] from the row before it; the first is 0."""
    flat = signals.flatten(1).float()
    change = (flat[1:] - flat[:-1]).abs().mean(1) / flat[:-1].abs().mean(1)
    return torch.cat([change.new_zeros(1), change])


@dataclass(frozen=True)
class Polynomial:
    """Maps a change of the signal to an estimated change of the output, in float64 on the host.

    A fit says nothing outside the changes that it was fitted on, and may turn negative there, which
    would pay back error that was already spent. So the argument is clamped and the value floored,
    unless the published rule is wanted to the letter.

    Attributes:
        coefficients: highest power first.
        valid: lowest and highest change of the fit, None if unknown.
        strict: neither clamp nor floor.
    """

    coefficients: tuple[float, ...]
    valid: tuple[float, float] | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        if not self.coefficients or not all(map(math.isfinite, self.coefficients)):
            raise ValueError("coefficients: must be one or more finite numbers")

    def __call__(self, change: float) -> float:
        if self.valid is not None and not self.strict:
            change = min(max(change, self.valid[0]), self.valid[1])
        value = 0.0
        for coefficient in self.coefficients:
            value = value * change + coefficient
        return value if self.strict else max(value, 0.0)
