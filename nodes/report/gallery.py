"""Pictures side by side, and where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ...cache_core.calibration.fidelity import Fidelity
from .canvas import INK, INNER, MARGIN, MUTED, Canvas
from .facts import decibels, named

_GAP, _LABEL = 14, 30
_TALLEST = 460
_MAGNIFIED = 6
# Most pictures beside each other.
COLUMNS = 4
# From no difference to a large one, sRGB; light to dark, so that it reads without colours too.
_HEAT = np.array(
    [[255, 255, 255], [255, 236, 178], [253, 187, 99], [232, 93, 42], [150, 10, 22], [72, 0, 12]]
)
_FULL = (1, 2, 4, 8, 16, 32, 64, 128, 255)


@dataclass(frozen=True)
class Strip:
    """Pictures in a row under a label."""

    label: str
    pictures: Sequence[Image.Image]


def choose(count: int, worst: int | None) -> list[int]:
    """At most four of `count` pictures, from first to last, the worst one among them."""
    if count <= COLUMNS:
        return list(range(count))
    even = [round(i * (count - 1) / (COLUMNS - 1)) for i in range(COLUMNS)]
    if worst is None or worst in even:
        return even
    inner = min(even[1:-1], key=lambda i: abs(i - worst))
    return sorted({*even, worst} - {inner})


def difference(picture: torch.Tensor, reference: torch.Tensor) -> NDArray[np.float32]:
    """Mean over the channels of how far pixels are apart, 0 to 255.

    Args:
        picture, reference: uint8 [height, width, 3].
    """
    return (picture.float() - reference.float()).abs().mean(-1).numpy()


def full_colour(differences: Sequence[NDArray[np.float32]]) -> int:
    """Difference to draw darkest: one in a thousand pixels may be above it."""
    high = max(float(np.quantile(d, 0.999)) for d in differences)
    return next(f for f in _FULL if f >= min(high, _FULL[-1]))


def heat(differences: NDArray[np.float32], full: int) -> Image.Image:
    """A map of differences: white for none, dark red from `full` on."""
    return Image.fromarray(ramp(np.minimum(differences / full, 1), _HEAT).astype(np.uint8))


def ramp(shares: NDArray[np.floating], colours: NDArray[np.floating]) -> NDArray[np.float64]:
    """Colours [..., 3] of shares, on a line through some colours.

    Args:
        shares: 0 for the first colour, 1 for the last.
        colours: [colours, 3].
    """
    place = shares * (len(colours) - 1)
    channels = [np.interp(place, range(len(colours)), colours[:, c]) for c in range(3)]
    return np.stack(channels, -1)


def gallery(
    pictures: torch.Tensor, reference: torch.Tensor | None, fidelity: Fidelity | None, kind: str
) -> Image.Image:
    """One picture beside its reference and the map of differences, or several in columns.

    Args:
        pictures, reference: uint8 [n, height, width, 3].
        fidelity: how near they are; None without a reference.
        kind: what to call one.
    """
    worst = None if fidelity is None else fidelity.worst
    chosen = choose(len(pictures), worst)
    strips = _strips(pictures[chosen], None if reference is None else reference[chosen])
    if len(chosen) == 1:
        return _in_one_row(strips)
    names = [named(kind, i) for i in chosen]
    if fidelity is not None:
        names = [
            f"{n}: {decibels(fidelity.psnr_each[i])}" for n, i in zip(names, chosen, strict=True)
        ]
        worst = chosen.index(fidelity.worst)
        names[worst] = f"{names[worst]}, worst"
    return _in_columns(strips, names)


def _strips(pictures: torch.Tensor, reference: torch.Tensor | None) -> list[Strip]:
    cached = Strip("with the cache", [Image.fromarray(p.numpy()) for p in pictures])
    if reference is None:
        return [cached]
    apart = [difference(a, b) for a, b in zip(pictures, reference, strict=True)]
    if not any(d.any() for d in apart):
        label, full = "difference: none", 1
    else:
        full = full_colour(apart)
        label = f"difference; dark red: {full} of 255 or more"
    return [
        Strip("without the cache", [Image.fromarray(p.numpy()) for p in reference]),
        cached,
        Strip(label, [heat(d, full) for d in apart]),
    ]


def _in_one_row(strips: Sequence[Strip]) -> Image.Image:
    columns = max(len(strips), 2)
    width = (INNER - _GAP * (columns - 1)) // columns
    pictures = [fit(s.pictures[0], width) for s in strips]
    canvas = Canvas(_LABEL + pictures[0].height + 2)
    for i, (strip, picture) in enumerate(zip(strips, pictures, strict=True)):
        x = MARGIN + i * (width + _GAP)
        canvas.text((x, 2), strip.label, 16, INK)
        _framed(canvas, (x, _LABEL), picture)
    return canvas.image()


def _in_columns(strips: Sequence[Strip], names: Sequence[str]) -> Image.Image:
    columns = max(len(names), 3)
    width = (INNER - _GAP * (columns - 1)) // columns
    rows = [[fit(p, width) for p in s.pictures] for s in strips]
    tall = rows[0][0].height
    canvas = Canvas(len(rows) * (tall + _LABEL + 6) + 18)
    for i, name in enumerate(names):
        canvas.text((MARGIN + i * (width + _GAP), 0), name, 14, MUTED)
    y = 20
    for strip, row in zip(strips, rows, strict=True):
        canvas.text((MARGIN, y + 4), strip.label, 16, INK)
        for i, picture in enumerate(row):
            _framed(canvas, (MARGIN + i * (width + _GAP), y + _LABEL), picture)
        y += tall + _LABEL + 6
    return canvas.image()


def fit(picture: Image.Image, width: int) -> Image.Image:
    """As large as fits into the width and a height."""
    factor = min(width / picture.width, _TALLEST / picture.height)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    # Pixels of a latent are meant to be seen.
    smooth = Image.Resampling.BICUBIC if factor < _MAGNIFIED else Image.Resampling.NEAREST
    return picture.resize(size, smooth)


def _framed(canvas: Canvas, at: tuple[int, int], picture: Image.Image) -> None:
    x, y = at
    canvas.box((x - 1, y - 1, x + picture.width + 1, y + picture.height + 1), "#c9d1da")
    canvas.picture(at, picture)
