"""The section of what a skipped step costs."""

from __future__ import annotations

from typing import Any

from ..cost import slope
from ..results import Row
from .common import number, table


def costs(environment: dict[str, Any], rows: list[Row]) -> str:
    """One line per size, and how the cost grows."""
    head = [
        "latent",
        "plain step",
        "skipped step",
        "speed-up",
        "steps / computed",
        "guidance and sampler",
        "cache",
        "cache / guidance and sampler",
    ]
    lines = [head]
    for row in rows:
        added = row["skipped_update"] - row["update"]
        lines.append(
            [
                f"{row['side']} x {row['side']}",
                *(milliseconds(row[name]) for name in ("plain", "skipped")),
                *(number(row[name], ".2f") for name in ("speedup", "counted")),
                *(milliseconds(seconds) for seconds in (row["update"], added)),
                f"{added / row['update']:.1f}",
            ]
        )
    share = slope(rows, "skipped_update") / slope(rows, "plain")
    return (
        f"{environment['plan']}; torch {environment['torch']}, {environment['device']} with "
        f"{environment['threads']} threads, {environment['date']}, revision "
        f"{environment['revision']}.\n\n{table(lines)}\nFrom size to size a skipped step grows by "
        f"{share:.2%} of what a computed one does.\n"
    )


def milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1000 * seconds:.3g} ms"
