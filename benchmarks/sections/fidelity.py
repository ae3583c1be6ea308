"""The sections of one comparison at equal speed: an overview, and tables per bed and plan."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import product
from typing import Any

import numpy as np

from .. import plots
from ..results import Row, at_speed, plan
from ..standings import OTHERS, OWN, best, standing
from ..statistics import interval
from ..ways import OTHER_SEED, Group
from .common import (
    SHORT,
    by_plan,
    folded,
    measured,
    number,
    origin,
    own_name,
    speeds_of,
    table,
    timed,
    with_interval,
)

# Of a row, its title, and how it is shown.
_Column = tuple[str, str, str]
# Measures with weights.
_LEARNT: Sequence[_Column] = (("st_lpips", "ST-LPIPS", ".5f"), ("jod", "JOD", ".2f"))
# Measures of another seed that are told.
_FLOOR = (
    ("psnr", "PSNR", ".1f"),
    ("ssim", "SSIM", ".2f"),
    ("perceptual", "FLIP", ".2f"),
    ("st_lpips", "ST-LPIPS", ".2f"),
    ("jod", "JOD", ".2f"),
)


def sections(environment: dict[str, Any], rows: list[Row]) -> str:
    """Everything about fidelity: an overview, and per bed and plan tables and what the pack gains. The
    first one has pictures and all measures, and columns for other numbers of steps; others are folded."""
    groups = by_plan(rows)
    parts = [origin(environment, rows) + "\n"]
    (title, first), *others = groups
    same = [mine for _, mine in others if _differ_in_steps(mine[0], first[0])]
    if len(same) < len(others):
        parts.append(overview(groups))
    parts.append(f"### {title}\n")
    parts += [f"![{text}](images/{name}.png)\n" for name, text in pictures(first)]
    parts.append(by_speed(first, same))
    more = [*(details(first, speed) for speed in SHORT), gains(first)]
    parts.append(folded("All measures at 2x and 3x, and prompt by prompt", more))
    for title, mine in others:
        table_of = [] if mine in same else [by_speed(mine)]
        parts.append(folded(title, [*table_of, gains(mine)]))
    return "\n".join(part for part in parts if part)


def _differ_in_steps(row: Row, other: Row) -> bool:
    """Whether two rows are of one bed, sampler, scale and shift."""
    return all(row[column] == other[column] for column in ("bed", "sampler", "cfg", "shift"))


def pictures(rows: list[Row]) -> list[tuple[str, str]]:
    """Names and descriptions of the pictures of a bed and plan."""
    return [
        ("fidelity_computed", "Fidelity against computed steps"),
        *([("fidelity_speedup", "Fidelity against measured speed-up")] if timed(rows) else []),
        ("fidelity_curves", "Error along the run at 2x"),
    ]


def overview(groups: list[tuple[str, list[Row]]], speeds: Sequence[float] = SHORT) -> str:
    """The pack and the best of the others for each bed, plan and speed."""
    lines: list[list[str]] = []
    for title, rows in groups:
        for speed in speeds:
            found = standing(rows, speed)
            lines = lines or [["bed and plan", "at", *found]]
            if not any(found.values()):
                continue
            cells = ["-" if row is None else f"{row['psnr']:.1f}" for row in found.values()]
            lines.append([title, f"{speed:g}x", *cells])
    return f"PSNR in dB, mean over prompts:\n\n{table(lines)}"


def by_speed(rows: list[Row], further: Sequence[list[Row]] = ()) -> str:
    """PSNR, worst prompt and computed steps of each method at each speed, the best at 2x first. Published
    methods that are further than fewer steps at every speed have a sentence.

    Args:
        further: rows of other numbers of steps, in columns of their own.
    """
    speeds = speeds_of(rows)
    found = {f"{speed:g}x": at_speed(rows, speed) for speed in speeds}
    for mine in further:
        steps = mine[0]["steps"]
        found |= {f"{speed:g}x of {steps}": at_speed(mine, speed) for speed in speeds_of(mine)}
    middle = found.get("2x", found[f"{speeds[0]:g}x"])
    methods = {row["method"]: row["group"] for row in rows if row["target"] is not None}
    first = {m: next((at[m] for at in found.values() if m in at), None) for m in methods}
    order = sorted(methods, key=lambda m: (m not in middle, -first[m]["psnr"] if first[m] else 0.0))
    told = [method for method in order if _is_further(method, methods[method], found.values())]
    near = {method for at in found.values() for method in at}
    lines = [["method", "", *found]]
    for method in order:
        if method in told or method not in near:
            continue
        cells = [
            f"{row['psnr']:.1f} ({row['psnr_worst']:.1f}) at {row['computed']:.1f}"
            if (row := at.get(method))
            else "-"
            for at in found.values()
        ]
        lines.append([plots.name_of(method), methods[method], *cells])
    return (
        "PSNR in dB: mean over prompts (worst prompt) at computed steps. A dash: no setting comes near "
        f"this speed.{floor(rows)}\n\n{table(lines)}{_below(told, middle, near)}"
    )


def nearer(rows: list[Row]) -> list[Row]:
    """Without the methods that a sentence tells of, and without the oracle."""
    found = [at_speed(rows, speed) for speed in speeds_of(rows)]
    return [
        row
        for row in rows
        if row["group"] != Group.ORACLE.value
        and not _is_further(row["method"], row["group"], found)
    ]


def _is_further(method: str, group: str, speeds: Collection[dict[str, Row]]) -> bool:
    """Whether a published method is further than plain sampling with as many steps at every speed that it
    has a setting for."""
    plain = [at for at in speeds if "fewer_steps" in at]
    further = (at[method]["psnr"] < at["fewer_steps"]["psnr"] for at in plain if method in at)
    return group == Group.PUBLISHED.value and bool(plain) and all(further)


def _below(methods: Sequence[str], found: dict[str, Row], near: Collection[str]) -> str:
    """Methods that are further than plain sampling with as many steps, with their dB at a speed, and
    those that have no setting near any.

    Args:
        found: rows at that speed.
        near: those that have one.
    """
    known = {m: f" ({found[m]['psnr']:.1f})" for m in methods if m in found}
    further = ", ".join(plots.name_of(m) + known.get(m, "") for m in methods if m in near)
    none = ", ".join(plots.name_of(m) for m in methods if m not in near)
    head = "Further than fewer steps at 2x, dB" if known else "Further than fewer steps"
    told = [f"{head}: {further}."] * bool(further) + [f"No setting comes near: {none}."] * bool(
        none
    )
    return f"\n{' '.join(told)}\n" if told else ""


def floor(rows: list[Row]) -> str:
    """How far pictures of another seed are, where that was measured."""
    found = next((row for row in rows if row["method"] == OTHER_SEED), None)
    if found is None:
        return ""
    known = _measured(_FLOOR, [found])
    shown = (f"{name} {number(found[column], form)}" for column, name, form in known)
    return f" Another seed: {', '.join(shown)}."


def details(rows: list[Row], speed: float) -> str:
    """All measures at one speed."""
    found = sorted(at_speed(rows, speed).values(), key=lambda row: -row["psnr"])
    if not found:
        return ""
    learnt = _measured(_LEARNT, found)
    lines = [
        [
            *("method", "setting", "computed", "with probes", "measured", "PSNR dB [95 %]"),
            *("SSIM", "FLIP", *(title for _, title, _ in learnt), "PSNR against 400 steps"),
        ]
    ]
    for row in found:
        lines.append(
            [
                plots.name_of(row["method"]),
                row["setting"],
                *(f"{row['computed']:.1f}", f"{row['work']:.1f}"),
                measured(row),
                with_interval(row, "psnr"),
                *(number(row["ssim"], ".4f"), number(row["perceptual"], ".4f")),
                *(number(row[column], form) for column, _, form in learnt),
                number(row["truth_psnr"], ".1f"),
            ]
        )
    plain = next((row["truth_psnr"] for row in rows if row["target"] is None), None)
    against = "" if plain is None else f" All steps are {plain:.1f} dB from 400 steps."
    return f"At {speed:g}x:{against}\n\n{table(lines)}"


def _measured(columns: Sequence[_Column], rows: Sequence[Row]) -> list[_Column]:
    """Those of some measures that there are."""
    return [one for one in columns if any(row.get(one[0]) is not None for row in rows)]


def gains(rows: list[Row]) -> str:
    """How far the pack's method is above the best of the others at each speed, prompt by prompt."""
    lines = [["speed", "Scaling Cache", "against", "mean difference, dB [95 %]", "worst prompt"]]
    for speed in speeds_of(rows):
        found = at_speed(rows, speed)
        others = [row for group in OTHERS if (row := best(found, group)) is not None]
        for ours, other in product((found[m] for m in OWN if m in found), others):
            differences = np.subtract(ours["each"]["psnr"], other["each"]["psnr"])
            bounds = interval(differences.tolist())
            spread = "" if bounds is None else f" [{bounds[0]:+.1f}, {bounds[1]:+.1f}]"
            lines.append(
                [
                    f"{speed:g}x",
                    own_name(ours["method"]),
                    plots.name_of(other["method"]),
                    f"{differences.mean():+.1f}{spread}",
                    f"{differences.min():+.1f}",
                ]
            )
    if len(lines) == 1:
        return ""
    return (
        "Against the best published method, the better cache of the host and the better way with fewer "
        f"steps, chosen on these prompts, at the same speed, prompt by prompt:\n\n{table(lines)}"
    )


