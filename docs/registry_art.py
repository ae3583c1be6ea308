"""Draw the icon and the banner that the registry shows.

    python -m docs.registry_art

An output's path: filled where it is computed, hollow where it is predicted.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

FOLDER = Path(__file__).parent / "images"
NIGHT, LINE, BLUE, WHITE = "#151a23", "#3a4658", "#4da3ff", "#f2f5f9"
DPI = 100


def path(place: np.ndarray) -> np.ndarray:
    """Steep at first and flat in the end, as outputs are; 0 to 1."""
    return np.tanh(2.2 * place) / np.tanh(2.2)


def draw_path(
    axes: Axes, steps: int, computed: set[int], box: tuple[float, float, float, float], size: float
) -> None:
    """The path within a box (left, bottom, width, height), marks of a size in points."""
    left, bottom, width, height = box
    fine = np.linspace(0, 1, 200)
    axes.plot(
        left + width * fine, bottom + height * path(fine), color=LINE, lw=size / 3.2, zorder=1
    )
    for step in range(steps):
        at = step / (steps - 1)
        x, y = left + width * at, bottom + height * float(path(np.array(at)))
        if step in computed:
            axes.plot(x, y, "o", ms=size, color=BLUE, zorder=3)
        else:
            axes.plot(x, y, "o", ms=0.62 * size, mfc=NIGHT, mec=WHITE, mew=size / 9, zorder=2)


def canvas(width: int, height: int) -> Axes:
    """Axes in pixels, without a frame."""
    figure = pyplot.figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    axes.axis("off")
    return axes


def icon() -> None:
    axes = canvas(400, 400)
    shape = FancyBboxPatch(
        (20, 20), 360, 360, boxstyle="round,pad=0,rounding_size=84", fc=NIGHT, ec="none"
    )
    axes.add_patch(shape)
    draw_path(axes, 7, {0, 1, 3, 6}, (88, 110, 224, 180), 30)
    axes.figure.savefig(FOLDER / "icon.png", dpi=DPI, transparent=True)


def banner() -> None:
    axes = canvas(1680, 720)
    axes.figure.set_facecolor(NIGHT)
    draw_path(axes, 19, {0, 1, 2, 4, 7, 10, 14, 18}, (880, 130, 690, 440), 25)
    axes.text(110, 430, "Scaling Cache", color=WHITE, size=66, weight="bold", va="center")
    axes.text(
        114,
        315,
        "Compute some of the steps,\npredict the others.",
        color=WHITE,
        size=31,
        va="center",
    )
    axes.text(114, 210, "ComfyUI", color=BLUE, size=26, va="center")
    axes.figure.savefig(FOLDER / "banner.png", dpi=DPI, facecolor=NIGHT)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    icon()
    banner()


if __name__ == "__main__":
    main()
