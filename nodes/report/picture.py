"""The whole report as one picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from ...cache_core.run.report import seconds
from .canvas import (
    CURVE,
    GRID,
    INK,
    INNER,
    MARGIN,
    MUTED,
    TILE,
    WIDTH,
    Canvas,
    spoken,
    stack,
    translation,
    wrap,
)
from .facts import Facts, Row, counted, decibels, notes, rows, time
from .gallery import COLUMNS, gallery
from .timeline import nice_above, ticks, timeline
from .words import catalogue

# More runs than that are a list of pictures; their steps are alike.
_MOST_TIMELINES = 3
_LINE = 30


def draw(
    facts: Facts,
    pictures: torch.Tensor,
    reference: torch.Tensor | None = None,
    language: str = "en",
) -> torch.Tensor:
    """The report as the host takes pictures: float32 [1, height, width, 3], 0 to 1.

    Args:
        pictures, reference: uint8 [n, height, width, 3], of the same size.
        language: of its words, as far as there is a catalogue and a font.
    """
    translation.set(catalogue(language).of)
    fidelity = facts.fidelity
    parts = [header(facts)]
    if figures := tiles_of(facts):
        parts.append(tiles(figures))
    parts += [timeline(run) for run in facts.sampled[:_MOST_TIMELINES]]
    parts.append(gallery(pictures, reference, fidelity, facts.kind))
    # Few pictures have theirs written above them.
    each = () if fidelity is None else fidelity.psnr_each
    if len(each) > COLUMNS and any(map(math.isfinite, each)):
        parts.append(along(each, facts.kind))
    if lines := rows(facts):
        parts.append(table(lines))
    if said := notes(facts):
        parts.append(paragraphs(said))
    return torch.from_numpy(np.asarray(stack(parts)).astype(np.float32) / 255)[None]


def header(facts: Facts) -> Image.Image:
    canvas = Canvas(38)
    canvas.text((MARGIN, 0), "Cache Report", 32)
    canvas.text((WIDTH - MARGIN, 14), counted(facts), 16, MUTED, "ra")
    return canvas.image()


def tiles_of(facts: Facts) -> list[tuple[str, str, str]]:
    """The figures to read first: name, value and a remark."""
    found: list[tuple[str, str, str]] = []
    if facts.speedup is not None:
        how = "measured" if facts.measured else "estimated"
        found.append(("Speed-up", f"{facts.speedup:.2f}x", how))
        plain = f"{time(facts.plain_seconds)} without"
        found.append(("Time", time(seconds(facts.sampled)), plain))
    fidelity = facts.fidelity
    if fidelity is not None:
        found.append(("PSNR", decibels(fidelity.psnr), "higher is nearer"))
        if fidelity.ssim is not None:
            found.append(("SSIM", f"{fidelity.ssim:.4f}", "1 is identical"))
        if fidelity.gmsd is not None:
            found.append(("GMSD", f"{fidelity.gmsd:.4f}", "0 is identical"))
        if fidelity.error is not None:
            found.append(("Error", f"{fidelity.error:.2%}", "0 is identical"))
    return found


def tiles(figures: Sequence[tuple[str, str, str]]) -> Image.Image:
    gap = 14
    width = (INNER - gap * (max(len(figures), 3) - 1)) / max(len(figures), 3)
    canvas = Canvas(104)
    for i, (name, value, remark) in enumerate(figures):
        x = MARGIN + i * (width + gap)
        canvas.box((x, 0, x + width, 104), TILE, radius=10)
        canvas.text((x + 18, 14), name, 15, MUTED)
        canvas.text((x + 18, 68), value, 31, INK, "ls")
        canvas.text((x + 18, 78), remark, 14, MUTED)
    return canvas.image()


def along(values: Sequence[float], kind: str) -> Image.Image:
    """PSNR of each picture: a video shows where it is worst."""
    known = [v for v in values if math.isfinite(v)]
    low, high = min(known), max(known)
    step = nice_above((high - low) / 3 or 1.0)
    bottom = step * math.floor(low / step)
    count = math.ceil((high - bottom) / step) or 1
    left, right, top, height = MARGIN + 52, WIDTH - MARGIN, 34, 110
    canvas = Canvas(top + height + 26)
    canvas.text((MARGIN, 0), f"PSNR of each {kind}, dB", 17)
    for i in range(count + 1):
        y = top + height * (1 - i / count)
        canvas.line([(left, y), (right, y)], GRID)
        canvas.text((left - 8, y + 5), f"{bottom + i * step:g}", 13, MUTED, "rs")
    width = (right - left) / len(values)
    points = [
        (left + (i + 0.5) * width, top + height * (1 - (v - bottom) / (count * step)))
        for i, v in enumerate(values)
        if math.isfinite(v)
    ]
    canvas.line(points, CURVE, 2)
    if width > 10:
        for point in points:
            canvas.dot(point, CURVE, 3)
    for i in ticks(len(values)):
        canvas.text((left + (i + 0.5) * width, top + height + 8), str(i + 1), 13, MUTED, "ma")
    return canvas.image()


def table(lines: Sequence[Row]) -> Image.Image:
    """A line for each measure; the column of the worst picture only if there is one."""
    worst = any(line.worst for line in lines)
    columns = (0, 220, 430, 660) if worst else (0, 220, 430, 430)
    canvas = Canvas((len(lines) + 1) * _LINE)
    heads = ("measure", "value", "worst", "how to read it")
    for i, head in enumerate(heads):
        if worst or i != 2:
            canvas.text((MARGIN + columns[i], 6), head, 14, MUTED)
    for number, line in enumerate(lines, 1):
        y = number * _LINE
        canvas.line([(MARGIN, y), (WIDTH - MARGIN, y)], GRID)
        cells = (line.measure, line.value, line.worst, line.meaning)
        for i, cell in enumerate(cells):
            size, fill = (15, MUTED) if i == 3 else (17, INK)
            canvas.text((MARGIN + columns[i], y + 22), cell, size, fill, "ls")
    return canvas.image()


def paragraphs(said: Sequence[str]) -> Image.Image:
    size, line = 15, 21
    wrapped = [wrap(spoken(sentence), size, INNER) for sentence in said]
    canvas = Canvas(sum(len(lines) * line + 6 for lines in wrapped))
    y = 0
    for lines in wrapped:
        for text in lines:
            canvas.text((MARGIN, y), text, size, MUTED)
            y += line
        y += 6
    return canvas.image()