def short(environment: dict[str, Any], rows: list[Row]) -> str:
    """For README: the pack's own methods and the best of the others, of the first bed and plan, at
    the default speed."""
    _, rows = by_plan(rows)[0]
    picked = [row for row in standing(rows, SHORT[0]).values() if row is not None]
    clock = timed(picked)
    learnt = _measured(_LEARNT, picked)
    times = ["measured"] if clock else []
    head = ["method", "computed", *times, "PSNR (worst)", "FLIP", *(name for _, name, _ in learnt)]
    lines = [head]
    for row in sorted(picked, key=lambda row: -row["psnr"]):
        name = plots.name_of(row["method"])
        if row["group"] == Group.PUBLISHED.value:
            name += ", the best published one"
        own = row["method"].startswith("scaling_cache")
        lines.append(
            [
                f"**{name}**" if own else name,
                f"{row['computed']:.1f} of {row['steps']}",
                *([measured(row)] if clock else []),
                f"{row['psnr']:.1f} dB ({row['psnr_worst']:.1f})",
                number(row["perceptual"], ".4f"),
                *(number(row[column], form) for column, _, form in learnt),
            ]
        )
    return f"`{rows[0]['bed']}`, {plan(rows[0])}; {origin(environment, rows)}\n\n{table(lines)}"
