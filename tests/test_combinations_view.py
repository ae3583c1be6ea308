"""Step Cache (Advanced) in real Chromium: what is offered follows the method."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page
from scaling_cache.cache_core.methods.combinations import (
    AUTO,
    GRANULARITIES,
    METHOD_NAMES,
    PREDICTOR_NAMES,
    choose,
)

pytestmark = [pytest.mark.host, pytest.mark.browser]

SCREENSHOTS = os.environ.get("SCREENSHOTS")
SET = "([id, value]) => app.extensionManager.setting.set(id, value)"
SHARED = ("speedup", "threshold", "interval", "warmup", "max_gap", "order", "blocks")


@pytest.fixture
def node(page: Page) -> Any:
    """A function that reads a value off the only node."""
    page.evaluate(
        """() => {
            app.graph.clear()
            LiteGraph.closeAllContextMenus?.()
            window.node = LiteGraph.createNode('ScalingStepCacheAdvanced')
            // Newer frontends remember the inputs of one that had its number before.
            node.id = window.made = (window.made ?? 100) + 1
            node.pos = [500, 200]
            app.graph.add(node)
            app.canvas.ds.scale = 1
            app.canvas.ds.offset = [0, 0]
            window.widget = name => node.widgets.find(w => w.name === name)
            window.choose = (name, value) => {
                widget(name).value = value
                widget(name).callback(value, app.canvas, node)
            }
        }"""
    )
    return page.evaluate


def offered(evaluate: Any, name: str) -> list[str]:
    return evaluate(f"widget('{name}').options.values")


def goes(*chosen: str) -> bool:
    """Whether the host takes a method, a granularity and a predictor."""
    try:
        choose(*chosen)
    except ValueError:
        return False
    return True


def test_only_what_goes_with_a_method_is_offered(node: Any):
    for method in METHOD_NAMES:
        node("name => choose('method', name)", method)
        levels = [level for level in GRANULARITIES if goes(method, level, AUTO)]
        assert offered(node, "granularity") == levels
        for level in levels:
            node("name => choose('granularity', name)", level)
            allowed = [name for name in PREDICTOR_NAMES if goes(method, level, name)]
            assert offered(node, "predictor") == allowed, (method, level)


def test_a_choice_that_no_longer_goes_becomes_auto_and_the_tooltip_says_why(node: Any):
    node("choose('method', 'DiCache'); choose('predictor', 'alignment')")
    assert node("widget('predictor').value") == "alignment"
    node("choose('method', 'TeaCache')")
    assert node("widget('predictor').value") == "auto"
    told = node("widget('predictor').tooltip")
    assert told.startswith("How what is left out is predicted.")
    assert "Not scaling, least squares, order 1, order 2: it follows the noise level" in told
    assert "Not alignment: alignment follows the first blocks" in told
    assert "must be one of" not in told
    assert "Not whole step: TeaCache works inside" in node("widget('granularity').tooltip")


def test_each_node_has_lists_of_its_own(node: Any):
    node("choose('method', 'TeaCache')")
    other = node("LiteGraph.createNode('ScalingStepCacheAdvanced').widgets[1].options.values")
    assert other == ["auto", "whole step", "blocks"]
    assert offered(node, "granularity") == ["auto", "blocks"]


def test_inputs_that_a_method_does_not_use_are_hidden(node: Any):
    def used() -> list[str]:
        return [name for name in SHARED if not node(f"!!widget('{name}').hidden")]

    assert used() == ["speedup", "warmup", "max_gap"]
    node("choose('method', 'TaylorSeer')")
    assert used() == ["interval", "warmup", "order"]
    node("choose('method', 'Delta Cache')")
    assert used() == ["interval", "warmup", "blocks"]


# What each setting leaves of the inputs that are not folded away.
SEEN = {
    ("ScalingCache", "mode", "target speed-up"): "speedup mode start_percent end_percent",
    ("ScalingCache", "mode", "balanced"): "mode start_percent end_percent",
    ("ScalingCache", "mode", "error budget"): "mode start_percent end_percent budget",
    ("ScalingMagCache", "published", True): "model_type published start_percent end_percent",
    ("ScalingDeltaCache", "settings", "hunyuan_video"): "settings start_percent end_percent",
    ("ScalingStepCacheAdvanced", "method", "EasyCache"): (
        "method granularity predictor threshold warmup max_gap start_percent end_percent"
    ),
}
# Whether the row of an input has a hint behind it.
HINTS = """hint => [...document.querySelectorAll('.lg-node .lg-node-widget')].some(
    row => getComputedStyle(row, '::after').content === JSON.stringify(hint))"""
# The threshold that is recommended, before a run.
RECOMMENDED = {
    ("ScalingStepCacheAdvanced", "method", "EasyCache"): "threshold (0 is 0.05)",
    ("ScalingStepCacheAdvanced", "method", "TeaCache"): "threshold (0 is the model's, 0.06 to 1.5)",
    ("ScalingStepCacheAdvanced", "method", "DiCache"): "threshold (0 is the model's, 0.08 to 0.4)",
    ("ScalingTeaCache", "model_type", "flux"): "rel_l1_thresh (0 is 0.4)",
    ("ScalingTeaCache", "model_type", "auto"): "rel_l1_thresh (0 is the model's, 0.06 to 1.5)",
    ("ScalingMagCache", "model_type", "chroma"): "published (threshold 0.1)",
}


@pytest.mark.parametrize("vue", [False, True], ids=["canvas", "vue"])
def test_only_the_inputs_that_a_setting_uses_are_seen(page: Page, node: Any, vue: bool):
    """Beside a model that is linked, after which Nodes 2.0 does not look at the inputs again."""
    page.evaluate(SET, ["Comfy.VueNodes.Enabled", vue])
    try:
        for (kind, name, value), seen in SEEN.items():
            page.evaluate(
                """([kind, name, value]) => {
                    app.graph.clear()
                    window.node = LiteGraph.createNode(kind)
                    node.id = ++window.made
                    const source = LiteGraph.createNode('UNETLoader')
                    node.pos = [500, 200]
                    for (const one of [source, node]) app.graph.add(one)
                    source.connect(0, node, 0)
                    choose(name, value)
                }""",
                [kind, name, value],
            )
            folded = set(node("node.widgets.filter(w => w.advanced).map(w => w.name)"))
            page.wait_for_timeout(500)
            if vue:
                rows = page.locator(".lg-node").nth(1).locator(".lg-node-widget:visible")
                names = [text.split("\n")[0].split(" (")[0] for text in rows.all_inner_texts()]
            else:
                names = node("node.widgets.filter(w => !w.hidden).map(w => w.name)")
            assert [one for one in names if one not in folded] == seen.split(), (kind, value)
            if SCREENSHOTS:
                page.screenshot(path=str(Path(SCREENSHOTS) / f"seen_{vue}_{kind}_{value}.png"))
        # Wide enough for what it says of a run, and no higher than what is seen.
        assert node("node.size[0]") == 360
        assert vue or node("node.size[1] === node.computeSize()[1]")
        for (kind, name, value), label in RECOMMENDED.items():
            page.evaluate(
                """([kind, name, value]) => {
                    app.graph.clear()
                    window.node = LiteGraph.createNode(kind)
                    node.id = ++window.made
                    node.pos = [500, 200]
                    app.graph.add(node)
                    choose(name, value)
                }""",
                [kind, name, value],
            )
            if vue:
                hint = label.partition("(")[2].rstrip(")")
                page.wait_for_function(HINTS, arg=hint)
            else:
                assert label in node("node.widgets.map(w => w.label)")
    finally:
        page.evaluate(SET, ["Comfy.VueNodes.Enabled", False])


def test_a_saved_choice_is_kept_for_the_host_to_refuse(node: Any):
    saved = node(
        """async () => {
            widget('method').value = 'TeaCache'
            widget('predictor').value = 'alignment'
            await app.loadGraphData(app.graph.serialize())
            return app.graph._nodes[0].widgets.find(w => w.name === 'predictor').value
        }"""
    )
    assert saved == "alignment"


@pytest.mark.parametrize("vue", [False, True], ids=["canvas", "vue"])
def test_the_lists_that_open(page: Page, node: Any, vue: bool):
    page.evaluate(SET, ["Comfy.VueNodes.Enabled", vue])
    try:
        page.wait_for_timeout(500)
        node("choose('method', 'TaylorSeer')")
        if vue:
            page.locator(".lg-node").get_by_role("combobox").nth(2).click()
            entries = page.get_by_role("option")
        else:
            x, y = node("[node.pos[0] + 150, node.pos[1] + widget('predictor').y + 10]")
            page.mouse.click(x, y)
            entries = page.locator(".litecontextmenu .litemenu-entry")
        entries.first.wait_for()
        shown = entries.all_inner_texts()
        if SCREENSHOTS:
            page.screenshot(path=str(Path(SCREENSHOTS) / f"combinations_{vue}.png"))
        assert [text.strip() for text in shown] == ["auto", "Taylor 1", "Taylor 2", "Taylor 3"]
        page.keyboard.press("Escape")
    finally:
        page.evaluate(SET, ["Comfy.VueNodes.Enabled", False])
