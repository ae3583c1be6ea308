"""The pack in another language than English: what it says on its nodes, in its menus and in a toast."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Page, expect

from demo.host.fetch import ROOT

from .conftest import start, toasts
from .test_live_view import NODE, plot, spoken, view

pytestmark = [pytest.mark.host, pytest.mark.browser]

SCREENSHOTS = os.environ.get("SCREENSHOTS")
SET = "([id, value]) => app.extensionManager.setting.set(id, value)"
CATALOGUES = sorted((ROOT / "locales").glob("*/messages.json"))
# Names, and units.
KEPT = {"scaling", "cache", "sigma", "c", "psnr", "ssim", "gmsd"}
KEPT |= {"x", "db", "ms", "s", "min", "mib", "kib"}
RENDERINGS = pytest.mark.parametrize("vue", [False, True], ids=["canvas", "vue"])


def english(text: str) -> set[str]:
    """Words of English in a text, without names and units."""
    return {word.lower() for word in re.findall(r"[A-Za-z]+", text)} - KEPT


@pytest.fixture(scope="module")
def chinese(page: Page) -> Iterator[Page]:
    """The page as it opens for a user who has chosen the language."""
    page.evaluate(SET, ["Comfy.Locale", "zh"])
    start(page, page.url)
    yield page
    page.evaluate(SET, ["Comfy.VueNodes.Enabled", False])
    page.evaluate(SET, ["Comfy.Locale", "en"])


def run(page: Page, name: str, steps: int = 10) -> None:
    """Run a small workflow of the demo model."""
    workflow = json.loads((ROOT / "demo" / "workflows" / f"{name}.json").read_text())
    page.evaluate(
        """async ([workflow, steps]) => {
            await app.loadGraphData({ ...workflow, id: crypto.randomUUID() })
            const set = (name, value) => app.graph._nodes.flatMap(n => n.widgets ?? [])
                .filter(w => w.name === name).forEach(w => { w.value = value })
            for (const [name, value] of Object.entries({ steps, width: 64, height: 64, length: 5,
                seed: Math.floor(Math.random() * 1e9), noise_seed: Math.floor(Math.random() * 1e9) }))
                set(name, value)
            const { api } = window.comfyAPI.api
            const over = new Promise(done =>
                api.addEventListener('execution_success', done, { once: true }))
            app.queuePrompt(0)
            await over
        }""",
        [workflow, steps],
    )


def show(page: Page, kind: str) -> None:
    page.evaluate(
        """kind => {
            const { pos: [x, y] } = app.graph._nodes.find(n => n.type === kind)
            app.canvas.ds.scale = 1
            app.canvas.ds.offset = [600 - x, 200 - y]
            app.canvas.setDirty(true, true)
        }""",
        kind,
    )


def look(page: Page, name: str) -> None:
    if SCREENSHOTS:
        page.wait_for_timeout(700)
        page.screenshot(path=str(Path(SCREENSHOTS) / f"zh_{name}.png"))


@RENDERINGS
def test_the_live_view_is_in_it(chinese: Page, vue: bool):
    chinese.evaluate(SET, ["Comfy.VueNodes.Enabled", vue])
    run(chinese, "demo_video_on")
    show(chinese, "ScalingCache")
    expect(view(chinese)).to_contain_text("已计算 8/10")
    assert english(view(chinese).inner_text()) == set()
    label = plot(chinese).get_attribute("aria-label") or ""
    assert "Scaling Cache：共 10 步，计算 8 步，预测 2 步" in label
    assert english(label) == set()
    heard = {said for role, name, said in spoken(chinese) if name.split() == label.split()}
    (keys,) = filter(None, heard)
    assert "方向键" in keys
    plot(chinese).focus()
    for key in ("Home", "ArrowRight", "End"):
        chinese.keyboard.press(key)
        told = view(chinese).get_by_role("status").text_content() or ""
        assert re.match(r"第 \d 步（从 0 到 9）", told)
        assert english(told) == set()
    look(chinese, f"{'vue' if vue else 'canvas'}_live")
    chinese.keyboard.press("Escape")


def test_a_refusal_is_in_it(chinese: Page):
    run(chinese, "demo_video_on", steps=3)
    expect(view(chinese)).to_contain_text("未使用缓存。")
    assert english(view(chinese).inner_text()) == set()


def test_the_report_is_in_it(chinese: Page):
    run(chinese, "demo_video_compare", steps=12)
    show(chinese, "ScalingCacheReport")
    expect(chinese.get_by_role("slider", name="使用缓存, 不用缓存")).to_be_visible()
    text = chinese.locator(".sc-text").inner_text()
    assert "PSNR" in text
    assert english(text) == set()
    look(chinese, "report")


def test_menus_commands_and_the_setting_are_in_it(chinese: Page):
    run(chinese, "demo_video_on")
    entries = """kind => app.collectNodeMenuItems(app.graph._nodes.find(n => n.type === kind))
        .map(item => item?.content)"""
    assert "用 Scaling Cache 加速" in chinese.evaluate(entries, "KSampler")
    assert "导入系数文件" in chinese.evaluate(entries, "ScalingCache")
    label = "id => app.extensionManager.command.commands.find(c => c.id === id).label"
    assert chinese.evaluate(label, "ScalingCache.Compare") == "比较有无缓存"


def test_a_toast_is_in_it(chinese: Page):
    chinese.route("**/scaling_cache/coefficients*", lambda route: route.fulfill(status=502))
    chinese.evaluate(f"{NODE}.widgets.find(w => w.name === 'coefficients').value = 'a.safetensors'")
    chinese.evaluate(
        f"app.collectNodeMenuItems({NODE}).find(i => i.content === '导出系数文件').callback()"
    )
    expect(toasts(chinese, "ComfyUI 返回 502").last).to_be_visible()
    chinese.unroute("**/scaling_cache/coefficients*")


def test_a_sentence_that_is_not_known_stays(chinese: Page):
    run(chinese, "demo_video_on")
    chinese.evaluate(
        f"""() => window.comfyAPI.api.api.dispatchEvent(new CustomEvent('scaling_cache.run', {{
            detail: {{ workflow: app.graph.id, node: String({NODE}.id), run: 1e15, state: 'refused',
                caption: 'Not cached. Purple elephants' }} }}))"""
    )
    expect(view(chinese)).to_contain_text("未使用缓存。Purple elephants")


def test_english_comes_back_without_a_reload(chinese: Page):
    """The page is told of another language before the setting holds it."""
    chinese.evaluate(SET, ["Comfy.Locale", "en"])
    run(chinese, "demo_video_on")
    expect(view(chinese)).to_contain_text("8 of 10 computed")


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parent.name)
def test_a_catalogue_is_served_as_it_is(host: Any, path: Path):
    answer = requests.get(
        f"{host.server.url}/scaling_cache/messages", {"language": path.parent.name}, timeout=30
    )
    assert answer.json() == json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("language", ["en", "", "xx", "..", "../zh", "zh/..", "%00"])
def test_a_language_without_one_has_none(host: Any, language: str):
    address = f"{host.server.url}/scaling_cache/messages?language={language}"
    assert requests.get(address, timeout=30).json() == {}


def test_no_errors_from_this_pack(page: Page):
    errors: list[Any] = page.errors  # pyright: ignore[reportAttributeAccessIssue]
    assert [m.text for m in errors if "ComfyUI-ScalingCache" in f"{m.text} {m.location}"] == []
