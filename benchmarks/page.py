"""Write docs/results.md and README's table from result files, and draw their pictures."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import groupby, product
from pathlib import Path
from typing import Any

import numpy as np

from demo.host.fetch import ROOT

from . import aims, plots, results
from .cost import slope
from .results import Row, at_speed, plan
from .standings import OTHERS, OWN, best, label, standing
from .statistics import interval
from .ways import Group

RESULTS = Path(__file__).parent / "results"
PAGE, README = ROOT / "docs" / "results.md", ROOT / "README.md"
IMAGES = ROOT / "docs" / "images"
FIDELITY, SAMPLERS = "fidelity.json", "fidelity_samplers.json"
VIDEO, VIDEO_ALL = "fidelity_video.json", "fidelity_video_all.json"
AGAIN = "fidelity_again.json"
CALIBRATION, COST = "calibration.json", "cost.json"
SHORT = (2.0, 3.0)
# Prompts below which the page warns.
_ENOUGH = 16


def marks(name: str) -> tuple[str, str]:
    return f"<!-- {name} -->\n", f"<!-- /{name} -->\n"


def filled(page: str, name: str, text: str) -> str:
    """A page with a text between the marks of a name.

    Raises:
        ValueError: if the page does not have both marks.
    """
    begin, end = marks(name)
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"page: has no marks for {name}: {begin.strip()} and {end.strip()}")
    return f"{before}{begin}\n{text.strip()}\n\n{end}{after}"


def table(lines: Sequence[Sequence[str]]) -> str:
    """Markdown; the first line is the head."""
    lines = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def sections(environment: dict[str, Any], rows: list[Row]) -> str:
    """Everything about fidelity: an overview, and per bed and plan tables and what the pack gains. The
    first one has pictures and all measures, the others are folded."""
    groups = by_plan(rows)
    parts = [origin(environment, rows) + "\n"]
    if len(groups) > 1:
        parts.append(overview(groups))
    for place, (title, mine) in enumerate(groups):
        if place == 0:
            parts.append(f"### {title}\n")
            parts += [f"![{text}](images/{name}.png)\n" for name, text in pictures(mine)]
            parts.append(by_speed(mine))
            parts += [details(mine, speed) for speed in SHORT]
            parts.append(gains(mine))
        else:
            parts.append(folded(title, [by_speed(mine), gains(mine)]))
    return "\n".join(part for part in parts if part)


def by_plan(rows: list[Row]) -> list[tuple[str, list[Row]]]:
    """Rows under the names of their bed and plan."""
    keys = groupby(rows, key=lambda row: (row["bed"], plan(row)))
    return [(f"{bed}, {sampling}", list(group)) for (bed, sampling), group in keys]


def folded(title: str, parts: list[str]) -> str:
    """What a reader opens."""
    inside = "\n".join(part for part in parts if part)
    return f"<details><summary>{title}</summary>\n\n{inside}\n</details>\n"


def aimed(rows: list[Row]) -> str:
    """What the pack aims at on each bed and how near it comes; bold where it misses."""
    head = ["bed", "at", "Scaling Cache"]
    head += [
        f"{aim.text} ({'at most' if aim.most else 'at least'} {aim.bound:g})" for aim in aims.AIMS
    ]
    lines, kept = [head], [["bed, steps", "at", *map(_own_name, OWN)]]
    for title, mine in by_plan(rows):
        steps, speed = mine[0]["steps"], aims.KEPT.get(mine[0]["steps"])
        found = {} if speed is None else at_speed(mine, speed)
        if any(method in found for method in OWN):
            cells = [_psnr_kept(found.get(method)) for method in OWN]
            kept.append([title, f"{speed:g}x", *cells])
        if steps != max(aims.KEPT):
            continue
        for speed, method in product(aims.SPEEDS, aims.METHODS):
            found = at_speed(mine, speed)
            if method in found:
                cells = [_aim_cell(aim, found[method], found) for aim in aims.AIMS]
                lines.append([mine[0]["bed"], f"{speed:g}x", _own_name(method), *cells])
    return (
        f"At {max(aims.KEPT)} steps:\n\n{table(lines)}\n"
        f"{aims.SAME:g} dB, at which hardly a difference can be seen:\n\n{table(kept)}"
    )


def _own_name(method: str) -> str:
    return plots.name_of(method).removeprefix("Scaling Cache, ")


def _aim_cell(aim: aims.Aim, row: Row, found: dict[str, Row]) -> str:
    value = aim.measure(row, found)
    if value is None:
        return "-"
    text = f"{value:.2f}" if aim.most else f"{value:+.1f}"
    return text if aim.reached(value) else f"**{text}**"


def _psnr_kept(row: Row | None) -> str:
    if row is None:
        return "-"
    text = f"{row['psnr']:.1f} dB"
    return text if row["psnr"] >= aims.SAME else f"**{text}**"


def video(
    environment: dict[str, Any], rows: list[Row], every: tuple[dict[str, Any], list[Row]]
) -> str:
    """The same comparison on the video model.

    Args:
        every: all methods, on few prompts.
    """
    (title, first), *others = by_plan(rows)
    return "\n".join(
        [
            "## On the video model\n",
            "The same comparison on the demo's video model (Wan 2.1), slow on two cores: the best "
            "methods of each kind on many prompts, all of them on few.\n",
            origin(environment, rows) + "\n",
            f"{title}. {by_speed(first)}",
            gains(first),
            *(folded(title, [by_speed(mine), gains(mine)]) for title, mine in others),
            folded("All methods", [origin(*every) + "\n", by_speed(every[1]), gains(every[1])]),
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
                    *(_with_interval(earlier, "psnr"), _with_interval(row, "psnr")),
                    "yes" if low <= most and least <= high else "no",
                ]
            )
    agreed = sum(line[-1] == "yes" for line in lines)
    return (
        f"### Other seeds\n\n{origin(environment, rows)}\n\n{agreed} of {len(lines) - 1} intervals "
        f"overlap with those of the first run.\n\n{folded('PSNR of both runs', [table(lines)])}"
    )


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
            own = _own_name(method)
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


def measured(row: Row) -> str:
    """Speed-up by wall time."""
    return "-" if row["speedup"] is None else f"{row['speedup']:.2f}x"


def speeds_of(rows: list[Row]) -> list[float]:
    return sorted({row["target"] for row in rows if row["target"] is not None})


def by_speed(rows: list[Row]) -> str:
    """PSNR, worst prompt and computed steps of each method at each speed, the best at 2x first."""
    speeds = speeds_of(rows)
    found = {speed: at_speed(rows, speed) for speed in speeds}
    middle = found.get(2.0, found[speeds[0]])
    methods = {row["method"]: row["group"] for row in rows if row["target"] is not None}
    order = sorted(methods, key=lambda m: -middle[m]["psnr"] if m in middle else 0.0)
    lines = [["method", "", *(f"{speed:g}x" for speed in speeds)]]
    for method in order:
        cells = [
            f"{row['psnr']:.1f} ({row['psnr_worst']:.1f}) at {row['computed']:.1f}"
            if (row := found[speed].get(method))
            else "-"
            for speed in speeds
        ]
        lines.append([plots.name_of(method), methods[method], *cells])
    return (
        "PSNR in dB: mean over prompts (worst prompt) at computed steps. A dash: no setting comes near "
        f"this speed.\n\n{table(lines)}"
    )


def details(rows: list[Row], speed: float) -> str:
    """All measures at one speed."""
    found = sorted(at_speed(rows, speed).values(), key=lambda row: -row["psnr"])
    if not found:
        return ""
    lines = [
        [
            *("method", "setting", "computed", "with probes", "measured", "PSNR dB [95 %]"),
            *("SSIM", "FLIP", "PSNR against 400 steps"),
        ]
    ]
    for row in found:
        lines.append(
            [
                plots.name_of(row["method"]),
                row["setting"],
                *(f"{row['computed']:.1f}", f"{row['work']:.1f}"),
                measured(row),
                _with_interval(row, "psnr"),
                *(number(row["ssim"], ".4f"), number(row["perceptual"], ".4f")),
                number(row["truth_psnr"], ".1f"),
            ]
        )
    plain = next((row["truth_psnr"] for row in rows if row["target"] is None), None)
    against = "" if plain is None else f" All steps are {plain:.1f} dB from 400 steps."
    return f"At {speed:g}x:{against}\n\n{table(lines)}"


def _with_interval(row: Row, column: str) -> str:
    bounds = row["intervals"].get(column)
    shown = number(row[column], ".1f")
    return shown if bounds is None else f"{shown} [{bounds[0]:.1f}, {bounds[1]:.1f}]"


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
                    _own_name(ours["method"]),
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
    """For README: the pack's own methods and the best of the others, of the first bed and plan."""
    bed, sampling = rows[0]["bed"], plan(rows[0])
    rows = [row for row in rows if (row["bed"], plan(row)) == (bed, sampling)]
    head = [
        "at",
        "method",
        "computed",
        "measured",
        "PSNR (worst)",
        "FLIP",
        "PSNR against 400 steps",
    ]
    lines = [head]
    for speed in SHORT:
        found = at_speed(rows, speed)
        picked = [found[m] for m in OWN if m in found]
        for group in OTHERS:
            row = best(found, group)
            picked += [] if row is None else [row]
        for row in sorted(picked, key=lambda row: -row["psnr"]):
            name = plots.name_of(row["method"])
            if row["group"] == Group.PUBLISHED.value:
                name += ", the best published one"
            own = row["method"].startswith("scaling_cache")
            lines.append(
                [
                    f"{speed:g}x",
                    f"**{name}**" if own else name,
                    f"{row['computed']:.1f} of {row['steps']}",
                    measured(row),
                    f"{row['psnr']:.1f} dB ({row['psnr_worst']:.1f})",
                    number(row["perceptual"], ".4f"),
                    "-" if row["truth_psnr"] is None else f"{row['truth_psnr']:.1f} dB",
                ]
            )
    return f"`{bed}`, {sampling}; {origin(environment, rows)}\n\n{table(lines)}"


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
                f"{found[m]['psnr_mean']:.1f} ± {found[m]['psnr_std']:.1f} "
                f"({found[m]['psnr_worst']:.1f})"
                for m in plots.CALIBRATION
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
    for own, other in [*product(ours, ("even_order1", "fewer_steps")), ours]:
        each = [found[own] - found[other] for found in scores]
        means = [float(e.mean()) for e in each]
        names = [plots.CALIBRATION[m][0].removeprefix("Scaling Cache, ") for m in (own, other)]
        values = (np.mean(means), min(means), max(means), min(float(e.min()) for e in each))
        lines.append([*names, str(len(each)), *(f"{value:+.1f}" for value in values)])
    return table(lines)


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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="folder of JSON files (default: the snapshot)"
    )


