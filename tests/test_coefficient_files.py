"""Coefficient files come and go over HTTP, and by the menu of a node in real Chromium."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Page, expect
from scaling_cache.cache_core.calibration.files import LARGEST_FILE, load

from testbed.coefficient_folder import coefficient_file

from .conftest import put_alone, toasts

pytestmark = [pytest.mark.host, pytest.mark.browser]

OURS = {"X-Scaling-Cache": "1"}
SCREENSHOTS = os.environ.get("SCREENSHOTS")


@pytest.fixture
def url(host: Any) -> str:
    return f"{host.server.url}/scaling_cache/coefficients"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A file on the user's own machine."""
    path = tmp_path / "mine.safetensors"
    coefficient_file(path, "some model")
    return path


def send(url: str, name: str, data: bytes) -> requests.Response:
    return requests.post(url, files={"file": (name, data)}, headers=OURS, timeout=60)


def offered(host: Any) -> list[str]:
    info = requests.get(f"{host.server.url}/object_info/ScalingCache", timeout=30).json()
    return info["ScalingCache"]["input"]["optional"]["coefficients"][1]["options"]


def test_a_file_is_taken_in_offered_and_given_back(
    host: Any, url: str, coefficients: Path, mine: Path
):
    data = mine.read_bytes()
    assert send(url, mine.name, data).json() == {"name": mine.name}
    assert load(coefficients / mine.name).provenance.fingerprint == "some model"
    assert mine.name in offered(host)
    answer = requests.get(url, params={"name": mine.name}, timeout=30)
    assert answer.content == data
    assert f"filename*=UTF-8''{mine.name}" in answer.headers["Content-Disposition"]
    assert send(url, mine.name, data).ok, "the same file once more changes nothing"


def test_nothing_is_replaced(url: str, coefficients: Path, mine: Path, tmp_path: Path):
    assert send(url, mine.name, mine.read_bytes()).ok
    other = tmp_path / "other.safetensors"
    coefficient_file(other, "another model")
    answer = send(url, mine.name, other.read_bytes())
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": "name: mine.safetensors is taken by another file"},
    )
    assert load(coefficients / mine.name).provenance.fingerprint == "some model"


@pytest.mark.parametrize(
    ("name", "keep", "said"),
    [
        ("mine.safetensors", 60, "mine.safetensors is damaged"),
        ("mine.safetensors", 0, "mine.safetensors is damaged"),
        ("../mine.safetensors", None, "name: must be letters"),
        (".mine.safetensors", None, "name: must be letters"),
        ("a/b.safetensors", None, "name: must be letters"),
    ],
)
def test_what_is_no_coefficient_file_is_refused(
    url: str, coefficients: Path, mine: Path, name: str, keep: int | None, said: str
):
    answer = send(url, name, mine.read_bytes()[:keep])
    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert not [path for path in coefficients.rglob("*") if path.is_file()]


def test_a_request_without_a_file_and_one_too_large_are_refused(url: str, coefficients: Path):
    for answer in (
        requests.post(url, json={}, headers=OURS, timeout=30),
        requests.post(url, files={"other": ("mine.safetensors", b"")}, headers=OURS, timeout=30),
    ):
        assert (answer.status_code, answer.json()["error"][:5]) == (400, "file:")
    answer = send(url, "large.safetensors", bytes(LARGEST_FILE + 1))
    assert (answer.status_code, answer.json()["error"]) == (
        413,
        f"file: must have {LARGEST_FILE} bytes at most",
    )
    assert not list(coefficients.rglob("large*"))


@pytest.mark.parametrize("name", ["", "auto", "gone.safetensors", "../../secret.safetensors"])
def test_only_files_that_the_nodes_offer_are_sent(url: str, coefficients: Path, name: str):
    (coefficients.parent / "secret.safetensors").write_bytes(b"x")
    answer = requests.get(url, params={"name": name}, timeout=30)
    assert answer.status_code == 404
    assert "name: there is no file" in answer.json()["error"]


