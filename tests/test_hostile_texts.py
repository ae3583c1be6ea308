"""What a file, a name or a workflow says is shown as it stands and never runs, wherever text is shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import randrange
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Locator, Page, expect
from scaling_cache.cache_core.calibration.files import CoefficientFile, Provenance, store
from scaling_cache.cache_core.planning.gram import GramTable

from demo.host.fetch import ROOT

from .conftest import toasts

np = pytest.importorskip("numpy")
pytestmark = [pytest.mark.host, pytest.mark.browser]

RUN = "window.__xss=1"
IMAGE = f"<img src=x onerror={RUN}>"
# Texts that would run something, make an element or a link, or break what shows them.
TEXTS = {
    "image": IMAGE,
    "vector image": f"<svg onload={RUN}></svg>",
    "nested": f"<svg><animate onbegin={RUN} attributeName=x dur=1s>",
    "details": f"<details open ontoggle={RUN}>x</details>",
    "frame": "<iframe srcdoc='<script>parent.__xss=1</script>'></iframe>",
    "script frame": "<iframe src='javascript:parent.__xss=1'></iframe>",
    "focus": f"<input autofocus onfocus={RUN}>",
    "media": f"<video><source onerror={RUN}></video>",
    "style": f"<style>@keyframes a{{}}</style><b style='animation:a' onanimationstart={RUN}>x</b>",
    "way out": f"</span></div>\"'>{IMAGE}",
    "comment": f"<!--><img src=x onerror={RUN}>-->",
    "foreign": f"<math><mtext><style><img src=x onerror={RUN}></style></mtext></math>",
    "unclosed": f"<img src=x onerror={RUN} ",
    "upper case": f"<IMG SRC=x ONERROR={RUN}>",
    "slashes": f"<img/src=x/onerror={RUN}>",
    "address": f"https://evil.example/{IMAGE}",
    "bare address": "https://evil.example/log-in-again",
    "bare name": "www.evil.example/log-in-again",
    "link": "[[Update needed|https://evil.example/]]",
    "script link": f"[[Update|javascript:{RUN}]]",
    "link with image": f'[[{IMAGE}|https://x" onmouseover="{RUN}]]',
    "three brackets": "[[[Update needed|https://evil.example/]]]",
    "placeholder": "__LNK0__ ___LNK99__",
    "placeholder and link": f"[[a|http://x]] __LNK0__ {IMAGE}",
    "entities": "&lt;b&gt; &amp;lt; &#60;img&#62; &copy",
    "numeric entities": f"&#60;img src=x onerror={RUN}&#62;",
    "template": "{{constructor.constructor('window.__xss=1')()}} ${window.__xss=1}",
    "locale": "@:g.cancel {count} | {0} @.upper:g.close",
    "markdown": f'![x](x"onerror="{RUN}) [a](javascript:{RUN}) **b**',
    "emphasis": "**b** *i* _i_ __b__ ~~d~~ ~d~ a_b_c",
    "code": "`a` ``b`` ```",
    "mail": "admin@evil.example",
    "tracking": "![x](https://evil.example/you.png)",
    "reference": "[x]: https://evil.example [x] [x][] [^1]",
    "heading": "# Update needed",
    "list": "- a",
    "numbers": "12. a",
    "quote": "> a",
    "rule": "---",
    "indented": "    a",
    "escapes": "\\* \\< C:\\models\\_x_",
    "direction": "abc\u202egnp.exe\u202c \u2066x\u2069",
    "prototype": "__proto__ constructor toString",
    "long": "x" * 150 + IMAGE,
}
EACH = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
FEW = pytest.mark.parametrize("text", [TEXTS[n] for n in ("image", "way out", "script link")])
RENDERINGS = pytest.mark.parametrize("vue", [False, True], ids=["canvas", "vue"])
SET = "([id, value]) => app.extensionManager.setting.set(id, value)"


@pytest.fixture
def clean(page: Page) -> Iterator[Page]:
    """An empty graph; at the end nothing of the texts has run."""
    page.set_default_timeout(8_000)
    page.evaluate("app.graph.clear()")
    page.evaluate("LiteGraph.closeAllContextMenus(window)")
    page.evaluate("window.__xss = undefined")
    # What was said in earlier tests stays for some seconds.
    page.evaluate("app.extensionManager.toast.removeAll()")
    expect(toasts(page, "")).to_have_count(0)
    known = len(page.errors)  # pyright: ignore[reportAttributeAccessIssue]
    yield page
    # An image that fails later than any of the texts' has failed.
    page.evaluate(
        "new Promise(done => { const i = new Image(); i.onerror = done; i.src = '/no-such-image' })"
    )
    assert page.evaluate("window.__xss") is None
    said = [m.text for m in page.errors[known:]]  # pyright: ignore[reportAttributeAccessIssue]
    assert not [text for text in said if "TypeError" in text]
    page.keyboard.press("Escape")
    page.evaluate(SET, ["Comfy.VueNodes.Enabled", False])


def add(page: Page, kind: str, **values: Any) -> None:
    """Put a node in the middle; it is `window.node`."""
    page.evaluate(
        """([kind, values]) => {
            window.node = LiteGraph.createNode(kind)
            node.pos = [500, 200]
            app.graph.add(node)
            for (const [name, value] of Object.entries(values))
                node.widgets.find(w => w.name === name).value = value
            app.canvas.ds.scale = 1
            app.canvas.ds.offset = [0, 0]
            app.canvas.draw(true, true)
        }""",
        [kind, values],
    )


def load(page: Page, kind: str, **values: Any) -> None:
    """The same, by opening a workflow that holds the values."""
    add(page, kind)
    saved = page.evaluate(
        """values => {
            const saved = app.graph.serialize()
            node.widgets.forEach((w, i) => {
                if (w.name in values) saved.nodes[0].widgets_values[i] = values[w.name]
            })
            return saved
        }""",
        values,
    )
    page.evaluate("workflow => app.loadGraphData(workflow)", saved)
    page.evaluate("void (window.node = app.graph._nodes[0])")


def run(page: Page, wait: str = "execution_success") -> None:
    page.evaluate(
        """wait => {
            const api = window.comfyAPI.api.api
            const over = new Promise(done => api.addEventListener(wait, done, { once: true }))
            app.queuePrompt(0)
            return over
        }""",
        wait,
    )


# What stands under a node, and the elements in it.
PLACES = ".break-all > span", ".comfy-markdown-content", ".sc-text", ".sc-live-note"
UNDER = f"[...document.querySelectorAll({', '.join(PLACES)!r})]"


def shown_under(page: Page) -> Callable[[str], None]:
    def check(text: str) -> None:
        page.wait_for_function(f"text => {UNDER}.some(e => e.textContent.includes(text))", arg=text)
        assert (
            page.evaluate(f"{UNDER}.flatMap(e => [...e.querySelectorAll(':not(br, p)')]).length")
            == 0
        )

    return check


# --- under the nodes


@RENDERINGS
@EACH
def test_under_a_node(clean: Page, text: str, vue: bool):
    clean.evaluate(SET, ["Comfy.VueNodes.Enabled", vue])
    add(clean, "TestSay", text=text)
    run(clean)
    shown_under(clean)(text)


@pytest.fixture
def file(coefficients: Path) -> Callable[[str, str], str]:
    """Writes a coefficient file with a text in all of its provenance."""

    def made(text: str, name: str = "hostile.safetensors") -> str:
        provenance = Provenance(text, text, text, 1.0, (16, 64, 64), 1, text, text)
        table = GramTable(np.array([1.0, 0.5, 0.1]), np.eye(3)[None])
        store(coefficients / name, CoefficientFile(provenance, table, table))
        return name

    return made


def open_demo(page: Page, **values: Any) -> None:
    """The demo with these values in the cache node, which is `window.node`; it samples anew each time."""
    workflow = json.loads((ROOT / "demo" / "workflows" / "demo_video_on.json").read_text())
    small = {
        "KSampler": {"steps": 8, "seed": randrange(2**32)},
        "EmptyHunyuanLatentVideo": {"width": 64, "height": 64, "length": 1},
    }
    page.evaluate(
        """async ([workflow, values]) => {
            await app.refreshComboInNodes()
            await app.loadGraphData(workflow)
            for (const node of app.graph._nodes)
                for (const [name, value] of Object.entries(values[node.type] ?? {}))
                    node.widgets.find(w => w.name === name).value = value
            window.node = app.graph._nodes.find(n => n.type === 'ScalingCache')
        }""",
        [workflow, {**small, "ScalingCache": values}],
    )


@pytest.mark.parametrize(
    "text", [TEXTS[n] for n in ("image", "way out", "link", "placeholder", "entities")]
)
def test_a_coefficient_file_of_another_model(clean: Page, host: Any, file: Any, text: str):
    open_demo(clean, coefficients=file(text), predictor="least squares")
    run(clean)
    shown_under(clean)("hostile.safetensors")
    shown_under(clean)(text)


@pytest.mark.parametrize("name", ["&lt;b&gt;", "[[a|b]]", "www.evil.example", "__LNK0__", "a'b"])
def test_a_name_of_a_coefficient_file(clean: Page, file: Any, name: str):
    open_demo(clean, coefficients=file("x", f"{name}.safetensors"), predictor="least squares")
    run(clean)
    shown_under(clean)(f"{name}.safetensors")


def refusal(page: Page, widget: str) -> Locator:
    """Where the frontend says that the host refuses a value: in a dialog, newer ones over the queue."""
    return page.get_by_role("dialog").or_(page.get_by_role("status")).filter(has_text=widget).first


def start_of(text: str) -> str:
    """As far as no message puts it into other quotes."""
    return text.split("'")[0].split('"')[0]


def see(page: Page, refused: Locator, text: str) -> None:
    """The value stands in what is said, or on newer frontends in its details."""
    start = start_of(text)
    if start not in (refused.text_content() or ""):
        refused.get_by_role("button", name="View details").click()
        page.get_by_role("button", name="Info for").first.click()
    expect(page.get_by_text(start).first).to_be_visible()


@FEW
def test_a_coefficient_file_that_is_gone(clean: Page, text: str):
    """The host refuses it; where the host does not check choices, the node says so after the run."""
    open_demo(clean, coefficients=text)
    clean.evaluate("app.queuePrompt(0)")
    note = clean.locator(".sc-live-note", has_text="is gone")
    # What was said of the text before may still be on its way out.
    said = refusal(clean, "coefficients").or_(note).filter(has_text=start_of(text))
    expect(said.first).to_be_visible(timeout=30_000)
    if note.count():
        shown_under(clean)(f"coefficients: {text} is gone")


# --- the live view


def tell(page: Page, **message: Any) -> None:
    """A message of a run, as the host's side sends it, in a prompt of its own."""
    add(page, "ScalingCache")
    page.evaluate(
        """message => {
            const tell = (kind, detail) => window.comfyAPI.api.api.dispatchEvent(
                new CustomEvent(kind, { detail: { prompt_id: 'p', ...detail } }));
            tell('execution_start', { timestamp: 1 });
            tell('scaling_cache.run', { node: String(node.id), workflow: app.graph.id, ...message });
            tell('execution_success', { timestamp: 2 });
        }""",
        {"run": 1, **message},
    )


