"""The calibration command against the host as a user runs it, on the demo model."""

from __future__ import annotations

import copy
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scaling_cache.cache_core.calibration.files import load
from scaling_cache.cache_core.calibration.folder import RECORD

from cli.client import Host as ApiHost
from cli.client import HostError
from cli.workflow import MORE_PROMPTS, Wanted, calibration, is_cache, is_own_cache
from demo.host.fetch import ROOT
from testbed.coefficient_folder import coefficient_file

DEMO = ROOT / "demo" / "workflows" / "api" / "demo_video_on.json"
STEPS, SEED = 12, 5
HOST_CACHES = {"EasyCache", "LazyCache"}
pytestmark = pytest.mark.host


def workflow(**changes: Any) -> dict[str, Any]:
    """The demo workflow; changes by kind of node."""
    nodes = json.loads(DEMO.read_text())
    for node in nodes.values():
        node["inputs"] |= changes.get(node["class_type"], {})
    return nodes


def id_of(nodes: dict[str, Any], kind: str) -> str:
    (found,) = (name for name, node in nodes.items() if node["class_type"] == kind)
    return found


@dataclass(frozen=True)
class Command:
    """Runs the command as a user does, in the pack's folder."""

    url: str
    folder: Path

    def start(self, nodes: dict[str, Any], *arguments: str) -> subprocess.Popen[str]:
        path = self.folder / "workflow.json"
        path.write_text(json.dumps(nodes))
        line = ["-m", "cli.calibrate", str(path), "--server", self.url, *arguments]
        return subprocess.Popen(
            [sys.executable, *line],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=None if sys.platform == "win32" else _hear_ctrl_c,
        )

    def __call__(self, nodes: dict[str, Any], *arguments: str) -> tuple[int, str, str]:
        process = self.start(nodes, *arguments)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err


def _hear_ctrl_c() -> None:
    """Of tests that run in the background, the shell lets all programs ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="module")
def command(host: Any, tmp_path_factory: pytest.TempPathFactory) -> Command:
    return Command(host.server.url, tmp_path_factory.mktemp("command"))


@pytest.fixture(scope="module")
def folder(host: Any) -> Iterator[Path]:
    """The host's folder for coefficient files, gone after these tests."""
    path = host.server.base / "models" / "scaling_cache"
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def calibrated(command: Command, folder: Path) -> tuple[int, str, str]:
    """What the command said for the demo model, with one prompt more."""
    prompts = command.folder / "prompts.txt"
    prompts.write_text("white square right sand\n")
    return command(
        workflow(),
        *("--name", "demo model", "--runs", "1", "--steps", str(STEPS), "--seed", str(SEED)),
        *("--prompts", str(prompts)),
    )


def test_it_says_what_was_measured_and_where_the_file_lies(
    calibrated: tuple[int, str, str], command: Command
):
    code, out, err = calibrated
    assert code == 0, err
    said, *_, place = out.splitlines()
    assert said == f"demo model.safetensors: WAN21_T2V, 2 samples, {STEPS} steps euler, cfg 4"
    assert place.startswith("models/scaling_cache/demo model.safetensors")
    assert command.url in place
    first, *since = err.splitlines()
    assert first == "calibrating"
    assert all(line.startswith("calibrating, ") for line in since)


def test_the_file_holds_finite_tables_of_all_steps(calibrated: tuple[int, str, str], folder: Path):
    assert {path.name for path in folder.iterdir()} == {"demo model.safetensors", RECORD}
    file = load(folder / "demo model.safetensors")
    assert file.table.gram.shape == (2, STEPS, STEPS)
    assert file.guided.gram.shape == (1, STEPS, STEPS)
    assert file.table.sigmas.shape == (STEPS,)
    for table in (file.table, file.guided):
        assert np.isfinite(table.gram).all()
        assert (np.diagonal(table.gram, axis1=1, axis2=2) > 0).all()
    made = file.provenance
    assert (made.sampler, made.cfg, made.samples, made.family) == ("euler", 4.0, 2, "WAN21_T2V")
    assert made.shape == (16, 5, 16, 16)
    assert file.blocks is not None


def test_the_node_lists_it(calibrated: tuple[int, str, str], host: Any):
    spec = host.client.get("/object_info/ScalingCache")["ScalingCache"]["input"]
    kind, more = (spec["required"] | spec.get("optional", {}))["coefficients"]
    options = more.get("options", kind)
    assert "demo model.safetensors" in options


