"""Take the picture of docs/live-view.md: the node after a run of the demo model, and what a step says.

    python -m docs.live_view_picture

Needs Chromium on the path.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import requests
from playwright.sync_api import sync_playwright

from demo.host.fetch import ROOT
from demo.host.server import serve
from demo.workflows.thumbnails import SETTINGS, prepare

PICTURE = ROOT / "docs" / "images" / "live-view.png"
SEEN = 21
# Around the node, in pixels of the page; the picture has twice as many.
EDGE = 7
RUN = """async workflow => {
    await app.loadGraphData(workflow)
    const of = kind => app.graph._nodes.find(n => n.type === kind)
    const set = (kind, name, value) => {
        const widget = of(kind).widgets.find(w => w.name === name)
        widget.value = value
        widget.callback?.(value)
    }
    for (const [name, value] of [['width', 64], ['height', 64], ['length', 5]])
        set('EmptyHunyuanLatentVideo', name, value)
    set('ScalingCache', 'mode', 'error budget')
    const { api } = window.comfyAPI.api
    const over = new Promise(done => api.addEventListener('execution_success', done, { once: true }))
    app.queuePrompt(0)
    await over
}"""
# Puts the node in sight as high as it needs to be; where it then is.
PLACE = """() => {
    const node = app.graph._nodes.find(n => n.type === 'ScalingCache')
    node.setSize([340, node.computeSize()[1]])
    app.canvas.ds.scale = 1
    app.canvas.ds.offset[0] = 400 - node.pos[0]
    app.canvas.ds.offset[1] = 300 - node.pos[1]
    app.canvas.setDirty(true, true)
    const title = LiteGraph.NODE_TITLE_HEIGHT
    return [400, 300 - title, node.size[0], node.size[1] + title]
}"""


def main() -> None:
    workflow = json.loads((ROOT / "demo" / "workflows" / "demo_video_on.json").read_text("utf-8"))
    packs = {"scalingcache-demo": ROOT / "demo" / "nodes"}
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as base,
        serve(Path(base), packs) as server,
        sync_playwright() as playwright,
    ):
        requests.post(f"{server.url}/api/settings", json=SETTINGS, timeout=30)
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1200, "height": 900}, device_scale_factor=2)
        prepare(page, server.url)
        page.set_default_timeout(300_000)
        page.evaluate(RUN, workflow)
        page.wait_for_timeout(1000)
        x, y, width, height = page.evaluate(PLACE)
        page.wait_for_timeout(500)
        page.locator(".sc-live-marks i").nth(SEEN - 1).hover()
        page.wait_for_timeout(500)
        clip: Any = {"x": x - EDGE, "y": y - EDGE}
        clip |= {"width": width + 2 * EDGE, "height": height + 2 * EDGE}
        page.screenshot(path=str(PICTURE), clip=clip)
        browser.close()


if __name__ == "__main__":
    main()