@EACH
def test_the_live_view(clean: Page, text: str):
    rows = [[0, 1.0, 1, 0, None, None], [1, 0.5, 0, 1, 0.1, 0.2]]
    done = {
        "seconds": 1,
        "seconds_computed": 1,
        "seconds_predicted": 0,
        "speedup": 2,
        "steps": 2,
        "rows": rows,
        "caption": text,
        "speed": text,
        "summary": text,
    }
    tell(clean, state="done", name=text, reasons=[text, f"{text}!"], notes=[text], **done)
    view = clean.locator(".sc-live")
    plot = view.locator(".sc-live-plot")
    assert text in (plot.get_attribute("aria-label") or "")
    assert text == clean.locator(".sc-live-text").last.text_content()
    assert text == clean.locator(".sc-live-speedup").last.text_content()
    plot.focus()
    clean.keyboard.press("ArrowLeft")
    tip = clean.get_by_role("tooltip").filter(has_text="Step 0 of 0-1")
    expect(tip).to_be_visible()
    assert f"computed: {text}" in (tip.text_content() or "")
    assert text in (view.get_by_role("status").text_content() or "")
    tell(clean, state="refused", caption=f"Not cached. {text}", run=2)
    assert f"Not cached. {text}" == clean.locator(".sc-live-text").last.text_content()
    tell(
        clean,
        state="done",
        name="x",
        reasons=["y"],
        notes=[text],
        **{**done, "rows": rows[:1]},
        run=3,
    )
    assert clean.locator(".sc-live-note").last.text_content() == text
    assert (
        clean.locator(".sc-live :not(div, span, svg, i, path), .sc-live-tip :not(div)").count() == 0
    )


