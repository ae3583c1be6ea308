"""The pictures of Cache Report over each other on its node: seen, dragged, moved by keys and heard."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image
from playwright.sync_api import Locator, Page, expect
from skimage.metrics import peak_signal_noise_ratio

from demo.host.fetch import ROOT

from .conftest import put_alone
from .test_live_view import spoken

pytestmark = [pytest.mark.host, pytest.mark.browser]

# Set SCREENSHOTS to a folder to look at what the tests saw.
SCREENSHOTS = os.environ.get("SCREENSHOTS")
SET = "([id, value]) => app.extensionManager.setting.set(id, value)"
REPORT = "app.graph._nodes.find(n => n.type === 'ScalingCacheReport')"
FRAMES = 5
BOTH = "with the cache, without the cache"
RENDERINGS = pytest.mark.parametrize("vue", [False, True], ids=["canvas", "vue"])


@pytest.fixture
def report(page: Page) -> Iterator[Any]:
    """Opens the small compare workflow, runs it and gives the slider; `told` has the text's message."""

    def made(vue: bool) -> Locator:
        page.evaluate(SET, ["Comfy.VueNodes.Enabled", vue])
        path = ROOT / "demo" / "workflows" / "demo_video_compare.json"
        page.evaluate(
            """async ([workflow, frames]) => {
                await app.loadGraphData({ ...workflow, id: crypto.randomUUID() })
                const set = (kind, name, value) => app.graph._nodes.filter(n => n.type === kind)
                    .forEach(n => { n.widgets.find(w => w.name === name).value = value })
                set('BasicScheduler', 'steps', 12)
                set('RandomNoise', 'noise_seed', Math.floor(Math.random() * 1e9))
                for (const [name, value] of [['width', 64], ['height', 64], ['length', frames]])
                    set('EmptyHunyuanLatentVideo', name, value)
                const { api } = window.comfyAPI.api
                api.addEventListener('scaling_cache.text', e => { window.told = e.detail })
                const over = new Promise(done =>
                    api.addEventListener('execution_success', done, { once: true }))
                app.queuePrompt(0)
                await over
            }""",
            [json.loads(path.read_text()), FRAMES],
        )
        page.evaluate(
            f"""() => {{
                const [x, y] = {REPORT}.pos
                app.canvas.ds.scale = 1
                app.canvas.ds.offset = [700 - x, 120 - y]
                app.canvas.setDirty(true, true)
            }}"""
        )
        slider = page.get_by_role("slider", name=BOTH)
        expect(slider).to_be_visible()
        page.wait_for_function(
            "[...document.querySelectorAll('.sc-compare img')].every(i => i.naturalWidth)"
        )
        page.wait_for_timeout(500)
        return slider

    yield made
    page.evaluate(SET, ["Comfy.VueNodes.Enabled", False])


def look(page: Page, name: str) -> None:
    if SCREENSHOTS:
        page.screenshot(path=str(Path(SCREENSHOTS) / f"slider_{name}.png"))


def edge(slider: Locator) -> float:
    """Where the picture with the cache ends, as a share of the width, by what is drawn."""
    clip = slider.evaluate(
        "s => getComputedStyle(s.parentElement.querySelectorAll('img')[1]).clipPath"
    )
    return 1 - float(clip.split("(")[1].split()[1].rstrip("%)")) / 100 if "%" in clip else 1.0


def test_it_is_as_wide_as_the_node_whatever_a_panel_sets(page: Page, report: Any):
    """Newer frontends show the inputs of a selected node at the side, and leave that width behind."""
    frame = report(False).locator("..")
    before = frame.bounding_box()
    page.evaluate(
        f"for (const row of {REPORT}.widgets) if (row.element) row.width = 100;"
        "app.canvas.setDirty(true, true)"
    )
    page.wait_for_timeout(500)
    assert frame.bounding_box() == before


@RENDERINGS
def test_by_mouse(page: Page, report: Any, vue: bool):
    slider = report(vue)
    place = page.evaluate(f"[...{REPORT}.pos, ...app.canvas.ds.offset]")
    box = slider.locator("..").bounding_box()
    assert box is not None
    assert abs(box["width"] - box["height"]) < 2
    assert box["width"] > 200
    assert edge(slider) == pytest.approx(0.5)
    look(page, f"{vue}_half")
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    for share in (0.6, 0.8, 0.9):
        page.mouse.move(box["x"] + box["width"] * share, y)
        assert edge(slider) == pytest.approx(share, abs=0.02)
    page.mouse.up()
    page.mouse.click(box["x"] + box["width"] * 0.1, y)
    expect(slider).to_have_value(re.compile("^(8|9|10|11|12)$"))
    assert edge(slider) == pytest.approx(0.1, abs=0.02)
    look(page, f"{vue}_left")
    # Neither the node nor the graph went along.
    assert page.evaluate(f"[...{REPORT}.pos, ...app.canvas.ds.offset]") == place


