"""Draw the pictures that the template browser shows: a name, and the graph in the real frontend.

    python -m demo.workflows.thumbnails [NAME ...]

Without names, those that are missing. Needs Chromium on the path.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import requests
from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import Page, sync_playwright

from ..host.fetch import host_path
from ..host.server import serve
from .graphs import TEMPLATES

SIZE = (704, 320)
# The band with the name, above the graph; its colour by what the name begins with.
BAND = 88
COLOURS = {"Scaling Cache": "#1f5f9e", "Scaling Cache tool": "#3b6b3b", "Single method": "#6b4a7d"}
MOST_BYTES = 38_000
# Drawn larger and scaled down, so that small letters stay legible.
ENLARGED = 2
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasInfo": False,
    "Comfy.Graph.CanvasMenu": False,
    "Comfy.Workflow.ShowMissingModelsWarning": False,
}
FIT = """([width, height]) => {
    const boxes = app.graph._nodes.filter(n => n.type !== 'MarkdownNote').map(n => n.getBounding())
    const left = Math.min(...boxes.map(b => b[0])), top = Math.min(...boxes.map(b => b[1]))
    const right = Math.max(...boxes.map(b => b[0] + b[2]))
    const bottom = Math.max(...boxes.map(b => b[1] + b[3]))
    const {ds} = app.canvas
    app.canvas.low_quality_zoom_threshold = 0
    if ('min_font_size_for_lod' in app.canvas) app.canvas.min_font_size_for_lod = 0
    ds.min_scale = 0.05
    ds.scale = Math.min(width / (right - left + 60), height / (bottom - top + 60))
    ds.offset[0] = (width / ds.scale - left - right) / 2
    ds.offset[1] = (height / ds.scale - top - bottom) / 2
    // What this host has no node for is drawn as any other.
    for (const node of app.graph._nodes) node.has_errors = false
    app.canvas.setDirty(true, true)
}"""
# Only the canvas and the texts on it; the rest of the frontend is not part of the graph.
PLAIN = """
    .graph-canvas-container ~ *, .side-tool-bar-container, .workflow-tabs-container,
    .comfy-menu-hamburger, .actionbar, .p-toast, .p-dialog-mask, [class*=splitter-overlay] {
        visibility: hidden !important
    }
"""


def draw(page: Page, path: Path) -> Image.Image:
    """The name and the graph of a workflow file, without its note."""
    width, height = ENLARGED * SIZE[0], ENLARGED * (SIZE[1] - BAND)
    page.evaluate(
        "workflow => app.loadGraphData(workflow)", json.loads(path.read_text(encoding="utf-8"))
    )
    page.evaluate("app.graph.remove(app.graph._nodes.find(n => n.type === 'MarkdownNote'))")
    page.wait_for_timeout(600)
    page.evaluate(FIT, [width, height])
    page.wait_for_timeout(600)
    picture = page.screenshot(clip={"x": 0, "y": 0, "width": width, "height": height})
    graph = Image.open(io.BytesIO(picture)).convert("RGB")
    kind, _, name = path.stem.partition(" - ")
    whole = Image.new("RGB", SIZE, COLOURS[kind])
    whole.paste(graph.resize((SIZE[0], SIZE[1] - BAND), Image.Resampling.LANCZOS), (0, BAND))
    pen = ImageDraw.Draw(whole)
    pen.text((16, 8), kind, "#d0d8e0", ImageFont.load_default(20))
    pen.text((16, 32), name, "white", ImageFont.load_default(40))
    return whole


def save(picture: Image.Image, path: Path) -> None:
    """As a JPEG of the best quality that keeps it small."""
    for quality in range(90, 20, -5):
        picture.save(path, quality=quality, optimize=True)
        if path.stat().st_size <= MOST_BYTES:
            return


def prepare(page: Page, url: str) -> None:
    page.goto(url)
    page.wait_for_function("window.app?.graph && window.app.extensionManager?.setting")
    page.evaluate("app.extensionManager.command.execute('Workspace.ToggleFocusMode')")
    page.add_style_tag(content=PLAIN)


def main(names: list[str]) -> None:
    files = sorted(TEMPLATES.glob("*.json"))
    chosen = [f for f in files if f.stem in names or (not names and not _picture(f).exists())]
    viewport: Any = {"width": ENLARGED * SIZE[0], "height": ENLARGED * SIZE[1]}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        base = Path(folder)
        (base / "input").mkdir()
        shutil.copy(host_path() / "input" / "example.png", base / "input")
        with serve(base) as server, sync_playwright() as playwright:
            requests.post(
                f"{server.url}/api/settings", json=SETTINGS, timeout=30
            ).raise_for_status()
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
            )
            page = browser.new_page(viewport=viewport)
            prepare(page, server.url)
            for file in chosen:
                save(draw(page, file), _picture(file))
            browser.close()


def _picture(workflow: Path) -> Path:
    return workflow.with_suffix(".jpg")


if __name__ == "__main__":
    main(sys.argv[1:])
