"""Pictures of the results. Lines that matter are coloured and named where they end, the others grey."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.ndimage import uniform_filter1d

from .results import Row, at_speed, plan, skips
from .ways import Group

CALIBRATION = {
    "calibrated": ("Scaling Cache, calibrated", "#1b7837"),
    "online": ("Scaling Cache, learning", "#2166ac"),
    "even_order1": ("evenly spaced line", "#b2182b"),
    "fewer_steps": ("fewer steps", "#666666"),
}
# Always coloured; the best published methods of a plan take the colours after these.
EMPHASISED = {
    "scaling_cache_online": ("Scaling Cache, learning", "#1f5fa8"),
    "scaling_cache": ("Scaling Cache, calibrated", "#1b7837"),
    "host_lazycache": ("LazyCache (host)", "#d1495b"),
    "host_easycache": ("EasyCache (host)", "#e58fa0"),
    "fewer_steps": ("fewer steps", "#000000"),
    "fewer_steps_multistep": ("fewer steps, multistep", "#8a6d3b"),
}
_PUBLISHED = ("#7b4ea3", "#e08214")
_GREY = "#c8c8c8"
_OTHER = {
    "scaling_cache_budget": "Scaling Cache, budget",
    "scaling_cache_oracle": "Scaling Cache, calibrated on these prompts",
    "even_order1": "evenly spaced line",
}
# The pack learning and calibrated, the best published method, the host's, fewer steps.
_MARKERS = (
    ("o", "#1f5fa8"),
    ("o", "#1b7837"),
    ("D", "#7b4ea3"),
    ("s", "#d1495b"),
    ("^", "#000000"),
)
_CURVES_AT, _SMOOTH = 2.0, 5


@dataclass(frozen=True)
class Axis:
    """What a panel shows.

    Attributes:
        column: of the rows.
        label: with the unit.
        down: whether less is better.
    """

    column: str
    label: str
    down: bool = False


PSNR = Axis("psnr", "PSNR against all steps, dB")
FLIP = Axis("perceptual", "FLIP against all steps (0 is equal)", down=True)
TRUTH = Axis("truth_psnr", "PSNR against 400 steps, dB")


def name_of(method: str) -> str:
    """A method for people."""
    if method in EMPHASISED:
        return EMPHASISED[method][0]
    return _OTHER.get(method, method)


def fidelity(rows: list[Row], folder: Path) -> None:
    """All pictures of each bed and plan, in a folder."""
    for (bed, _), group in groupby(rows, key=lambda row: (row["bed"], plan(row))):
        mine = list(group)
        first = mine[0]
        tail = f"{bed}_{first['steps']}_{first['sampler']}_cfg{first['cfg']:g}.png"
        against_computed(mine, folder / f"fidelity_computed_{tail}")
        against_time(mine, folder / f"fidelity_speedup_{tail}")
        curves(mine, folder / f"fidelity_curves_{tail}")


def against_computed(rows: list[Row], path: Path) -> None:
    """Fidelity of one bed and plan against how few steps are computed, also against the truth."""

    def place(row: Row) -> float:
        return row["steps"] / row["computed"]

    _against(rows, (PSNR, TRUTH), place, "steps over computed steps", path)


def against_time(rows: list[Row], path: Path) -> None:
    """Fidelity against measured speed-up; nothing where no time was measured."""
    if _known(rows, "speedup"):
        _against(rows, (PSNR, FLIP), lambda row: row["speedup"], "measured speed-up", path)


def _known(rows: list[Row], column: str) -> bool:
    return any(row[column] is not None for row in rows)


def emphasised(rows: list[Row]) -> dict[str, tuple[str, str]]:
    """Name and colour of the lines that are coloured: the fixed ones, and the two published methods that
    are best at 2x on average."""
    best = sorted(
        (r for r in at_speed(rows, 2.0).values() if r["group"] == Group.PUBLISHED.value),
        key=lambda row: -row["psnr"],
    )
    chosen = dict(EMPHASISED)
    for row, colour in zip(best, _PUBLISHED, strict=False):
        chosen[row["method"]] = (row["method"], colour)
    return chosen


def _title(rows: list[Row]) -> str:
    return f"{rows[0]['bed']}, {plan(rows[0])}, {rows[0]['n']} held-out prompts"


def _against(
    rows: list[Row],
    axes_of: Sequence[Axis],
    place: Callable[[Row], float | None],
    label: str,
    path: Path,
) -> None:
    """Panels with a line per method."""
    panels = [axis for axis in axes_of if _known(rows, axis.column)]
    figure, grid = pyplot.subplots(1, len(panels), figsize=(7.2 * len(panels), 6.4), squeeze=False)
    for axes, axis in zip(grid[0], panels, strict=True):
        _panel(axes, rows, axis, place)
        axes.set_xlabel(f"{label} (right is faster)")
        axes.set_ylabel(axis.label)
        axes.set_title(
            f"{'lower' if axis.down else 'higher'} is nearer", fontsize=9, color="#666666"
        )
    figure.suptitle(f"{_title(rows)}; bars are 95 % intervals", fontsize=11)
    figure.tight_layout()
    _save(figure, path)


def _panel(axes: Axes, rows: list[Row], axis: Axis, place: Callable[[Row], float | None]) -> None:
    """One line per method with its interval, named at its end."""
    colours = emphasised(rows)
    ends: list[tuple[float, float, str, str]] = []
    plain = next((row[axis.column] for row in rows if row["target"] is None), None)
    if plain is not None:
        axes.axhline(plain, color="#888888", lw=1, ls=":")
        axes.annotate(
            "all steps",
            (0.01, plain),
            xycoords=("axes fraction", "data"),
            fontsize=8,
            color="#666666",
            va="bottom",
        )
    for method, group in groupby(rows, key=lambda row: row["method"]):
        points = sorted(
            (x, row[axis.column], row["intervals"].get(axis.column))
            for row in group
            if skips(row) and (x := place(row)) is not None and row[axis.column] is not None
        )
        if not points:
            continue
        x, y, bounds = zip(*points, strict=True)
        name, colour = colours.get(method, (name_of(method), _GREY))
        strong = method in colours
        axes.plot(
            x,
            y,
            "o-",
            color=colour,
            lw=2 if strong else 1,
            ms=5 if strong else 3,
            zorder=2 + strong,
        )
        if strong and all(bounds):
            low, high = zip(*bounds, strict=True)
            axes.vlines(x, low, high, color=colour, lw=1, alpha=0.6)
        ends.append((x[-1], y[-1], name, colour if strong else "#9a9a9a"))
    if ends:
        _name_ends(axes, ends)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _name_ends(axes: Axes, ends: list[tuple[float, float, str, str]]) -> None:
    """Names in a column right of the lines, each joined with its end, apart from each other."""
    bottom, top = axes.get_ylim()
    left, right = axes.get_xlim()
    right += 0.03 * (right - left)
    ends = sorted(ends, key=lambda end: end[1])
    places = spread([end[1] for end in ends], (top - bottom) / 30, bottom, top)
    for (x, y, name, colour), at in zip(ends, places, strict=True):
        axes.annotate(
            name,
            (x, y),
            xytext=(right, at),
            color=colour,
            fontsize=8,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "lw": 0.5,
                "alpha": 0.5,
                "relpos": (0, 0.5),
                "shrinkA": 1,
            },
        )


def spread(wanted: list[float], apart: float, bottom: float, top: float) -> list[float]:
    """Places near the wanted ones, in the same order and at least so far apart.

    Args:
        wanted: rising.
        apart: smallest distance; less where there is no room for it.
        bottom, top: ends of the room.
    """
    if len(wanted) > 1:
        apart = min(apart, (top - bottom) / (len(wanted) - 1))
    places: list[float] = []
    for place in wanted:
        places.append(max(place, places[-1] + apart) if places else max(place, bottom))
    limit = top
    for i in reversed(range(len(places))):
        places[i] = min(places[i], limit)
        limit = places[i] - apart
    return places


def curves(rows: list[Row], path: Path) -> None:
    """Error of the denoised picture per step at 2x, of the methods that matter."""
    figure, axes = pyplot.subplots(figsize=(8.4, 5.0))
    colours = emphasised(rows)
    ends: list[tuple[float, float, str, str]] = []
    for row in rows:
        if row["target"] != _CURVES_AT or not row["curve"] or row["method"] not in colours:
            continue
        if not skips(row):
            continue
        name, colour = colours[row["method"]]
        # Predicted steps miss more than the computed ones beside them.
        curve = uniform_filter1d(np.array(row["curve"]), _SMOOTH, mode="nearest")
        axes.semilogy(range(len(curve)), curve, color=colour, lw=1.6)
        ends.append((len(curve) - 1, float(curve[-1]), name, colour))
    axes.set_ylim(bottom=3e-3)
    axes.set_xlabel("step")
    axes.set_ylabel(f"relative error of the denoised latent, mean of {_SMOOTH} steps")
    axes.set_title(f"Error along the run at {_CURVES_AT:g}x\n{_title(rows)}", fontsize=9)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if ends:
        bottom, top = np.log10(axes.get_ylim())
        ends.sort(key=lambda end: end[1])
        places = spread([float(np.log10(e[1])) for e in ends], (top - bottom) / 22, bottom, top)
        for (x, y, name, colour), at in zip(ends, places, strict=True):
            axes.annotate(
                name,
                (x, y),
                xytext=(x * 1.06, 10**at),
                color=colour,
                fontsize=8,
                va="center",
                annotation_clip=False,
            )
    figure.tight_layout()
    _save(figure, path)


def samplings(plans: Mapping[str, Mapping[str, Row | None]], path: Path) -> None:
    """PSNR of many plans at one speed, a line per plan and a panel per bed and guidance scale.

    Args:
        plans: by name, the rows to show by what they stand for.
    """
    panels: dict[str, list[tuple[str, Mapping[str, Row | None]]]] = {}
    for shown in plans.values():
        row = next(row for row in shown.values() if row is not None)
        place = f"{row['bed']}, cfg {row['cfg']:g}"
        panels.setdefault(place, []).append((f"{row['sampler']}, {row['steps']} steps", shown))
    kinds = list(next(iter(plans.values())))
    drawn = sorted(panels.items())
    # A line takes about the same height in all panels.
    most = [max(len(lines) for _, lines in drawn[i : i + 2]) for i in range(0, len(drawn), 2)]
    figure, grid = pyplot.subplots(
        *(len(most), 2),
        figsize=(12.6, 0.23 * sum(most) + 0.85 * len(most)),
        height_ratios=[count + 1 for count in most],
        squeeze=False,
    )
    for axes, (title, lines) in zip(grid.flat, drawn, strict=False):
        for at, (_, shown) in enumerate(lines):
            values = [row["psnr"] for row in shown.values() if row is not None]
            axes.plot([min(values), max(values)], [at, at], color="#dddddd", lw=1, zorder=1)
        for kind, (marker, colour) in zip(kinds, _MARKERS, strict=True):
            found = [(shown[kind], at) for at, (_, shown) in enumerate(lines)]
            places = [(row["psnr"], at) for row, at in found if row is not None]
            axes.plot(*np.array(places).reshape(-1, 2).T, marker, color=colour, label=kind, ms=7)
        axes.set_yticks(range(len(lines)), [name for name, _ in lines], fontsize=8)
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("PSNR against all steps, dB (right is nearer)", fontsize=9)
        axes.grid(axis="x", alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncol=len(labels), fontsize=9, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.96))
    _save(figure, path)


def calibration(rows: list[Row], path: Path) -> None:
    """PSNR against the share of computed steps, one panel per way to sample, the spread over prompts as a
    band."""
    panels = [list(group) for _, group in groupby(rows, key=plan)]
    columns = min(len(panels), 4)
    lines = -(-len(panels) // columns)
    figure, grid = pyplot.subplots(
        lines, columns, figsize=(3.6 * columns, 3.2 * lines), squeeze=False
    )
    for axes, panel in zip(grid.flat, panels, strict=False):
        _calibration_panel(axes, panel)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    figure.tight_layout()
    named = max((axes.get_legend_handles_labels() for axes in grid.flat), key=lambda n: len(n[0]))
    figure.legend(*named, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=len(named[0]))
    _save(figure, path)


def _calibration_panel(axes: Axes, rows: Iterable[Row]) -> None:
    rows = list(rows)
    for method, (label, colour) in CALIBRATION.items():
        mine = sorted((r for r in rows if r["method"] == method), key=lambda r: r["wanted"])
        if not mine:
            continue
        speedups = [r["steps"] / r["computed"] for r in mine]
        means = np.array([r["psnr_mean"] for r in mine])
        spread = np.array([r["psnr_std"] for r in mine])
        axes.plot(speedups, means, "o-", color=colour, label=label, markersize=4)
        axes.fill_between(speedups, means - spread, means + spread, color=colour, alpha=0.12, lw=0)
    axes.set_title(plan(rows[0]), fontsize=9)
    axes.grid(alpha=0.3)
    axes.set_xlabel("steps over computed steps")
    axes.set_ylabel("PSNR, dB")


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    pyplot.close(figure)
