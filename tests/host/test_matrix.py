"""The committed compatibility page says what the matrix found, and a part of the matrix run now finds it
again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import comfyui_version
import pytest
from scaling_cache.cache_core.predict.predictors import Quantity
from scaling_cache.nodes.host.block_hooks import BlockWalk

from benchmarks.matrix import tasks, without_a_row, written
from docs.compatibility_page import PAGE, RESULTS, page
from testbed.check import Family, row
from testbed.coefficient_folder import looking_in
from testbed.methods import Level, entries
from testbed.networks import TITLES
from testbed.sampling import SCALES, Bed

FAMILIES = list(TITLES)
# One that follows its schedule, one of two evaluations, one that adds noise, one that is measured.
SAMPLERS = ("euler", "dpm_2", "euler_ancestral", "dpm_fast")


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return json.loads(RESULTS.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with looking_in(tmp_path_factory.mktemp("coefficients")) as found:
        yield found


@pytest.fixture(scope="module")
def bed() -> Bed:
    return Bed()


def committed(results: dict[str, Any], **which: Any) -> dict[str, Any]:
    (found,) = [r for r in results["rows"] if which.items() <= r.items()]
    return {key: value for key, value in found.items() if key not in ("kind", "host")}


def test_the_page_is_the_one_of_the_results(results: dict[str, Any]) -> None:
    assert PAGE.read_text(encoding="utf-8") == page(results), "run make matrix"


def test_no_row_is_missing(results: dict[str, Any]) -> None:
    rows = results["rows"]
    assert {(r["kind"], r[r["kind"]]) for r in rows} >= set(tasks())
    assert {r["host"] for r in rows} == results["hosts"].keys()
    methods = [(e.name, e.level.value) for e in entries()]
    found = {(r["family"], r["method"], r["level"]) for r in rows if r["kind"] == "family"}
    assert found == {(family, *method) for family in TITLES for method in methods}
    runs = {(r["sampler"], r["cfg"], r["cache"]) for r in rows if r["kind"] == "sampler"}
    assert len(runs) == len({s for s, _, _ in runs}) * len(SCALES) * 2
    assert len(rows) == len(found) + len(runs) + len([r for r in rows if r["kind"] == "scheduler"])
    if host := results["hosts"].get(comfyui_version.__version__):
        assert host["without_a_row"] == without_a_row()


def test_what_fails_is_said_to_fail_with_a_reason(results: dict[str, Any]) -> None:
    assert all(("reason" in r) == (r["result"] != "works") for r in results["rows"])


@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize("name", FAMILIES)
def test_a_method_of_each_level(
    name: str, level: Level, results: dict[str, Any], folder: Path
) -> None:
    """Another one for each family, so that together all of them run."""
    methods = [e for e in entries() if e.level is level]
    entry = methods[FAMILIES.index(name) % len(methods)]
    fresh = written(vars(row(Family(name, folder), entry)))
    assert fresh == committed(results, family=name, level=level.value, method=entry.name)


@pytest.mark.parametrize("method", ["MagCache", "Scaling Cache"])
def test_the_check_sees_a_wrong_picture(
    method: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens of the text taken for the picture's, and a predicted step that is not what it should be."""
    predicted = Quantity.denoised
    monkeypatch.setattr(BlockWalk, "_picture", lambda walk, number, img: img[:, : walk.tokens])
    monkeypatch.setattr(Quantity, "denoised", lambda *args: predicted(*args) + 0.1)
    (entry,) = [e for e in entries() if e.name == method]
    found = row(Family("flux", folder), entry)
    words = {
        "MagCache": "what its blocks make of it",
        "Scaling Cache": "any sum of what was computed",
    }
    assert found.result == "fails"
    assert words[method] in found.reason


@pytest.mark.parametrize("cfg", SCALES)
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler(name: str, cfg: float, results: dict[str, Any], bed: Bed) -> None:
    for fresh in bed.sampler(name, cfg):
        which = {"sampler": name, "cfg": cfg, "cache": fresh.cache}
        assert written(vars(fresh)) == committed(results, **which)


@pytest.mark.parametrize("name", ["karras", "beta"])
def test_a_scheduler(name: str, results: dict[str, Any], bed: Bed) -> None:
    assert written(vars(bed.scheduler(name))) == committed(results, scheduler=name)
