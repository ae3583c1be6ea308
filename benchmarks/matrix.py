"""Every family with every method, every sampler and every scheduler: `python -m benchmarks.matrix`.

Tiny networks with random weights in the host's own classes, sampled through the host's own samplers.
Writes one row each, whatever came of it, and the page docs/compatibility.md. Exits with 1 if a row fails.

    python -m benchmarks.matrix --only flux,wan --jobs 1     renews these rows alone, on this host
    python -m benchmarks.matrix --method MagCache           renews this method of every family
    python -m benchmarks.matrix --snapshot                   also renews benchmarks/results/matrix.json
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from itertools import repeat
from pathlib import Path
from typing import Any

import torch

from demo.host.inprocess import import_host, import_pack
from docs import compatibility_page
from testbed.coefficient_folder import look_in
from testbed.networks import CATALOGUE, TITLES

OUT = Path(__file__).parent / "out" / "matrix.json"
# A task is a family, a sampler or a scheduler.
Task = tuple[str, str]


def prepare() -> None:
    """The host and the pack in this process, with a folder for coefficient files that goes away."""
    import atexit

    torch.set_num_threads(1)
    import_pack()
    import_host()
    import comfy.utils

    comfy.utils.set_progress_bar_enabled(False)
    folder = Path(tempfile.mkdtemp(prefix="scalingcache-matrix-"))
    look_in(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


def tasks() -> list[Task]:
    """All of them, the longest first."""
    import comfy.samplers

    slow = ("sd15", "sdxl", "svd", "flux2", "wan22_pair", "ace_step")
    families = [*slow, *(name for name in CATALOGUE if name not in slow)]
    return [
        *(("family", name) for name in families),
        *(("sampler", name) for name in comfy.samplers.SAMPLER_NAMES),
        *(("scheduler", name) for name in comfy.samplers.SCHEDULER_NAMES),
    ]


def run(task: Task, method: str = "", folder: Path | None = None) -> list[dict[str, Any]]:
    """Rows of a task.

    Args:
        method: the only one of a family; empty for all.
        folder: where the host finds coefficient files.
    """
    from testbed.check import Family, row
    from testbed.methods import entries
    from testbed.sampling import SCALES, Bed

    kind, name = task
    found: Iterable[Any]
    if kind == "family":
        family = Family(name, folder or _folder())
        found = [row(family, e) for e in entries() if method in ("", e.name)]
    elif kind == "sampler":
        bed = Bed()
        found = [one for cfg in SCALES for one in bed.sampler(name, cfg)]
    else:
        found = [Bed().scheduler(name)]
    return [{"kind": kind, **asdict(one)} for one in found]


def without_a_row() -> list[str]:
    """Model classes of the host that no family of the catalogue is."""
    import comfy.supported_models

    from testbed.networks import spec_of

    here = {spec_of(name).config for name in CATALOGUE}
    return sorted({m.__name__ for m in comfy.supported_models.models} - here)


def ordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Families as the page has them, then samplers and schedulers as the host names them, and last those
    that it does not have."""
    import comfy.samplers

    places = {
        "family": list(TITLES),
        "sampler": comfy.samplers.SAMPLER_NAMES,
        "scheduler": comfy.samplers.SCHEDULER_NAMES,
    }
    kinds = list(places)

    def place(row: dict[str, Any]) -> tuple[int, int]:
        names = places[row["kind"]]
        name = row[row["kind"]]
        return kinds.index(row["kind"]), names.index(name) if name in names else len(names)

    return sorted(rows, key=place)


def _folder() -> Path:
    import folder_paths
    from scaling_cache.nodes.host.coefficients import FOLDER

    return Path(folder_paths.get_folder_paths(FOLDER)[0])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--only", default="", help="families, samplers or schedulers, comma separated"
    )
    parser.add_argument("--method", default="", help="the only one of each family")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    parser.add_argument("--snapshot", action="store_true", help="replace the committed results too")
    chosen = parser.parse_args()
    prepare()
    from .beds import environment

    only = set(chosen.only.split(",")) - {""}
    wanted = [task for task in tasks() if not only or task[1] in only]
    if chosen.method:
        wanted = [(kind, name) for kind, name in wanted if kind == "family"]
    context = multiprocessing.get_context("spawn")
    rows: list[dict[str, Any]] = []
    with ProcessPoolExecutor(chosen.jobs, context, initializer=prepare) as pool:
        for task, found in zip(wanted, pool.map(run, wanted, repeat(chosen.method)), strict=True):
            rows += found
            bad = [r for r in found if r["result"] == "fails"]
            print(*task, f"{len(found) - len(bad)} of {len(found)}", *map(_said, bad), flush=True)
    failed = sum(r["result"] == "fails" for r in rows)
    print(f"{len(rows)} rows, {failed} fail")
    done, before, here = set(wanted), _before(), environment()
    version = here["host_version"]
    some = bool(only or chosen.method)
    kept = [
        r
        for r in before.get("rows", ())
        if some
        and ((r["kind"], r[r["kind"]]) not in done or chosen.method not in ("", r.get("method")))
    ]
    results = {
        "hosts": {
            **(before.get("hosts", {}) if some else {}),
            version: {"environment": here, "without_a_row": without_a_row()},
        },
        "rows": ordered([*kept, *({**row, "host": version} for row in rows)]),
    }
    write(results, chosen.snapshot)
    return 1 if failed else 0


def write(results: dict[str, Any], snapshot: bool) -> None:
    """Results and page.

    Args:
        snapshot: whether to replace the committed results too.
    """
    OUT.parent.mkdir(exist_ok=True)
    # One row a line: a change of one row is a change of one line.
    rows = ",\n".join(json.dumps(written(row), separators=(",", ":")) for row in results["rows"])
    head = json.dumps({key: value for key, value in results.items() if key != "rows"}, indent=1)
    text = f'{head.removesuffix("}").rstrip()},\n "rows": [\n{rows}\n]}}\n'
    OUT.write_text(text, encoding="utf-8")
    if snapshot:
        compatibility_page.RESULTS.write_text(text, encoding="utf-8")
    compatibility_page.PAGE.write_text(compatibility_page.page(results), encoding="utf-8")


def written(row: dict[str, Any]) -> dict[str, Any]:
    """All of a row but what is empty."""
    return {key: value for key, value in row.items() if value != ""}


def _before() -> dict[str, Any]:
    """The results that some rows are renewed of: those made last, else the committed ones."""
    path = OUT if OUT.exists() else compatibility_page.RESULTS
    return json.loads(path.read_text(encoding="utf-8"))


def _said(row: dict[str, Any]) -> str:
    return "\n    " + ", ".join(str(v) for k, v in row.items() if k in ("method", "cfg", "reason"))


if __name__ == "__main__":
    sys.exit(main())
