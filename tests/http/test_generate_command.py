"""`cli generate` against the running host."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from demo.host.fetch import ROOT

pytestmark = pytest.mark.host


def generate(
    host: Any,
    folder: Path,
    *arguments: str,
    saved: bool = False,
    added: dict[str, Any] | None = None,
    **variables: str,
) -> Any:
    """Run it in a folder of the user's, on the demo's workflow in either format.

    Args:
        added: nodes to the workflow in API format.
        variables: of the environment.
    """
    path = ROOT / "demo" / "workflows" / ("" if saved else "api") / "demo_video_on.json"
    workflow = json.loads(path.read_text(encoding="utf-8"))
    kind = "EmptyHunyuanLatentVideo"
    for entry in workflow["nodes"] if saved else workflow.values():
        if saved and entry["type"] == kind:
            entry["widgets_values"] = [64, 64, 1, 1]
        elif not saved and entry["class_type"] == kind:
            entry["inputs"].update(length=1, width=64, height=64)
    workflow |= added or {}
    (folder / "workflow.json").write_text(json.dumps(workflow))
    command = [sys.executable, str(ROOT / "cli"), "generate", "workflow.json", *arguments]
    command += ["--server", host.server.url, "--out", str(folder / "out")]
    return subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, **variables},
    )


def sampler() -> str:
    workflow = json.loads((ROOT / "demo/workflows/api/demo_video_on.json").read_text())
    return next(n for n, entry in workflow.items() if entry["class_type"] == "KSampler")


def test_pictures_report_and_metadata(host: Any, tmp_path: Path):
    arguments = ["--speedup", "3", "--set", f"{sampler()}.steps=20", "--metadata"]
    for _ in range(2):  # the host remembers, and gives the same again
        done = generate(host, tmp_path, *arguments)
        assert done.returncode == 0, done.stderr
        out = tmp_path / "out"
        names = {path.name for path in out.iterdir()}
        assert {"report.png", "report.txt", "report.json"} < names
        statistics = json.loads((out / "report.json").read_text())
        (run,) = statistics["runs"]
        assert run["evaluations"] == 20
        assert run["computed"] < 10, "three times as fast"
        assert (out / "report.txt").read_text() in done.stdout
        assert Image.open(out / "report.png").width == 1200
        (frame,) = [n for n in sorted(names) if n.startswith("frame")][-1:]
        content = io.BytesIO((out / frame).read_bytes())
        written = json.loads(Image.open(content).text["scaling_cache"])  # type: ignore[attr-defined]
        assert list(written.values()) == [statistics]
        assert f"{out / frame}\n" in done.stdout


def test_a_workflow_that_the_browser_saved_and_just_its_files(host: Any, tmp_path: Path):
    done = generate(host, tmp_path, "--set", f"{sampler()}.steps=60", saved=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("running\n")
    suffixes = sorted(path.suffix for path in (tmp_path / "out").iterdir())
    assert suffixes == [".png", ".webp"]


def test_files_of_one_name_and_of_names_that_cannot_be_printed(host: Any, tmp_path: Path):
    """Saved in two folders of the host, and named where the output takes ASCII alone."""
    path = ROOT / "demo" / "workflows" / "api" / "demo_video_on.json"
    nodes = json.loads(path.read_text(encoding="utf-8")).values()
    images = next(n["inputs"]["images"] for n in nodes if n["class_type"] == "SaveImage")
    added = {
        str(900 + i): {
            "class_type": "SaveImage",
            "inputs": {"images": images, "filename_prefix": prefix},
        }
        for i, prefix in enumerate(("one/狐狸", "two/狐狸"))
    }
    steps = ["--set", f"{sampler()}.steps=5"]
    done = generate(host, tmp_path, *steps, added=added, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (tmp_path / "out").glob("狐狸*")}
    assert names == {"狐狸_00001_.png", "狐狸_00001_ (2).png"}
    assert "\\u72d0\\u72f8_00001_.png" in done.stdout


def test_what_is_no_number_or_no_input_never_reaches_the_host(host: Any, tmp_path: Path):
    before = host.client.get("/history")
    for arguments, message in (
        (["--speedup", "nan"], "--speedup: must be finite"),
        (["--set", f"{sampler()}.sed=1"], "(KSampler) has no sed; it has model, seed, steps"),
    ):
        done = generate(host, tmp_path, *arguments)
        assert done.returncode == 2
        assert message in done.stderr
    assert host.client.get("/history") == before


def test_what_the_host_refuses_is_said(host: Any, tmp_path: Path):
    done = generate(host, tmp_path, "--speedup", "9")
    assert done.returncode == 1
    assert "speedup" in done.stderr
    assert not (tmp_path / "out").exists()
