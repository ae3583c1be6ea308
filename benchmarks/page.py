"""Write docs/results.md, docs/results_calibration.md and README's table from result files, and draw
their pictures.

The pages in the repository are short ones: what a reader would open is left out. `--full FOLDER` writes
the long ones. `--take FOLDER` first takes new result files into the snapshot, without what no page reads.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from demo.host.fetch import ROOT

from . import plots, results
from .results import Row
from .sections.aims import aimed
from .sections.calibration import by_bed, calibrated, picture_of
from .sections.common import SHORT, by_plan
from .sections.cost import costs
from .sections.fidelity import nearer, sections, short
from .sections.further import again, samplers, shapes, video
from .standings import standing

RESULTS = Path(__file__).parent / "results"
PAGE, README = ROOT / "docs" / "results.md", ROOT / "README.md"
CALIBRATED = ROOT / "docs" / "results_calibration.md"
IMAGES = ROOT / "docs" / "images"
FIDELITY, SHAPES, SAMPLERS = "fidelity.json", "fidelity_shapes.json", "fidelity_samplers.json"
VIDEO, AGAIN = "fidelity_video.json", "fidelity_again.json"
# Files of which pages compare prompt by prompt, and FLIP.
PER_PROMPT = (FIDELITY, SHAPES, VIDEO)
# Columns of one bed and plan alone.
_DRAWN = ("setting", "seconds", "evaluations", "work", "samples", "ssim", "truth_psnr", "curve")
CALIBRATION, COST = "calibration.json", "cost.json"


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


def brief(text: str) -> str:
    """A page without what a reader would open."""
    return re.sub(r"<details>.*?</details>\n+", "", text, flags=re.DOTALL)


def taken(name: str, rows: list[Row]) -> list[Row]:
    """Rows of a file as the snapshot keeps them: of the first bed and plan of the first file all that is
    told and drawn, of others what pages read."""
    first = {id(row) for row in by_plan(rows)[0][1]} if name == FIDELITY else set[int]()
    # All rows of a file have the same columns.
    columns = dict.fromkeys(rows[0]) if name == FIDELITY else {}
    return [_whole(row) if id(row) in first else {**columns, **_part(name, row)} for row in rows]


def _whole(row: Row) -> Row:
    return {**_rounded(row), "each": _psnr_of(row["each"])}


def _part(name: str, row: Row) -> Row:
    compared = name in PER_PROMPT
    left = {*_DRAWN, *(() if compared else ("perceptual",))}
    return {
        **{column: value for column, value in _rounded(row).items() if column not in left},
        "each": _psnr_of(row["each"]) if compared else {},
        "intervals": {} if name == SAMPLERS else _psnr_of(row["intervals"]),
    }


def _psnr_of(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name == "psnr"}


def _rounded(row: Row) -> Row:
    return {k: results.digits(v) if isinstance(v, float) else v for k, v in row.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="folder of JSON files (default: the snapshot)"
    )
    parser.add_argument("--full", type=Path, metavar="FOLDER", help="write the long pages there")
    parser.add_argument("--take", type=Path, metavar="FOLDER", help="result files to take first")


def run(options: argparse.Namespace) -> None:
    for path in sorted(options.take.glob("*.json")) if options.take else ():
        facts, rows = results.read(path)
        if path.name.startswith("fidelity"):
            rows = taken(path.name, rows)
        results.write(options.results / path.name, facts, rows)
    page = PAGE.read_text(encoding="utf-8")
    if (path := options.results / FIDELITY).exists():
        environment, rows = results.read(path)
        draw(rows)
        page = filled(page, "fidelity", sections(environment, rows))
        readme = filled(README.read_text(encoding="utf-8"), "results", short(environment, rows))
        README.write_text(readme, encoding="utf-8")
        others = [options.results / name for name in (SHAPES, VIDEO)]
        more = [row for path in others if path.exists() for row in results.read(path)[1]]
        page = filled(page, "aims", aimed([*rows, *more]))
    if (path := options.results / SHAPES).exists():
        environment, rows = results.read(path)
        page = filled(page, "shapes", shapes(environment, rows))
        if (path := options.results / AGAIN).exists():
            first = [*results.read(options.results / FIDELITY)[1], *rows]
            page = filled(page, "again", again(first, *results.read(path)))
    if (path := options.results / SAMPLERS).exists():
        environment, rows = results.read(path)
        panels = {title: standing(mine, SHORT[0]) for title, mine in by_plan(rows)}
        plots.samplings(panels, IMAGES / "samplers.png")
        page = filled(page, "samplers", samplers(environment, rows))
    if (path := options.results / VIDEO).exists():
        page = filled(page, "video", video(*results.read(path)))
    if (path := options.results / CALIBRATION).exists():
        environment, rows = results.read(path)
        for bed, mine in by_bed(rows):
            plots.calibration(mine, IMAGES / picture_of(bed))
        text = CALIBRATED.read_text(encoding="utf-8")
        write(CALIBRATED, filled(text, "calibration", calibrated(environment, rows)), options.full)
    if (path := options.results / COST).exists():
        page = filled(page, "cost", costs(*results.read(path)))
    write(PAGE, page, options.full)


def write(path: Path, page: str, full: Path | None) -> None:
    """A page as the repository has it, and if wanted in full in a folder."""
    if full is not None:
        full.mkdir(parents=True, exist_ok=True)
        (full / path.name).write_text(page, encoding="utf-8")
    path.write_text(brief(page), encoding="utf-8")


def draw(rows: list[Row]) -> None:
    """The pictures of the first bed and plan."""
    _, mine = by_plan(rows)[0]
    mine = nearer(mine)
    plots.against_computed(mine, IMAGES / "fidelity_computed.png")
    plots.against_time(mine, IMAGES / "fidelity_speedup.png")
    plots.curves(mine, IMAGES / "fidelity_curves.png")
