"""Decide, at the start of each step, whether it is computed or predicted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from .clock import Moment


@dataclass(frozen=True)
class Decision:
    """What to do with a step and, in a word for the user, why.

    Attributes:
        compute: whether the model runs.
        reason: why, in a few words for the user.
        error: estimate that decided, where there is one.
        limit: value of `error` up to which the step is predicted.
    """

    compute: bool
    reason: str
    error: float | None = None
    limit: float | None = None


@dataclass(frozen=True)
class Gap:
    """Distance from the newest computed output to the step, and to the one before it, along the axis over
    which outputs change evenly."""

    ahead: float
    behind: float

    @property
    def area(self) -> float:
        """A line through two points misses a curve by half its curvature times this."""
        return abs(self.ahead) * (abs(self.ahead) + abs(self.behind))


class Policy(Protocol):
    """Chooses computed steps. Called once per step, in order.

    Attributes:
        input_policy: itself if it wants to be told how the input changes, which reads the device at
            every step; else None.
    """

    @property
    def input_policy(self) -> InputPolicy | None: ...

    def decide(self, moment: Moment, gap: Gap | None) -> Decision:
        """`gap` is None while there is not enough history to extrapolate."""
        ...

    def observe(self, moment: Moment, gap: Gap | None, error: float) -> None:
        """Report the relative error that a prediction of this computed step would have had."""
        ...


class ScheduledPolicy:
    """Computes a fixed list of steps. Needs no value from the run, so no synchronisation."""

    input_policy = None

    def __init__(self, computed: tuple[int, ...]) -> None:
        self._computed = frozenset(computed)

    def decide(self, moment: Moment, gap: Gap | None) -> Decision:
        if moment.step in self._computed:
            return Decision(True, "scheduled")
        return Decision(False, "between scheduled steps")

    def observe(self, moment: Moment, gap: Gap | None, error: float) -> None:
        return


class BudgetPolicy:
    """Predicts while the estimated accumulated error stays within a budget.

    The error of a linear prediction grows with curvature times `Gap.area`; the curvature is measured
    at each computed step. Each predicted step adds its estimated relative error times its share of
    the sigma range; the sum may use the same share of the budget as has been walked of the range.
    """

    input_policy = None

    def __init__(
        self, sigmas: tuple[float, ...], budget: float, forced: frozenset[int], longest: int
    ) -> None:
        """
        Args:
            sigmas: schedule of the run.
            budget: allowed mean relative error of the outputs over the sigma range.
            forced: steps that are always computed.
            longest: steps that may be predicted in a row.
        """
        self._sigmas = sigmas
        self._span = max(abs(sigmas[0] - sigmas[-1]), 1e-12)
        self._budget = budget
        self._forced = forced
        self._longest = longest
        self._spent = 0.0
        self._row = 0
        self._curvature: float | None = None

    def decide(self, moment: Moment, gap: Gap | None) -> Decision:
        decision = self._judge(moment, gap)
        self._row = 0 if decision.compute else self._row + 1
        if not decision.compute and decision.error is not None:
            self._spent += decision.error * self._share(moment.step)
        return decision

    def observe(self, moment: Moment, gap: Gap | None, error: float) -> None:
        if gap is None or gap.area == 0:
            return
        self._curvature = error / gap.area

    def _judge(self, moment: Moment, gap: Gap | None) -> Decision:
        step = moment.step
        if step in self._forced:
            return Decision(True, "always computed")
        if gap is None or self._curvature is None:
            return Decision(True, "not enough history")
        if self._row >= self._longest:
            return Decision(True, "longest gap reached")
        error = self._curvature * gap.area
        walked = abs(self._sigmas[0] - self._sigmas[step + 1]) / self._span
        share, left = self._share(step), self._budget * walked - self._spent
        limit = left / share if share else None
        if self._spent + error * share > self._budget * walked:
            return Decision(True, "error budget reached", error, limit)
        return Decision(False, "within error budget", error, limit)

    def _share(self, step: int) -> float:
        return abs(self._sigmas[step] - self._sigmas[step + 1]) / self._span


class InputPolicy:
    """Predicts while the change of the input, times how strongly the output was last seen to follow it,
    sums up to less than a threshold (EasyCache)."""

    def __init__(self, threshold: float, always: frozenset[int], longest: int) -> None:
        """
        Args:
            threshold: of the sum of relative changes.
            always: steps that are always computed.
            longest: steps that may be predicted in a row.
        """
        self._threshold = threshold
        self._always = always
        self._longest = longest
        self._change: float | None = None
        self._rate: float | None = None
        self._size: float | None = None
        self._sum = 0.0
        self._row = 0

    @property
    def input_policy(self) -> InputPolicy:
        return self

    def enter(self, change: float | None) -> None:
        """Mean absolute change of the input from the step before, None at the first step."""
        self._change = change

    def learn(self, size: float, output_change: float | None, input_change: float | None) -> None:
        """Means of a computed step: its output, and the changes since the last computed one."""
        self._size = size
        if output_change is not None and input_change:
            self._rate = output_change / input_change

    def decide(self, moment: Moment, gap: Gap | None) -> Decision:
        decision = self._judge(moment.step)
        self._row = 0 if decision.compute else self._row + 1
        if decision.compute:
            self._sum = 0.0
        return decision

    def observe(self, moment: Moment, gap: Gap | None, error: float) -> None:
        return

    def _judge(self, step: int) -> Decision:
        if step in self._always:
            return Decision(True, "always computed")
        if self._rate is None or not self._size or self._change is None:
            return Decision(True, "not enough history")
        self._sum += self._rate * self._change / self._size
        if not self._sum < self._threshold:  # a sum that is not a number computes as well
            return Decision(True, "threshold reached", self._sum, self._threshold)
        if self._row >= self._longest:
            return Decision(True, "longest gap reached")
        return Decision(False, "below the threshold", self._sum, self._threshold)
