"""A person at the real frontend in real Chromium: find the node, open a template, read help, run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from demo.host.fetch import ROOT

pytestmark = [pytest.mark.host, pytest.mark.browser]

# Set SCREENSHOTS to a folder to look at what the tests saw.
SCREENSHOTS = os.environ.get("SCREENSHOTS")
NODES = "app.graph._nodes.filter(n => n.type === 'ScalingCache')"


def look(page: Page, name: str) -> None:
    if SCREENSHOTS:
        page.screenshot(path=str(Path(SCREENSHOTS) / f"{name}.png"))


def close_dialogs(page: Page) -> None:
    """Close what the frontend opened, such as the list of models that are not on this machine."""
    for _ in range(5):
        # A dialog that is still fading in ignores the key, so look again.
        page.wait_for_timeout(700)
        if page.get_by_role("dialog").count() == 0:
            return
        page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def open_workflow(page: Page, path: Path) -> None:
    page.evaluate("workflow => app.loadGraphData(workflow)", json.loads(path.read_text()))


def test_search_finds_the_node(page: Page):
    page.evaluate("app.graph.clear()")
    page.mouse.dblclick(800, 800)
    box = page.get_by_placeholder("Search Nodes")
    box.fill("Scaling Cache")
    hit = page.get_by_role("option").filter(has_text="Scaling Cache").first
    expect(hit).to_be_visible()
    look(page, "search")
    page.keyboard.press("Enter")
    page.wait_for_function(f"{NODES}.length === 1")
    widgets = page.evaluate(f"{NODES}[0].widgets.map(w => [w.name, w.value, !!w.advanced])")
    assert widgets == [
        ["speedup", 2, False],
        ["mode", "target speed-up", False],
        ["start_percent", 0, False],
        ["end_percent", 1, False],
        ["predictor", "scaling", True],
        ["budget", 0.02, True],
        ["warmup", 3, True],
        ["max_gap", 6, True],
        ["coefficients", "auto", True],
        ["computed_steps", "", True],
        ["forget what was learned", None, True],
    ]
    look(page, "node")


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "workflows").glob("*.json")))
def test_a_template_opens(page: Page, name: str):
    close_dialogs(page)
    page.evaluate("app.graph.clear()")
    page.evaluate("app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("ComfyUI-ScalingCache").first.click()
    card = dialog.get_by_text(name).first
    expect(card).to_be_visible()
    look(page, f"templates_{name}")
    nodes = json.loads((ROOT / "workflows" / f"{name}.json").read_text())["nodes"]
    ours = sorted(node["type"] for node in nodes if node["type"].startswith("Scaling"))
    assert ours
    card.click()
    found = "app.graph._nodes.map(n => n.type).filter(t => t.startsWith('Scaling')).sort().join()"
    page.wait_for_function(f"{found} === '{','.join(ours)}'")
    missing = page.evaluate(
        "app.graph._nodes.filter(n => !LiteGraph.registered_node_types[n.type]).map(n => n.type)"
    )
    assert missing == []
    close_dialogs(page)
    expect(page.get_by_text("Invalid workflow")).to_have_count(0)
    page.keyboard.press(".")
    look(page, name)


def test_the_help_page(page: Page):
    open_workflow(page, ROOT / "workflows" / "flux1_dev_scaling_cache.json")
    close_dialogs(page)
    page.evaluate(f"app.canvas.selectNode({NODES}[0])")
    page.get_by_test_id("info-button").click()
    expect(page.get_by_text("When not to use it")).to_be_visible()
    look(page, "help")


def test_the_demo_workflow_runs_and_the_node_says_what_it_did(page: Page):
    open_workflow(page, ROOT / "demo" / "workflows" / "demo_video_on.json")
    close_dialogs(page)
    page.evaluate(
        "app.graph._nodes.find(n => n.type === 'KSampler').widgets.find(w => w.name === 'steps')"
        ".value = 10"
    )
    page.evaluate("app.queuePrompt(0)")
    page.wait_for_function(
        f"{NODES}[0].widgets.some(w => String(w.value).startsWith('Scaling Cache: computed 5 of 10'))"
    )
    page.keyboard.press(".")
    look(page, "summary")


def test_the_report_stands_on_its_node_as_text_and_picture(page: Page):
    open_workflow(page, ROOT / "demo" / "workflows" / "demo_video_compare.json")
    close_dialogs(page)
    page.evaluate(
        "app.graph._nodes.find(n => n.type === 'BasicScheduler').widgets.find(w => w.name === 'steps')"
        ".value = 10"
    )
    known = len(page.errors)
    page.evaluate("app.queuePrompt(0)")
    report = "app.graph._nodes.find(n => n.type === 'ScalingCacheReport')"
    page.wait_for_function(f"{report}.imgs?.[0]?.naturalWidth === 1200", timeout=120_000)
    page.wait_for_function(f"{report}.widgets.some(w => String(w.value).includes('PSNR: '))")
    # The frontend looks through the results of the prompt once it has ended.
    page.wait_for_timeout(1500)
    assert not [m.text for m in page.errors[known:] if "Error" in m.text]
    look(page, "report")


def test_reloading_keeps_the_values(page: Page):
    open_workflow(page, ROOT / "demo" / "workflows" / "demo_video_on.json")
    page.evaluate(f"{NODES}[0].widgets.find(w => w.name === 'speedup').value = 1.5")
    page.evaluate(f"{NODES}[0].widgets.find(w => w.name === 'max_gap').value = 4")
    saved = page.evaluate("app.graph.serialize()")
    page.evaluate("app.graph.clear()")
    page.evaluate("workflow => app.loadGraphData(workflow)", saved)
    values = page.evaluate(f"Object.fromEntries({NODES}[0].widgets.map(w => [w.name, w.value]))")
    assert (values["speedup"], values["max_gap"], values["coefficients"]) == (1.5, 4, "auto")


def test_no_errors_from_this_pack(page: Page):
    ours = [m.text for m in page.errors if "ComfyUI-ScalingCache" in f"{m.text} {m.location}"]
    assert ours == []
