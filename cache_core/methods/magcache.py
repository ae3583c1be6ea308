"""MagCache: fast video generation with magnitude-aware cache (Ma et al., arXiv 2506.09045).

Published rule, past the retained first steps: `R *= r[step]; n += 1; E += |1 - R|`, skip while
`E < threshold and n <= K`, else compute and restart with `R = 1, n = 0, E = 0`. `r` is a table of the
ratios between the magnitudes of the residuals of neighbouring steps, measured once per model. Nothing
is read from the device, so the schedule is known before the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..blocks import Layout, Span
from ..branch_policies import RunFrame, Verdict
from ..checks import check_range
from .base import Method, middle_blocks


@dataclass(frozen=True)
class MagCache(Method):
    """Attributes:
    ratios: per branch, one ratio per step of the calibration.
    threshold: allowed sum of magnitude errors, magcache_thresh.
    longest: skipped steps in a row at most, magcache_K.
    retention: share of the steps at the start that is always computed, retention_ratio.
    inclusive: whether a sum equal to the threshold still skips.
    round_retention: whether the retained steps are rounded and not cut (FLUX).
    never: positions on the calibrated scale that are never skipped.
    follow_magnitude: scale the residual by R; the published code repeats it unscaled.
    """

    name: ClassVar[str] = "MagCache"
    source: ClassVar[str] = "arXiv 2506.09045, Zehong-Ma/MagCache"
    calibration: ClassVar[str] = "ratio per step"

    ratios: tuple[tuple[float, ...], ...]
    threshold: float
    longest: int
    retention: float
    inclusive: bool = False
    round_retention: bool = False
    never: tuple[int, ...] = ()
    follow_magnitude: bool = False

    def __post_init__(self) -> None:
        check_range("magcache_thresh", self.threshold, 0.0, 10.0)
        check_range("retention_ratio", self.retention, 0.0, 1.0)
        check_range("magcache_K", self.longest, 0, 1000)
        if not self.ratios or not all(self.ratios):
            raise ValueError("ratios: must hold one list per branch, none of them empty")

    def spans(self, layout: Layout) -> tuple[Span, ...]:
        return middle_blocks(layout)

    def policy(self, span: Span, layout: Layout, frame: RunFrame) -> MagnitudePolicy:
        return MagnitudePolicy(self, frame)

    def retained(self, frame: RunFrame) -> int:
        """First steps of a branch that are always computed; two branches count calls, not steps."""
        branches = len(self.ratios)
        calls = int(branches * frame.steps * self.retention + 0.5 * self.round_retention)
        return -(-max(calls - frame.branch % branches, 0) // branches)


class MagnitudePolicy:
    """The rule above for one branch."""

    def __init__(self, method: MagCache, frame: RunFrame) -> None:
        table = method.ratios[frame.branch % len(method.ratios)]
        self._method = method
        self._ratios = resample(table, frame.steps)
        never = {
            step
            for step in range(frame.steps)
            if frame.steps > 1
            and round(step * (len(table) - 1) / (frame.steps - 1)) in method.never
        }
        self._always = frame.always(method.retained(frame))
        self._never = frozenset(never)
        self._restart()

    def decide(self, step: int, change: float | None) -> Verdict:
        if step in self._always:
            return Verdict(True, "always computed")
        self._ratio *= self._ratios[step]
        self._row += 1
        self._error += abs(1 - self._ratio)
        method = self._method
        known = {"error": self._error, "limit": method.threshold}
        if self._row > method.longest:
            return Verdict(True, "longest gap reached", **known)
        below = self._error < method.threshold
        if not (below or (method.inclusive and self._error == method.threshold)):
            return Verdict(True, "threshold reached", **known)
        if step in self._never:
            return Verdict(True, "always computed", **known)
        scale = self._ratio if method.follow_magnitude else 1.0
        return Verdict(False, "below the threshold", scale, **known)

    def settle(self, computed: bool) -> None:
        if computed:
            self._restart()

    def _restart(self) -> None:
        self._ratio = 1.0
        self._row = 0
        self._error = 0.0


def resample(table: tuple[float, ...], steps: int) -> tuple[float, ...]:
    """Nearest entries of a table for another number of steps; values are not rescaled."""
    if steps == 1:
        return (table[-1],)
    return tuple(table[round(i * (len(table) - 1) / (steps - 1))] for i in range(steps))
