"""EasyCache (Zhou et al., arXiv 2507.02860; code H-EmbodVis/EasyCache) and LazyCache (ComfyUI).

Rule: `k` is the change of the output over the change of the input between the last two computed steps.
At each step `acc += k mean|x_t - x_{t-1}| / mean|y|` with `x_{t-1}` replaced at every step and `y` of the
last computed one; skip while `acc < threshold`, else restart. A skipped step gives `x_t + (y - x)`.

ComfyUI's own nodes replace `x_{t-1}` at computed steps only and still accumulate, so their sum grows with
the square of the skipped steps and their thresholds mean something else.

EasyCache compares the model's output for the first conditioning, LazyCache its denoised picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..checks import check_range, check_window
from ..policies import InputPolicy
from ..quantity import Quantity
from ..settings import PredictorKind
from ..signals import Reference, SignalKind
from ..traits import SamplerTraits, StepFrame


@dataclass(frozen=True)
class EasyCache:
    """Attributes:
    threshold: 0.05 Wan, 0.025 HunyuanVideo.
    head: steps at the start that are always computed: 10 Wan, 5 HunyuanVideo.
    max_gap: steps predicted in a row at most; the published rule has no limit.
    """

    name: ClassVar[str] = "EasyCache"
    source: ClassVar[str] = "arXiv 2507.02860, H-EmbodVis/EasyCache"
    signal: ClassVar[SignalKind] = SignalKind.INPUT
    reference: ClassVar[Reference] = Reference.EVERY_CALL
    uses_coefficients: ClassVar[bool] = False
    cached: ClassVar[Quantity] = Quantity.OUTPUT_CHANGE

    threshold: float = 0.05
    head: int = 5
    max_gap: int = 1000
    start_percent: float = 0.0
    end_percent: float = 1.0

    def __post_init__(self) -> None:
        check_range("threshold", self.threshold, 0.0, 10.0)
        if self.head < 0:
            raise ValueError(f"warmup: must be 0 or more, got {self.head}")
        if self.max_gap < 1:
            raise ValueError(f"max_gap: must be 1 or more, got {self.max_gap}")
        check_window(self.start_percent, self.end_percent)

    @property
    def predictor(self) -> PredictorKind:
        return PredictorKind.ORDER_0

    def quantity(self, traits: SamplerTraits) -> Quantity:
        return self.cached

    def policy(self, frame: StepFrame) -> InputPolicy:
        always = frame.outside() | {*range(self.head), frame.steps - 1}
        return InputPolicy(self.threshold, always, self.max_gap)


@dataclass(frozen=True)
class LazyCache(EasyCache):
    """EasyCache's rule on the denoised picture."""

    name: ClassVar[str] = "LazyCache"
    source: ClassVar[str] = "ComfyUI"
    cached: ClassVar[Quantity] = Quantity.DENOISED_CHANGE
