"""Install what demo, tests and linters need: packages into .venv, the host into .host.

Runs on a bare Python, so it imports nothing that has to be installed.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

from .host.fetch import FetchError, ensure_host

ROOT = Path(__file__).resolve().parents[1]
OLDEST_PYTHON = (3, 10)
TORCH = "torch==2.13.0"
# Built against another CUDA than a CPU-only torch has, so their own requirements do not apply.
TORCH_COMPANIONS = ("torchvision==0.28.0", "torchaudio==2.11.0")
# Measures of the benchmarks, with their weights. What they ask for besides reads files and prints, and
# one of it is another package by the name of the one that is meant.
MEASURES = ("stlpips-pytorch==0.0.2", "cvvdp==0.5.7")


def check_python(version: tuple[int, ...]) -> None:
    """
    Raises:
        SystemExit: saying which Python is needed.
    """
    if version[:2] < OLDEST_PYTHON:
        found = ".".join(map(str, version[:2]))
        raise SystemExit(f"Python 3.10 or newer is needed, this is {found}: set PYTHON=python3.11")


def venv_python(folder: Path) -> Path:
    """The interpreter of a virtual environment on this system."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def ensure_packages(folder: Path) -> Path:
    """Create or update the virtual environment; returns its interpreter."""
    python = venv_python(folder)
    requirements = ROOT / "requirements-dev.txt"
    wanted = hashlib.sha256(
        "\n".join([TORCH, *TORCH_COMPANIONS, *MEASURES, requirements.read_text()]).encode()
    ).hexdigest()
    stamp = folder / "installed"
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    print(
        "Installing into .venv, once, a few minutes: PyTorch, what ComfyUI needs, and the tools of the "
        "tests; 2 GB, more where PyTorch comes with CUDA",
        flush=True,
    )
    if not python.exists():
        venv.create(folder, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for arguments in (
        [TORCH],
        ["--no-deps", *TORCH_COMPANIONS, *MEASURES],
        ["-r", str(requirements)],
    ):
        if subprocess.run([*pip, *arguments]).returncode:
            raise SystemExit(
                f"pip could not install {' '.join(arguments)}: is a package index reachable?"
            )
    _drop_foreign_libraries(python)
    stamp.write_text(wanted)
    return python


def _drop_foreign_libraries(python: Path) -> None:
    """Remove torchaudio's CUDA libraries where torch has none: it fails to import with them."""
    code = (
        "import importlib.util, pathlib, torch\n"
        "if torch.version.cuda is None:\n"
        "    root = pathlib.Path(importlib.util.find_spec('torchaudio').origin).parent\n"
        "    [f.unlink() for f in root.glob('lib/*.so')]\n"
    )
    subprocess.run([str(python), "-c", code], check=True)


def main() -> None:
    check_python(sys.version_info)
    ensure_packages(ROOT / ".venv")
    try:
        ensure_host()
    except FetchError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
