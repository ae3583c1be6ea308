"""Measure all that docs/results.md compares, part by part, on one revision.

What is done is not measured again, so a run can be broken off, and two can share the parts by `--parts`.
When all are there they replace the snapshot, and the page is written.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import fidelity, page, results

OUT = fidelity.OUT / "snapshot"
# Options of the fidelity benchmark: of all parts, of which one is timed, and the ways that come out
# nearest of their kind on a bed, where all of them would take days.
_COMMON = "--tuning 2 --clips 0 --no-truth"
_MANY = "--prompts 32"
_FAR = f"--steps 50 --speeds 2 3 4 5 {_MANY}"
_SAMPLERS = "--steps 50 20 --speeds 2 3 --prompts 16 --samplers dpmpp_2m uni_pc euler_ancestral"
_UNGUIDED = "--steps 50 20 --speeds 2 3 --prompts 16 --cfgs 1"
_OWN = "--ways scaling_cache_online scaling_cache"
_FEWER = "fewer_steps fewer_steps_multistep"
_OTHERS = f"host_easycache host_lazycache {_FEWER}"
_EMOJI = f"{_OWN} DiCache MeanCache 'First Block Cache' SmoothCache DBCache TeaCache {_OTHERS}"
_UNET = f"{_OWN} SmoothCache EasyCache BudCache MeanCache {_OTHERS}"
_VIDEO = (
    f"{_OWN} DiCache SmoothCache 'TaylorSeer 3, blocks' MeanCache BudCache EasyCache TeaCache "
    f"'First Block Cache' DBCache host_easycache {_FEWER}"
)


@dataclass(frozen=True)
class Part:
    """Rows of one result file.

    Attributes:
        file: of the snapshot.
        options: of the fidelity benchmark.
        pictures: which of its pictures pages show, by the name that they have there.
    """

    file: str
    options: str
    pictures: tuple[tuple[str, str], ...] = ()


PARTS = {
    "emoji_50": Part(page.FIDELITY, f"--beds demo_emoji {_FAR} --clips 1"),
    "emoji_20": Part(
        page.FIDELITY,
        f"--beds demo_emoji --steps 20 --speeds 1.5 2 {_MANY}",
        (("kinds_demo_emoji_20_euler_cfg5_2x.webp", "sheet_demo_emoji_2x.webp"),),
    ),
    "emoji_again": Part(
        page.AGAIN, f"--beds demo_emoji --steps 50 --speeds 2 3 --seed 7000 {_MANY} {_EMOJI}"
    ),
    "emoji_samplers": Part(page.SAMPLERS, f"--beds demo_emoji {_SAMPLERS} {_EMOJI}"),
    "emoji_unguided": Part(page.SAMPLERS, f"--beds demo_emoji {_UNGUIDED} {_EMOJI}"),
    "unet_50": Part(page.SHAPES, f"--beds demo_unet {_FAR}"),
    "unet_fewer": Part(
        page.SHAPES, f"--beds demo_unet --steps 28 20 --speeds 1.5 2 3 {_MANY} {_UNET}"
    ),
    "unet_samplers": Part(page.SAMPLERS, f"--beds demo_unet {_SAMPLERS} {_UNET}"),
    "unet_unguided": Part(page.SAMPLERS, f"--beds demo_unet {_UNGUIDED} {_UNET}"),
    "video_far": Part(page.VIDEO, f"--beds demo_video --steps 50 --speeds 4 5 {_MANY}"),
    "video_50": Part(
        page.VIDEO,
        f"--beds demo_video --steps 50 --speeds 2 3 {_MANY} {_VIDEO}",
        (("clips_demo_video_50_euler_cfg4_3x.webp", "clips_demo_video_3x.webp"),),
    ),
    "video_20": Part(page.VIDEO, f"--beds demo_video --steps 20 --speeds 2 {_MANY} {_VIDEO}"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=OUT, help="folder for what is measured")
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help="only these"
    )


def run(options: argparse.Namespace) -> None:
    """Measure what is missing and, when nothing is left, write the page."""
    for name in options.parts:
        if not (options.out / name).exists():
            _measure(PARTS[name], options.out / name)
    if left := [name for name in PARTS if not (options.out / name).exists()]:
        print(f"Left to measure: {', '.join(left)}")
    else:
        take(options.out)


def _measure(part: Part, folder: Path) -> None:
    """A folder that has its name when all of it was measured, and not before."""
    options = options_of(part)
    options.out = folder.with_suffix(".part")
    fidelity.run(options)
    options.out.rename(folder)


def options_of(part: Part) -> argparse.Namespace:
    """As if they were typed."""
    parser = argparse.ArgumentParser()
    fidelity.add_arguments(parser)
    return parser.parse_args(shlex.split(f"{_COMMON} {part.options}"))


def take(folder: Path) -> None:
    """Put the rows of all parts and their pictures into the repository, and write the page."""
    for file in dict.fromkeys(part.file for part in PARTS.values()):
        found = (
            results.read(folder / name / fidelity.FILE)
            for name, part in PARTS.items()
            if part.file == file
        )
        results.write(folder / file, *joined(found))
    page.run(argparse.Namespace(take=folder, results=page.RESULTS, full=None))
    for name, part in PARTS.items():
        for made, shown in part.pictures:
            shutil.copyfile(folder / name / made, page.IMAGES / shown)


def joined(
    parts: Iterable[tuple[dict[str, Any], list[results.Row]]],
) -> tuple[dict[str, Any], list[results.Row]]:
    """Environment and rows of several runs as of one.

    Raises:
        SystemExit: if they are of several revisions or of other prompts.
    """
    facts: dict[str, Any] = {}
    rows: list[results.Row] = []
    for found, mine in parts:
        facts = results.continued(facts or found, found, ("revision", *fidelity.SAME))
        rows = results.merged(rows, mine)
    return facts, rows