# --- menus and toasts


def right_click(page: Page) -> None:
    x, y = page.evaluate(
        """() => {
            const { left, top } = app.canvas.canvas.getBoundingClientRect()
            return [left + node.pos[0] + 60, top + node.pos[1] - 12]
        }"""
    )
    page.mouse.click(x, y, button="right")


@FEW
@pytest.mark.parametrize(
    ("kind", "widget"),
    [
        ("ScalingCache", "coefficients"),
        ("ScalingSuggestSpeedup", "coefficients"),
        ("ScalingCalibrateCache", "name"),
    ],
)
def test_the_menu_of_a_node_in_a_workflow(
    clean: Page, coefficients: Path, kind: str, widget: str, text: str
):
    load(clean, kind, **{widget: f"{text}.safetensors"})
    right_click(clean)
    entry = clean.get_by_text("Export coefficient file", exact=True)
    expect(entry).to_be_visible()
    entry.click()
    toast = toasts(clean, "there is no file").get_by_text("there is no file")
    expect(toast).to_be_visible()
    assert toast.locator("*").count() == 0


@pytest.mark.parametrize("value", [None, 7, [], {"a": 1}, "", True, IMAGE], ids=repr)
@pytest.mark.parametrize("kind", ["ScalingCache", "ScalingCalibrateCache"])
def test_the_menu_with_any_value(clean: Page, kind: str, value: Any):
    load(clean, kind, **{"coefficients" if kind == "ScalingCache" else "name": value})
    right_click(clean)
    expect(clean.get_by_text("Export coefficient file", exact=True)).to_be_visible()


