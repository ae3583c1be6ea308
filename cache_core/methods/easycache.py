"""EasyCache (Zhou et al., arXiv 2507.02860; code H-EmbodVis/EasyCache) and LazyCache (ComfyUI).

Rule: `k` is the change of the output over the change of the input between the last two computed steps.
At each step `acc += k mean|x_t - x_{t-1}| / mean|y|` with `x_{t-1}` replaced at every step and `y` of the
last computed one; skip while `acc < threshold`, else restart. A skipped step gives `x_t + (y - x)`.

ComfyUI's own nodes replace `x_{t-1}` at computed steps only and still accumulate, so their sum grows with
the square of the skipped steps and their thresholds mean something else.

EasyCache compares the model's output for the first conditioning, LazyCache its denoised picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from ..decide.policies import Accumulating, RunPlan, SamplerTraits
from ..predict.predictors import Quantity
from .base import Model, Page, StepMethod, check_range


@dataclass(frozen=True)
class EasyCache(StepMethod):
    """The rule on the model's output.

    Attributes:
        threshold: 0.05 Wan, 0.025 HunyuanVideo.
        warmup: steps at the start that are always computed: 10 Wan, 5 HunyuanVideo.
        max_gap: steps predicted in a row at most; the published rule has no limit.
    """

    name: ClassVar[str] = "EasyCache"
    uses: ClassVar[tuple[str, ...]] = ("threshold", "max_gap", "warmup")
    page: ClassVar[Page] = Page(
        leaves_out="whole step",
        signal="input of the model",
        reference="every call",
        keeps="1 latent, and 3 for the run",
        waits="one number per step, one more per computed step",
        source="arXiv 2507.02860, H-EmbodVis/EasyCache",
    )
    cached: ClassVar[Quantity] = Quantity.OUTPUT_CHANGE

    threshold: float = 0.05
    warmup: int = 5
    max_gap: int = 1000

    def check(self) -> None:
        check_range("threshold", self.threshold, 0.0, 10.0)
        check_range("warmup", self.warmup, 0)
        check_range("max_gap", self.max_gap, 1)

    @classmethod
    def example(cls, everything: bool, steps: int, model: Model) -> EasyCache:
        return cls(0.0 if everything else 10.0, warmup=2, max_gap=1)

    def quantity(self, traits: SamplerTraits) -> Quantity:
        return self.cached

    def policy(self, plan: RunPlan) -> Accumulating:
        always = plan.always() | {*range(self.warmup), plan.steps - 1}
        return Accumulating(lambda change: change, self.threshold, always, self.max_gap)

    def follower(self) -> InputChange:
        return InputChange()


@dataclass(frozen=True)
class LazyCache(EasyCache):
    """The same rule on the denoised picture."""

    name: ClassVar[str] = "LazyCache"
    page: ClassVar[Page] = Page(
        leaves_out="whole step",
        signal="input of the model",
        reference="every call",
        keeps="1 latent, and 3 for the run",
        waits="one number per step, one more per computed step",
        source="ComfyUI",
    )
    cached: ClassVar[Quantity] = Quantity.DENOISED_CHANGE


@dataclass
class InputChange:
    """The change of the input, times how strongly the output was last seen to follow it. Keeps own copies
    of latents, for the first conditioning.

    Attributes:
        before: input of the step before.
        entered, output: input and output of the last computed step.
        size: mean absolute output of the last computed step.
        rate: change of the output over that of the input between the last two.
    """

    LATENTS: ClassVar[int] = 3

    before: torch.Tensor | None = None
    entered: torch.Tensor | None = None
    output: torch.Tensor | None = None
    size: float | None = None
    rate: float | None = None

    def enter(
        self, x: torch.Tensor, agree: Callable[[torch.Tensor], torch.Tensor] | None
    ) -> float | None:
        """What a step adds to the sum. Reads the device."""
        before, self.before = self.before, x.clone()
        if before is None or before.shape != x.shape:
            return None
        moved = _distance(x, before).reshape(1)
        change = float(moved if agree is None else agree(moved))
        return self.rate * change / self.size if self.rate is not None and self.size else None

    def compare(self, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """Means of a computed step as [size, change of the output, change of the input]; what there is
        nothing to compare with is NaN."""
        changes = [torch.full((), math.nan, device=x.device)] * 2
        before, entered = self.output, self.entered
        if before is not None and entered is not None and before.shape == output.shape:
            changes = [_distance(output, before), _distance(x, entered)]
        self.entered, self.output = x.clone(), output
        return torch.stack([output.float().abs().mean(), *changes])

    def learn(self, numbers: Sequence[float]) -> None:
        size, output, entered = numbers
        if not math.isnan(size):
            self.size = size
            if entered and not math.isnan(output):
                self.rate = output / entered

    @property
    def nbytes(self) -> int:
        held = (self.before, self.entered, self.output)
        return sum([t.numel() * t.element_size() for t in held if t is not None])

    def clear(self) -> None:
        self.before = self.entered = self.output = None


def _distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a.float() - b.float()).abs().mean()
