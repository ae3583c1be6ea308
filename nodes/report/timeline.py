"""The steps of a run: which were computed, and the error that was expected."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from ...cache_core.run.report import FinishedRun, StepRecord
from .canvas import (
    COMPUTED,
    CURVE,
    GRID,
    INK,
    INNER,
    MARGIN,
    MUTED,
    PREDICTED,
    PREDICTED_EDGE,
    WIDTH,
    Canvas,
    length,
    spoken,
)

_HEAD, _CURVE, _BAR, _AXIS = 62, 120, 34, 26
# Room for the numbers of the curve.
_LEFT = MARGIN + 52
_RIGHT = WIDTH - MARGIN
_MOST_TICKS = 12


@dataclass(frozen=True)
class Curve:
    """An error at each step.

    Attributes:
        points: (place of the step in the run, error).
        limits: (place of the step in the run, largest error to predict at), where there is one.
        title: what it is.
    """

    points: Sequence[tuple[int, float]]
    limits: Sequence[tuple[int, float]]
    title: str

    @property
    def top(self) -> float:
        """Upper end of the axis. A limit far above all errors would flatten them."""
        highest = max((value for _, value in self.points), default=0.0)
        near = [value for _, value in self.limits if value <= 2 * highest]
        return nice_above(max([highest, *near], default=0.0))


def curve_of(records: Sequence[StepRecord]) -> Curve | None:
    """The estimate that decided, or what a prediction would have missed at the computed steps; None if
    the run has neither."""
    estimated = [(i, r.error) for i, r in enumerate(records)]
    limits = [(i, r.limit) for i, r in enumerate(records)]
    points = _known(estimated)
    if len(points) > 1:
        return Curve(points, _known(limits), "estimate that decides, and its limit (dotted)")
    points = _known([(i, r.missed) for i, r in enumerate(records)])
    if len(points) > 1:
        return Curve(points, (), "error that a prediction would have made, measured where computed")
    return None


def timeline(run: FinishedRun) -> Image.Image:
    """A mark for each step, and the curve above them if the run has one."""
    records = run.report.records
    curve = curve_of(records)
    above = _CURVE + 14 if curve is not None else 0
    canvas = Canvas(_HEAD + above + _BAR + _AXIS)
    _head(canvas, run, curve)
    width = (_RIGHT - _LEFT) / len(records)
    if curve is not None:
        _draw_curve(canvas, curve, width)
    top = _HEAD + above
    gap = 0.0 if width < 3 else min(3.0, width * 0.18)
    for place, record in enumerate(records):
        left = _LEFT + place * width
        # Where steps are narrower than a pixel or two, an edge would be all there is.
        edge = PREDICTED_EDGE if width > 6 else None
        fill, edge = (COMPUTED, None) if record.computed else (PREDICTED, edge)
        box = (left, top, left + width - gap, top + _BAR)
        canvas.box(box, fill, edge, radius=min(3.0, width / 4))
    canvas.text((_LEFT - 8, top + _BAR + 7), "step", 13, MUTED, "ra")
    for place in ticks(len(records)):
        x = _LEFT + (place + 0.5) * width - gap / 2
        canvas.text((x, top + _BAR + 7), str(records[place].step), 13, MUTED, "ma")
    return canvas.image()


def nice_above(value: float) -> float:
    """The next of 1, 1.5, 2, 3, 4, 5, 6, 8, 10 ... times a power of ten, not below `value`; 1 for 0."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    # 1.0000001 is 1: what comes from a division may be a hair above.
    return next(
        f * power for f in (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 20) if f * power >= value * (1 - 1e-9)
    )


def ticks(count: int) -> range:
    """Places to number: every one, or every 2nd, 5th, 10th ..."""
    steps = (f * 10**e for e in range(9) for f in (1, 2, 5))
    return range(0, count, next(s for s in steps if count / s <= _MOST_TICKS))


def _head(canvas: Canvas, run: FinishedRun, curve: Curve | None) -> None:
    records = run.report.records
    computed = sum(r.computed > 0 for r in records)
    name = run.name if run.node is None else f"{run.name}, node {run.node}"
    first, last = records[0].sigma, records[-1].sigma
    noise = f"sigma {first:.3g} to {last:.3g}" if math.isfinite(first + last) else ""
    canvas.text((MARGIN, 0), f"{name}: {len(records)} steps sampled", 20)
    canvas.text((_RIGHT, 2), noise, 14, MUTED, "ra")
    x: float = MARGIN
    for fill, edge, what in (
        (COMPUTED, None, f"{computed} computed"),
        (PREDICTED, PREDICTED_EDGE, f"{len(records) - computed} predicted"),
    ):
        canvas.box((x, 32, x + 16, 46), fill, edge, 3)
        canvas.text((x + 23, 31), what, 14)
        x += 23 + length(spoken(what), 14) + 26
    if curve is None:
        canvas.text((x, 31), "no error is estimated: the steps follow a plan", 14, MUTED)
    else:
        canvas.line([(x, 39), (x + 22, 39)], CURVE, 2.5)
        canvas.text((x + 30, 31), curve.title, 14)


def _draw_curve(canvas: Canvas, curve: Curve, width: float) -> None:
    top, bottom = float(_HEAD), float(_HEAD + _CURVE)

    def at(place: int, value: float) -> tuple[float, float]:
        share = min(max(value / curve.top, 0.0), 1.0)
        return _LEFT + (place + 0.5) * width, bottom - share * (bottom - top)

    for share in (0.0, 0.5, 1.0):
        y = bottom - share * (bottom - top)
        canvas.line([(_LEFT, y), (_RIGHT, y)], GRID)
        label = f"{share * curve.top:.3g}"
        canvas.text((_LEFT - 8, y + 5), label, 13, MUTED, "rs")
    for place, value in curve.limits:
        if value <= curve.top:
            x, y = at(place, value)
            canvas.dots((x - width / 2, y), (x + width / 2, y), INK, min(6.0, max(width, 2.0)))
    points = [at(*point) for point in curve.points]
    canvas.line(points, CURVE, 2 if len(points) < 300 else 1)
    if INNER / len(points) > 10:
        for point in points:
            canvas.dot(point, CURVE, 3)


def _known(values: Sequence[tuple[int, float | None]]) -> list[tuple[int, float]]:
    return [(i, v) for i, v in values if v is not None and math.isfinite(v)]
