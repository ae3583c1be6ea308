"""Decide by an error budget: as few computed steps as the estimated mean error allows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ..planning.prior import influence, line_places
from .policies import ALWAYS, Decision, RunPlan

# Spacings that an error budget chooses from, each 7 % closer than the one before.
_DISTANCES = 80


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
            return Decision(True, ALWAYS)
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
