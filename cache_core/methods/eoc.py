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

from ..decide.policies import Listed, RunPlan
from ..decide.schedules import every
from ..planning.gram import GramTable
from ..predict.predictors import Known, Now, Predictor
from .base import Model, Page, StepMethod, check_range


@dataclass(frozen=True)
class EOC(StepMethod):
    """FORA's schedule with corrections.

    Attributes:
        interval: every so many steps are computed, 1 or more.
        warmup: steps at the start that are always computed, 1 or more.
        judgement: share of the squared error that a correction must take away to be made, 0 to 1.
    """

    name: ClassVar[str] = "EOC"
    uses: ClassVar[tuple[str, ...]] = ("interval", "warmup")
    uses_coefficients: ClassVar[bool] = True
    page: ClassVar[Page] = Page(
        leaves_out="whole step",
        predictor="reuse; least squares of two where calibration says that it pays",
        needs="none; corrects with a coefficient file",
        keeps="2 latents",
        waits="one number per computed step",
        source="arXiv 2501.19243; FORA: arXiv 2407.01425",
    )

    interval: int = 3
    warmup: int = 1
    judgement: float = 0.1

    def check(self) -> None:
        check_range("interval", self.interval, 1)
        check_range("warmup", self.warmup, 1)
        check_range("judgement", self.judgement, 0.0, 1.0)

    @classmethod
    def example(cls, everything: bool, steps: int, model: Model) -> EOC:
        return cls(1 if everything else 2)

    @property
    def off(self) -> bool:
        return self.interval == 1

    def policy(self, plan: RunPlan) -> Listed:
        return Listed({*every(self.interval, self.warmup, plan.steps), *plan.always()})

    def own_predictor(self, plan: RunPlan) -> Predictor:
        """The last output, corrected where that pays; notes where nothing can be corrected."""
        if plan.table is None:
            plan.note(
                "EOC without coefficients of this model only repeats outputs, as FORA does: make them "
                "with Calibrate Cache"
            )
        return Judged(plan.table, self.judgement)


@dataclass(frozen=True)
class Judged(Predictor):
    """The last output, corrected along the last change where that pays.

    Attributes:
        table: calibrated products of the guided outputs; None never corrects.
        judgement: share of the squared error that a correction must take away, 0 to 1.
    """

    table: GramTable | None
    judgement: float

    @property
    def depth(self) -> int:
        return 2

    def weights(self, past: Sequence[Known], now: Now) -> tuple[float, ...]:
        """They sum to 1."""
        if self.table is None or len(past) < 2:
            return (1.0,)
        sigmas = [known.sigma for known in past[:2]]
        pair = self.table.weights(now.sigma, sigmas)
        products = self.table.on([now.sigma, *sigmas])
        plain = _squared_error(products, (1.0, 0.0))
        corrected = _squared_error(products, pair)
        return pair if plain > 0 and plain - corrected >= self.judgement * plain else (1.0,)


def _squared_error(products: np.ndarray, weights: tuple[float, ...]) -> float:
    """Squared size of the first of some outputs less a weighted sum of the others.

    Args:
        products: [n, n] of the outputs.
        weights: n - 1.
    """
    missed = np.array([1.0, *(-weight for weight in weights)])
    return float(missed @ products @ missed)
