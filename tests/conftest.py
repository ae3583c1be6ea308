"""Fixtures. Tests import this pack as `scaling_cache`, loaded by file as the host loads it, and the
real host either over HTTP (`host`) or in this process (`comfy`)."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import requests
import torch

from demo.host.client import Client
from demo.host.fetch import ROOT
from demo.host.inprocess import import_host, import_pack
from demo.host.server import Server, serve

from .tiers import is_long

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# Where tests import either, they find it; only what they import of the host takes time.
import_pack()
import_host()
torch.set_num_threads(1)

# Timing says nothing about correctness, least of all on a busy machine.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that `make test` leaves out, and skip those of families that this host lacks."""
    networks = sys.modules.get("testbed.networks")  # only where a test uses it: it loads the host
    absent = networks.TITLES.keys() - networks.CATALOGUE.keys() if networks else set()
    for item in items:
        values = getattr(item, "callspec", None) and item.callspec.params.values()
        if absent & {value for value in values or () if isinstance(value, str)}:
            item.add_marker(pytest.mark.skip("not in this host"))
        if is_long(item.nodeid):
            item.add_marker(pytest.mark.long)


@dataclass(frozen=True)
class Host:
    """A running host and a client for it."""

    server: Server
    client: Client


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """The real host with this pack, the demo nodes and nodes that inject faults."""
    packs = {
        "scalingcache-demo": ROOT / "demo" / "nodes",
        "scalingcache-faults": ROOT / "tests" / "http" / "fault_nodes",
    }
    # Tiny models: a second thread costs more than it gives.
    with serve(tmp_path_factory.mktemp("host"), packs, threads=1) as server:
        yield Host(server, Client(server.url))


@pytest.fixture(scope="session")
def object_info(host: Host, comfy: Path) -> dict[str, Any]:
    """The nodes of the real host, and the one that it offers only beside Raylight."""
    from scaling_cache.nodes.raylight import ScalingCacheRaylight as Node

    told: dict[str, Any] = {"python_module": "custom_nodes.ComfyUI-ScalingCache"}
    beside = {**Node.GET_NODE_INFO_V1(), **told}
    return {**host.client.get("/object_info"), Node.GET_SCHEMA().node_id: beside}


@pytest.fixture
def coefficients(host: Host) -> Iterator[Path]:
    """The host's folder for coefficient files, emptied again after the test."""
    folder = host.server.base / "models" / "scaling_cache"
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def comfy() -> Path:
    """The host importable in this process, with the pack's folder registered; gives its folder."""
    folder = import_host()
    from scaling_cache.nodes.host.coefficients import register_folder

    register_folder()
    return folder


def chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.fail("Chromium is needed: apt-get install chromium")


def start(page: Any, url: str) -> None:
    """Load the frontend. On a busy machine its scripts take a while."""
    page.goto(url, timeout=120_000)
    ready = "window.app?.graph && window.app.extensionManager?.setting"
    page.wait_for_function(ready, timeout=120_000)


def put_alone(page: Any, kind: str) -> None:
    """Nothing but a new node of a kind, which is `window.node`, in the middle of the page."""
    page.evaluate(
        """kind => {
            app.graph.clear()
            window.node = LiteGraph.createNode(kind)
            node.pos = [500, 200]
            app.graph.add(node)
            app.canvas.ds.scale = 1
            app.canvas.ds.offset = [0, 0]
            app.canvas.draw(true, true)
        }""",
        kind,
    )


def toasts(page: Any, said: str) -> Any:
    """The frontend's messages in the corner that say this: those with a button that closes them, and not
    the one for screen readers alone."""
    closed = page.get_by_role("alert").filter(has=page.get_by_role("button"))
    return closed.filter(has_text=said)


def search(page: Any, words: str) -> None:
    """Look for a node as a person does: by double click on an empty graph."""
    page.evaluate("app.graph.clear()")
    newer = page.get_by_role("dialog").get_by_role("combobox")
    box = page.get_by_placeholder("Search Nodes").or_(newer).first
    # A frontend that still settles does not hear the first one; where one is slow, a second one closes
    # what the first one opens.
    for patience in (2, 4, 8, 16):
        page.mouse.dblclick(800, 800)
        page.wait_for_timeout(1000 * patience)
        if box.is_visible():
            break
    box.fill(words)


@pytest.fixture(scope="module")
def page(host: Any) -> Iterator[Any]:
    """The real frontend in real Chromium; what its console says is in `errors`."""
    from playwright.sync_api import sync_playwright

    # A new user's first visit opens the templates; the tests open them themselves.
    settings = {"Comfy.TutorialCompleted": True}
    requests.post(f"{host.server.url}/api/settings", json=settings, timeout=30).raise_for_status()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(30_000)
        page.errors = []
        page.on("console", lambda m: page.errors.append(m) if m.type == "error" else None)
        start(page, host.server.url)
        yield page
        browser.close()
