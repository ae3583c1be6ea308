"""What all sections of the results page are made of: Markdown, and words for rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from .. import plots
from ..results import Row, plan

# Speed-ups at which the page goes into detail.
SHORT = (2.0, 3.0)
# And what long runs are measured at too.
FAR_SPEEDS = (4.0, 5.0)
# Prompts below which the page warns.
_ENOUGH = 16


def table(lines: Sequence[Sequence[str]]) -> str:
    """Markdown; the first line is the head."""
    lines = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def folded(title: str, parts: list[str]) -> str:
    """What a reader opens."""
    inside = "\n".join(part for part in parts if part)
    return f"<details><summary>{title}</summary>\n\n{inside}\n</details>\n"


def number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def by_plan(rows: list[Row]) -> list[tuple[str, list[Row]]]:
    """Rows under the names of their bed and plan."""
    keys = groupby(rows, key=lambda row: (row["bed"], plan(row)))
    return [(f"{bed}, {sampling}", list(group)) for (bed, sampling), group in keys]


def origin(environment: dict[str, Any], rows: list[Row]) -> str:
    """What the numbers were measured on."""
    seeds = ", ".join(map(str, environment["seeds"]))
    notes = "" if timed(rows) else " Times were not measured."
    if rows[0]["n"] < _ENOUGH:
        notes += " So few prompts rank nothing that lies near: look at the intervals."
    return (
        f"{rows[0]['n']} held-out prompts, seed {seeds}, settings from "
        f"{environment['tuning']} training prompt{'s' * (environment['tuning'] > 1)}; ComfyUI "
        f"{environment['host_version']}, torch {environment['torch']}, {environment['device']} with "
        f"{environment['threads']} threads, {environment['dtype']}, {environment['date']}, revision "
        f"{environment['revision']}.{notes}"
    )


def timed(rows: list[Row]) -> bool:
    return any(row["speedup"] is not None for row in rows)


def speeds_of(rows: list[Row]) -> list[float]:
    return sorted({row["target"] for row in rows if row["target"] is not None})


def measured(row: Row) -> str:
    """Speed-up by wall time."""
    return "-" if row["speedup"] is None else f"{row['speedup']:.2f}x"


def own_name(method: str) -> str:
    return plots.name_of(method).removeprefix("Scaling Cache, ")


def with_interval(row: Row, column: str) -> str:
    bounds = row["intervals"].get(column)
    shown = number(row[column], ".1f")
    return shown if bounds is None else f"{shown} [{bounds[0]:.1f}, {bounds[1]:.1f}]"
