"""Decide, at the start of each step, whether it is computed or predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from .clock import Moment
from .schedules import influence, line_places

# Spacings that an error budget chooses from, each 7 % closer than the one before.
_DISTANCES = 80


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
    """Computes as few steps as the estimated mean error allows.

    The error of a linear prediction grows with curvature times `Gap.area`. The curvature is measured at
    each computed step; then the widest spacing is taken whose predictions up to the end, at that
    curvature, stay with those already made within the budget. A step whose own estimate is beyond what is
    left is computed. A measurement speaks for about its own distance, so a row of predictions is at most
    one longer than the last one.
    """

    input_policy = None

    def __init__(
        self,
        sigmas: tuple[float, ...],
        log_snr: Sequence[float] | None,
        budget: float,
        forced: frozenset[int],
        longest: int,
    ) -> None:
        """
        Args:
            sigmas: schedule of the run.
            log_snr: logarithm of signal over noise at each sigma, rising, if it is known: the axis of
                `Gap`; else sigma is.
            budget: allowed mean relative error of the outputs, each step by its influence on the result.
            forced: steps that are always computed.
            longest: steps that may be predicted in a row.
        """
        steps = len(sigmas) - 1
        if log_snr is None:
            weights = [abs(here - then) for here, then in pairwise(sigmas)]
            self._line: list[float] = list(range(steps))
        else:
            weights = influence(sigmas, log_snr)
            self._line = line_places(log_snr[:-1], weights)
        whole = max(sum(weights), 1e-12)
        self._shares = [weight / whole for weight in weights]
        self._axis = sigmas if log_snr is None else log_snr
        length = self._line[-1] - self._line[0]
        self._distances = [length * 0.93**i for i in range(_DISTANCES)]
        self._budget = budget
        self._forced = forced
        self._longest = longest
        self._spent = 0.0
        self._row = 0
        self._proved = 0
        self._last: tuple[int, ...] = ()
        self._next = 0
        self._curvature: float | None = None

    def decide(self, moment: Moment, gap: Gap | None) -> Decision:
        decision = self._judge(moment.step, gap)
        if decision.compute:
            self._row, self._proved = 0, self._row
            self._last = (*self._last[-1:], moment.step)
        else:
            self._row += 1
            self._spent += (decision.error or 0.0) * self._shares[moment.step]
        return decision

    def observe(self, moment: Moment, gap: Gap | None, error: float) -> None:
        if gap is None or gap.area == 0:
            return
        found = error / gap.area
        # One measurement says little, an old one as well.
        self._curvature = found if self._curvature is None else (self._curvature + found) / 2
        self._next = moment.step + 1
        for distance in self._distances:
            chosen, area = self._walk(distance)
            if area * self._curvature <= self._budget - self._spent:
                self._next = chosen
                break

    def _walk(self, distance: float) -> tuple[int, float]:
        """With computed steps so far apart from here on: the first of them, and the areas of what is
        predicted, each times its share of the run."""
        older, newest = self._last
        first, total = 0, 0.0
        for step in range(newest + 1, len(self._shares)):
            far = self._line[step] - self._line[newest] >= distance
            if far or step in self._forced or step - newest > self._longest:
                older, newest, first = newest, step, first or step
            else:
                near = self._axis[step] - self._axis[newest]
                behind = self._axis[newest] - self._axis[older]
                total += Gap(near, behind).area * self._shares[step]
        return first or len(self._shares), total

    def _judge(self, step: int, gap: Gap | None) -> Decision:
        if step in self._forced:
            return Decision(True, "always computed")
        if gap is None or self._curvature is None:
            return Decision(True, "not enough history")
        if self._row >= self._longest:
            return Decision(True, "longest gap reached")
        if self._row > self._proved:
            return Decision(True, "longest gap measured so far")
        if step >= self._next:
            return Decision(True, "planned within the error budget")
        error, share = self._curvature * gap.area, self._shares[step]
        limit = (self._budget - self._spent) / share if share else None
        if limit is not None and error > limit:
            return Decision(True, "error budget reached", error, limit)
        return Decision(False, "within error budget", error, limit)


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
