"""Start the host headless, with this pack installed, in a folder of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from .fetch import ROOT, host_path, host_python

PACK_NAME = "ComfyUI-ScalingCache"
_MODELS = [ROOT / "demo" / name for name in ("model", "emoji_model")]
COEFFICIENTS = _MODELS[0] / "coefficients" / "scalingcache_demo.safetensors"
# Of the demo's models: where the host looks for them, whose they are, and the ends of their names.
_WEIGHTS = (
    ("diffusion_models", "model", "wan"),
    ("vae", "model", "vae"),
    ("diffusion_models", "emoji_model", "emoji"),
    ("vae", "emoji_model", "emoji_taesd"),
)
# What the host loads of the repository.
PACK_PARTS = (
    *("__init__.py", "cache_core", "nodes", "coefficients"),
    *("web", "workflows", "subgraphs", "locales"),
)
_FOLDERS = ("custom_nodes", "input", "output", "temp", "user", "models")
# For a host that hangs: one that ends is seen at once. Newer ones took over 180 s on two busy cores.
_START_SECONDS = 600


class ServerError(RuntimeError):
    """The host did not start or died, with the end of its log."""


@dataclass(frozen=True)
class Server:
    """A running host.

    Attributes:
        url: where it listens.
        base: its private folder with models, input, output and custom nodes.
        log: file with everything it printed.
    """

    url: str
    base: Path
    log: Path

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")


@contextmanager
def serve(
    base: Path,
    node_packs: dict[str, Path] | None = None,
    port: int | None = None,
    arguments: tuple[str, ...] = (),
    threads: int | None = None,
    calibrated: bool = False,
    clone: bool = True,
) -> Iterator[Server]:
    """Run the host until the block ends.

    Args:
        base: private folder, made if missing.
        node_packs: further node packs by name.
        port: loopback port, default a free one.
        arguments: further arguments of the host.
        threads: CPU threads of the host, default as many as it likes.
        calibrated: give it the coefficient files of the demo's models.
        clone: install this pack from this folder.

    Raises:
        ServerError: if the port is taken or the host does not come up.
    """
    port = _free_port() if port is None else _require_free(port)
    prepare(base, node_packs or {}, clone)
    if calibrated:
        # With the record of what was calibrated; links into the folder are not followed.
        for model in _MODELS:
            target = base / "models" / "scaling_cache" / model.name
            shutil.copytree(model / "coefficients", target, dirs_exist_ok=True)
    log = base / "host.log"
    command = [
        host_python(),
        str(Path(__file__).with_name("launch.py")),
        str(host_path()),
        *("--base-directory", str(base), "--port", str(port)),
        *("--cpu", "--disable-auto-launch", "--disable-api-nodes", "--preview-method", "none"),
        *("--database-url", "sqlite:///:memory:"),
        *arguments,
    ]
    environment = dict(os.environ)
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
        server = Server(f"http://127.0.0.1:{port}", base, log)
        try:
            _wait_until_ready(server, process)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def prepare(base: Path, node_packs: dict[str, Path], clone: bool) -> None:
    """Lay out the private folder: empty host folders, node packs, the demo's models."""
    for name in _FOLDERS:
        (base / name).mkdir(parents=True, exist_ok=True)
    if clone:
        pack = base / "custom_nodes" / PACK_NAME
        pack.mkdir(exist_ok=True)
        for name in PACK_PARTS:
            place(ROOT / name, pack / name)
    for name, source in node_packs.items():
        place(source, base / "custom_nodes" / name)
    for kind, model, stem in _WEIGHTS:
        (base / "models" / kind).mkdir(parents=True, exist_ok=True)
        file = ROOT / "demo" / model / "weights" / f"scalingcache_demo_{stem}.safetensors"
        if file.exists():
            place(file, base / "models" / kind / file.name)


def place(source: Path, target: Path) -> None:
    """Link `source` at `target`, or copy it where links are not allowed."""
    if target.is_symlink() or target.exists():
        return
    try:
        target.symlink_to(source, target_is_directory=source.is_dir())
    except OSError:
        copy = shutil.copytree if source.is_dir() else shutil.copy2
        copy(source, target)


def _wait_until_ready(server: Server, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerError(f"the host ended with {process.returncode}:\n{_tail(server)}")
        try:
            requests.get(f"{server.url}/system_stats", timeout=5).raise_for_status()
            return
        except requests.RequestException:
            time.sleep(0.2)
    raise ServerError(f"the host did not answer in {_START_SECONDS} s:\n{_tail(server)}")


def _tail(server: Server, lines: int = 30) -> str:
    return "\n".join(server.log_text().splitlines()[-lines:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _require_free(port: int) -> int:
    with socket.socket() as probe:
        # As the host's own socket does: a port in TIME_WAIT is free.
        if os.name != "nt":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ServerError(f"port {port} is taken: choose another or leave it out") from error
    return port
