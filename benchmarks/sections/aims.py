"""The section of what is aimed at and what is reached."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from .. import aims
from ..results import Row, at_speed
from ..standings import OWN
from .common import SHORT, by_plan, own_name, table


def aimed(rows: list[Row]) -> str:
    """What the pack aims at on each bed and how near it comes; bold where it misses."""
    head = ["bed", "at", "Scaling Cache"]
    head += [aim.head for aim in aims.AIMS]
    lines, kept = [head], [["bed, steps", "at", *map(own_name, OWN)]]
    for title, mine in by_plan(rows):
        steps, speed = mine[0]["steps"], aims.KEPT.get(mine[0]["steps"])
        found = {} if speed is None else at_speed(mine, speed)
        if any(method in found for method in OWN):
            cells = [_psnr_kept(found.get(method)) for method in OWN]
            kept.append([title, f"{speed:g}x", *cells])
        if steps != max(aims.KEPT):
            continue
        for speed in aims.SPEEDS:
            found = at_speed(mine, speed)
            # Of the oracle no more than what is aimed at.
            methods = aims.METHODS if speed in SHORT else OWN
            for same in _alike(found[method] for method in methods if method in found):
                cells = [_aim_cell(aim, same[0], found, speed) for aim in aims.AIMS]
                names = " and ".join(own_name(row["method"]) for row in same)
                lines.append([mine[0]["bed"], f"{speed:g}x", names, *cells])
    return (
        f"At {max(aims.KEPT)} steps:\n\n{table(lines)}\n"
        f"{aims.SAME:g} dB, at which hardly a difference can be seen:\n\n{table(kept)}"
    )


def _alike(rows: Iterable[Row]) -> list[list[Row]]:
    """Rows with those that are the same run by run, as without a file that is of use."""
    return [list(same) for _, same in groupby(rows, key=lambda row: row["each"])]


def _aim_cell(aim: aims.Aim, row: Row, found: dict[str, Row], speed: float) -> str:
    value = aim.measure(row, found)
    if value is None:
        return "-"
    text = format(value, aim.form)
    return text if aim.reached(value, speed) else f"**{text}**"


def _psnr_kept(row: Row | None) -> str:
    if row is None:
        return "-"
    text = f"{row['psnr']:.1f} dB"
    return text if row["psnr"] >= aims.SAME else f"**{text}**"
