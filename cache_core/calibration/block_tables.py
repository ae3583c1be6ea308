"""What block caches need to know of a model, measured in plain runs: TeaCache's polynomial, MagCache's
ratios, the changes that First Block Cache compares, and how steady each block is, for Delta Cache.

TeaCache (arXiv 2411.19108) maps the relative change of a signal from step to step to that of what is
cached; MagCache (arXiv 2506.09045) uses the ratio of its magnitude to that of the step before, as mean
over tokens. What is cached is the residual of the block stack. First Block Cache (ParaAttention) compares
the residual of block 0 with that of the last computed step, whichever that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from ..blocks import BlockCache, Branch, NetworkCall, State, Tokens
from ..decide.layout import Layout, Span
from ..decide.policies import Listed, RunPlan
from ..decide.signals import Reference, SignalKind, relative, relative_change
from ..methods.base import BlockMethod, Start
from ..planning.gram import Floats
from ..run.report import RunReport
from .recording import Subset

# Degree of the published polynomials.
DEGREE = 4
# Elements of a block's residual that stand for all: a mean over so many is off by about 1 %.
_ELEMENTS = 2**14
# Thresholds that are tried at most.
_THRESHOLDS = 500
# Of a relative change or a ratio: `relative` divides by 1e-12 or more.
_LARGEST = 1e15


@dataclass(frozen=True)
class BlockTable:
    """Measured on the block stack of a model.

    Attributes:
        signal: what the polynomial was fitted on.
        ratios: [branches, steps] magnitude of the residual over that of the step before; first 1.
        polynomial: coefficients, highest power first.
        valid: lowest and highest change of the signal in the fit.
        first_block: [branches, steps, steps] relative change of block 0's residual at a step (column)
            from that at an earlier one (row), 0 elsewhere; None where blocks cannot be watched alone.
        block_changes: [branches, blocks, steps] relative change of each block's residual from that at the
            step before, 0 at the first; None likewise.
    """

    signal: SignalKind
    ratios: Floats
    polynomial: tuple[float, ...]
    valid: tuple[float, float]
    first_block: Floats | None = None
    block_changes: Floats | None = None

    def __post_init__(self) -> None:
        if self.ratios.ndim != 2 or not self.ratios.size:
            raise ValueError(f"ratios: need shape [branches, steps], got {self.ratios.shape}")
        if not ((self.ratios > 0).all() and (self.ratios <= _LARGEST).all()):
            raise ValueError(f"ratios: must be finite and above 0, {_LARGEST:g} at most")
        if not 0 <= self.valid[0] <= self.valid[1] <= _LARGEST:
            raise ValueError(f"valid: must be two rising numbers from 0 to {_LARGEST:g}")
        largest = np.polyval(np.abs(self.polynomial), self.valid[1]) if self.polynomial else np.inf
        if not largest < _LARGEST**2:
            raise ValueError(
                "polynomial: must hold finite numbers, and give such where it is valid"
            )
        steps = self.ratios.shape[1]
        _check_changes("first_block", self.first_block, (steps, steps))
        _check_changes("block_changes", self.block_changes, (None, steps))


def _check_changes(field: str, changes: Floats | None, shape: tuple[int | None, int]) -> None:
    """
    Args:
        shape: of each branch, None for any number.

    Raises:
        ValueError: naming the field.
    """
    if changes is None:
        return
    rows, steps = shape
    fits = changes.ndim == 3 and changes.size and changes.shape[2] == steps
    if not fits or rows not in (None, changes.shape[1]):
        wanted = "blocks" if rows is None else rows
        raise ValueError(f"{field}: need shape [branches, {wanted}, {steps}], got {changes.shape}")
    if not ((changes >= 0).all() and (changes <= _LARGEST).all()):
        raise ValueError(f"{field}: must be finite and not below 0, {_LARGEST:g} at most")


@dataclass(frozen=True)
class WatchStack(BlockMethod):
    """Compares the whole stack with itself one step before, and skips nothing.

    Attributes:
        signal: what TeaCache would compare.
        blocks: whether to look at each block as well.
    """

    name: ClassVar[str] = "Calibration"
    reference: ClassVar[Reference] = Reference.EVERY_CALL

    signal: SignalKind = SignalKind.TOKENS  # pyright: ignore[reportIncompatibleMethodOverride]
    blocks: bool = True

    def spans(self, layout: Layout) -> tuple[Span, ...]:
        whole = Span(0, layout.total - 1)
        if not self.blocks or len(whole) == 1:
            return (whole,)
        return (whole, *(Span(number, number) for number in range(layout.total)))

    def policy(self, plan: RunPlan, span: Span, layout: Layout, branch: int) -> Listed:
        return Listed(range(plan.steps))

    def start(self, start: Start) -> WatchRun:
        return self.cache(WatchRun, start)


@dataclass(kw_only=True)
class WatchRun(BlockCache):
    """A plain run that measures its block stack.

    Attributes:
        seen: branch and step of each comparison with its numbers, still on the device: change of the
            signal (of data), change of the residual, ratio of its magnitude.
        seen_blocks: branch, block and step of each comparison of a block, still on the device.
        first: residuals of block 0 by branch and step, in part, in the host's memory.
        measured: [branches, steps, 3], NaN where nothing was compared, once the run has ended.
        first_block: as in the table, once the run has ended; None if a step is missing.
        block_changes: likewise, with NaN where nothing was compared; None if no block was.
    """

    seen: list[tuple[int, int, torch.Tensor]] = field(default_factory=list)
    seen_blocks: list[tuple[int, int, int, torch.Tensor]] = field(default_factory=list)
    first: dict[int, dict[int, torch.Tensor]] = field(default_factory=dict)
    measured: NDArray[np.float64] | None = None
    first_block: NDArray[np.float64] | None = None
    block_changes: NDArray[np.float64] | None = None
    _thin: Subset = field(default_factory=lambda: Subset(_ELEMENTS))
    _branches: list[int] = field(default_factory=list)

    def open(self, branches: Sequence[Branch]) -> NetworkCall | None:
        self._branches = [branch.index for branch in branches]
        return super().open(branches)

    def close(self) -> RunReport:
        """End the run; only now what was compared is read from the device."""
        if self.seen and self.measured is None:
            values = torch.stack([numbers for _, _, numbers in self.seen]).cpu().double().numpy()
            branches = 1 + max(branch for branch, _, _ in self.seen)
            self.measured = np.full((branches, self.clock.steps, 3), np.nan)
            for (branch, step, _), numbers in zip(self.seen, values, strict=True):
                self.measured[branch, step] = numbers
            if self.changes is not None:
                self.measured[:, 1:, 0] = self.changes[1:]
        steps = range(self.clock.steps)
        if self.first and all(set(rows) == set(steps) for rows in self.first.values()):
            self.first_block = np.stack(
                [
                    changes_between([rows[i] for i in steps])
                    for _, rows in sorted(self.first.items())
                ]
            )
        if self.seen_blocks:
            self.block_changes = self._changes_of_blocks()
        self.seen, self.seen_blocks, self.first = [], [], {}
        return super().close()

    def expected_bytes(self, unit: int, conditionings: int) -> int:
        # Of single blocks only parts are kept.
        return unit * conditionings * 2

    def _changes_of_blocks(self) -> NDArray[np.float64]:
        values = torch.stack([change for *_, change in self.seen_blocks]).cpu().double().numpy()
        branches = 1 + max(branch for branch, *_ in self.seen_blocks)
        found = np.full((branches, self.layout.total, self.clock.steps), np.nan)
        found[..., 0] = 0.0
        for (branch, block, step, _), value in zip(self.seen_blocks, values, strict=True):
            found[branch, block, step] = value
        return found

    def _call(self, states: list[State], step: int) -> NetworkCall:
        return WatchCall(self, states, step)

    def note(self, place: int, step: int, numbers: torch.Tensor) -> None:
        """Remember the comparison of one branch of the call under way."""
        self.seen.append((self._branches[place], step, numbers))

    def note_block(self, place: int, block: int, step: int, change: torch.Tensor) -> None:
        """Remember the comparison of a block of one branch of the call under way."""
        self.seen_blocks.append((self._branches[place], block, step, change))

    def note_first(self, place: int, step: int, residual: torch.Tensor) -> None:
        """Remember what block 0 added to one branch of the call under way, the first one of a step."""
        rows = self.first.setdefault(self._branches[place], {})
        if step not in rows:
            rows[step] = residual.cpu()

    def part(self, stream: torch.Tensor) -> torch.Tensor:
        """[batch, elements] that stand for all of a stream."""
        return self._thin(stream).float()


class WatchCall(NetworkCall):
    """Compares signal and residual of each branch with those of the step before."""

    def _changes(
        self, fresh: list[int], parts: Sequence[torch.Tensor] | None
    ) -> list[float | None]:
        """Nothing is decided, so the comparisons stay on the device."""
        signals = [None] * len(self._states) if parts is None else parts
        self._signals = [
            None
            if signal is None or state.reference is None
            else relative_change(signal, state.reference)
            for state, signal in zip(self._states, signals, strict=True)
        ]
        return [None] * len(fresh)

    def keep(self, span: Span, before: Tokens, after: Tokens) -> None:
        start, picture, run = before[0], after[0], self._run
        if start is None or picture is None or not isinstance(run, WatchRun):
            return
        if span != run.spans[0]:
            for place, residual, last in self.follow(span, run.part(picture) - run.part(start)):
                if last is not None and last.shape == residual.shape:
                    run.note_block(place, span.first, self._step, relative_change(residual, last))
                if span.first == 0:
                    run.note_first(place, self._step, residual)
            return
        for place, residual, last in self.follow(span, picture - start):
            if last is None or last.shape != residual.shape:
                continue
            change = self._signals[place]
            if change is None:
                change = residual.new_zeros((), dtype=torch.float32)
            numbers = [change, relative_change(residual, last), _magnitude(residual, last)]
            run.note(place, self._step, torch.stack(numbers))


def _magnitude(now: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """Mean over tokens of the ratio of their norms."""
    sizes = now.float().norm(dim=-1), before.float().norm(dim=-1)
    return (sizes[0] / sizes[1].clamp_min(1e-12)).mean()


def changes_between(rows: Sequence[torch.Tensor]) -> NDArray[np.float64]:
    """Relative change of each tensor (column) from each before it (row) [n, n], 0 elsewhere."""
    stacked = torch.stack([row.flatten() for row in rows])
    found = np.zeros((len(rows), len(rows)))
    for i, before in enumerate(stacked[:-1]):
        later = stacked[i + 1 :]
        parts = torch.stack(
            [(later - before).abs().mean(1), before.abs().mean().expand(len(later))]
        )
        found[i, i + 1 :] = relative(parts.T.double()).numpy()
    return found


def make_table(
    signal: SignalKind,
    runs: list[NDArray[np.float64]],
    first_blocks: Sequence[NDArray[np.float64]] = (),
    block_changes: Sequence[NDArray[np.float64]] = (),
) -> BlockTable:
    """A table from the measurements of some runs.

    Args:
        runs: `measured` of each.
        first_blocks: `first_block` of those that have it.
        block_changes: likewise.

    Raises:
        ValueError: if nothing was measured, or what was measured is not finite.
    """
    if not runs:
        raise ValueError("the blocks did not run")
    branches = max(len(run) for run in runs)
    steps = runs[0].shape[1]
    ratios = np.ones((branches, steps))
    for branch in range(branches):
        seen = np.stack([run[branch, 1:, 2] for run in runs if len(run) > branch])
        ratios[branch, 1:] = seen.mean(0)
    points = np.concatenate([run[:, 1:, :2].reshape(-1, 2) for run in runs])
    points = points[np.isfinite(points).all(1)]
    if not len(points):
        raise ValueError("the blocks did not run")
    if not np.isfinite(ratios).all():
        raise ValueError("a prompt that begins or ends in mid-run has no ratio there")

    def mean(runs: Sequence[NDArray[np.float64]]) -> NDArray[np.float64] | None:
        whole = [run for run in runs if len(run) == branches and np.isfinite(run).all()]
        return np.mean(whole, 0) if whole else None

    polynomial, valid = fit(points[:, 0], points[:, 1])
    return BlockTable(signal, ratios, polynomial, valid, mean(first_blocks), mean(block_changes))


def first_block_steps(changes: Floats, threshold: float) -> list[int]:
    """Steps that First Block Cache computes: those where one branch has moved from the last computed step
    by the threshold or more.

    Args:
        changes: `BlockTable.first_block`.
    """
    computed = [0]
    for step in range(1, changes.shape[1]):
        if not changes[:, computed[-1], step].max() < threshold:
            computed.append(step)
    return computed


def first_block_threshold(changes: Floats, speedup: float) -> float:
    """The threshold with which First Block Cache computes as many steps as a speed-up asks for, or as
    near to that as one comes, in the middle between two changes that were seen.

    Args:
        changes: `BlockTable.first_block`.
    """
    seen = np.unique(changes[changes > 0])
    if not len(seen):
        return 0.0
    middles = np.concatenate([seen[:1] / 2, (seen[1:] + seen[:-1]) / 2, seen[-1:] * 2])
    if len(middles) > _THRESHOLDS:
        middles = middles[np.linspace(0, len(middles) - 1, _THRESHOLDS).round().astype(int)]
    steps = changes.shape[1]
    counts = np.array([len(first_block_steps(changes, value)) for value in middles])
    return float(middles[np.abs(np.log(counts * speedup / steps)).argmin()])


def fit(changes: Floats, caused: Floats) -> tuple[tuple[float, ...], tuple[float, float]]:
    """Polynomial from the change of a signal to the change that it stands for, and its valid range.

    Of degree 4, lower where there are fewer different changes.
    """
    low, high = float(changes.min()), float(changes.max())
    degree = min(DEGREE, len(np.unique(changes)) - 1)
    if high <= low or degree < 1:
        return (float(caused.mean()),), (low, high)
    series = np.polynomial.Polynomial.fit(changes, caused, degree).convert().coef
    return tuple(float(c) for c in series[::-1]), (low, high)