@FEW
def test_a_file_that_is_imported(clean: Page, coefficients: Path, text: str):
    add(clean, "ScalingCache")
    right_click(clean)
    with clean.expect_file_chooser() as chooser:
        clean.get_by_text("Import coefficient file").click()
    name = f"{text.replace('/', '')}.safetensors"
    chooser.value.set_files({"name": name, "mimeType": "text/html", "buffer": IMAGE.encode()})
    toast = toasts(clean, "name: ").get_by_text("name: ")
    expect(toast).to_be_visible()
    assert "onerror" in (toast.text_content() or "") or "javascript" in (toast.text_content() or "")
    assert toast.locator("*").count() == 0
    assert not [path for path in coefficients.rglob("*") if path.is_file()]


@RENDERINGS
def test_the_list_of_files(clean: Page, file: Any, vue: bool):
    """A name in the folder that the frontend's list would take for HTML is not offered."""
    name = f"{IMAGE}.safetensors"
    file("x", name)
    file("x", "neighbour.safetensors")
    clean.evaluate(SET, ["Comfy.VueNodes.Enabled", vue])
    clean.evaluate("app.refreshComboInNodes()")
    add(clean, "ScalingCache")
    clean.evaluate("app.refreshComboInNodes()")
    values = clean.evaluate("node.widgets.find(w => w.name === 'coefficients').options.values")
    assert "neighbour.safetensors" in values
    clean.evaluate("values => new LiteGraph.ContextMenu(values, {})", values)
    expect(clean.locator(".litemenu-entry", has_text="neighbour.safetensors").first).to_be_visible()
    assert name not in values


# --- what the host shows of the pack's


@FEW
@pytest.mark.parametrize(
    ("kind", "widget"),
    [
        ("ScalingCache", "computed_steps"),
        ("ScalingStepCacheAdvanced", "method"),
    ],
)
def test_a_value_that_is_refused(clean: Page, kind: str, widget: str, text: str):
    open_demo(clean)
    clean.evaluate(
        """([kind, widget, text]) => {
            const made = LiteGraph.createNode(kind)
            app.graph.add(made)
            app.graph._nodes.find(n => n.type === 'UNETLoader').connect(0, made, 0)
            made.connect(0, app.graph._nodes.find(n => n.type === 'KSampler'), 0)
            made.widgets.find(w => w.name === widget).value = text
        }""",
        [kind, widget, text],
    )
    clean.evaluate("app.queuePrompt(0)")
    refused = refusal(clean, widget)
    expect(refused).to_be_visible()
    see(clean, refused, text)
    clean.keyboard.press("Escape")


@FEW
@RENDERINGS
def test_the_title_of_a_node(clean: Page, text: str, vue: bool):
    clean.evaluate(SET, ["Comfy.VueNodes.Enabled", vue])
    tell(clean, state="refused", caption="Not cached. x")
    clean.evaluate("text => { node.title = text; app.canvas.draw(true, true) }", text)
    assert clean.evaluate("node.title") == text
    expect(clean.locator(".sc-live")).to_be_visible()
    if vue:
        expect(clean.get_by_text(text, exact=True).first).to_be_visible()
    right_click(clean)


@pytest.mark.parametrize(
    "value", ["__proto__", "constructor", "toString", IMAGE, 7, None, [], {}], ids=repr
)
@pytest.mark.parametrize("widget", ["method", "granularity", "predictor"])
def test_a_method_that_there_is_none_of(clean: Page, widget: str, value: Any):
    load(clean, "ScalingStepCacheAdvanced", **{widget: value})
    offers = clean.evaluate("node.widgets.find(w => w.name === 'predictor').options.values.length")
    assert offers > 1
    assert clean.evaluate("node.widgets.every(w => typeof (w.tooltip ?? '') === 'string')")


@FEW
def test_an_answer_opened_as_a_page(page: Page, host: Any, text: str):
    """A page of its own, of the same origin."""
    browser = page.context.browser
    assert browser is not None
    other = browser.new_page()
    other.goto(f"{host.server.url}/scaling_cache/coefficients?name={quote(text)}")
    shown = other.locator("body").text_content() or ""
    assert text.split("'")[0].split('"')[0] in shown
    assert other.locator("img, svg, iframe, script, a").count() == 0
    assert other.evaluate("window.__xss") is None
    other.close()
