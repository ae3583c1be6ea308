"""The inputs and the output that EasyCache's rule compares."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .agreement import Agree, alone


@dataclass
class InputTrack:
    """Own copies of the latents of a run, for the first conditioning.

    Attributes:
        before: input of the step before.
        entered: input of the last computed step.
        output: output of the last computed step.
    """

    before: torch.Tensor | None = None
    entered: torch.Tensor | None = None
    output: torch.Tensor | None = None

    def enter(self, x: torch.Tensor, agree: Agree = alone) -> float | None:
        """Mean absolute change of the input since the step before, of all ranks. Reads the device."""
        before, self.before = self.before, x.clone()
        if before is None or before.shape != x.shape:
            return None
        return float(agree(_distance(x, before).reshape(1)))

    def compare(self, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """Means of a computed step as [size, change of the output, change of the input] on the device;
        what there is nothing to compare with is NaN."""
        nothing = torch.full((), float("nan"), device=x.device)
        changes = [nothing, nothing]
        before, entered = self.output, self.entered
        if before is not None and entered is not None and before.shape == output.shape:
            changes = [_distance(output, before), _distance(x, entered)]
        self.entered, self.output = x.clone(), output
        return torch.stack([output.float().abs().mean(), *changes])

    @property
    def nbytes(self) -> int:
        held = (self.before, self.entered, self.output)
        return sum(t.numel() * t.element_size() for t in held if t is not None)

    def clear(self) -> None:
        self.before = self.entered = self.output = None


def _distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a.float() - b.float()).abs().mean()
