"""MagCache: fast video generation with magnitude-aware cache (Ma et al., arXiv 2506.09045).

Published rule, past the retained first steps: `R *= r[step]; n += 1; E += |1 - R|`, skip while
`E < threshold and n <= K`, else compute and restart with `R = 1, n = 0, E = 0`. `r` is a table of the
ratios between the magnitudes of the residuals of neighbouring steps, measured once per model. Nothing
is read from the device, so the schedule is known before the run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from ..decide.layout import Layout, Span
from ..decide.policies import ALWAYS, Decision, RunPlan
from .base import BlockMethod, Inputs, Model, Page, check_range, middle_blocks


@dataclass(frozen=True)
class MagCache(BlockMethod):
    """The rule as settings.

    Attributes:
        ratios: per branch, one ratio per step of the calibration.
        threshold: allowed sum of magnitude errors, magcache_thresh.
        max_gap: skipped steps in a row at most, magcache_K.
        retention: share of the steps at the start that is always computed, retention_ratio.
        inclusive: whether a sum equal to the threshold still skips.
        round_retention: whether the retained steps are rounded and not cut (FLUX).
        never: positions on the calibrated scale that are never skipped.
        follow_magnitude: scale the residual by R; the published code repeats it unscaled.
    """

    name: ClassVar[str] = "MagCache"
    uses: ClassVar[tuple[str, ...]] = ("threshold", "max_gap")
    page: ClassVar[Page] = Page(
        leaves_out="blocks",
        needs="ratio per step",
        keeps="change of the blocks",
        source="arXiv 2506.09045, Zehong-Ma/MagCache",
    )

    ratios: tuple[tuple[float, ...], ...]
    threshold: float
    max_gap: int
    retention: float
    inclusive: bool = False
    round_retention: bool = False
    never: tuple[int, ...] = ()
    follow_magnitude: bool = False

    def check(self) -> None:
        check_range("magcache_thresh", self.threshold, 0.0, 10.0)
        check_range("retention_ratio", self.retention, 0.0, 1.0)
        check_range("magcache_K", self.max_gap, 0)
        if not self.ratios or not all(self.ratios):
            raise ValueError("ratios: must hold one list per branch, none of them empty")

    @classmethod
    def from_inputs(cls, inputs: Inputs, model: Model) -> MagCache | str:
        published = model.published(cls.name)
        if isinstance(published, str):
            return published
        threshold, longest = inputs.threshold or published.threshold, inputs.max_gap
        longest = longest or published.max_gap
        return replace(published, threshold=threshold, max_gap=longest, **inputs.window)

    @classmethod
    def example(cls, everything: bool, steps: int, model: Model) -> MagCache:
        return cls(((1.0, *[0.97] * (steps - 1)),), 0.0 if everything else 10.0, 1, 0.2)

    def spans(self, layout: Layout) -> tuple[Span, ...]:
        return middle_blocks(layout)

    def policy(self, plan: RunPlan, span: Span, layout: Layout, branch: int) -> MagnitudePolicy:
        return MagnitudePolicy(self, plan, branch)

    def retained(self, steps: int, branch: int) -> int:
        """First steps of a branch that are always computed; two branches count calls, not steps."""
        branches = len(self.ratios)
        calls = int(branches * steps * self.retention + 0.5 * self.round_retention)
        return -(-max(calls - branch % branches, 0) // branches)


class MagnitudePolicy:
    """The rule above for one branch."""

    def __init__(self, method: MagCache, plan: RunPlan, branch: int) -> None:
        table = method.ratios[branch % len(method.ratios)]
        self._method = method
        self._ratios = resample(table, plan.steps)
        never = {
            step
            for step in range(plan.steps)
            if plan.steps > 1 and round(step * (len(table) - 1) / (plan.steps - 1)) in method.never
        }
        self._always = plan.always(method.retained(plan.steps, branch))
        self._never = frozenset(never)
        self._restart()

    def decide(self, step: int, change: float | None) -> Decision:
        if step in self._always:
            return Decision(True, ALWAYS)
        self._ratio *= self._ratios[step]
        self._row += 1
        self._error += abs(1 - self._ratio)
        method = self._method
        known = {"error": self._error, "limit": method.threshold}
        if self._row > method.max_gap:
            return Decision(True, "longest gap reached", **known)
        below = self._error < method.threshold
        if not (below or (method.inclusive and self._error == method.threshold)):
            return Decision(True, "threshold reached", **known)
        if step in self._never:
            return Decision(True, ALWAYS, **known)
        scale = self._ratio if method.follow_magnitude else 1.0
        return Decision(False, "below the threshold", scale, **known)

    def settle(self, computed: bool, missed: float | None = None) -> None:
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
