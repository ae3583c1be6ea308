"""What a page that the user happens to visit can do to the pack's files: nothing. In real Chromium."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Frame, Page, sync_playwright

from demo.host.client import Client
from demo.host.fetch import ROOT
from demo.host.server import serve
from testbed.coefficient_folder import coefficient_file

from .conftest import FLAGS, Host, chromium

pytestmark = [pytest.mark.host, pytest.mark.browser]

PATH = "/scaling_cache/coefficients"
# Names that an attacker's DNS lets lead to this machine.
NAMES = ("evil.example", "comfyui.evil.example", "127.0.0.1.evil.example", "localhost.evil.example")
RULES = ",".join(f"MAP {name} 127.0.0.1" for name in NAMES)
# Newer browsers also ask the user before a page may reach a private address; these tests do without.
ALONE = "LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests,PrivateNetworkAccessSendPreflights"


def lan_address() -> str:
    """An address of this machine that others in its network have for it; loopback if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Sends nothing.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return probe.getsockname()[0]


@pytest.fixture(scope="module")
def open_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host that listens on all addresses: there it has no check of its own."""
    watch = {"scalingcache-faults": ROOT / "tests" / "http" / "fault_nodes"}
    folder = tmp_path_factory.mktemp("open_host")
    with serve(folder, watch, arguments=("--listen", "0.0.0.0"), threads=1) as server:
        yield Host(server, Client(server.url))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    flags = [*FLAGS, f"--host-resolver-rules={RULES}", f"--disable-features={ALONE}"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    path = tmp_path_factory.mktemp("file") / "drive_by.safetensors"
    coefficient_file(path, "some model")
    return list(path.read_bytes())


# Sends a coefficient file, and asks for one, in every way that a page has; gives what came back.
ATTACK = """async ([url, bytes, seen]) => {
    const name = `by_${Math.random().toString(36).slice(2)}.safetensors`
    const file = () => new File([new Uint8Array(bytes)], name)
    const body = () => { const form = new FormData(); form.append('file', file()); return form }
    const post = more => fetch(url, { method: 'POST', body: body(), ...more })
    const header = { 'X-Scaling-Cache': '1' }
    const form = (enctype, method = 'post') => new Promise(done => {
        const frame = document.createElement('iframe')
        frame.name = `into_${Math.random()}`
        document.body.append(frame)
        const made = document.createElement('form')
        Object.assign(made, { action: url, method, enctype, target: frame.name })
        const input = document.createElement('input')
        Object.assign(input, { type: 'file', name: 'file' })
        const held = new DataTransfer()
        held.items.add(file())
        input.files = held.files
        made.append(input)
        document.body.append(made)
        frame.onload = () => done('loaded')
        made.submit()
        setTimeout(done, 3000)
    })
    const load = (tag, more) => new Promise(done => {
        const made = Object.assign(document.createElement(tag), more)
        made.onload = made.onerror = event => done(event.type)
        document.head.append(made)
    })
    const xhr = () => new Promise(done => {
        const request = new XMLHttpRequest()
        request.open('POST', url)
        request.setRequestHeader('X-Scaling-Cache', '1')
        request.onloadend = () => done(request.status)
        request.send(body())
    })
    const ways = [
        () => post({ mode: 'no-cors' }),
        () => post({ mode: 'no-cors', headers: header }),
        () => post({ mode: 'no-cors', referrerPolicy: 'no-referrer' }),
        () => post({ mode: 'no-cors', credentials: 'include', keepalive: true }),
        () => post({}),
        () => post({ headers: header }),
        () => post({ headers: { ...header, 'Content-Type': 'application/json' } }),
        () => fetch(`${url}?name=${seen}`, { headers: header }).then(answer => answer.text()),
        () => fetch(`${url}?name=${seen}`, { mode: 'no-cors' }),
        xhr,
        () => navigator.sendBeacon(url, body()),
        () => form('multipart/form-data'),
        () => form('application/x-www-form-urlencoded'),
        () => form('text/plain'),
        () => form('multipart/form-data', 'get'),
        () => load('script', { src: `${url}?name=${seen}` }),
        () => load('link', { rel: 'stylesheet', href: `${url}?name=${seen}` }),
    ]
    const told = []
    for (const way of ways) {
        try { told.push(String(await way())) } catch (error) { told.push(String(error)) }
    }
    return told
}"""

Told = list[str]
SEEN = "seen.safetensors"


def stand_at(page: Page, url: str, body: str = "<p>Kittens") -> Frame:
    """Open a page of the attacker at any address."""
    page.route(url, lambda route: route.fulfill(body=body, content_type="text/html"))
    page.goto(url)
    return page.main_frame


def framed(page: Page, url: str, frame: str) -> Frame:
    """Open a page of the attacker with a frame in it."""
    stand_at(page, url, f"<p>Kittens {frame}")
    page.wait_for_function("frames.length === 1")
    inner = page.frames[-1]
    inner.wait_for_load_state()
    return inner


EVIL = "http://evil.example:81/"
# Where an attacker's page stands, by the port of the host.
PLACES = {
    "another site": lambda page, port: stand_at(page, EVIL),
    "another site over https": lambda page, port: stand_at(page, "https://evil.example/"),
    "another port of localhost": lambda page, port: stand_at(page, "http://localhost:81/"),
    "another port of 127.0.0.1": lambda page, port: stand_at(page, "http://127.0.0.1:81/"),
    "a name below localhost": lambda page, port: stand_at(page, "http://a.localhost:81/"),
    "another device": lambda page, port: stand_at(page, "http://192.168.77.7:8188/"),
    "this device's address": lambda page, port: stand_at(page, f"http://{lan_address()}:81/"),
    "a sandboxed frame": lambda page, port: framed(
        page, EVIL, "<iframe sandbox='allow-scripts allow-forms' srcdoc='<p>x'></iframe>"
    ),
    "a sandboxed frame at localhost": lambda page, port: framed(
        page,
        "http://localhost:81/",
        "<iframe sandbox='allow-scripts allow-forms' srcdoc='<p>x'></iframe>",
    ),
    "a frame of data": lambda page, port: framed(
        page, EVIL, "<iframe src='data:text/html,<p>x'></iframe>"
    ),
    "a frame of the same": lambda page, port: framed(page, EVIL, "<iframe srcdoc='<p>x'></iframe>"),
    "an empty frame": lambda page, port: framed(page, EVIL, "<iframe></iframe>"),
    "without a referrer": lambda page, port: stand_at(
        page, EVIL, "<meta name=referrer content=no-referrer><p>x"
    ),
    "an isolated page": lambda page, port: framed(
        page,
        EVIL,
        "<iframe sandbox='allow-scripts allow-forms allow-same-origin' srcdoc='<p>x'></iframe>",
    ),
    **{
        f"rebound {name}": lambda page, port, name=name: stand_at(
            page, f"http://{name}:{port}/kittens"
        )
        for name in NAMES
    },
}
TARGETS = ("127.0.0.1", "localhost", "lan")


def kept(host: Host) -> dict[str, bytes]:
    folder = host.server.base / "models" / "scaling_cache"
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def attack(frame: Frame, host: Host, file: list[int], target: str) -> tuple[str, list[Any]]:
    """Attack from a frame; gives what came back, and what the host saw of it: method, and status."""
    port = host.server.url.rpartition(":")[2]
    place = {"lan": lan_address(), "own": frame.evaluate("location.hostname")}.get(target, target)
    before = len(host.client.get("/test/asked"))
    told = frame.evaluate(ATTACK, [f"http://{place}:{port}{PATH}", file, SEEN])
    return str(told), [
        (method, status) for method, *_, status in host.client.get("/test/asked")[before:]
    ]


@pytest.fixture(autouse=True)
def seen(open_host: Host, file: list[int]) -> Iterator[None]:
    """A file of the user's."""
    folder = open_host.server.base / "models" / "scaling_cache"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SEEN).write_bytes(bytes(file))
    yield
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize("place", PLACES)
def test_a_foreign_page_changes_nothing(
    open_host: Host, browser: Browser, file: list[int], place: str
):
    port = int(open_host.server.url.rpartition(":")[2])
    before = kept(open_host)
    context = browser.new_context(ignore_https_errors=True)
    page = context.new_page()
    targets = ["own"] if place.startswith("rebound") else TARGETS
    # The page may go elsewhere in the meantime, so each attack has its own.
    found = [attack(PLACES[place](page, port), open_host, file, target) for target in targets]
    context.close()
    check(found, before, open_host)


