"""Result files: an environment, and rows whose names stand once at the top."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from demo.host.fetch import ROOT

Row = dict[str, Any]
# How far, as a ratio, the computed steps of a row may be from those that a speed asks for.
NEAR = 0.12
_TO = " to "


def write(path: Path, environment: dict[str, Any], rows: list[Row]) -> None:
    """Replace a result file at once. Rows stand on a line each.

    Raises:
        ValueError: if a row has other names than the first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(rows[0]) if rows else []
    if any(row.keys() != set(names) for row in rows):
        raise ValueError(f"{path}: rows must all have {names}")
    values = ([row[name] for name in names] for row in rows)
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in values)
    head = f'{{"environment": {json.dumps(environment)},\n"names": {json.dumps(names)},\n'
    text = f'{head}"rows": [\n{lines}\n]}}\n'
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def put_behind(page: Path, mark: str, text: str) -> None:
    """Replace what a page has behind a mark."""
    head, found, _ = page.read_text(encoding="utf-8").partition(mark)
    page.write_text(head + found + text, encoding="utf-8")


def read(path: Path) -> tuple[dict[str, Any], list[Row]]:
    """Environment and rows of a result file."""
    content = json.loads(path.read_text(encoding="utf-8"))
    rows = [dict(zip(content["names"], row, strict=True)) for row in content["rows"]]
    return content["environment"], rows


def kept(
    path: Path, facts: dict[str, Any], same: Sequence[str]
) -> tuple[dict[str, Any], list[Row]]:
    """Environment and rows of an earlier run that more are added to; what spans both is named from the
    first to the last. Without one, the environment and no rows.

    Args:
        facts: environment of this run.
        same: what must not differ in it.

    Raises:
        SystemExit: naming what differs.
    """
    if not path.exists():
        return facts, []
    earlier, rows = read(path)
    return continued(earlier, facts, same, str(path)), rows


def continued(
    earlier: dict[str, Any],
    facts: dict[str, Any],
    same: Sequence[str],
    where: str = "an earlier part",
) -> dict[str, Any]:
    """The environment of two runs together.

    Args:
        same: what must not differ.
        where: the earlier one, for people.

    Raises:
        SystemExit: naming what differs.
    """
    for name in same:
        if earlier[name] != facts[name]:
            raise SystemExit(f"{where} has {name} {earlier[name]}, not {facts[name]}")
    spans = {name: _span(str(earlier[name]), str(facts[name])) for name in ("date", "revision")}
    return {**facts, **spans}


def _span(earlier: str, now: str) -> str:
    first = earlier.partition(_TO)[0]
    return now if first == now else f"{first}{_TO}{now}"


def merged(old: list[Row], new: list[Row]) -> list[Row]:
    """Rows of two runs, the later ones in place of earlier ones of the same method at the same speed.
    Beds stay as they come, plans are in order, the most guidance and steps first, and of each the plain
    run."""
    key = ("bed", "steps", "sampler", "cfg", "shift", "method", "target")
    replaced = {tuple(row[k] for k in key) for row in new}
    rows = [row for row in old if tuple(row[k] for k in key) not in replaced] + new
    beds = list(dict.fromkeys(row["bed"] for row in rows))
    return sorted(
        rows,
        key=lambda row: (
            *(beds.index(row["bed"]), -row["cfg"], row["sampler"], row["shift"], -row["steps"]),
            row["target"] is not None,
        ),
    )


def digits(value: float) -> float:
    """Five of them: of dB and of what is near 0 alike."""
    return float(f"{value:.5g}")


def plan(row: Row) -> str:
    """How a row was sampled, for people."""
    shift = f", shift {row['shift']:g}" if row["shift"] else ""
    return f"{row['steps']} steps {row['sampler']}, cfg {row['cfg']:g}{shift}"


def skips(row: Row) -> bool:
    """Whether a row is faster than the plain run at all; a threshold may leave nothing out on other
    prompts than those that it was searched on."""
    return row["target"] is not None and row["computed"] < 0.97 * row["steps"]


def at_speed(rows: list[Row], speed: float) -> dict[str, Row]:
    """By method, the row for a target speed. Left out where a method has no setting near it."""
    return {
        row["method"]: row
        for row in rows
        if row["target"] == speed and abs(row["computed"] * speed / row["steps"] - 1) <= NEAR
    }


def revision() -> str:
    """Commit of this repository, with a plus where files differ from it."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
    found = subprocess.run(command, capture_output=True, text=True)
    return found.stdout.strip() or "unknown"
