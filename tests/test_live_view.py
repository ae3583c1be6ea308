"""The live view in the real frontend: what a person sees, hovers, and hears of a run."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from cache_core.methods.base import parse_ranges
from demo.host.fetch import ROOT

from .conftest import start

pytestmark = [pytest.mark.host, pytest.mark.browser]

# Set SCREENSHOTS to a folder to look at what the tests saw.
SCREENSHOTS = os.environ.get("SCREENSHOTS")
WORKFLOW = ROOT / "demo" / "workflows" / "demo_video_on.json"
STEPS = 10
# At most so high on the node without a second line, in pixels.
HIGHEST = 64
SET = "([id, value]) => app.extensionManager.setting.set(id, value)"
NODE = "app.graph._nodes.find(n => n.type === 'ScalingCache')"
RENDERINGS = pytest.mark.parametrize("vue", [False, True], ids=["canvas", "vue"])


@pytest.fixture
def live(page: Page) -> Iterator[Page]:
    """The page with the demo workflow in the middle and the messages of its runs in `told`."""
    page.evaluate(
        """() => {
            const api = window.comfyAPI.api.api
            if (!window.told) api.addEventListener('scaling_cache.run', e => told.push(e.detail))
            window.told = []
            window.workflowId = crypto.randomUUID()
        }"""
    )
    open_demo(page)
    yield page
    page.wait_for_function(
        "() => fetch('/queue').then(r => r.json())"
        ".then(q => q.queue_running.length + q.queue_pending.length === 0)"
    )
    for name, value in {
        "Comfy.VueNodes.Enabled": False,
        "Comfy.ColorPalette": "dark",
        "ScalingCache.LiveView": True,
    }.items():
        page.evaluate(SET, [name, value])


def open_demo(page: Page) -> None:
    """Open the workflow of this test: it has an id of its own and small frames, to be quick."""
    page.evaluate(
        "workflow => app.loadGraphData({ ...workflow, id: workflowId })",
        json.loads(WORKFLOW.read_text()),
    )
    page.evaluate(
        """() => {
            const latent = app.graph._nodes.find(n => n.type === 'EmptyHunyuanLatentVideo')
            for (const [name, value] of [['width', 64], ['height', 64], ['length', 5]])
                latent.widgets.find(w => w.name === name).value = value
        }"""
    )
    page.evaluate(
        f"""() => {{
            const [x, y] = {NODE}.pos
            app.canvas.ds.scale = 1
            app.canvas.ds.offset = [600 - x, 300 - y]
            app.canvas.setDirty(true, true)
        }}"""
    )


def render(page: Page, vue: bool) -> None:
    """Open the workflow of this test in this rendering."""
    page.evaluate(SET, ["Comfy.VueNodes.Enabled", vue])
    open_demo(page)


def look(page: Page, name: str) -> None:
    if SCREENSHOTS:
        page.screenshot(path=str(Path(SCREENSHOTS) / f"live_{name}.png"))


def queue(page: Page, steps: int = STEPS, seed: int | None = None, **cache: Any) -> None:
    """Queue the demo with these settings; another seed by default, so that it samples."""
    page.evaluate(
        """([steps, seed, cache]) => {
            told.length = 0
            const set = (kind, name, value) => {
                const node = app.graph._nodes.find(n => n.type === kind)
                node.widgets.find(w => w.name === name).value = value
            }
            set('KSampler', 'steps', steps)
            set('KSampler', 'seed', seed ?? Math.floor(Math.random() * 1e9))
            set('KSampler', 'control_after_generate', 'fixed')
            for (const [name, value] of Object.entries(cache)) set('ScalingCache', name, value)
            const api = window.comfyAPI.api.api
            window.over = new Promise(done =>
                api.addEventListener('execution_success', done, { once: true }))
            app.queuePrompt(0)
        }""",
        [steps, seed, cache],
    )


def finish(page: Page) -> dict[str, Any] | None:
    """Wait for the end of the prompt; the last message of its run, if it sampled with a cache."""
    page.evaluate("window.over")
    return page.evaluate("told.at(-1) ?? null")


def sample(page: Page, steps: int = STEPS, **cache: Any) -> dict[str, Any] | None:
    queue(page, steps, **cache)
    return finish(page)


def view(page: Page) -> Locator:
    return page.locator(".sc-live")


def plot(page: Page) -> Locator:
    return view(page).get_by_role("img")


def kinds(page: Page) -> list[str]:
    """What each mark says, from the first step to the last."""
    return page.evaluate(
        "[...document.querySelectorAll('.sc-live-marks i')].map(i => i.dataset.kind)"
    )


def tip(page: Page) -> Locator:
    return page.get_by_role("tooltip").filter(has_text="Step")


# --- a run


@RENDERINGS
def test_a_mark_per_step_and_the_summary(live: Page, vue: bool):
    live.evaluate(SET, ["Comfy.VueNodes.Enabled", vue])
    assert view(live).count() == 0
    steps = 24
    report = sample(live, steps)
    assert report is not None
    computed = [row[0] for row in report["rows"] if row[2]]
    assert len(computed) == 12
    marks = ["computed" if i in computed else "predicted" for i in range(steps)]
    assert kinds(live) == marks
    expect(view(live)).to_be_visible()
    label = plot(live).get_attribute("aria-label") or ""
    assert label.startswith(
        f"Scaling Cache: {len(computed)} of {steps} steps computed, {steps - len(computed)} predicted"
    )
    # The message has four digits of what the words round.
    for shape, said, last in (
        (r"about ([\d.]+) times faster", label, 0.01),
        (r"asked 2\.0x, about ([\d.]+)x", view(live).inner_text(), 0.1),
    ):
        (about,) = re.findall(shape, said)
        assert float(about) == pytest.approx(report["speedup"], abs=0.51 * last)
    box = view(live).bounding_box()
    assert box is not None
    assert 20 < box["height"] <= HIGHEST
    assert box["width"] > 200
    saved = ", saved " if report["speedup"] > 1 else ""
    expect(view(live)).to_contain_text(f"{len(computed)} of {steps} computed{saved}")
    look(live, f"{'vue' if vue else 'canvas'}_dark")
    live.evaluate(SET, ["Comfy.ColorPalette", "light"])
    live.wait_for_timeout(500)
    look(live, f"{'vue' if vue else 'canvas'}_light")


@RENDERINGS
def test_the_estimate_is_a_line_under_its_limit(live: Page, vue: bool):
    live.evaluate(SET, ["Comfy.VueNodes.Enabled", vue])
    sample(live)
    expect(live.locator(".sc-live svg")).to_be_hidden()
    report = sample(live, 20, mode="error budget", budget=0.1)
    assert report is not None
    known = [row for row in report["rows"] if row[4] is not None]
    assert known
    line = live.locator(".sc-live-estimate").get_attribute("d") or ""
    assert line.count("M") + line.count("L") >= len(known)
    expect(live.locator(".sc-live svg")).to_be_visible()
    box = view(live).bounding_box()
    assert box is not None
    assert box["height"] <= HIGHEST
    look(live, f"{'vue' if vue else 'canvas'}_line")


def test_steps_appear_while_sampling(live: Page):
    live.evaluate(
        """() => {
            window.filled = []
            const count = () => document.querySelectorAll(
                '.sc-live-marks i:is([data-kind=computed], [data-kind=predicted])').length
            const all = () => document.querySelectorAll('.sc-live-marks i').length
            const note = () => {
                const entry = `${count()} of ${all()}`
                if (filled.at(-1) !== entry) filled.push(entry)
            }
            window.watcher = new MutationObserver(note)
            watcher.observe(document.body, { subtree: true, childList: true, attributes: true })
        }"""
    )
    sample(live, 30)
    live.evaluate("watcher.disconnect()")
    seen = live.evaluate("filled.filter(entry => entry.endsWith('of 30'))")
    filled = [int(entry.split()[0]) for entry in seen]
    assert filled == sorted(filled)
    assert len(filled) > 3
    assert filled[-1] == 30


@RENDERINGS
def test_the_reason_for_not_caching_takes_the_place_of_a_run(live: Page, vue: bool):
    render(live, vue)
    sample(live)
    assert len(kinds(live)) == STEPS
    report = sample(live, 3)
    assert report is not None
    expect(view(live)).to_contain_text(f"Not cached. {report['reason']}")
    assert kinds(live) == []
    look(live, f"{'vue' if vue else 'canvas'}_not_cached")


def test_it_stands_right_under_the_inputs_folded_or_not(live: Page):
    # Of so many steps there is nothing to be said in a second line.
    sample(live, 24)
    places = """() => {
        const at = name => %s.widgets.find(w => w.name === name)
        const [end, last, live] = ['end_percent', 'few_steps', 'scaling_cache_live'].map(at)
        return { below: live.y - end.y, belowAdvanced: live.y - last.y, height: live.computedHeight }
    }"""
    folded = live.evaluate(places % NODE)
    live.evaluate(f"{NODE}.showAdvanced = true; app.canvas.setDirty(true, true)")
    live.wait_for_timeout(500)
    unfolded = live.evaluate(places % NODE)
    # A row of the canvas is 24 pixels high.
    assert folded["below"] == unfolded["belowAdvanced"] == 24
    assert unfolded["below"] == 8 * 24
    assert folded["height"] <= HIGHEST


# --- while another run is under way


@RENDERINGS
def test_a_view_that_waits_says_that_the_plain_run_comes_first(vue: bool, live: Page):
    render(live, vue)
    sample(live)
    # A sampler of its own that is switched off, and must be over before the cached one can start.
    live.evaluate(
        f"""() => {{
            const cache = {NODE}
            const sampler = app.graph._nodes.find(n => n.type === 'KSampler')
            const off = LiteGraph.createNode('ScalingCache')
            const plain = sampler.clone()
            for (const node of [off, plain]) app.graph.add(node)
            plain.inputs.forEach((input, slot) => {{
                const link = sampler.getInputLink(slot)
                if (link) app.graph.getNodeById(link.origin_id).connect(link.origin_slot, plain, slot)
            }})
            app.graph.getNodeById(cache.getInputLink(0).origin_id).connect(0, off, 0)
            off.connect(0, plain, 0)
            plain.connect(0, sampler, sampler.inputs.findIndex(i => i.name === 'latent_image'))
            for (const [node, name, value] of [[off, 'speedup', 1], [plain, 'steps', 40]])
                node.widgets.find(w => w.name === name).value = value
            window.said = []
            const note = () => {{
                const shown = document.querySelectorAll('.sc-live-text')
                for (const each of shown) said.push(`${{shown.length}} ${{each.textContent}}`)
            }}
            window.watcher = new MutationObserver(note)
            const whole = {{ subtree: true, childList: true, characterData: true }}
            watcher.observe(document.body, whole)
        }}"""
    )
    queue(live, 24)
    live.wait_for_function("said.at(-1)?.includes('plain run first: ')")
    look(live, f"{'vue' if vue else 'canvas'}_plain_first")
    finish(live)
    live.evaluate("watcher.disconnect()")
    texts: list[str] = live.evaluate("said")
    # The node that is switched off has no view.
    assert {text[0] for text in texts} == {"1"}
    waited = [text[2:] for text in texts if "plain run" in text]
    assert all(re.match(r"plain run first: \d+ of 40 steps", text) for text in waited)
    assert len(set(waited)) > 2
    assert texts.index(f"1 {waited[-1]}") < len(texts) - 1
    expect(view(live)).to_contain_text("of 24 computed")


# --- looking closer


def test_steps_have_one_number_wherever_they_are_named(live: Page, host: Any):
    """Counted from 0: in the view and what it copies, in texts and statistics, where one types them."""
    live.context.grant_permissions(["clipboard-read", "clipboard-write"])
    report = sample(live)
    assert report is not None
    computed = [step for step, _, ran, *_ in report["rows"] if ran]
    told = kinds(live)
    assert [step for step, kind in enumerate(told) if kind == "computed"] == computed
    plot(live).focus()
    live.keyboard.press("Home")
    for step, kind in enumerate(told):
        expect(tip(live)).to_contain_text(f"Step {step} of 0-{STEPS - 1}")
        expect(tip(live)).to_contain_text(f"{kind}: ")
        live.keyboard.press("ArrowRight")
    live.keyboard.press("c")
    expect(view(live).get_by_role("status")).to_contain_text("Copied ")
    copied = live.evaluate("navigator.clipboard.readText()")
    assert list(parse_ranges("computed_steps", copied)) == computed
    said = host.client.get(f"/scaling_cache/runs?prompt_id={report['prompt_id']}")
    assert said["runs"][0]["computed_steps"] == computed
    assert f"Computed steps: {copied}\n" in said["texts"][report["node"]]
    explained = live.evaluate(
        f"{NODE}.constructor.nodeData.input.optional.computed_steps[1].tooltip"
    )
    assert "The first step is 0." in explained
    again = sample(live, computed_steps=copied)
    assert again is not None
    assert [step for step, _, ran, *_ in again["rows"] if ran] == computed


def test_a_tooltip_on_hover(live: Page):
    report = sample(live)
    assert report is not None
    expect(tip(live)).to_have_count(0)
    for step in (0, 4, STEPS - 1):
        box = live.locator(".sc-live-marks i").nth(step).bounding_box()
        assert box is not None
        live.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        _, sigma, computed, reason, *_ = report["rows"][step]
        expect(tip(live)).to_contain_text(f"Step {step} of 0-{STEPS - 1}")
        expect(tip(live)).to_contain_text(f"sigma {float(f'{sigma:.3g}'):g}")
        word = "computed" if computed else "predicted"
        expect(tip(live)).to_contain_text(f"{word}: {report['reasons'][reason]}")
    look(live, "hover")
    live.mouse.move(5, 5)
    expect(tip(live)).to_have_count(0)


def test_a_tooltip_on_focus_and_arrow_keys(live: Page):
    sample(live)
    plot(live).focus()
    live.keyboard.press("Tab")
    expect(tip(live)).to_have_count(0)
    live.keyboard.press("Shift+Tab")
    expect(plot(live)).to_be_focused()
    expect(tip(live)).to_contain_text(f"Step 0 of 0-{STEPS - 1}")
    place = live.evaluate("[...app.canvas.ds.offset]")
    for key, step in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", STEPS - 1)):
        live.keyboard.press(key)
        expect(tip(live)).to_contain_text(f"Step {step} of 0-")
        heard = view(live).get_by_role("status")
        expect(heard).to_contain_text(f"Step {step} of 0-{STEPS - 1}, sigma")
    assert live.evaluate("[...app.canvas.ds.offset]") == place
    look(live, "focus")
    live.keyboard.press("Escape")
    expect(tip(live)).to_have_count(0)


def test_no_motion_for_those_who_want_none(live: Page):
    sample(live)
    duration = "getComputedStyle(document.querySelector('.sc-live-marks i')).transitionDuration"
    assert live.evaluate(duration) != "0s"
    live.emulate_media(reduced_motion="reduce")
    assert live.evaluate(duration) == "0s"
    live.emulate_media(reduced_motion="no-preference")


def test_the_wheel_zooms_the_canvas_through_the_view(live: Page):
    sample(live)
    plot(live).hover()
    live.mouse.wheel(0, -200)
    live.wait_for_function("app.canvas.ds.scale > 1")


# --- what belongs to what


def test_a_second_prompt_clears_the_first(live: Page):
    sample(live)
    plot(live).focus()
    live.keyboard.press("End")
    heard = view(live).get_by_role("status")
    expect(heard).to_contain_text(f"Step {STEPS - 1} of ")
    label = plot(live).get_attribute("aria-label")
    live.evaluate(
        """() => {
            const api = window.comfyAPI.api.api
            const old = told.slice()
            const marks = () => document.querySelectorAll('.sc-live-marks i').length
            window.replay = () => {
                for (const detail of old)
                    api.dispatchEvent(new CustomEvent('scaling_cache.run', { detail }))
                return marks()
            }
            window.cleared = new Promise(done => api.addEventListener(
                'execution_start', () => done([marks(), replay()]), { once: true }))
        }"""
    )
    queue(live, 14)
    assert live.evaluate("cleared") == [0, 0]
    finish(live)
    assert len(kinds(live)) == 14
    expect(heard).to_have_text("")
    assert live.evaluate("replay()") == 14
    assert plot(live).get_attribute("aria-label") != label


@RENDERINGS
def test_a_prompt_that_does_not_sample_leaves_the_last_run(live: Page, vue: bool):
    render(live, vue)
    seed = 5 + vue
    queue(live, seed=seed)
    finish(live)
    label = plot(live).get_attribute("aria-label")
    queue(live, seed=seed)
    assert finish(live) is None
    assert plot(live).get_attribute("aria-label") == f"earlier run: {label}"
    assert len(kinds(live)) == STEPS


@RENDERINGS
def test_a_node_that_is_off_shows_no_old_run(live: Page, vue: bool):
    render(live, vue)
    sample(live)
    report = sample(live, speedup=1.0)
    assert report is not None
    assert report["state"] == "off"
    assert view(live).count() == 0
    sample(live, speedup=2.0)
    assert len(kinds(live)) == STEPS


def test_other_workflows_do_not_show_it_and_coming_back_does(live: Page):
    sample(live)
    label = plot(live).get_attribute("aria-label")
    other = {**json.loads(WORKFLOW.read_text()), "id": "00000000-0000-4000-8000-000000000001"}
    live.evaluate("workflow => app.loadGraphData(workflow)", other)
    assert view(live).count() == 0
    open_demo(live)
    assert plot(live).get_attribute("aria-label") == label
    assert len(kinds(live)) == STEPS


def test_a_lost_message_heals_at_the_end(live: Page):
    """The page misses all but the last message, as after a reload."""
    sample(live)
    last = live.evaluate("told.at(-1)")
    open_demo(live)
    new = {**last, "run": last["run"] + 1}
    live.evaluate(
        "detail => window.comfyAPI.api.api.dispatchEvent("
        "new CustomEvent('scaling_cache.run', { detail }))",
        new,
    )
    assert kinds(live) == ["computed" if row[2] else "predicted" for row in last["rows"]]


@RENDERINGS
def test_inside_a_subgraph(live: Page, vue: bool):
    render(live, vue)
    inner = live.evaluate(
        f"(() => {{ const made = app.graph.convertToSubgraph(new Set([{NODE}]));"
        "window.outer = made.node; return made.subgraph.nodes[0].id })()"
    )
    report = sample(live)
    assert report is not None
    assert report["node"] == f"{live.evaluate('outer.id')}:{inner}"
    bar = live.locator(".sc-bar")
    expect(bar).to_contain_text("Scaling Cache \u00b7 8 of 10 computed")
    live.evaluate("app.canvas.openSubgraph(outer.subgraph)")
    live.evaluate("app.canvas.setDirty(true, true)")
    expect(view(live)).to_have_count(1)
    assert len(kinds(live)) == STEPS
    look(live, f"{'vue' if vue else 'canvas'}_subgraph")


def test_it_stands_on_every_node_that_caches_and_on_no_other(live: Page, host: Any):
    module = "custom_nodes.ComfyUI-ScalingCache"
    info = host.client.get("/object_info")
    ours = [name for name, each in info.items() if each["python_module"] == module]
    sample(live)
    shown = live.evaluate(
        """([kinds, message]) => {
            const api = window.comfyAPI.api.api
            return kinds.filter(kind => {
                const node = LiteGraph.createNode(kind)
                app.graph.add(node)
                const detail = { ...message, node: String(node.id) }
                api.dispatchEvent(new CustomEvent('scaling_cache.run', { detail }))
                return node.widgets.some(w => w.name === 'scaling_cache_live')
            })
        }""",
        [ours, live.evaluate("told.at(-1)")],
    )
    assert set(shown) == {
        "ScalingCache",
        "ScalingTeaCache",
        "ScalingMagCache",
        "ScalingFirstBlockCache",
        "ScalingDeltaCache",
        "ScalingCfgCache",
        "ScalingBranchCache",
        "ScalingStepCacheAdvanced",
    }


@RENDERINGS
def test_a_run_whose_node_is_deleted_goes_on(live: Page, vue: bool):
    render(live, vue)
    live.evaluate(
        """() => {
            window.faults = []
            const note = said => faults.push(String(said.error?.stack ?? said.filename))
            addEventListener('error', note)
            window.forget = () => removeEventListener('error', note)
        }"""
    )
    queue(live, 200)
    live.wait_for_function("told.at(-1)?.rows.length > 0")
    assert view(live).count() == 1
    live.evaluate(f"app.graph.remove({NODE})")
    expect(view(live)).to_have_count(0)
    report = finish(live)
    assert report is not None
    assert report["state"] == "done"
    expect(live.locator(".sc-bar")).to_be_hidden()
    live.evaluate("forget()")
    assert [fault for fault in live.evaluate("faults") if "ComfyUI-ScalingCache" in fault] == []


def test_a_page_beside_it_shows_nothing_of_its_run(live: Page):
    """The same workflow in two tabs: the host tells the one that queued it."""
    other = live.context.browser.new_page()  # pyright: ignore[reportOptionalMemberAccess]
    said: list[str] = []
    other.on("console", lambda message: said.append(f"{message.text} {message.location}"))
    other.on("pageerror", lambda error: said.append(error.stack or ""))
    start(other, live.url)
    other.evaluate("id => { window.workflowId = id }", live.evaluate("workflowId"))
    open_demo(other)
    sample(live)
    expect(view(live)).to_have_count(1)
    assert view(other).count() == 0
    assert [text for text in said if "ComfyUI-ScalingCache" in text] == []
    other.close()


@RENDERINGS
def test_a_page_opens_a_workflow_of_an_older_version(live: Page, vue: bool):
    """Saved before the last inputs came: they have their defaults."""
    render(live, vue)
    workflow = json.loads(WORKFLOW.read_text())
    (cache,) = (node for node in workflow["nodes"] if node["type"] == "ScalingCache")
    cache["widgets_values"] = [1.5, "target speed-up", 0, 1, "scaling"]
    live.evaluate("workflow => app.loadGraphData({ ...workflow, id: workflowId })", workflow)
    values = live.evaluate(f"{NODE}.widgets.map(w => w.value)")
    assert values == [1.5, "target speed-up", 0, 1, "scaling", 0.02, 0, 6, "auto", "", True, "auto"]


# --- what is not the last word is marked


@RENDERINGS
def test_one_display_that_tells_the_truth(vue: bool, live: Page):
    render(live, vue)
    # Fewer steps are left out than asked for: it says so in a line of its own.
    sample(live, 20, speedup=4.0, max_gap=1)
    note = live.locator(".sc-live-note")
    expect(note).to_contain_text("Less than 4.0x")
    colours = "e => [e, e.previousSibling].map(x => getComputedStyle(x).color)"
    assert len(set(note.evaluate(colours))) == 2
    caption = live.locator(".sc-live-text")
    assert caption.evaluate("e => e.scrollWidth <= e.clientWidth")
    assert live.locator(".sc-text").count() == 0
    look(live, f"{'vue' if vue else 'canvas'}_note")
    live.evaluate(f"{NODE}.mode = 4; app.graph.change()")
    live.evaluate("window.comfyAPI.api.api.dispatchEvent(new CustomEvent('graphChanged'))")
    expect(caption).to_contain_text("bypassed: ")
    live.evaluate(f"{NODE}.mode = 0")
    # Cancelled in mid-run.
    queue(live, 400, speedup=2.0, max_gap=6)
    live.wait_for_function("told.at(-1)?.rows.length > 0")
    live.evaluate("fetch('/interrupt', { method: 'POST' })")
    live.wait_for_function("told.at(-1)?.state === 'stopped'")
    expect(caption).to_contain_text("Stopped after ")
    look(live, f"{'vue' if vue else 'canvas'}_stopped")


@RENDERINGS
def test_a_cache_that_a_later_one_replaces_says_so(live: Page, vue: bool):
    render(live, vue)
    live.evaluate(
        f"""() => {{
            const [first, second] = [{NODE}, LiteGraph.createNode('ScalingCache')]
            app.graph.add(second)
            const link = app.graph.links.get(first.outputs[0].links[0])
            const target = app.graph.getNodeById(link.target_id)
            first.connect(0, second, 0)
            second.connect(0, target, link.target_slot)
        }}"""
    )
    # What the host remembers of another rendering says nothing again.
    sample(live, warmup=1 + vue)
    shown = [text.split("\n")[0] for text in view(live).all_inner_texts()]
    assert any(text.startswith("Replaced. Scaling Cache on node") for text in shown), shown
    assert any("of 10 computed" in text for text in shown), shown


@RENDERINGS
def test_a_run_whose_node_is_folded_or_far_off_is_said_in_a_line(live: Page, vue: bool):
    render(live, vue)
    bar = live.locator(".sc-bar")
    live.evaluate(f"{NODE}.collapse()")
    sample(live)
    expect(bar).to_contain_text("Scaling Cache \u00b7 8 of 10 computed")
    look(live, f"{'vue' if vue else 'canvas'}_folded")
    bar.focus()
    live.keyboard.press("Enter")
    expect(bar).to_be_hidden()
    expect(view(live)).to_be_visible()
    live.evaluate("app.canvas.ds.scale = 0.1; app.canvas.setDirty(true, true)")
    expect(bar).to_be_visible()


def spoken(page: Page) -> set[tuple[str, str, str]]:
    """Role, name and description of all that a screen reader is told of, by the browser itself."""
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    parts = ("role", "name", "description")
    return {
        (found[0], found[1], found[2])
        for node in tree
        if not node["ignored"]
        for found in [[node.get(part, {}).get("value", "") for part in parts]]
    }


def test_a_page_for_those_who_hear_it(live: Page):
    """By keys alone: the run, its steps, copied steps, and the way to a node that is folded."""
    live.context.grant_permissions(["clipboard-read", "clipboard-write"])
    report = sample(live)
    assert report is not None
    (name,) = [name for role, name, _ in spoken(live) if role == "image" and "computed" in name]
    assert name.startswith(f"Scaling Cache: 8 of {STEPS} steps computed, 2 predicted")
    keys = "Arrow keys name the steps, C copies the computed ones"
    assert ("image", name, keys) in spoken(live)
    plot(live).focus()
    live.keyboard.press("c")
    expect(view(live).get_by_role("status")).to_have_text(f"Copied {report['computed_steps']}")
    assert live.evaluate("navigator.clipboard.readText()") == report["computed_steps"]
    assert ("StaticText", f"Copied {report['computed_steps']}", "") in spoken(live)
    live.keyboard.press("End")
    assert any(role == "StaticText" and "sigma" in name for role, name, _ in spoken(live))
    live.keyboard.press("Escape")
    # The frontend's own key folds the node; then the line in the window is a button.
    live.locator("#graph-canvas").focus()
    live.evaluate(f"app.canvas.selectNode({NODE})")
    live.keyboard.press("Alt+c")
    bar = live.locator(".sc-bar")
    expect(bar).to_be_visible()
    buttons = {name for role, name, _ in spoken(live) if role == "button"}
    assert any(each.startswith("Scaling Cache \u00b7 8 of 10 computed") for each in buttons)
    for _ in range(80):
        live.keyboard.press("Tab")
        if bar.evaluate("bar => bar === document.activeElement"):
            break
    expect(bar).to_be_focused()
    live.keyboard.press("Enter")
    expect(view(live)).to_be_visible()


@RENDERINGS
def test_a_page_that_missed_steps_is_told_how_many(live: Page, vue: bool):
    """As after a reload in mid-run: the words are of all steps, the marks of those that it knows."""
    render(live, vue)
    queue(live, 12)
    finish(live)
    said = "caption: '10 of 12 steps, 2.0 s left'"
    detail = live.evaluate(f"({{ ...told[0], run: told[0].run + 1, {said} }})")
    live.evaluate(
        "detail => window.comfyAPI.api.api.dispatchEvent("
        "new CustomEvent('scaling_cache.run', { detail }))",
        detail,
    )
    expect(view(live)).to_contain_text("10 of 12 steps, 2.0 s left")


@RENDERINGS
def test_without_the_view_the_summary_stands_there(vue: bool, live: Page):
    live.evaluate(SET, ["Comfy.VueNodes.Enabled", vue])
    live.evaluate(SET, ["ScalingCache.LiveView", False])
    open_demo(live)
    report = sample(live)
    assert report is not None
    words = f"Scaling Cache: computed {len([r for r in report['rows'] if r[2]])} of {STEPS}"
    text = live.locator(".sc-text")
    expect(text).to_have_count(1)
    expect(text).to_contain_text(words)
    look(live, f"{'vue' if vue else 'canvas'}_summary")
    live.evaluate(SET, ["ScalingCache.LiveView", True])
    sample(live)
    expect(text).to_have_count(0)


# --- the switch, and what is saved


def test_switched_off_there_is_none(live: Page):
    sample(live)
    assert view(live).count() == 1
    live.evaluate(SET, ["ScalingCache.LiveView", False])
    assert view(live).count() == 0
    report = sample(live)
    assert report is not None
    assert view(live).count() == 0
    live.evaluate(SET, ["ScalingCache.LiveView", True])
    assert len(kinds(live)) == STEPS


def test_nothing_of_it_is_saved_or_sent(live: Page):
    saved = "app.graph.serialize().nodes.find(n => n.type === 'ScalingCache').widgets_values"
    sent = "app.graphToPrompt().then(p => Object.values(p.output)"
    sent += ".find(n => n.class_type === 'ScalingCache').inputs)"
    before = live.evaluate(saved), live.evaluate(sent)
    sample(live, speedup=2.0, mode="target speed-up")
    # The text under the node is the host's, and the host keeps it out of the prompt alone.
    assert live.evaluate(saved)[: len(before[0])] == before[0]
    assert live.evaluate(sent) == before[1]
    names = live.evaluate(f"{NODE}.widgets.filter(w => w.serialize !== false).map(w => w.name)")
    assert not {"scaling_cache_live", "scaling_cache_text"} & set(names)


def test_no_errors_from_this_pack(page: Page):
    errors: list[Any] = page.errors  # pyright: ignore[reportAttributeAccessIssue]
    assert [m.text for m in errors if "ComfyUI-ScalingCache" in f"{m.text} {m.location}"] == []
