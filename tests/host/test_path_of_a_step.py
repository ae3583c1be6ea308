"""How much of the pack a run crosses, and that the docs tell it as it is."""

from __future__ import annotations

import re
from typing import Any

import pytest

from benchmarks import crossings, structure
from demo.host.fetch import ROOT

PAGE = ROOT / "docs" / "contributing.md"
CASE = crossings.CASES["default run"]


@pytest.fixture(scope="module")
def run(comfy: Any) -> dict[str, Any]:
    """Of Scaling Cache with the node's own settings."""
    return crossings.watch(ROOT, CASE, crossings.ready()[CASE.node])


def files_of(step: dict[str, Any]) -> list[str]:
    """In the order in which they are first entered."""
    return crossings.in_order(name.partition(":")[0] for name in step["functions_in_order"])


def test_a_run_takes_few_files(run: dict[str, Any]) -> None:
    assert run["whole"]["files"] <= 16, run["whole"]["paths"]


@pytest.mark.parametrize(("kind", "files", "calls"), [("skipped", 7, 60), ("computed", 9, 120)])
def test_a_step_is_short(run: dict[str, Any], kind: str, files: int, calls: int) -> None:
    assert run[kind]["files"] <= files, run[kind]["paths"]
    assert run[kind]["calls"] <= calls, run[kind]["functions_in_order"]


@pytest.mark.parametrize("kind", ["skipped", "computed"])
def test_the_docs_name_the_files_of_a_step(run: dict[str, Any], kind: str) -> None:
    told = re.findall(r"^\d+\. `([\w/]+\.py)`: ", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert told == files_of(run[kind])


def test_the_product_is_read_in_five_files() -> None:
    read = structure.read_first(ROOT)
    assert len(read) == 5
    assert sum(file["lines"] for file in read.values()) < 800, read


def test_imports_point_one_way() -> None:
    found = structure.imports(ROOT)
    assert not found["cycles"]
    assert not found["upward"]
