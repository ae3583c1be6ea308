"""The report on a host: true for the one at hand, and plain about what is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from demo.compatibility import Feature, look, main
from demo.host.fetch import ROOT


@pytest.mark.host
def test_the_pinned_host_has_all_that_is_needed(tmp_path: Path):
    file = tmp_path / "report.json"
    command = [sys.executable, "-m", "demo.compatibility", "--json", str(file)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "The pack works" in result.stdout
    rows = {row["name"]: row for row in json.loads(file.read_text())["features"]}
    assert all(row["found"] for row in rows.values() if row["needed"])
    assert rows["the nodes of this pack"]["detail"].endswith("nodes")
    families = [row for name, row in rows.items() if ": " in name]
    assert sum(row["found"] for row in families) >= 20
    # Those that are missing are of other hosts: what is there has its hooks.
    missing = [row["detail"] for row in families if not row["found"]]
    assert all("No module named" in why or "has no attribute" in why for why in missing)


@pytest.mark.host
def test_a_host_without_a_wrapper_is_refused(tmp_path: Path):
    """The real host, but for one line."""
    from demo.host.fetch import host_path

    folder = tmp_path / "ComfyUI"
    folder.mkdir()
    for item in host_path().iterdir():
        if item.name not in ("comfy", "user", "output", "temp", "input"):
            (folder / item.name).symlink_to(item)
    (folder / "comfy").mkdir()
    for item in (host_path() / "comfy").iterdir():
        if item.name not in ("patcher_extension.py", "__pycache__"):
            (folder / "comfy" / item.name).symlink_to(item)
    source = (host_path() / "comfy" / "patcher_extension.py").read_text()
    without = source.replace('PREDICT_NOISE = "predict_noise"', 'PREDICTION = "predict_noise"')
    assert without != source
    (folder / "comfy" / "patcher_extension.py").write_text(without)
    command = [sys.executable, "-m", "demo.compatibility", str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1, result.stdout[-3000:] + result.stderr[-2000:]
    assert "Does not work: wrapper PREDICT_NOISE" in result.stdout


@pytest.mark.host
def test_a_host_that_cannot_be_loaded_is_a_sentence(tmp_path: Path):
    """A checkout whose packages are not all there, and a Python that is none."""
    (tmp_path / "comfy").mkdir()
    (tmp_path / "main.py").touch()
    (tmp_path / "comfy" / "__init__.py").write_text("import a_package_that_is_not_installed\n")
    for python, words in ((sys.executable, "requirements.txt"), ("/no/python", "cannot be run")):
        command = [sys.executable, "-m", "demo.compatibility", str(tmp_path)]
        environment = {**os.environ, "COMFYUI_PYTHON": python}
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
        assert found.returncode == 1
        assert words in found.stderr
        assert "Traceback" not in found.stderr


def test_an_error_is_a_missing_feature():
    def broken() -> Any:
        raise ImportError("no module x")

    row = look(Feature("x", broken, "nothing works", needed=True))
    assert (row.found, row.needed) == (False, True)
    assert row.detail == "nothing works (ImportError: no module x)"


def test_another_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COMFYUI_PATH", "")
    with pytest.raises(SystemExit, match="is not a ComfyUI checkout"):
        main([str(tmp_path)])