@pytest.mark.parametrize("steps", [STEPS, 20])
def test_the_next_run_uses_it_at_the_same_and_at_another_step_count(
    steps: int, calibrated: tuple[int, str, str], host: Any
):
    nodes = workflow(KSampler={"steps": steps})
    cache = id_of(nodes, "ScalingCache")
    texts: dict[str, str] = {}
    for choice in ("auto", "none"):
        nodes[cache]["inputs"] |= {"predictor": "least squares", "coefficients": choice}
        outcome = host.client.run(nodes)
        assert outcome.status == "success", outcome.messages[-1]
        texts[choice] = outcome.text_of(cache)
    assert "Coefficients: demo model.safetensors" in texts["auto"]
    assert "Coefficients" not in texts["none"]


def test_once_more_is_done_once_more_and_a_cache_of_the_host_changes_nothing(
    calibrated: tuple[int, str, str], command: Command, folder: Path
):
    again = ("--name", "again", "--runs", "1", "--steps", "8")
    cached = workflow(KSampler={"model": ["easy", 0]})
    window = {"start_percent": 0.0, "end_percent": 1.0, "verbose": False}
    cached["easy"] = {
        "class_type": "EasyCache",
        "inputs": {"model": ["7", 0], "reuse_threshold": 2.0, **window},
    }
    products = []
    for nodes in (workflow(), workflow(), cached):
        assert command(nodes, *again)[0] == 0
        products.append(load(folder / "again.safetensors").guided.gram)
        (folder / "again.safetensors").unlink()
    np.testing.assert_array_equal(products[1], products[0])
    np.testing.assert_array_equal(products[2], products[0])


def test_a_guider_without_a_negative_conditioning(
    calibrated: tuple[int, str, str], command: Command, folder: Path
):
    nodes = workflow()
    model, sampler = ["7", 0], id_of(nodes, "KSampler")
    parts = {
        "noise": ("RandomNoise", {"noise_seed": 3}),
        "guider": ("BasicGuider", {"model": model, "conditioning": ["3", 0]}),
        "sampler": ("KSamplerSelect", {"sampler_name": "euler"}),
        "steps": ("PrimitiveInt", {"value": 8}),
        "sigmas": (
            "BasicScheduler",
            {"model": model, "scheduler": "simple", "steps": ["steps", 0], "denoise": 1.0},
        ),
    }
    nodes |= {k: {"class_type": kind, "inputs": inputs} for k, (kind, inputs) in parts.items()}
    links = {name: [name, 0] for name in ("noise", "guider", "sampler", "sigmas")}
    nodes[sampler] = {
        "class_type": "SamplerCustomAdvanced",
        "inputs": {**links, "latent_image": nodes[sampler]["inputs"]["latent_image"]},
    }
    code, out, err = command(nodes, "--name", "guider", "--runs", "1")
    assert code == 0, err
    assert "1 samples, 8 steps euler, cfg 1" in out
    file = load(folder / "guider.safetensors")
    (folder / "guider.safetensors").unlink()
    assert file.guided.gram.shape == (1, 8, 8)
    np.testing.assert_allclose(file.table.gram[0], file.guided.gram[0])


# --- what the host refuses


@pytest.mark.parametrize(
    ("changes", "arguments", "messages"),
    [
        (
            {},
            ["--runs", "0"],
            ["(ScalingCalibrateCache): Value 0 smaller than min of 1: runs"],
        ),
        (
            {"UNETLoader": {"unet_name": "gone.safetensors"}},
            [],
            ["node 1 (UNETLoader): Value not in list: unet_name: 'gone.safetensors'"],
        ),
        (
            {"UNETLoader": {"unet_name": "gone"}, "EmptyHunyuanLatentVideo": {"width": 1}},
            [],
            ["node 1 (UNETLoader)", "node 5 (EmptyHunyuanLatentVideo): Value 1 smaller than"],
        ),
    ],
)
def test_refused_before_anything_is_sampled(
    changes: dict[str, Any],
    arguments: list[str],
    messages: list[str],
    command: Command,
    folder: Path,
):
    code, out, err = command(workflow(**changes), "--name", "refused", *arguments)
    assert (code, out) == (1, "")
    for message in messages:
        assert message in err
    assert "calibrating" not in err
    assert not (folder / "refused.safetensors").exists()


def test_a_node_that_the_host_does_not_have(command: Command):
    nodes = workflow()
    nodes["6"]["class_type"] = "NotInstalled"
    code, _, err = command(nodes, "--name", "refused")
    assert code == 1
    assert re.search("node NotInstalled does not exist|Node .* not found", err, re.I), err


