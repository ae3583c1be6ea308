"""Where a sampling run stands: which step an evaluation belongs to, and at which sigma."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Samplers convert sigmas through log or time space; this much drift is rounding, not another schedule.
SIGMA_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Moment:
    """One evaluation of the model.

    Attributes:
        evaluation: index of the evaluation in the run, from 0.
        step: index of the sampler step it belongs to, from 0.
        sigma: noise level on the host: measured when the clock measures, else the step's own sigma.
        first: whether it is the first evaluation of its step.
    """

    evaluation: int
    step: int
    sigma: float
    first: bool


class Clock:
    """Turns evaluations into steps.

    A sampler whose evaluations per step are known is *counted*: the clock needs no value from the
    device. Any other sampler is *measured*: the caller passes the sigma of each evaluation and the
    clock finds the step whose interval contains it.
    """

    def __init__(self, sigmas: Sequence[float], evaluations: Sequence[int] | None) -> None:
        """
        Args:
            sigmas: schedule of the run, one value per step and the final one.
            evaluations: evaluations of each step, or None to measure.

        Raises:
            ValueError: if the schedule has no step or the evaluations do not fit it.
        """
        if len(sigmas) < 2:
            raise ValueError(f"sigmas: need at least 2 values for one step, got {len(sigmas)}")
        self.sigmas = tuple(float(s) for s in sigmas)
        if evaluations is not None and (len(evaluations) != self.steps or min(evaluations) < 1):
            raise ValueError(f"evaluations: need 1 or more for each of {self.steps} steps")
        self._steps_of = None if evaluations is None else _steps_of(evaluations)
        self._evaluation = -1
        self._step = -1

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    @property
    def step(self) -> int:
        """Step of the latest evaluation, -1 before the first."""
        return self._step

    @property
    def measures(self) -> bool:
        """Whether `tick` needs the sigma of the evaluation."""
        return self._steps_of is None

    @property
    def planned_evaluations(self) -> int | None:
        """Evaluations of the whole run, or None when only the sampler knows."""
        return None if self._steps_of is None else len(self._steps_of)

    def tick(self, sigma: float | None = None) -> Moment:
        """Advance to the next evaluation.

        Raises:
            ValueError: if the clock measures and no sigma is given.
        """
        self._evaluation += 1
        if self._steps_of is not None:
            step = self._steps_of[min(self._evaluation, len(self._steps_of) - 1)]
            sigma = self.sigmas[step]
        elif sigma is None:
            raise ValueError("sigma: a measuring clock needs the sigma of each evaluation")
        else:
            step = self._find(sigma)
        first = step != self._step
        self._step = step
        return Moment(self._evaluation, step, sigma, first)

    def matches(self, moment: Moment, sigma: float) -> bool:
        """Whether a measured sigma is the one expected at the first evaluation of a step."""
        expected = self.sigmas[moment.step]
        return not moment.first or abs(sigma - expected) <= SIGMA_TOLERANCE * max(
            abs(expected), 1e-3
        )

    def measure_from_now(self) -> None:
        """Give up counting: the sampler does not follow its schedule."""
        self._steps_of = None

    def _find(self, sigma: float) -> int:
        """Last step whose sigma is not below `sigma`; the first step for anything above them all."""
        found = 0
        for step, start in enumerate(self.sigmas[:-1]):
            if start >= sigma * (1 - SIGMA_TOLERANCE):
                found = step
        return found


def _steps_of(evaluations: Sequence[int]) -> tuple[int, ...]:
    """Step of each evaluation."""
    return tuple(step for step, count in enumerate(evaluations) for _ in range(count))