def run(options: argparse.Namespace) -> None:
    page = PAGE.read_text(encoding="utf-8")
    if (path := options.results / FIDELITY).exists():
        environment, rows = results.read(path)
        draw(rows)
        videos = results.read(path)[1] if (path := options.results / VIDEO).exists() else []
        page = filled(page, "aims", aimed([*rows, *videos]))
        page = filled(page, "fidelity", sections(environment, rows))
        readme = filled(README.read_text(encoding="utf-8"), "results", short(environment, rows))
        README.write_text(readme, encoding="utf-8")
        if (path := options.results / AGAIN).exists():
            page = filled(page, "again", again(rows, *results.read(path)))
    if (path := options.results / SAMPLERS).exists():
        environment, rows = results.read(path)
        panels = {title: standing(mine, SHORT[0]) for title, mine in by_plan(rows)}
        plots.samplings(panels, IMAGES / "samplers.png")
        page = filled(page, "samplers", samplers(environment, rows))
    if (path := options.results / VIDEO).exists():
        every = results.read(options.results / VIDEO_ALL)
        page = filled(page, "video", video(*results.read(path), every))
    if (path := options.results / CALIBRATION).exists():
        environment, rows = results.read(path)
        for bed, mine in by_bed(rows):
            plots.calibration(mine, IMAGES / picture_of(bed))
        page = filled(page, "calibration", calibrated(environment, rows))
    if (path := options.results / COST).exists():
        page = filled(page, "cost", costs(*results.read(path)))
    PAGE.write_text(page, encoding="utf-8")


def draw(rows: list[Row]) -> None:
    """The pictures of the first bed and plan."""
    key = (rows[0]["bed"], plan(rows[0]))
    mine = [row for row in rows if (row["bed"], plan(row)) == key]
    plots.against_computed(mine, IMAGES / "fidelity_computed.png")
    plots.against_time(mine, IMAGES / "fidelity_speedup.png")
    plots.curves(mine, IMAGES / "fidelity_curves.png")
