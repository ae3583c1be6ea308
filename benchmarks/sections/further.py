"""The sections of further comparisons: the UNet, other samplers, the video model, other
seeds."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from .. import plots
from ..results import Row
from ..standings import OTHERS, OWN, label, standing
from .common import (
    FAR_SPEEDS,
    SHORT,
    by_plan,
    folded,
    origin,
    own_name,
    speeds_of,
    table,
    with_interval,
)
from .fidelity import by_speed, floor, gains, overview


def shapes(environment: dict[str, Any], rows: list[Row]) -> str:
    """The same comparison on the UNet."""
    groups = by_plan(rows)
    return "\n".join(
        [
            "## On the UNet\n",
            origin(environment, rows) + "\n",
            overview(groups, (*SHORT, *FAR_SPEEDS)),
            floor(groups[0][1]).strip() + "\n",
            *(folded(title, [by_speed(mine), gains(mine)]) for title, mine in groups),
        ]
    )


def samplers(environment: dict[str, Any], rows: list[Row]) -> str:
    """Other samplers and guidance scales: a picture, how often the pack is nearest, and all numbers."""
    groups = by_plan(rows)
    lines = [["at", "Scaling Cache", "against", "nearer in", "mean difference, dB", "least"]]
    standings = {speed: [standing(mine, speed) for _, mine in groups] for speed in SHORT}
    for speed, method, other in product(SHORT, OWN, OTHERS):
        ours = plots.name_of(method)
        both = [(found[ours], found[label(other)]) for found in standings[speed]]
        gained = [a["psnr"] - b["psnr"] for a, b in both if a is not None and b is not None]
        if gained:
            nearer = f"{sum(gain > 0 for gain in gained)} of {len(gained)} plans"
            own = own_name(method)
            spread = (f"{np.mean(gained):+.1f}", f"{min(gained):+.1f}")
            lines.append([f"{speed:g}x", own, other.value, nearer, *spread])
    return "\n".join(
        [
            "### Other samplers and guidance scales\n",
            origin(environment, rows) + "\n",
            "![PSNR at 2x of each sampler, guidance scale and number of steps](images/samplers.png)\n",
            table(lines),
            folded("PSNR of each plan", [overview(groups, speeds_of(rows))]),
        ]
    )


def video(environment: dict[str, Any], rows: list[Row]) -> str:
    """The same comparison on the video model."""
    (title, first), *others = by_plan(rows)
    return "\n".join(
        [
            "## On the video model\n",
            "The same comparison on the demo's video model (Wan 2.1), slow on two cores: every way at 4x "
            "and 5x, and at 2x and 3x those that come nearest there or on four prompts.\n",
            origin(environment, rows) + "\n",
            f"{title}. {by_speed(first)}",
            folded("Prompt by prompt", [gains(first)]),
            *(folded(title, [by_speed(mine), gains(mine)]) for title, mine in others),
        ]
    )


def again(first: list[Row], environment: dict[str, Any], rows: list[Row]) -> str:
    """A second run beside the first: whether the intervals of the means overlap."""
    head = [
        "bed and plan",
        "at",
        "method",
        "first run, dB [95 %]",
        "second run, dB [95 %]",
        "agree",
    ]
    lines = [head]
    key = ("bed", "steps", "sampler", "cfg", "shift", "method", "target")
    before = {tuple(row[k] for k in key): row for row in first}
    for title, mine in by_plan(rows):
        for row in mine:
            earlier = before.get(tuple(row[k] for k in key))
            if row["target"] is None or earlier is None:
                continue
            (low, high), (least, most) = row["intervals"]["psnr"], earlier["intervals"]["psnr"]
            lines.append(
                [
                    *(title, f"{row['target']:g}x", plots.name_of(row["method"])),
                    *(with_interval(earlier, "psnr"), with_interval(row, "psnr")),
                    "yes" if low <= most and least <= high else "no",
                ]
            )
    agreed = sum(line[-1] == "yes" for line in lines)
    return (
        f"### Other seeds\n\n{origin(environment, rows)}\n\n{agreed} of {len(lines) - 1} intervals "
        f"overlap with those of the first run.\n\n{folded('PSNR of both runs', [table(lines)])}"
    )
