"""Decide, at the start of each step, whether it is computed or predicted.

A policy is asked once per step, in order: for a cache of whole steps once for all conditionings,
inside the network once per conditioning and span of blocks. What was really done comes back with
`settle`, since one that must compute makes all of them compute.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import numpy as np

from ..planning.gram import GramTable
from ..planning.prior import influence, line_places
from ..predict.predictors import Axis, snr_axis

# Spacings that an error budget chooses from, each 7 % closer than the one before.
_DISTANCES = 80


@dataclass(frozen=True)
class Decision:
    """What to do with a step and, in a word for the user, why.

    Attributes:
        compute: whether the model, or a span of its blocks, runs.
        reason: why, in a few words for the user.
        scale: factor of the kept change of a span that does not run.
        error: estimate that decided, where there is one.
        limit: value of `error` up to which the step is predicted.
    """

    compute: bool
    reason: str
    scale: float = 1.0
    error: float | None = None
    limit: float | None = None


@dataclass(frozen=True)
class SamplerTraits:
    """What a cache must know of a sampler.

    Attributes:
        name: the host's name, for messages.
        evaluations: model evaluations of each step, None if only the sampler knows.
        stochastic: whether it adds fresh noise between steps.
        sums: whether the result follows a change of one step's derivative by the width of the step,
            so that what earlier steps missed can be made good at a later one.
        carries: whether it extrapolates so far through earlier derivatives that their errors grow.
    """

    name: str
    evaluations: tuple[int, ...] | None
    stochastic: bool
    sums: bool = False
    carries: bool = False

    @property
    def unknown(self) -> bool:
        """Whether nothing is known of it, so that it may do anything between two steps."""
        return self.stochastic and self.evaluations is None


def _nowhere(sentence: str) -> None:
    """Where notes of a plan without a report go."""


@dataclass(frozen=True)
class RunPlan:
    """What is known of a run before it starts.

    Attributes:
        sigmas: schedule, the final sigma included.
        traits: of the sampler.
        window: half-open range of steps that may be predicted, from start and end percent.
        note: keeps a sentence for the user.
        table: calibrated products of the guided outputs, if there are some for this model.
        log_snr: logarithm of signal over noise at each sigma of the schedule, as far as a model can
            tell it, rising, if it is known.
        guidance: whether guidance pulls the outputs, by its scale or as an input of the model.
    """

    sigmas: tuple[float, ...]
    traits: SamplerTraits
    window: tuple[int, int]
    note: Callable[[str], None] = field(default=_nowhere, compare=False)
    table: GramTable | None = None
    log_snr: tuple[float, ...] | None = None
    guidance: bool = True

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    @property
    def falls(self) -> bool:
        """Whether the noise level falls from step to step."""
        return all(a > b for a, b in pairwise(self.sigmas))

    @property
    def axis(self) -> Axis:
        """Where a sigma lies along which outputs change evenly."""
        return snr_axis(self.sigmas, self.log_snr)

    def always(self, head: int = 0, last: bool = False) -> frozenset[int]:
        """Steps that are always computed: outside the window, the first `head`, maybe the last."""
        first, stop = max(self.window[0], head), self.window[1]
        stop = min(stop, self.steps - 1) if last else stop
        return frozenset(i for i in range(self.steps) if not first <= i < stop)


class Policy(Protocol):
    """Chooses the steps to compute."""

    def decide(self, step: int, change: float | None) -> Decision:
        """`change` is what the policy compares, None where there is nothing to compare yet."""
        ...

    def settle(self, computed: bool, missed: float | None = None) -> None:
        """What was done with the step that was decided last, and the relative error that a
        prediction of it would have had, where that was measured."""
        ...


class Listed:
    """Computes a fixed list of steps. Needs no value from the run, so no synchronisation."""

    def __init__(self, computed: Iterable[int]) -> None:
        self._computed = frozenset(computed)

    def decide(self, step: int, change: float | None) -> Decision:
        if step in self._computed:
            return Decision(True, "scheduled")
        return Decision(False, "between scheduled steps")

    def settle(self, computed: bool, missed: float | None = None) -> None:
        return


class Accumulating:
    """Skips while the sum of transformed changes stays below a threshold. The sum restarts at each
    computed step (TeaCache, arXiv 2411.19108; EasyCache, arXiv 2507.02860)."""

    def __init__(
        self,
        transform: Callable[[float], float],
        threshold: float,
        always: frozenset[int],
        max_gap: int | None,
    ) -> None:
        """
        Args:
            transform: from a change of what is compared to an estimated change of the output.
            threshold: of the sum.
            always: steps that are always computed.
            max_gap: steps skipped in a row at most.
        """
        self._transform = transform
        self._threshold = threshold
        self._always = always
        self._max_gap = max_gap
        self._sum = 0.0
        self._row = 0

    def decide(self, step: int, change: float | None) -> Decision:
        if step in self._always:
            return Decision(True, "always computed")
        if change is None:
            return Decision(True, "nothing to compare with")
        if not math.isfinite(change):
            return Decision(True, "the signal is not finite")
        self._sum += self._transform(change)
        known = {"error": self._sum, "limit": self._threshold}
        if not self._sum < self._threshold:
            return Decision(True, "threshold reached", **known)
        if self._max_gap is not None and self._row >= self._max_gap:
            return Decision(True, "longest gap reached", **known)
        return Decision(False, "below the threshold", **known)

    def settle(self, computed: bool, missed: float | None = None) -> None:
        self._row = 0 if computed else self._row + 1
        if computed:
            self._sum = 0.0


class Distance:
    """Skips while the signal stays near the one of the last computed step (First Block Cache)."""

    def __init__(
        self,
        threshold: float,
        always: frozenset[int],
        max_gap: int | None,
        most: int | None = None,
    ) -> None:
        """
        Args:
            threshold: relative change below which a step is skipped.
            always: steps that are always computed.
            max_gap: steps skipped in a row at most.
            most: steps skipped in all at most.
        """
        self._threshold = threshold
        self._always = always
        self._max_gap = max_gap
        self._left = math.inf if most is None else most
        self._row = 0

    def decide(self, step: int, change: float | None) -> Decision:
        if step in self._always:
            return Decision(True, "always computed")
        if change is None:
            return Decision(True, "nothing to compare with")
        known = {"error": change, "limit": self._threshold}
        if not change < self._threshold:  # a change that is not a number computes as well
            return Decision(True, "threshold reached", **known)
        if self._max_gap is not None and self._row >= self._max_gap:
            return Decision(True, "longest gap reached", **known)
        if self._left <= 0:
            return Decision(True, "as many steps as allowed are skipped", **known)
        return Decision(False, "below the threshold", **known)

    def settle(self, computed: bool, missed: float | None = None) -> None:
        self._row = 0 if computed else self._row + 1
        self._left -= not computed


def area(ahead: float, behind: float) -> float:
    """A line through two points misses a curve by half its curvature times this.

    Args:
        ahead: distance from the newer point to where the line is read.
        behind: distance between the two points.
    """
    return abs(ahead) * (abs(ahead) + abs(behind))


class Budget:
    """Computes as few steps as the estimated mean error allows.

    The error of a linear prediction grows with curvature times `area`, which is the change that
    this policy is told. The curvature is measured at each computed step; then the widest spacing is
    taken whose predictions up to the end, at that curvature, stay with those already made within
    the budget. A step whose own estimate is beyond what is left is computed. A measurement speaks
    for about its own distance, so a row of predictions is at most one longer than the last one.
    """

    def __init__(self, plan: RunPlan, budget: float, forced: frozenset[int], longest: int) -> None:
        """
        Args:
            plan: of the run.
            budget: allowed mean relative error of the outputs, each step by its influence on the
                result.
            forced: steps that are always computed.
            longest: steps that may be predicted in a row.
        """
        if plan.log_snr is None:
            weights = [abs(here - then) for here, then in pairwise(plan.sigmas)]
            line: Sequence[float] = range(plan.steps)
        else:
            weights = influence(plan.sigmas, plan.log_snr)
            line = line_places(plan.log_snr[:-1], weights)
        whole = max(sum(weights), 1e-12)
        self._shares = [weight / whole for weight in weights]
        self._axis = plan.sigmas if plan.log_snr is None else plan.log_snr
        distances = (line[-1] - line[0]) * 0.93 ** np.arange(_DISTANCES)
        self._spacings = _Spacings(self._axis, line, self._shares, distances, forced, longest)
        self._budget = budget
        self._forced = forced
        self._longest = longest
        self._spent = 0.0
        self._row = 0
        self._proved = 0
        self._last: tuple[int, ...] = ()
        self._next = 0
        self._curvature: float | None = None
        self._step = 0
        self._change: float | None = None

    def decide(self, step: int, change: float | None) -> Decision:
        self._step, self._change = step, change
        decision = self._judge(step, change)
        if decision.compute:
            self._row, self._proved = 0, self._row
            self._last = (*self._last[-1:], step)
        else:
            self._row += 1
            self._spent += (decision.error or 0.0) * self._shares[step]
        return decision

    def settle(self, computed: bool, missed: float | None = None) -> None:
        if missed is None or not self._change or len(self._last) < 2:
            return
        found = missed / self._change
        # One measurement says little, an old one as well.
        self._curvature = found if self._curvature is None else (self._curvature + found) / 2
        left = self._budget - self._spent
        older, newest = self._last
        chosen = self._spacings.widest(older, newest, self._curvature, left)
        self._next = self._step + 1 if chosen is None else chosen

    def _judge(self, step: int, change: float | None) -> Decision:
        if step in self._forced:
            return Decision(True, "always computed")
        if change is None or self._curvature is None:
            return Decision(True, "not enough history")
        if self._row >= self._longest:
            return Decision(True, "longest gap reached")
        if self._row > self._proved:
            return Decision(True, "longest gap measured so far")
        if step >= self._next:
            return Decision(True, "planned within the error budget")
        error, share = self._curvature * change, self._shares[step]
        limit = (self._budget - self._spent) / share if share else None
        if limit is not None and error > limit:
            return Decision(True, "error budget reached", error=error, limit=limit)
        return Decision(False, "within error budget", error=error, limit=limit)


class _Spacings:
    """What computing steps so far apart costs from any step on, worked out once for all of a run.

    From a computed step n with the one before it b away, the steps up to the next computed one m
    have `sum area(a_s - a_n, b) share_s = S2(n, m) + b S1(n, m)`, where S1 and S2 sum the distance
    and its square. What follows m is known once all later steps are, since the next one after m
    does not depend on n.
    """

    def __init__(
        self,
        axis: Sequence[float],
        line: Sequence[float],
        shares: Sequence[float],
        distances: np.ndarray,
        forced: frozenset[int],
        longest: int,
    ) -> None:
        """
        Args:
            axis: places of the steps, between which lines are drawn.
            line: places of the steps, between which spacings are taken; never falling.
            shares: of each step in the result.
            distances: [spacings] on `line`, widest first.
            forced: steps that are always computed.
            longest: steps that may be predicted in a row.
        """
        steps = len(shares)
        reach = min(longest, steps) + 1
        places, along = np.asarray(axis[:steps], float), np.asarray(line, float)
        hops = np.arange(steps)[:, None] + np.arange(1, reach + 1)
        inside = np.minimum(hops, steps - 1)
        near = np.abs(places[inside] - places[:, None])
        each = np.where(hops < steps, np.asarray(shares, float)[inside], 0.0)
        none = np.zeros((steps, 1))
        self._axis = places
        self._first = np.hstack([none, np.cumsum(near * each, 1)])
        self._second = np.hstack([none, np.cumsum(near * near * each, 1)])
        self._ahead = along[inside] - along[:, None]
        self._stop = np.isin(hops, list(forced)) | (np.arange(1, reach + 1) == reach)
        self._stop |= hops >= steps
        # [spacings, steps]: hop to the next computed step, the end of the run among them.
        self._hop = np.stack([(self._stop | (self._ahead >= d)).argmax(1) + 1 for d in distances])
        self._after = np.zeros((len(distances), steps + 1))
        rows = np.arange(len(distances))
        for n in reversed(range(steps)):
            m = n + self._hop[:, n]
            following = np.where(m < steps, m, 0)
            hop = self._hop[rows, following]
            back = np.abs(places[following] - places[n])
            cost = self._second[following, hop - 1] + back * self._first[following, hop - 1]
            self._after[:, n] = np.where(m < steps, cost + self._after[rows, following], 0.0)

    def widest(self, older: int, newest: int, curvature: float, left: float) -> int | None:
        """The next computed step at the widest spacing whose error is within what is left, None if
        there is none; the number of steps where nothing more is computed."""
        hop = self._hop[:, newest]
        back = abs(self._axis[newest] - self._axis[older])
        now = self._second[newest, hop - 1] + back * self._first[newest, hop - 1]
        within = (now + self._after[:, newest]) * curvature <= left
        return int(newest + hop[within.argmax()]) if within.any() else None