MENU = "name => app.collectNodeMenuItems(node).find(item => item.content.startsWith(name))"


def bring(page: Page, file: Path) -> None:
    """Right-click on the title of the node, choose the entry and a file."""
    x, y = page.evaluate(
        """() => {
            const { left, top } = app.canvas.canvas.getBoundingClientRect()
            return [left + node.pos[0] + 60, top + node.pos[1] - 12]
        }"""
    )
    page.mouse.click(x, y, button="right")
    entry = page.get_by_text("Import coefficient file")
    expect(entry).to_be_visible()
    if SCREENSHOTS:
        page.screenshot(path=str(Path(SCREENSHOTS) / "menu.png"))
    with page.expect_file_chooser() as chooser:
        entry.click()
    chooser.value.set_files(file)


def test_the_menu_of_a_node_brings_a_file_and_takes_it_away(
    page: Page, coefficients: Path, mine: Path, tmp_path: Path
):
    put_alone(page, "ScalingCache")
    assert page.evaluate(f"({MENU})('Export').disabled")
    bring(page, mine)
    expect(toasts(page, f"Imported {mine.name}").first).to_be_visible()
    if SCREENSHOTS:
        page.screenshot(path=str(Path(SCREENSHOTS) / "import.png"))
    assert (coefficients / mine.name).read_bytes() == mine.read_bytes()
    chosen = "node.widgets.find(w => w.name === 'coefficients')"
    assert page.evaluate(f"{chosen}.value") == mine.name
    assert mine.name in page.evaluate(f"{chosen}.options.values")
    with page.expect_download() as download:
        page.evaluate(f"({MENU})('Export').callback()")
    assert download.value.suggested_filename == mine.name
    assert Path(download.value.path()).read_bytes() == mine.read_bytes()

    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not one")
    bring(page, broken)
    expect(toasts(page, "broken.safetensors is damaged").first).to_be_visible()


WRONG = {
    "a sentence": ({"status": 507, "json": {"error": "file: no room"}}, "file: no room"),
    "a proxy's page": ({"status": 502, "body": "<h1>Bad"}, "ComfyUI answered 502"),
    "no words": ({"status": 413, "body": ""}, "ComfyUI answered 413"),
    "odd JSON": ({"status": 500, "json": None}, "ComfyUI answered 500"),
    "no answer": (None, "Failed to fetch"),
}


@pytest.mark.parametrize(("answer", "said"), WRONG.values(), ids=WRONG)
def test_the_page_says_what_went_wrong(
    page: Page, mine: Path, answer: dict[str, Any] | None, said: str
):
    put_alone(page, "ScalingCalibrateCache")
    address = "**/scaling_cache/coefficients*"
    page.route(address, lambda route: route.fulfill(**answer) if answer else route.abort())
    told = toasts(page, said)
    known = told.count()
    page.evaluate(f"({MENU})('Export').callback()")
    expect(told).to_have_count(known + 1)
    bring(page, mine)
    expect(told).to_have_count(known + 2)
    page.unroute(address)


def test_a_file_too_large_is_said_on_the_page(page: Page, coefficients: Path, tmp_path: Path):
    large = tmp_path / "large.safetensors"
    with large.open("wb") as file:
        file.truncate(LARGEST_FILE + 2**20)
    put_alone(page, "ScalingCache")
    bring(page, large)
    said = f"file: must have {LARGEST_FILE} bytes at most"
    expect(toasts(page, said).first).to_be_visible()


def test_a_calibration_can_be_taken_away_and_other_nodes_have_no_such_menu(page: Page):
    put_alone(page, "ScalingCalibrateCache")
    assert not page.evaluate(f"({MENU})('Export').disabled")
    page.evaluate("window.node = LiteGraph.createNode('ScalingTeaCache')")
    assert page.evaluate(f"({MENU})('Export')") is None
