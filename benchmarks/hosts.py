"""Run the tests against a ComfyUI checkout and write what came of it into docs/hosts.md.

    python -m benchmarks.hosts                        the pinned host
    python -m benchmarks.hosts FOLDER                 another checkout, with its Python or COMFYUI_PYTHON
    python -m benchmarks.hosts FOLDER --only tests/host,tests/methods/test_families.py

Parts that were not run this time keep their line.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import runpy
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from demo.host.fetch import ROOT, FetchError, ensure_host, host_python

from .results import revision

PARTS = ("tests/core", "tests/methods", "tests/host", "tests/http", "tests")
RESULTS = Path(__file__).parent / "results" / "hosts.json"
PAGE = ROOT / "docs" / "hosts.md"
ABSENT = "not in this host"
_INTRO = """# Hosts

Written by `python -m benchmarks.hosts FOLDER`, which runs the tests against a ComfyUI checkout. A test of
a model that a host does not have yet is counted as such and as nothing else. What each model does is on
the page of [compatibility](compatibility.md).

| ComfyUI | part | passed | failed | not in this host | other skips | date | revision |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""


def outcomes(report: Path) -> Counter[str]:
    """How many tests of a JUnit report passed, failed, and were skipped for which of two reasons."""
    counts: Counter[str] = Counter()
    for case in ElementTree.parse(report).iter("testcase"):
        marks = {child.tag: child.get("message", "") for child in case}
        if "failure" in marks or "error" in marks:
            counts["failed"] += 1
        elif "skipped" in marks:
            counts["absent" if ABSENT in marks["skipped"] else "skipped"] += 1
        else:
            counts["passed"] += 1
    return counts


def run(part: str, python: str) -> Counter[str]:
    """Run a part of the tests; `tests` is what lies in no folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        paths = sorted(map(str, (ROOT / part).glob("test_*.py"))) if part == "tests" else [part]
        command = [python, "-m", "pytest", "-q", f"--junitxml={report}"]
        subprocess.run([*command, *paths], cwd=ROOT, env={**os.environ, "COMFYUI_PYTHON": python})
        return outcomes(report)


def page(results: dict[str, Any]) -> str:
    """The page in Markdown.

    Args:
        results: by host and part, counts with date and revision.
    """
    columns = ("passed", "failed", "absent", "skipped", "date", "revision")
    return _INTRO + "".join(
        f"| {host} | {part} | {' | '.join(str(row.get(column, 0)) for column in columns)} |\n"
        for host, parts in results.items()
        for part, row in sorted(parts.items())
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", nargs="?", help="a ComfyUI checkout")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, comma separated")
    given = parser.parse_args(arguments)
    if given.folder:
        os.environ["COMFYUI_PATH"] = given.folder
    try:
        folder, python = ensure_host(), host_python()
    except FetchError as error:
        raise SystemExit(str(error)) from error
    version = runpy.run_path(str(folder / "comfyui_version.py"))["__version__"]
    failed = 0
    for part in given.only.split(","):
        counts = run(part, python)
        failed += counts["failed"]
        # Read anew: another checkout may be tested at the same time.
        results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
        today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
        results.setdefault(version, {})[part] = {**counts, "date": today, "revision": revision()}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        PAGE.write_text(page(results), encoding="utf-8")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
