"""Write docs/results.md and README's table from result files, and draw their pictures."""

from __future__ import annotations

import argparse
from pathlib import Path

from demo.host.fetch import ROOT

from . import plots, results
from .results import Row
from .sections.aims import aimed
from .sections.calibration import by_bed, calibrated, picture_of
from .sections.common import SHORT, by_plan
from .sections.cost import costs
from .sections.fidelity import sections, short
from .sections.further import again, samplers, video
from .standings import standing

RESULTS = Path(__file__).parent / "results"
PAGE, README = ROOT / "docs" / "results.md", ROOT / "README.md"
IMAGES = ROOT / "docs" / "images"
FIDELITY, SAMPLERS = "fidelity.json", "fidelity_samplers.json"
VIDEO, VIDEO_ALL = "fidelity_video.json", "fidelity_video_all.json"
AGAIN = "fidelity_again.json"
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
    _, mine = by_plan(rows)[0]
    plots.against_computed(mine, IMAGES / "fidelity_computed.png")
    plots.against_time(mine, IMAGES / "fidelity_speedup.png")
    plots.curves(mine, IMAGES / "fidelity_curves.png")
