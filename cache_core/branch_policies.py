"""Decide, per branch and step, whether a span of blocks runs or its cached change is added.

A branch is one conditioning of a batch. `decide` is asked once per step and branch; since branches
share a call of the network, one that must compute makes all of them compute, and `settle` says what
was done.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Verdict:
    """What one branch asks for.

    Attributes:
        compute: whether the blocks must run.
        reason: why, in a few words for the user.
        scale: factor of the cached change if they do not run.
        error: estimate that decided, where there is one.
        limit: value of `error` below which the blocks are skipped.
    """

    compute: bool
    reason: str
    scale: float = 1.0
    error: float | None = None
    limit: float | None = None


@dataclass(frozen=True)
class RunFrame:
    """What a policy may know of a run before it starts.

    Attributes:
        steps: steps of the schedule.
        window: half-open range of steps that may be skipped, from start and end percent.
        branch: index of the conditioning, 0 for the positive one of the usual samplers.
    """

    steps: int
    window: tuple[int, int]
    branch: int = 0

    def always(self, head: int = 0, last: bool = False) -> frozenset[int]:
        """Steps that are always computed: outside the window, the first `head`, maybe the last."""
        first, stop = max(self.window[0], head), self.window[1]
        stop = min(stop, self.steps - 1) if last else stop
        return frozenset(i for i in range(self.steps) if not first <= i < stop)


class BranchPolicy(Protocol):
    """State of one branch for one span."""

    def decide(self, step: int, change: float | None) -> Verdict:
        """`change` of the signal against its reference, None without one."""
        ...

    def settle(self, computed: bool) -> None:
        """What was done with the step that was decided last."""
        ...


class AccumulatingPolicy:
    """Skips while the sum of transformed changes stays below a threshold. The sum restarts at
    each computed step (TeaCache, arXiv 2411.19108)."""

    def __init__(
        self,
        transform: Callable[[float], float],
        threshold: float,
        always: frozenset[int],
        max_gap: int | None,
    ) -> None:
        self._transform = transform
        self._threshold = threshold
        self._always = always
        self._max_gap = max_gap
        self._sum = 0.0
        self._row = 0

    def decide(self, step: int, change: float | None) -> Verdict:
        if step in self._always:
            return Verdict(True, "always computed")
        if change is None:
            return Verdict(True, "nothing to compare with")
        if not math.isfinite(change):
            return Verdict(True, "the signal is not finite")
        self._sum += self._transform(change)
        known = {"error": self._sum, "limit": self._threshold}
        if not self._sum < self._threshold:
            return Verdict(True, "threshold reached", **known)
        if self._max_gap is not None and self._row >= self._max_gap:
            return Verdict(True, "longest gap reached", **known)
        return Verdict(False, "below the threshold", **known)

    def settle(self, computed: bool) -> None:
        self._row = 0 if computed else self._row + 1
        if computed:
            self._sum = 0.0


class DistancePolicy:
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

    def decide(self, step: int, change: float | None) -> Verdict:
        if step in self._always:
            return Verdict(True, "always computed")
        if change is None:
            return Verdict(True, "nothing to compare with")
        known = {"error": change, "limit": self._threshold}
        if not change < self._threshold:  # a change that is not a number computes as well
            return Verdict(True, "threshold reached", **known)
        if self._max_gap is not None and self._row >= self._max_gap:
            return Verdict(True, "longest gap reached", **known)
        if self._left <= 0:
            return Verdict(True, "as many steps as allowed are skipped", **known)
        return Verdict(False, "below the threshold", **known)

    def settle(self, computed: bool) -> None:
        self._row = 0 if computed else self._row + 1
        self._left -= not computed


class ListPolicy:
    """Computes a fixed list of steps."""

    def __init__(self, computed: frozenset[int]) -> None:
        self._computed = computed

    def decide(self, step: int, change: float | None) -> Verdict:
        if step in self._computed:
            return Verdict(True, "scheduled")
        return Verdict(False, "between scheduled steps")

    def settle(self, computed: bool) -> None:
        return
