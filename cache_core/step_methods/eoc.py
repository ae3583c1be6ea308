"""EOC: error-optimised cache (Qiu et al., ACM MM 2025, arXiv 2501.19243; no code published), over FORA.

From the paper's abstract: FORA computes every N-th step and repeats what it cached in between; on top of
it differences made by caching are prior knowledge, a judgment tells which cached steps need to be
optimised, and there the error of the cache is reduced.

This pack's reading of the three parts, on the model's output:

- prior knowledge: how far an output goes on along the change between the last two computed ones, as the
  least-squares weights that a coefficient file gives for the noise level;
- judgment: a step is optimised where these weights lower the squared error of the repeated output, as the
  same file has it, by a share `judgement` or more;
- optimisation: the weighted sum takes the place of the repeated output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..calibration import GramTable
from ..checks import check_range, check_window
from ..policies import ScheduledPolicy
from ..quantity import Quantity
from ..schedules import every
from ..settings import PredictorKind
from ..signals import Reference, SignalKind
from ..traits import SamplerTraits, StepFrame


@dataclass(frozen=True)
class EOC:
    """Attributes:
    interval: every so many steps are computed, 1 or more.
    head: steps at the start that are always computed, 1 or more.
    judgement: share of the squared error that a correction must take away to be made, 0 to 1.
    """

    name: ClassVar[str] = "EOC"
    source: ClassVar[str] = "arXiv 2501.19243; FORA: arXiv 2407.01425"
    signal: ClassVar[SignalKind] = SignalKind.NONE
    reference: ClassVar[Reference] = Reference.NONE
    uses_coefficients: ClassVar[bool] = True

    interval: int = 3
    head: int = 1
    judgement: float = 0.1
    start_percent: float = 0.0
    end_percent: float = 1.0

    def __post_init__(self) -> None:
        check_range("interval", self.interval, 1, 1000)
        check_range("warmup", self.head, 1, 1000)
        check_range("judgement", self.judgement, 0.0, 1.0)
        check_window(self.start_percent, self.end_percent)

    @property
    def predictor(self) -> PredictorKind:
        """Two outputs are kept, for `weigher`."""
        return PredictorKind.ORDER_1

    def quantity(self, traits: SamplerTraits) -> Quantity:
        return Quantity.for_sampler(traits.stochastic)

    def policy(self, frame: StepFrame) -> ScheduledPolicy:
        computed = {*every(self.interval, self.head, frame.steps), *frame.outside()}
        return ScheduledPolicy(tuple(sorted(computed)))

    def weigher(self, frame: StepFrame) -> Judged:
        """Weights of past outputs; notes where nothing can be corrected."""
        if frame.guided is None:
            frame.report.note(
                "EOC without coefficients of this model only repeats outputs, as FORA does: make them "
                "with Calibrate Cache"
            )
        return Judged(frame.guided, self.judgement)


@dataclass(frozen=True)
class Judged:
    """The last output, corrected along the last change where that pays.

    Attributes:
        table: calibrated products of the guided outputs; None never corrects.
        judgement: share of the squared error that a correction must take away, 0 to 1.
    """

    table: GramTable | None
    judgement: float

    def weights(self, sigma: float, past: Sequence[float]) -> tuple[float, ...]:
        """Weights of the outputs at earlier sigmas for the one at `sigma`; they sum to 1.

        Args:
            past: newest first, at least one; only the first two count.
        """
        repeat = (1.0, *(0.0 for _ in past[1:]))
        if self.table is None or len(past) < 2:
            return repeat
        pair = self.table.weights(sigma, past[:2])
        products = self.table.on([sigma, *past[:2]])
        plain = _squared_error(products, (1.0, 0.0))
        corrected = _squared_error(products, pair)
        if plain > 0 and plain - corrected >= self.judgement * plain:
            return (*pair, *(0.0 for _ in past[2:]))
        return repeat


def _squared_error(products: np.ndarray, weights: tuple[float, ...]) -> float:
    """Squared size of the first of some outputs less a weighted sum of the others.

    Args:
        products: [n, n] of the outputs.
        weights: n - 1.
    """
    missed = np.array([1.0, *(-weight for weight in weights)])
    return float(missed @ products @ missed)
