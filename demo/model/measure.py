"""What a clip shows, read off its pixels without any trained network.

Colour: pixels that match a vocabulary colour under any of the shadings used, and better than they
match the border of the frame, vote. Shape: of the largest connected region of that colour, solidity
(area over that of its convex hull) tells the cross, and area over that of the circle around its
centre tells circle, square and triangle. Frames vote. Motion: how far the region's centre travels or
its outline turns, as mean change between neighbouring frames.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from ..nodes.vocabulary import COLOURS

Image = NDArray[np.float32]

_SHADES = np.linspace(0.75, 1.25, 6)
_CLOSE = 0.22  # RGB distance within which a pixel may be of a colour
_FEWEST_PIXELS = 60  # of 128 x 128; the smallest shape has about 500
_SOLID = 0.84
_ROUND, _SQUARE = 0.80, 0.53  # the ideals are 1, 0.64 and 0.41


@dataclass(frozen=True)
class Reading:
    """What was seen; None where nothing stands out.

    Attributes:
        motion: mean absolute change from frame to frame, 0 to 1.
    """

    colour: str | None
    shape: str | None
    motion: float


def read_clip(clip: Image) -> Reading:
    """
    Args:
        clip: [frames, height, width, 3] in 0 to 1.
    """
    masks = [colour_masks(frame) for frame in clip[:: max(1, len(clip) // 6)]]
    totals = {name: sum(int(m[name].sum()) for m in masks) for name in COLOURS}
    best = max(totals, key=lambda name: totals[name])
    motion = float(np.abs(np.diff(clip, axis=0)).mean())
    if totals[best] < _FEWEST_PIXELS * len(masks):
        return Reading(None, None, motion)
    shapes = Counter(shape for m in masks if (shape := shape_of(m[best])) is not None)
    return Reading(best, shapes.most_common(1)[0][0] if shapes else None, motion)


def colour_masks(frame: Image) -> dict[str, NDArray[np.bool_]]:
    """Pixels of each colour: within reach of it, nearest to it, and nearer than to the border."""
    border = np.concatenate([frame[:3].reshape(-1, 3), frame[-3:].reshape(-1, 3)])
    centres = np.quantile(border, (0.1, 0.5, 0.9), axis=0).astype(np.float32)
    behind = np.min([np.linalg.norm(frame - c, axis=-1) for c in centres], axis=0)
    distances = []
    for colour in COLOURS.values():
        shaded = np.clip(np.outer(_SHADES, colour), 0, 1)
        distances.append(np.min([np.linalg.norm(frame - c, axis=-1) for c in shaded], axis=0))
    nearest = np.argmin(distances, axis=0)
    closest = np.min(distances, axis=0)
    found = (closest < _CLOSE) & (closest < behind)
    return {name: found & (nearest == i) for i, name in enumerate(COLOURS)}


def shape_of(mask: NDArray[np.bool_]) -> str | None:
    """Name of the largest region's shape, or None if it is too small or cut off by the frame."""
    labels, count = ndimage.label(ndimage.binary_opening(mask))
    if count == 0:
        return None
    region = labels == 1 + int(np.argmax(ndimage.sum(mask, labels, range(1, count + 1))))
    region = ndimage.binary_fill_holes(region)
    points = np.argwhere(region).astype(float)
    edge = region[0].any() or region[-1].any() or region[:, 0].any() or region[:, -1].any()
    if len(points) < _FEWEST_PIXELS or edge:
        return None
    try:
        hull = ConvexHull(points)
    except QhullError:
        return None
    # Pixels are unit squares, the hull goes through their centres.
    hull_area = hull.volume + hull.area / 2
    if len(points) / hull_area < _SOLID:
        return "cross"
    radius = np.linalg.norm(points[hull.vertices] - points.mean(0), axis=1).max() + 0.5
    fill = len(points) / (np.pi * radius**2)
    if fill > _ROUND:
        return "circle"
    return "square" if fill > _SQUARE else "triangle"