def check(found: list[tuple[str, list[Any]]], before: dict[str, bytes], host: Host) -> None:
    """Nothing was changed, nothing was read, and it was tried."""
    assert kept(host) == before
    assert not [told for told, _ in found if "some model" in told]
    posts = [status for _, arrived in found for method, status in arrived if method == "POST"]
    assert posts, "nothing of it arrived, so nothing was tried"
    assert set(posts) == {403}


def test_a_page_from_a_file_changes_nothing(
    open_host: Host, browser: Browser, file: list[int], tmp_path: Path
):
    (tmp_path / "kittens.html").write_text("<p>Kittens")
    before = kept(open_host)
    page = browser.new_page()
    page.goto((tmp_path / "kittens.html").as_uri())
    found = [attack(page.main_frame, open_host, file, target) for target in TARGETS]
    page.close()
    check(found, before, open_host)


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "lan"])
def test_the_same_from_the_users_own_page_does(
    open_host: Host, browser: Browser, file: list[int], address: str
):
    """Else the tests above could not fail. What lacks the header is refused here too."""
    port = open_host.server.url.rpartition(":")[2]
    name = lan_address() if address == "lan" else address
    page = browser.new_page()
    page.goto(f"http://{name}:{port}/scaling_cache/coefficients?name=none")
    told, arrived = attack(page.main_frame, open_host, file, "own")
    page.close()
    assert "some model" in told
    assert len([name for name in kept(open_host) if name.endswith(".safetensors")]) == 2
    statuses = [status for method, status in arrived if method == "POST"]
    assert statuses.count(200) == 2, "by fetch and by XMLHttpRequest"
    assert statuses.count(403) >= 5