@RENDERINGS
def test_by_keys_and_for_those_who_hear_it(page: Page, report: Any, vue: bool):
    slider = report(vue)
    nodes = page.evaluate("app.graph._nodes.length")
    slider.focus()
    for key, value in {
        "ArrowRight": 51,
        "ArrowLeft": 50,
        "End": 100,
        "Home": 0,
        "ArrowUp": 1,
    }.items():
        page.keyboard.press(key)
        expect(slider).to_have_value(str(value))
        expect(slider).to_have_attribute("aria-valuetext", f"with the cache {value} %")
        assert edge(slider) == pytest.approx(value / 100)
    page.keyboard.press("Delete")
    assert page.evaluate("app.graph._nodes.length") == nodes
    heard = {(role, name) for role, name, _ in spoken(page)}
    assert ("slider", BOTH) in heard
    assert {("image", "with the cache"), ("image", "without the cache")} <= heard
    assert page.evaluate("told.text").endswith(f" of {FRAMES}, which differs most")
    (said,) = {name for role, name in heard if role == "StaticText" and "PSNR: " in name}
    assert said.split() == page.evaluate("told.text").split()


def test_they_are_the_two_that_differ_most(page: Page, report: Any, host: Any):
    report(False)
    plain, cached = [
        np.asarray(Image.open(io.BytesIO(requests.get(source, timeout=30).content)))
        for source in page.evaluate(
            "[...document.querySelectorAll('.sc-compare img')].map(i => i.src)"
        )
    ]
    history = host.client.get(f"/history/{page.evaluate('told.prompt_id')}")
    outputs = history[page.evaluate("told.prompt_id")]["outputs"][page.evaluate("told.node")]
    told = outputs["scaling_cache"][0]["fidelity"]["psnr_worst"]
    assert plain.shape == cached.shape == (64, 64, 3)
    assert peak_signal_noise_ratio(plain, cached, data_range=255) == pytest.approx(told, abs=0.01)


def test_it_is_not_saved_and_goes_with_the_next_report(page: Page, report: Any):
    slider = report(False)
    kept = page.evaluate(f"{REPORT}.widgets.filter(w => w.serialize !== false).map(w => w.name)")
    assert "scaling_cache_pictures" not in kept
    page.evaluate(
        """() => window.comfyAPI.api.api.dispatchEvent(new CustomEvent('scaling_cache.text',
            { detail: { ...told, pictures: [] } }))"""
    )
    expect(slider).to_have_count(0)


@RENDERINGS
@pytest.mark.parametrize(
    "kind", ["ScalingCalibrateCache", "ScalingSuggestSpeedup", "ScalingProfileBlocks"]
)
def test_what_a_tool_says_is_heard(page: Page, vue: bool, kind: str):
    page.evaluate(SET, ["Comfy.VueNodes.Enabled", vue])
    put_alone(page, kind)
    said = ["run 1 of 2, 3:05 min left", "demo.safetensors: Wan, 20 samples"]
    for line in said:
        page.evaluate(
            """line => window.comfyAPI.api.api.dispatchEvent(new CustomEvent('scaling_cache.text',
                { detail: { workflow: app.graph.id, node: String(node.id), text: line } }))""",
            line,
        )
        expect(page.get_by_role("status").filter(has_text=line)).to_be_visible()
        assert ("StaticText", line, "") in spoken(page)
    # One place, whose text changes: that is what a screen reader reads out.
    assert page.locator(".sc-text").count() == 1
    page.evaluate(SET, ["Comfy.VueNodes.Enabled", False])


def test_the_menu_of_a_node_is_heard(page: Page):
    put_alone(page, "ScalingCache")
    page.wait_for_timeout(500)
    x, y = page.evaluate(
        """() => {
            const { left, top } = app.canvas.canvas.getBoundingClientRect()
            return [left + node.pos[0] + 60, top + node.pos[1] - 12]
        }"""
    )
    page.mouse.click(x, y, button="right")
    expect(page.get_by_text("Import coefficient file")).to_be_visible()
    heard = {name for role, name, _ in spoken(page) if role in ("menuitem", "StaticText")}
    assert {"Import coefficient file", "Export coefficient file"} <= heard
    page.keyboard.press("Escape")
    page.evaluate("LiteGraph.closeAllContextMenus(window)")


def test_the_commands_have_names_and_keys(page: Page):
    known = page.evaluate(
        """() => app.extensionManager.command.commands
            .filter(c => c.id.startsWith('ScalingCache.'))
            .map(c => [c.label, c.keybinding?.combo.toString()])"""
    )
    assert sorted(known) == [
        ["Compare with and without cache", "Alt + Shift + c"],
        ["Speed up with Scaling Cache", "Alt + Shift + s"],
        ["Switch all caches on or off", "Alt + Shift + x"],
    ]


def test_no_errors_from_this_pack(page: Page):
    errors: list[Any] = page.errors  # pyright: ignore[reportAttributeAccessIssue]
    assert [m.text for m in errors if "ComfyUI-ScalingCache" in f"{m.text} {m.location}"] == []
