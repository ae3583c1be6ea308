"""Draw the results of the calibration benchmark and write its table: `python -m benchmarks.plot`.

PSNR against the share of computed steps, one panel per way to sample, the spread over prompts as a band.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes

RESULTS = Path(__file__).parent / "results"
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "calibration.png"
PAGE = Path(__file__).parents[1] / "docs" / "results.md"
BEGIN, END = "<!-- calibration -->\n", "<!-- /calibration -->\n"
LABELS = {
    "calibrated": ("Scaling Cache, calibrated", "#1b7837"),
    "online": ("Scaling Cache, learning", "#2166ac"),
    "even_order1": ("evenly spaced line", "#b2182b"),
    "fewer_steps": ("fewer steps", "#666666"),
}


def plan(row: dict[str, Any]) -> str:
    return f"{row['steps']} steps {row['sampler']}, cfg {row['cfg']:g}, shift {row['shift']:g}"


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: one line per way to sample and number of computed steps."""
    head = ["sampling", "computed", *(label for label, _ in LABELS.values())]
    lines = [head, ["---"] * len(head)]
    for (name, wanted), group in groupby(rows, key=lambda r: (plan(r), r["wanted"])):
        found = {r["method"]: r for r in group}
        cells = [
            f"{found[m]['psnr_mean']:.1f} ± {found[m]['psnr_std']:.1f} ({found[m]['psnr_worst']:.1f})"
            for m in LABELS
        ]
        lines.append([name, str(wanted), *cells])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def filled(page: str, rows: list[dict[str, Any]]) -> str:
    """A page with the table between its marks."""
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{table(rows)}\n{END}{after}"


def draw(axes: Axes, rows: Iterable[dict[str, Any]]) -> None:
    """One panel."""
    rows = list(rows)
    for method, (label, colour) in LABELS.items():
        mine = sorted((r for r in rows if r["method"] == method), key=lambda r: r["wanted"])
        speedups = [r["steps"] / r["computed"] for r in mine]
        means = np.array([r["psnr_mean"] for r in mine])
        spread = np.array([r["psnr_std"] for r in mine])
        axes.plot(speedups, means, "o-", color=colour, label=label, markersize=4)
        axes.fill_between(speedups, means - spread, means + spread, color=colour, alpha=0.12, lw=0)
    axes.set_title(plan(rows[0]), fontsize=9)
    axes.grid(alpha=0.3)
    axes.set_xlabel("steps over computed steps")
    axes.set_ylabel("PSNR, dB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS / "calibration_demo_image.json")
    parser.add_argument("--picture", type=Path, default=PICTURE)
    options = parser.parse_args()
    rows = json.loads(options.results.read_text())["rows"]
    panels = [list(group) for _, group in groupby(rows, key=plan)]
    columns = min(len(panels), 4)
    lines = -(-len(panels) // columns)
    figure, grid = pyplot.subplots(
        lines, columns, figsize=(3.6 * columns, 3.2 * lines), squeeze=False
    )
    for axes, panel in zip(grid.flat, panels, strict=False):
        draw(axes, panel)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    grid[0][0].legend(fontsize=8)
    figure.tight_layout()
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.picture, dpi=110)


if __name__ == "__main__":
    main()
