"""Decide by an error budget: as few computed steps as the estimated mean error allows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ..planning.gram import Floats, Steps
from ..planning.optimiser import FAR
from ..planning.prior import influence, line_misses
from ..predict.predictors import area
from .policies import ALWAYS, Decision, RunPlan

# How far lines are taken to miss before any was measured, as a share of what is expected: about as far as
# those of the demo models do.
_UNMEASURED = 0.06
# Choices of steps at most.
_CHOICES = 80


class Budget:
    """Computes as few steps as the estimated mean error allows.

    It keeps to what targets would compute: of their choices it follows the one of the fewest steps whose
    predictions up to the end, with those already made, are estimated to stay within the budget. How far a
    line misses at each step is expected as of any model, times how far lines missed at the computed steps
    so far, on average: outputs go straight in mid-run, and what is measured there alone says that few
    steps will do at the end too. A step whose own estimate is beyond what is left is computed. A
    measurement speaks for about its own distance, so a gap is at most twice the last one.
    """

    def __init__(
        self,
        plan: RunPlan,
        budget: float,
        forced: frozenset[int],
        choices: Sequence[tuple[int, ...]],
    ) -> None:
        """
        Args:
            plan: of the run.
            budget: allowed mean relative error of the outputs, each step by its influence on the
                result.
            forced: steps that are always computed.
            choices: computed steps to choose from, such as of `counts`, each holding the first step and
                those that are forced; fewest first.
        """
        if plan.log_snr is None:
            weights = [abs(here - then) for here, then in pairwise(plan.sigmas)]
            self._places, self._knows = np.array(plan.sigmas[:-1]), False
        else:
            weights = influence(plan.sigmas, plan.log_snr)
            self._places, self._knows = np.array(plan.log_snr[:-1]), True
        self._shares = np.array(weights) / max(sum(weights), 1e-12)
        self._next = np.stack([_paced(choice, plan.steps) for choice in choices])
        self._left = np.stack([self._behind(choice) for choice in choices])
        self._budget, self._forced = budget, forced
        self._spent = 0.0
        self._measured: list[float] = []
        self._computed: tuple[int, ...] = ()
        self._planned = 0
        self._step = 0
        self._expected: float | None = None

    def decide(self, step: int, change: float | None) -> Decision:
        self._step, self._expected = step, None
        if self._computed:
            older, last = (-1, *self._computed)[-2:]
            self._expected = float(self._misses(*np.array([[step], [last], [older]]))[0])
        decision = self._judge(step)
        if not decision.compute:
            self._spent += (decision.error or 0.0) * self._shares[step]
        return decision

    def settle(self, computed: bool, missed: float | None = None) -> None:
        if missed is not None and self._expected:
            self._measured.append(missed / self._expected)
        if not computed:
            return
        if self._step not in self._computed:
            self._computed = (*self._computed[-1:], self._step)
        self._planned = self._step + 1
        if (scale := self._scale()) is None:
            return
        within = self._left[:, self._step] * scale <= self._budget - self._spent
        if within.any():
            gap = 2 * (self._step - self._computed[0]) or len(self._shares)
            self._planned = min(int(self._next[within.argmax(), self._step]), self._step + gap)

    def _judge(self, step: int) -> Decision:
        if step in self._forced:
            return Decision(True, ALWAYS)
        scale, share = self._scale(), self._shares[step]
        if self._expected is None or scale is None:
            return Decision(True, "not enough history")
        if step >= self._planned:
            return Decision(True, "planned within the error budget")
        error = self._expected * scale
        limit = float((self._budget - self._spent) / share) if share else None
        if limit is not None and error > limit:
            return Decision(True, "error budget reached", error=error, limit=limit)
        return Decision(False, "within error budget", error=error, limit=limit)

    def _scale(self) -> float | None:
        """How far lines miss, as a share of what is expected; None where nothing tells it yet."""
        if self._measured:
            return float(np.mean(self._measured))
        return _UNMEASURED if self._knows else None

    def _behind(self, choice: tuple[int, ...]) -> Floats:
        """Expected mean error of what a choice predicts behind each step."""
        steps = np.setdiff1d(np.arange(len(self._shares)), choice)
        before = np.searchsorted(choice, steps)
        known = np.array([-1, -1, *choice])
        each = np.zeros(len(self._shares) + 1)
        missed = self._misses(steps, known[before + 1], known[before])
        each[steps] = missed * self._shares[steps]
        return each[::-1].cumsum()[::-1][1:]

    def _misses(self, steps: Steps, last: Steps, older: Steps) -> Floats:
        """How far lines are expected to miss: as a share of the outputs, or up to their curvature."""
        if self._knows:
            return line_misses(self._places, steps, last, older)
        at = self._places[np.stack([steps, last, older])]
        return area(at[0] - at[1], at[1] - at[2])


def counts(steps: int) -> list[int]:
    """Numbers of computed steps to choose from, fewest first, up to the speed-up `max_gap` is for."""
    spread = np.geomspace(steps / FAR, steps, _CHOICES).round().astype(int)
    return np.unique(spread).tolist()


def _paced(choice: tuple[int, ...], steps: int) -> Steps:
    """From each step on, the one that comes next at the pace of a choice, among whose steps the last
    computed one need not be."""
    ends = [*choice, steps]
    numbers = np.interp(np.arange(steps), ends, np.arange(len(ends)))
    ahead = np.interp(numbers + 1, np.arange(len(ends)), ends)
    # What is a whole step may come out a little below it.
    return np.maximum((ahead + 1e-9).astype(int), np.arange(steps) + 1)
