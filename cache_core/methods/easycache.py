"""EasyCache (Zhou et al., arXiv 2507.02860; code H-EmbodVis/EasyCache) and LazyCache (ComfyUI).

Rule: `k` is the change of the output over the change of the input between the last two computed steps.
At each step `acc += k mean|x_t - x_{t-1}| / mean|y|` with `x_{t-1}` replaced at every step and `y` of the
last computed one; skip while `acc < threshold`, else restart. A skipped step gives `x_t + (y - x)`.

ComfyUI's own nodes replace `x_{t-1}` at computed steps only and still accumulate, so their sum grows with
the square of the skipped steps and their thresholds mean something else.

EasyCache compares the model's output for the first conditioning, LazyCache its denoised picture.

Where several tensors are sampled as one row, as video with its sound, the published rule has no say: it
is for one. Here the rate and the change are of each, and the largest one counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from ..decide.policies import Accumulating, RunPlan, SamplerTraits
from ..predict.predictors import Quantity
from ..predict.row import cut
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

    def follower(self, plan: RunPlan) -> InputChange:
        return InputChange([stream.length for stream in plan.streams])


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
        lengths: of the streams of a row; none where it is one.
        before: input of the step before.
        entered, output: input and output of the last computed step.
        sizes: mean absolute output of the last computed step, of each stream.
        rates: change of the output over that of the input between the last two, likewise; NaN where it is
            not known.
    """

    LATENTS: ClassVar[int] = 3

    lengths: Sequence[int] = ()
    before: torch.Tensor | None = None
    entered: torch.Tensor | None = None
    output: torch.Tensor | None = None
    sizes: Sequence[float] = ()
    rates: Sequence[float] = ()

    def enter(
        self, x: torch.Tensor, agree: Callable[[torch.Tensor], torch.Tensor] | None
    ) -> float | None:
        """What a step adds to the sum. Reads the device."""
        before, self.before = self.before, x.clone()
        if before is None or before.shape != x.shape:
            return None
        moved = self._distances(x, before)
        changes = (moved if agree is None else agree(moved)).tolist()
        known = zip(self.rates, changes, self.sizes, strict=False)
        told = [r * change / size for r, change, size in known if size and not math.isnan(r)]
        return max(told, default=None, key=lambda change: (math.isnan(change), change))

    def compare(self, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """Means of a computed step, each of all streams: sizes, changes of the output, changes of the
        input; what there is nothing to compare with is NaN."""
        sizes = self._means(output.float())
        changes = [torch.full_like(sizes, math.nan)] * 2
        before, entered = self.output, self.entered
        if before is not None and entered is not None and before.shape == output.shape:
            changes = [self._distances(output, before), self._distances(x, entered)]
        self.entered, self.output = x.clone(), output
        return torch.cat([sizes, *changes])

    def learn(self, numbers: Sequence[float]) -> None:
        count = len(numbers) // 3
        sizes, outputs, inputs = (numbers[i * count : (i + 1) * count] for i in range(3))
        if not any(map(math.isnan, sizes)):
            known = self.rates or [math.nan] * count
            self.sizes, self.rates = (
                sizes,
                [
                    out / entered if entered and not math.isnan(out) else rate
                    for out, entered, rate in zip(outputs, inputs, known, strict=True)
                ],
            )

    def _means(self, row: torch.Tensor) -> torch.Tensor:
        """Mean absolute value of each stream."""
        pieces = cut(row, self.lengths) if self.lengths else (row,)
        return torch.stack([p.abs().mean() if p.numel() else p.new_zeros(()) for p in pieces])

    def _distances(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self._means(a.float() - b.float())

    @property
    def nbytes(self) -> int:
        held = (self.before, self.entered, self.output)
        return sum([t.numel() * t.element_size() for t in held if t is not None])

    def clear(self) -> None:
        self.before = self.entered = self.output = None
