"""Changing a workflow from the command line: pure functions."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from cli.edit import with_input, with_report, with_speedup
from cli.generate import main
from demo.host.fetch import ROOT


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def build() -> dict[str, Any]:
    return {
        "load": node("UNETLoader", unet_name="a"),
        "far": node("ScalingCfgCache", model=["load", 0], interval=2),
        "cache": node("ScalingCache", model=["far", 0], speedup=2.0),
        "off": node("ScalingCache", model=["load", 0], speedup=1.0),
        "sampler": node("KSampler", model=["cache", 0], seed=7),
        "decode": node("VAEDecode", samples=["sampler", 0]),
        "save": node("SaveImage", images=["decode", 0]),
    }


def known(kind: str) -> dict[str, Any] | None:
    """What a host says that has KSampler alone."""
    required = {"model": ["MODEL"], "seed": ["INT"], "steps": ["INT"]}
    return {"input": {"required": required}} if kind == "KSampler" else None


def test_the_speedup_of_caches_that_are_on():
    changed = with_speedup(build(), 3.0)
    assert changed["cache"]["inputs"]["speedup"] == 3.0
    assert changed["off"]["inputs"]["speedup"] == 1.0
    assert changed["far"] == build()["far"]


def test_a_cache_that_is_off_is_switched_on_if_it_is_the_only_one():
    workflow = build()
    workflow["cache"]["inputs"]["speedup"] = 1.0
    assert with_speedup(workflow, 3.0)["cache"]["inputs"]["speedup"] == 3.0


@pytest.mark.parametrize(
    ("text", "value"), [("8", 8), ("0.5", 0.5), ("true", True), ('"8"', "8"), ("a, b=c", "a, b=c")]
)
def test_any_input(text: str, value: Any):
    changed = with_input(build(), f"sampler.seed={text}", known)
    assert changed["sampler"]["inputs"]["seed"] == value


def test_an_input_that_the_workflow_leaves_out():
    changed = with_input(build(), "sampler.steps=9", known)
    assert changed["sampler"]["inputs"]["steps"] == 9
    # The host says what it thinks of a node that it does not have.
    assert with_input(build(), "load.dtype=a", known)["load"]["inputs"]["dtype"] == "a"
    with pytest.raises(ValueError, match=r"\(KSampler\) has no sted; it has model, seed, steps"):
        with_input(build(), "sampler.sted=9", known)


@pytest.mark.parametrize(
    ("setting", "value", "goes"),
    [
        ("mode", "target speed-up", True),
        ("mode", ["words", 0], True),
        ("mode", "near-lossless", False),
        ("method", "Scaling Cache", True),
        ("method", "TeaCache", False),
    ],
)
def test_a_speedup_that_nothing_goes_by_is_refused(setting: str, value: Any, goes: bool):
    workflow = without("off")
    workflow["cache"]["inputs"][setting] = value
    if goes:
        assert with_speedup(workflow, 3.0)["cache"]["inputs"]["speedup"] == 3.0
    else:
        with pytest.raises(ValueError, match="no cache node of the workflow goes by it"):
            with_speedup(workflow, 3.0)


def test_a_report_between_pictures_and_save_with_the_nearest_cache():
    changed, report = with_report(build(), metadata=True)
    assert changed[report]["inputs"] == {
        "images": ["decode", 0],
        "model": ["cache", 0],
        "metadata": True,
    }
    assert changed["save"]["inputs"]["images"] == [report, 2]


def test_a_report_on_a_video_and_on_a_latent():
    workflow = build()
    workflow["video"] = node("CreateVideo", images=["decode", 0], fps=16)
    workflow["save"] = node("SaveVideo", video=["video", 0])
    changed, report = with_report(workflow)
    assert changed[report]["inputs"]["images"] == ["decode", 0]
    assert changed["video"]["inputs"]["images"] == [report, 2]
    workflow = {k: v for k, v in build().items() if k != "save"}
    workflow["decode"] = node("VAEDecodeAudio", samples=["sampler", 0])
    changed, report = with_report(workflow)
    assert changed[report]["inputs"] == {
        "latent": ["sampler", 0],
        "model": ["cache", 0],
        "metadata": False,
    }
    assert changed["decode"] == workflow["decode"]


TEMPLATES = sorted((ROOT / "workflows" / "api").glob("*.json"))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_every_template_that_samples_can_have_one(path: Path):
    workflow = json.loads(path.read_text(encoding="utf-8"))
    if "tool - Calibrate" in path.stem or "tool - Profile" in path.stem:
        with pytest.raises(ValueError, match="--report"):
            with_report(workflow)
    else:
        changed, report = with_report(workflow)
        assert changed[report]["inputs"]["model"]


def test_a_report_that_is_there_is_kept():
    path = ROOT / "workflows" / "api" / "Scaling Cache tool - Compare (FLUX.1 dev).json"
    workflow = json.loads(path.read_text())
    changed, report = with_report(workflow)
    assert changed == workflow
    assert changed[report]["class_type"] == "ScalingCacheReport"
    changed, report = with_report(workflow, metadata=True)
    assert changed[report]["inputs"]["metadata"] is True


def test_the_users_workflow_is_not_changed():
    workflow = build()
    before = copy.deepcopy(workflow)
    with_speedup(workflow, 3)
    with_input(workflow, "sampler.seed=8", known)
    with_report(workflow, metadata=True)
    assert workflow == before


def without(*names: str) -> dict[str, Any]:
    workflow = {k: v for k, v in build().items() if k not in names}
    workflow["sampler"]["inputs"]["model"] = ["load", 0]
    return workflow


@pytest.mark.parametrize(
    ("workflow", "arguments", "message"),
    [
        (without("cache", "off"), ["--speedup", "2"], "--speedup: the workflow has no cache node"),
        (build(), ["--set", "seed=2"], "--set: must be like 12.seed=7, got seed=2"),
        (build(), ["--set", "sampler.seed"], "--set: must be like"),
        (build(), ["--set", "9.seed=2"], "--set: there is no node 9; there are load, far, cache"),
        (build(), ["--set", "sampler.model=2"], "--set: model of node sampler (KSampler) comes"),
        (without("save", "decode"), ["--report"], "--report: the workflow has no pictures and no"),
        (without("cache", "far", "off"), ["--metadata"], "--report: no cache node of this pack"),
        (build(), ["--server", "localhost"], "--server: must be like"),
        (build(), ["--speedup", "nan"], "--speedup: must be finite, got nan"),
        (build(), ["--speedup=-inf"], "--speedup: must be finite, got -inf"),
        (
            build(),
            ["--set", "cache.speedup=NaN"],
            "--set: speedup of node cache (ScalingCache) must",
        ),
        (
            build(),
            ["--set", "sampler.seed=[1e999]"],
            "seed of node sampler (KSampler) must be finite",
        ),
        ([], [], "not a workflow in API format"),
    ],
)
def test_unfit_arguments_are_named(
    workflow: Any, arguments: list[str], message: str, tmp_path: Any, capsys: Any
):
    path = tmp_path / "workflow.json"
    path.write_text(json.dumps(workflow))
    assert main([str(path), *arguments]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""
