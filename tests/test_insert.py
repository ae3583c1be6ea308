"""How a person finds the cache and puts it into a graph, in both renderings: by search, menu, keys."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from demo.host.fetch import ROOT

from .conftest import search

pytestmark = [pytest.mark.host, pytest.mark.browser]

BLUEPRINTS = sorted((ROOT / "subgraphs").glob("*.json"))
SCREENSHOTS = os.environ.get("SCREENSHOTS")
# Of each sampler: what its model comes from, and that from.
MODELS = """app.graph._nodes.filter(n => n.type === 'KSampler').map(n =>
    [n.getInputNode(0)?.type, n.getInputNode(0)?.getInputNode(0)?.type])"""
CACHES = "app.graph._nodes.filter(n => n.type === 'ScalingCache')"
CACHED, PLAIN = ["ScalingCache", "ModelSamplingSD3"], ["ModelSamplingSD3", "UNETLoader"]
SET = "([id, value]) => app.extensionManager.setting.set(id, value)"


@pytest.fixture(scope="module", autouse=True, params=[False, True], ids=["canvas", "vue"])
def rendering(page: Page, request: Any) -> Iterator[None]:
    page.evaluate(SET, ["Comfy.VueNodes.Enabled", request.param])
    yield
    page.evaluate(SET, ["Comfy.VueNodes.Enabled", False])


def open_without_cache(page: Page) -> None:
    workflow = json.loads((ROOT / "demo" / "workflows" / "demo_video_on.json").read_text())
    page.evaluate(
        """async workflow => {
            await app.loadGraphData({ ...workflow, id: crypto.randomUUID() })
            const [cache] = app.graph._nodes.filter(n => n.type === 'ScalingCache')
            const [sampler] = app.graph._nodes.filter(n => n.type === 'KSampler')
            cache.getInputNode(0).connect(cache.getInputLink(0).origin_slot, sampler, 0)
            app.graph.remove(cache)
            app.canvas.selectNode(sampler)
        }""",
        workflow,
    )
    assert page.evaluate(MODELS) == [PLAIN]


@pytest.mark.parametrize("words", ["faster", "speed up", "skip steps", "teacache", "加速", "缓存"])
def test_the_search_finds_it_by_what_it_does(page: Page, words: str):
    search(page, words)
    hits = page.get_by_role("option").filter(has_text="Cache")
    hits.first.wait_for()
    assert any("ScalingCache" in text for text in hits.all_inner_texts())
    if SCREENSHOTS:
        page.screenshot(path=str(Path(SCREENSHOTS) / f"search_{words}.png"))
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")


@pytest.mark.parametrize("blueprint", BLUEPRINTS, ids=lambda path: path.stem)
def test_a_blueprint_is_found_and_placed(page: Page, blueprint: Path):
    content = json.loads(blueprint.read_text(encoding="utf-8"))
    search(page, blueprint.stem)
    hit = page.get_by_role("option").filter(has_text=blueprint.stem).first
    hit.wait_for()
    if SCREENSHOTS:
        page.screenshot(path=str(Path(SCREENSHOTS) / f"{blueprint.stem}.png"))
    page.keyboard.press("Enter")
    page.wait_for_function("app.graph._nodes.length === 1")
    page.mouse.click(700, 400)  # newer frontends let one choose the place
    (placed,) = page.evaluate(
        """app.graph._nodes.map(n => ({title: n.title, inputs: n.inputs.map(i => i.name),
            outputs: n.outputs.map(o => o.name),
            values: Object.fromEntries(n.widgets.map(w => [w.name.split(": ").at(-1), w.value])),
            inside: n.subgraph.nodes.map(n => n.type),
            missing: n.subgraph.nodes.filter(n => n.has_errors).length}))"""
    )
    (node,) = content["nodes"]
    (inside,) = content["definitions"]["subgraphs"]
    assert placed["title"] == blueprint.stem
    assert placed["outputs"] == [each["name"] for each in node["outputs"]]
    # Newer frontends give a widget that is set from outside an input too.
    named = [each["name"] for each in node["inputs"]]
    assert placed["inputs"][: len(named)] == named
    assert set(placed["inputs"][len(named) :]) <= placed["values"].keys()
    assert placed["inside"] == [each["type"] for each in inside["nodes"]]
    assert placed["missing"] == 0
    values = {"steps": 20, "cfg": 4, "sampler_name": "euler", "scheduler": "simple", "speedup": 2}
    if blueprint.stem.startswith("Draft"):
        del values["speedup"]
    assert placed["values"].items() >= values.items()


def test_its_title_is_short(page: Page):
    assert page.evaluate("LiteGraph.createNode('ScalingCache').title") == "Scaling Cache"


def test_keys_put_a_cache_on_a_sampler_compare_and_switch_it_off(page: Page):
    open_without_cache(page)
    page.keyboard.press("Alt+Shift+S")
    page.wait_for_function(f"{CACHES}.length === 1")
    assert page.evaluate(MODELS) == [CACHED]
    # There is one already.
    page.keyboard.press("Alt+Shift+S")
    page.wait_for_timeout(300)
    assert page.evaluate(MODELS) == [CACHED]
    page.keyboard.press("Alt+Shift+C")
    page.wait_for_function(f"{CACHES}.length === 2")
    assert page.evaluate(MODELS) == [CACHED, CACHED]
    speedups = f"{CACHES}.map(n => n.widgets.find(w => w.name === 'speedup').value)"
    assert page.evaluate(speedups) == [2, 1]
    report = "app.graph._nodes.find(n => n.type === 'ScalingCacheReport')"
    linked = page.evaluate(f"{report}.inputs.filter(i => i.link != null).map(i => i.name)")
    assert sorted(linked) == ["latent", "model", "reference_latent", "reference_model"]
    seeds = "app.graph._nodes.filter(n => n.type === 'KSampler').map(n => n.widgets[0].value)"
    assert len(set(page.evaluate(seeds))) == 1
    page.keyboard.press(".")
    if SCREENSHOTS:
        page.wait_for_timeout(800)
        page.screenshot(path=str(Path(SCREENSHOTS) / "compare.png"))
    for mode in (4, 0):
        page.keyboard.press("Alt+Shift+X")
        page.wait_for_function(f"{CACHES}.every(n => n.mode === {mode})")


def test_the_menu_of_a_sampler_and_of_a_loader_has_it(page: Page):
    open_without_cache(page)
    for kind, entries in (("KSampler", 2), ("UNETLoader", 1), ("VAEDecode", 0)):
        found = page.evaluate(
            """kind => window.comfyAPI.app.app.collectNodeMenuItems(
                app.graph._nodes.find(n => n.type === kind)).map(item => item?.content)""",
            kind,
        )
        ours = [
            text for text in found if text and ("Scaling Cache" in text or "without cache" in text)
        ]
        assert len(ours) == entries, (kind, ours)


def test_a_right_click_on_a_sampler_puts_one_on_it(page: Page):
    open_without_cache(page)
    vue, version = page.evaluate("[LiteGraph.vueNodesMode, __COMFYUI_FRONTEND_VERSION__]")
    if vue and version.startswith("1.32."):
        pytest.skip("Nodes 2.0 of this frontend have a menu without what packs add")
    x, y = page.evaluate(
        """() => {
            const { pos: [x, y] } = app.graph._nodes.find(n => n.type === 'KSampler')
            app.canvas.ds.scale = 1
            app.canvas.ds.offset = [600 - x, 300 - y]
            app.canvas.draw(true, true)
            const { left, top } = app.canvas.canvas.getBoundingClientRect()
            return [left + 660, top + 288]
        }"""
    )
    page.wait_for_timeout(500)
    page.mouse.click(x, y, button="right")
    entry = page.get_by_text("Speed up with Scaling Cache", exact=True)
    expect(entry).to_be_visible()
    if SCREENSHOTS:
        page.screenshot(path=str(Path(SCREENSHOTS) / f"right_click_{vue}.png"))
    entry.click()
    page.wait_for_function(f"{CACHES}.length === 1")
    assert page.evaluate(MODELS) == [CACHED]


def test_the_menu_of_the_window_puts_one_on_what_is_selected(page: Page):
    open_without_cache(page)
    newer = page.get_by_test_id("comfy-menu-button")
    page.locator(".comfy-menu-button-wrapper").or_(newer).first.click()
    # The other one manages them.
    page.get_by_role("menuitem").filter(has_text="Extensions").first.hover()
    page.get_by_role("menuitem").filter(has_text="Speed up with Scaling Cache").last.click()
    page.wait_for_function(f"{CACHES}.length === 1")
    assert page.evaluate(MODELS) == [CACHED]


def test_a_pair_of_samplers_gets_a_cache_each(page: Page):
    """As of Wan 2.2: one model for the noisy half, one for the other."""
    path = ROOT / "workflows" / "Scaling Cache - Wan 2.2 T2V 14B.json"
    page.evaluate("workflow => app.loadGraphData(workflow)", json.loads(path.read_text()))
    page.evaluate(
        f"""() => {{
            for (const cache of {CACHES}) {{
                const [sampler] = cache.getOutputNodes(0)
                cache.getInputNode(0).connect(cache.getInputLink(0).origin_slot, sampler, 0)
                app.graph.remove(cache)
            }}
            app.canvas.selectNode(app.graph._nodes.find(n => n.type === 'KSamplerAdvanced'))
        }}"""
    )
    assert page.evaluate(f"{CACHES}.length") == 0
    page.evaluate("app.extensionManager.command.execute('ScalingCache.SpeedUp')")
    assert page.evaluate(f"{CACHES}.length") == 2
    page.evaluate("app.extensionManager.command.execute('ScalingCache.Compare')")
    assert page.evaluate("app.graph._nodes.filter(n => n.type === 'KSamplerAdvanced').length") == 4
    assert page.evaluate(f"{CACHES}.length") == 4


def test_no_errors_from_this_pack(page: Page):
    errors = page.errors  # pyright: ignore[reportAttributeAccessIssue]
    assert [m.text for m in errors if "ComfyUI-ScalingCache" in f"{m.text} {m.location}"] == []


def test_the_scripts_are_small():
    assert sum(path.stat().st_size for path in (ROOT / "web").rglob("*.js")) < 40 * 1024
