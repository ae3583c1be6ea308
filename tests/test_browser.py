"""A person at the real frontend in real Chromium: find the node, open a template, read help, run."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from demo.host.fetch import ROOT
from demo.workflows.today import too_new

from .conftest import search

pytestmark = [pytest.mark.host, pytest.mark.browser]

# Set SCREENSHOTS to a folder to look at what the tests saw.
SCREENSHOTS = os.environ.get("SCREENSHOTS")
NODES = "app.graph._nodes.filter(n => n.type === 'ScalingCache')"

# Pairs of nodes that lie over each other, titles included, at the sizes that the frontend gives them.
OVERLAPS = """() => {
    const boxes = app.graph._nodes.map(n => [n.type, ...n.getBounding()])
    const over = ([, x, y, w, h], [, x2, y2, w2, h2]) =>
        x < x2 + w2 && x2 < x + w && y < y2 + h2 && y2 < y + h
    return boxes.flatMap((a, i) => boxes.slice(i + 1).filter(b => over(a, b)).map(b => [a[0], b[0]]))
}"""

# Pixels of the note's text that lie below its edge; null while it is not drawn.
NOTE = """(() => {
    const shown = [...document.querySelectorAll('.comfy-markdown')].filter(e => e.offsetHeight)
    return shown.length ? Math.max(...shown.map(e => e.scrollHeight - e.clientHeight)) : null
})()"""


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
    page.evaluate(
        "workflow => app.loadGraphData(workflow)", json.loads(path.read_text(encoding="utf-8"))
    )


def test_search_finds_the_node(page: Page):
    search(page, "Scaling Cache")
    hit = page.get_by_role("option").filter(has_text="Scaling Cache").first
    expect(hit).to_be_visible()
    look(page, "search")
    page.keyboard.press("Enter")
    page.wait_for_function(f"{NODES}.length === 1")
    # A newer frontend hangs it on the pointer until one clicks, and hides what else belongs to a node.
    page.mouse.click(800, 800)
    widgets = page.evaluate(f"{NODES}[0].widgets.map(w => [w.name, w.value, !!w.advanced])")
    assert widgets == [
        ["speedup", 2, False],
        ["mode", "target speed-up", False],
        ["start_percent", 0, False],
        ["end_percent", 1, False],
        ["predictor", "auto", True],
        ["budget", 0.02, False],
        ["warmup", 0, True],
        ["max_gap", 6, True],
        ["coefficients", "auto", True],
        ["computed_steps", "", True],
        ["corrector", True, True],
        ["few_steps", "auto", True],
    ]
    look(page, "node")


def test_every_node_folds_its_rare_inputs(page: Page, host: Any):
    rare = {}
    for name, info in host.client.get("/object_info").items():
        if info["python_module"] == "custom_nodes.ComfyUI-ScalingCache":
            specs = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
            rare[name] = [
                k for k, spec in specs.items() if len(spec) > 1 and spec[1].get("advanced")
            ]
    page.evaluate("app.graph.clear()")
    # What is folded takes no room, not even that between two widgets.
    found = page.evaluate(
        """kinds => Object.fromEntries(kinds.map(kind => {
            const node = LiteGraph.createNode(kind)
            app.graph.add(node)
            const gone = w => w.advanced && w.computeSize?.(200)[1] < 0 && !node.isWidgetVisible(w)
            return [kind, (node.widgets ?? []).filter(gone).map(w => w.name)]
        }))""",
        list(rare),
    )
    assert {name: sorted(names) for name, names in found.items()} == {
        name: sorted(names) for name, names in rare.items()
    }
    assert sum(map(bool, rare.values())) == 7


TEMPLATES = sorted((ROOT / "workflows").glob("*.json"), key=lambda path: path.stem)
CHOSEN = (
    "Single method - TeaCache (FLUX.1 dev)",
    "Scaling Cache - Wan 2.1 T2V 1.3B",
    "Scaling Cache - Wan 2.2 T2V 14B",
)


def test_templates_of_scaling_cache_come_first(page: Page):
    listed = page.evaluate("async () => await app.api.getWorkflowTemplates()")[
        "ComfyUI-ScalingCache"
    ]
    assert listed == [path.stem for path in TEMPLATES]
    close_dialogs(page)
    page.evaluate("app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("ComfyUI-ScalingCache").first.click()
    cards = dialog.get_by_text(re.compile("^(Scaling Cache|Single method).* - "))
    expect(cards.first).to_have_text(TEMPLATES[0].stem)
    cards.first.click()
    page.wait_for_function("app.graph._nodes.some(n => n.type === 'ScalingCache')")
    close_dialogs(page)


@pytest.mark.parametrize("name", CHOSEN)
def test_a_template_opens(page: Page, name: str):
    close_dialogs(page)
    page.evaluate("app.graph.clear()")
    page.evaluate("app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("ComfyUI-ScalingCache").first.click()
    # Cards further down appear when one scrolls to them.
    dialog.get_by_placeholder("Search").first.fill(name)
    card = dialog.get_by_text(name, exact=True).first
    expect(card).to_be_visible()
    look(page, f"templates_{name}")
    card.click()
    page.wait_for_function(
        "count => app.graph._nodes.filter(n => n.type.startsWith('Scaling')).length === count",
        arg=own_nodes(ROOT / "workflows" / f"{name}.json"),
    )
    close_dialogs(page)
    expect(page.get_by_text("Invalid workflow")).to_have_count(0)
    page.keyboard.press(".")
    look(page, name)


def own_nodes(path: Path) -> int:
    nodes = json.loads(path.read_text(encoding="utf-8"))["nodes"]
    return sum(node["type"].startswith("Scaling") for node in nodes)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_every_template_is_laid_out_cleanly(page: Page, path: Path, host: Any):
    open_workflow(page, path)
    version = host.client.get("/system_stats")["system"]["comfyui_version"]
    missing = page.evaluate(
        "app.graph._nodes.filter(n => !LiteGraph.registered_node_types[n.type]).map(n => n.type)"
    )
    if missing and too_new(path.stem, version):
        pytest.skip("not in this host")
    assert missing == []
    assert page.evaluate(OVERLAPS) == []
    # A loader is red where its model is not on this machine.
    red = """() => {
        const list = v => typeof v === 'function' ? v() : v
        const offered = w => list(w.options?.values) ?? [w.value]
        const lacks = n => n.widgets?.some(w => !offered(w).includes?.(w.value))
        return app.graph._nodes.filter(n => n.has_errors && !lacks(n)).map(n => n.type)
    }"""
    assert page.evaluate(red) == []
    # All of the note can be read without scrolling. The view may be fitted late after a load, so again.
    page.wait_for_function(
        f"""() => {{
            Object.assign(app.canvas.ds, {{scale: 1, offset: [450, 100]}})
            app.canvas.setDirty(true, true)
            return ({NOTE}) !== null && ({NOTE}) <= 1
        }}"""
    )
    look(page, f"note_{path.stem}")


def test_the_help_page(page: Page):
    open_workflow(page, ROOT / "workflows" / "Scaling Cache - FLUX.1 dev.json")
    close_dialogs(page)
    page.evaluate(f"app.canvas.selectNode({NODES}[0])")
    named = page.get_by_role("button", name="Node Info", exact=True)
    named.or_(page.get_by_test_id("info-button")).first.click()
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
        "document.querySelector('.sc-live')?.innerText.includes('8 of 10 computed')"
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
