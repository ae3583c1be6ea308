"""The section of what a calibration gives."""

from __future__ import annotations

from itertools import groupby, product
from typing import Any

import numpy as np

from .. import plots
from ..results import Row, plan
from .common import folded, table


def calibrated(environment: dict[str, Any], rows: list[Row]) -> str:
    """Per bed a picture, how far the pack is ahead, and a line per way to sample and number of computed
    steps."""
    parts = [
        f"Seed {environment['seed']}, schedule simple; ComfyUI {environment['host_version']}, torch "
        f"{environment['torch']}, {environment['device']}, float32, {environment['date']}, revision "
        f"{environment['revision']}.\n"
    ]
    for bed, mine in by_bed(rows):
        lines = [["sampling", "computed", *(label for label, _ in plots.CALIBRATION.values())]]
        for (name, wanted), group in groupby(mine, key=lambda r: (plan(r), r["wanted"])):
            found = {r["method"]: r for r in group}
            cells = [
                f"{row['psnr_mean']:.1f} ± {row['psnr_std']:.1f} ({row['psnr_worst']:.1f})"
                if (row := found.get(method))
                else "-"
                for method in plots.CALIBRATION
            ]
            lines.append([name, str(wanted), *cells])
        parts += [
            f"### {bed}, on {prompts(mine)} held-out prompts\n",
            f"![PSNR against speed-up](images/{picture_of(bed)})\n",
            differences(mine),
            folded("PSNR of each way to sample", [table(lines)]),
        ]
    return "\n".join(parts)


def prompts(rows: list[Row]) -> str:
    """How many, from the fewest to the most."""
    counts = {len(row["psnr"]) for row in rows}
    return " to ".join(map(str, sorted({min(counts), max(counts)})))


def by_bed(rows: list[Row]) -> list[tuple[str, list[Row]]]:
    beds = dict.fromkeys(row["bed"] for row in rows)
    return [(bed, [row for row in rows if row["bed"] == bed]) for bed in beds]


def picture_of(bed: str) -> str:
    return f"calibration_{bed}.png"


def differences(rows: list[Row]) -> str:
    """How far the pack is ahead at equal computed steps, over all ways to sample."""
    head = [
        "Scaling Cache",
        "against",
        "settings",
        "mean difference, dB",
        "least",
        "most",
        "worst prompt",
    ]
    lines = [head]
    groups = [list(g) for _, g in groupby(rows, key=lambda r: (plan(r), r["wanted"]))]
    scores = [{r["method"]: np.array(r["psnr"]) for r in group} for group in groups]
    ours = ("online", "calibrated")
    pairs = [*product(ours, ("even_order1", "fewer_steps")), ours]
    for own, other in pairs:
        each = [found[own] - found[other] for found in scores if own in found and other in found]
        if not each:
            continue
        means = [float(e.mean()) for e in each]
        names = [plots.CALIBRATION[m][0].removeprefix("Scaling Cache, ") for m in (own, other)]
        values = (np.mean(means), min(means), max(means), min(float(e.min()) for e in each))
        lines.append([*names, str(len(each)), *(f"{value:+.1f}" for value in values)])
    return table(lines)