def test_the_file_of_another_model_is_refused_before_it_samples(command: Command, folder: Path):
    coefficient_file(folder / "taken.safetensors", "another model")
    before = (folder / "taken.safetensors").read_bytes()
    code, out, err = command(workflow(), "--name", "taken")
    assert (code, out) == (1, "")
    assert "name: taken.safetensors is there and of another model (Flux)" in err
    assert (folder / "taken.safetensors").read_bytes() == before


def test_what_fails_while_it_runs_is_said(command: Command, folder: Path):
    nodes = workflow(KSampler={"sampler_name": "euler_ancestral"})
    code, out, err = command(nodes, "--name", "failed")
    assert (code, out) == (1, "")
    assert "(ScalingCalibrateCache): sampler_name: euler_ancestral adds noise" in err
    assert not (folder / "failed.safetensors").exists()


@pytest.fixture
def running(host: Any) -> Iterator[tuple[ApiHost, str]]:
    """A long calibration on the host, ended after the test."""
    api = ApiHost(host.server.url)
    prompt_id = api.queue(calibration(workflow(), Wanted("long", steps=300)))
    yield api, prompt_id
    api.cancel(prompt_id)
    with pytest.raises(HostError):
        api.wait(prompt_id, lambda *_: None)


def test_an_interrupted_run_is_said_and_leaves_no_file(
    running: tuple[ApiHost, str], host: Any, folder: Path
):
    api, prompt_id = running

    def interrupt(state: str, _seconds: float, _standing: str) -> None:
        if state == "calibrating":
            host.client.interrupt()

    with pytest.raises(HostError, match="was interrupted; only what had ended was written"):
        api.wait(prompt_id, interrupt, "calibrating")
    assert not (folder / "long.safetensors").exists()


def test_waiting_and_being_taken_out_of_the_queue(running: tuple[ApiHost, str]):
    api, _ = running
    second = api.queue(calibration(workflow(), Wanted("second", steps=300)))
    states: list[str] = []

    def cancel(state: str, _seconds: float, _standing: str) -> None:
        states.append(state)
        api.cancel(second)

    with pytest.raises(HostError, match="taken out of the queue; nothing was written"):
        api.wait(second, cancel)
    assert states == ["waiting, 1 before it"]


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to another process")
def test_ctrl_c_takes_the_run_off_the_host(command: Command, host: Any, folder: Path):
    process = command.start(workflow(), "--name", "stopped", "--steps", "300")
    assert process.stderr is not None
    assert process.stderr.readline().strip() == "calibrating"
    while not host.client.get("/queue")["queue_running"]:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "error: the run was interrupted; only what had ended was written" in err
    assert host.client.get("/queue") == {"queue_running": [], "queue_pending": []}
    assert not (folder / "stopped.safetensors").exists()


def test_what_answers_is_not_comfyui(command: Command, host: Any):
    other = Command(f"{host.server.url}/docs", command.folder)
    code, _, err = other(workflow(), "--name", "x")
    assert code == 1
    assert "the host answered 40" in err


# --- what the command knows of the nodes without asking


def says_it_caches(info: dict[str, Any]) -> bool:
    spec = info["input"].get("required", {}).get("model", [])
    return len(spec) > 1 and bool(spec[1].get("scaling_cache"))


def test_it_knows_the_caches_and_how_many_prompts(host: Any):
    nodes: dict[str, Any] = copy.deepcopy(host.client.get("/object_info"))
    entries = {
        name: {"class_type": name, "inputs": info["input"].get("required", {})}
        for name, info in nodes.items()
    }
    ours = {
        name
        for name, info in nodes.items()
        if info["python_module"] == "custom_nodes.ComfyUI-ScalingCache"
        and "MODEL" in info["output"]
        and "model" in info["input"]["required"]
    }
    assert len(ours) == 8
    assert {name for name, entry in entries.items() if is_own_cache(entry)} == ours
    assert {name for name, entry in entries.items() if is_cache(entry)} == ours | HOST_CACHES
    # They say so themselves as well.
    told = {name for name in entries if says_it_caches(nodes[name])}
    assert told == ours
    assert nodes.keys() >= HOST_CACHES
    optional = nodes["ScalingCalibrateCache"]["input"]["optional"]
    assert len([name for name in optional if name.startswith("positive_")]) == MORE_PROMPTS
