"""The routes of the pack are for the user's own page and programs, and answer in sentences."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from scaling_cache.cache_core.calibration.files import LARGEST_FILE

from testbed.coefficient_folder import coefficient_file, looking_in

pytestmark = pytest.mark.host

PATH = "/scaling_cache/coefficients"
RUNS = "/scaling_cache/runs"
MESSAGES = "/scaling_cache/messages"
OURS = {"X-Scaling-Cache": "1"}
HOST = "127.0.0.1:8188"
NAME = "mine.safetensors"


@dataclass(frozen=True)
class Case:
    """Headers of a request, and whether it may read and change. `HOST` stands for the server's own."""

    what: str
    reads: bool
    changes: bool
    headers: dict[str, str] = field(default_factory=dict)

    def at(self, host: str) -> dict[str, str]:
        return {name: value.replace(HOST, host) for name, value in self.headers.items()}


def sites(*values: str) -> list[Case]:
    return [Case(f"site {v!r}", False, False, {"Sec-Fetch-Site": v}) for v in values]


def origins(*values: str) -> list[Case]:
    return [Case(f"origin {v!r}", False, False, {"Origin": v}) for v in values]


def hosts(allowed: bool, *values: str) -> list[Case]:
    return [Case(f"host {v!r}", allowed, allowed, {"Host": v}) for v in values]


OWN = socket.gethostname()
SAME = {"Sec-Fetch-Site": "same-origin"}
PROXY = {"Host": "comfy.example", "Origin": "https://comfy.example"}
CASES = [
    Case("a program", True, True),
    Case("the page", True, True, {**SAME, "Origin": f"http://{HOST}"}),
    Case("the page, without Origin", True, True, SAME),
    Case("the page over plain http", True, True, {"Origin": f"http://{HOST}"}),
    Case("the page over https", True, True, {**SAME, "Origin": f"https://{HOST}"}),
    Case("a typed address", True, False, {"Sec-Fetch-Site": "none"}),
    Case("another page of this site", False, False, {**SAME, "Origin": "http://evil.example"}),
    Case("behind a proxy with https", True, True, {**PROXY, **SAME}),
    Case("a name without a certificate", False, False, PROXY),
    Case("typed behind a proxy", True, False, {"Host": "comfy.example", "Sec-Fetch-Site": "none"}),
    Case(
        "a rebound page",
        False,
        False,
        {"Host": "evil.example:8188", "Origin": "http://evil.example:8188"},
    ),
    *sites("cross-site", "same-site", "", "same-origin, cross-site", "SAME-ORIGIN"),
    *origins("null", "", "file://", "https://evil.example", "http://evil.example:8188"),
    *origins("http://127.0.0.1:1", "http://127.0.0.1", f"http://{HOST}.evil.example"),
    *origins(f"http://{HOST}@evil.example", f"http://evil.example/{HOST}", f"http://{HOST}/"),
    *origins(f"ftp://{HOST}", HOST, f"chrome-extension://{HOST}", "http://localhost:8188", "data:"),
    *hosts(
        True,
        "localhost:8188",
        "LOCALHOST",
        "127.0.0.1",
        "127.0.0.2:8188",
        "[::1]:8188",
        "comfy.localhost",
    ),
    *hosts(True, "192.168.1.7:8188", "10.0.0.1", "[fe80::1]:8188", f"{OWN}:8188", f"{OWN}.local"),
    *hosts(
        False,
        "evil.example",
        "evil.example:8188",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
    ),
    *hosts(
        False,
        "127.0.0.1.nip.io:8188",
        "evil.local",
        "localhost.",
        "[::1",
        "evillocalhost",
        "10.0.0.1x",
    ),
]
EACH = pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)


@EACH
def test_who_may_ask(case: Case):
    """The pack's own check, which asks for no help of the host's."""
    from scaling_cache.nodes.host.routes import refusal

    headers = {"Host": HOST, **case.headers}
    for method in ("GET", "HEAD"):
        assert (refusal(method, headers) == "") == case.reads
        assert (refusal(method, {**headers, **OURS}) == "") == case.reads
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert (refusal(method, {**headers, **OURS}) == "") == case.changes
        assert refusal(method, headers).startswith("refused: ")


# --- over HTTP


@pytest.fixture
def url(host: Any) -> str:
    return f"{host.server.url}{PATH}"


@pytest.fixture
def mine(tmp_path: Path) -> bytes:
    path = tmp_path / NAME
    coefficient_file(path, "some model")
    return path.read_bytes()


def form(data: bytes, name: str = NAME) -> dict[str, Any]:
    return {"file": (name, data)}


def kept(folder: Path) -> dict[str, bytes]:
    """All that lies there but for the pack's own notes on files."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".sha256")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def ours(host: Any) -> list[tuple[str, str]]:
    """Methods and paths of the pack in the server's own router."""
    found = host.client.get("/test/routes")
    return [(method, path) for method, path, module in found if "ComfyUI-ScalingCache" in module]


def test_the_router_names_the_routes_that_these_tests_ask(host: Any):
    """A new one needs its request in `ask`, below."""
    reading = ("GET", "HEAD")
    methods = {PATH: (*reading, "POST"), RUNS: reading, MESSAGES: reading}
    assert set(ours(host)) == {
        (method, before + path)
        for before in ("", "/api")
        for path in methods
        for method in methods[path]
    }


def ask(url: str, method: str, headers: dict[str, str], data: bytes) -> requests.Response:
    files = form(data) if method == "POST" else None
    query = {"name": NAME, "prompt_id": "some"} if method != "POST" else None
    return requests.request(method, url, params=query, files=files, headers=headers, timeout=60)


@pytest.mark.parametrize(
    # The host's own check fails on a port that is no number, before the pack's is asked.
    "case",
    [case for case in CASES if case.headers.get("Origin") != f"http://{HOST}.evil.example"],
    ids=lambda case: case.what,
)
def test_every_route_refuses_what_is_not_the_users(
    case: Case, host: Any, coefficients: Path, mine: bytes
):
    here = host.server.url.removeprefix("http://")
    sent = case.at(here)
    for method, path in ours(host):
        url, changes = f"{host.server.url}{path}", method == "POST"
        allowed = case.changes if changes else case.reads
        if not changes:
            (coefficients / NAME).write_bytes(mine)
        before = kept(coefficients)
        if changes:
            assert ask(url, method, sent, mine).status_code == 403, "a form can send this"
        answer = ask(url, method, {**sent, **OURS}, mine)
        assert answer.status_code == (200 if allowed else 403)
        assert kept(coefficients) == (before if not (changes and allowed) else {NAME: mine})
        (coefficients / NAME).unlink(missing_ok=True)


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "text/plain", "application/json", ""]
)
def test_nothing_is_changed_without_the_header(host: Any, coefficients: Path, kind: str):
    for method, path in ours(host):
        if method not in ("GET", "HEAD"):
            for body in (b"", b"file=1", b"{}"):
                answer = requests.request(
                    method,
                    f"{host.server.url}{path}",
                    data=body,
                    headers={"Content-Type": kind},
                    timeout=30,
                )
                assert answer.status_code == 403
                assert "X-Scaling-Cache" in answer.json()["error"]
    assert not kept(coefficients)


def test_a_get_changes_nothing(host: Any, coefficients: Path, mine: bytes):
    (coefficients / NAME).write_bytes(mine)
    for method, path in ours(host):
        if method in ("GET", "HEAD"):
            for query in ("", f"?name={NAME}", "?name=gone", f"?name={NAME}&file=1"):
                requests.request(
                    method, f"{host.server.url}{path}{query}", headers=OURS, timeout=30
                )
    assert kept(coefficients) == {NAME: mine}


# --- what is received

BOUNDARY = "x-boundary"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


def part(headers: str, body: bytes) -> bytes:
    return f"--{BOUNDARY}\r\n{headers}\r\n\r\n".encode() + body + f"\r\n--{BOUNDARY}--\r\n".encode()


def named(name: str) -> str:
    return f'Content-Disposition: form-data; name="file"; filename="{name}"'


NESTED = 'Content-Disposition: form-data; name="file"; filename="m.safetensors"\r\n'
ODD_FORMS = {
    "nested multipart": part(
        f"{NESTED}Content-Type: multipart/mixed; boundary=y", b"--y\r\n\r\nz\r\n--y--"
    ),
    "NUL in the name": part(named("a\0b.safetensors"), b"x"),
    "line feed in the name": part(named("a\nb.safetensors"), b"x"),
    "line ends in the name": part(named("a\r\nX: b.safetensors"), b"x"),
    "escaped line feed": part(
        "Content-Disposition: form-data; name=file; filename*=UTF-8''a%0Ab", b"x"
    ),
    "a long name": part(named("a" * 300), b"x"),
    "100 wide letters": part(named("\u5b57" * 100), b"x"),
    "markup in the name": part(named("<img src=x>.safetensors"), b"x"),
    "a device's name": part(named(".."), b"x"),
    "no file name": part('Content-Disposition: form-data; name="file"', b"x"),
    "no name": part("Content-Disposition: form-data", b"x"),
    "another field": part('Content-Disposition: form-data; name="other"; filename="a"', b"x"),
    "no headers": part("", b"x"),
    "a header without a colon": part("nonsense", b"x"),
    "a huge header": part(f"{named('a')}\r\nX: {'y' * 100_000}", b"x"),
    "200 headers": part(named("a") + "".join(f"\r\nX{i}: y" for i in range(200)), b"x"),
    "negative length": part(f"{named('a')}\r\nContent-Length: -1", b"x"),
    "compressed part": part(f"{named('a')}\r\nContent-Encoding: gzip", b"x"),
    "unknown transfer": part(f"{named('a')}\r\nContent-Transfer-Encoding: odd", b"x"),
    "bad base64": part(f"{named('a')}\r\nContent-Transfer-Encoding: base64", b"!"),
    "no end": part(named("a"), b"x")[:-8],
    "no boundary in it": b"x" * 100,
    "nothing": b"",
}


@pytest.mark.parametrize("odd", ODD_FORMS)
def test_an_odd_form_is_refused_in_a_sentence(host: Any, url: str, coefficients: Path, odd: str):
    answer = requests.post(
        url, data=ODD_FORMS[odd], headers={**OURS, "Content-Type": FORM}, timeout=30
    )
    assert answer.status_code in (400, 507)
    assert answer.json()["error"].startswith(("file: ", "name: ", "coefficients: "))
    assert not kept(coefficients)
    assert host.client.get("/system_stats")


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data",
        f"multipart/form-data; boundary={'b' * 80}",
        "multipart/mixed",
        "text/plain",
        "x",
    ],
)
def test_a_form_without_a_boundary_is_refused_in_a_sentence(
    url: str, coefficients: Path, kind: str
):
    answer = requests.post(url, data=b"x", headers={**OURS, "Content-Type": kind}, timeout=30)
    assert (answer.status_code, answer.json()["error"]) == (
        400,
        "file: must be a form with one file",
    )


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity", "nonsense"])
def test_a_compressed_request_is_refused_in_a_sentence(
    url: str, coefficients: Path, mine: bytes, encoding: str
):
    headers = {**OURS, "Content-Type": FORM, "Content-Encoding": encoding}
    answer = requests.post(url, data=part(named(NAME), mine), headers=headers, timeout=30)
    assert answer.status_code in (400, 411)
    assert not kept(coefficients)


def test_a_request_of_unknown_length_is_refused(url: str, coefficients: Path, mine: bytes):
    body = iter([part(named(NAME), mine)])
    answer = requests.post(url, data=body, headers={**OURS, "Content-Type": FORM}, timeout=30)
    assert answer.status_code == 411
    assert "Content-Length" in answer.json()["error"]
    assert not kept(coefficients)


def begin(host: Any, length: int) -> socket.socket:
    """Send the head of an upload and nothing of its body."""
    at = host.server.url.removeprefix("http://")
    name, _, port = at.partition(":")
    head = f"POST {PATH} HTTP/1.1\r\nHost: {at}\r\nX-Scaling-Cache: 1\r\nContent-Type: {FORM}\r\n"
    connection = socket.create_connection((name, int(port)), timeout=60)
    connection.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode())
    return connection


def test_what_is_too_large_is_refused_before_it_comes(host: Any, coefficients: Path):
    with begin(host, LARGEST_FILE + 2**20) as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_one_file_is_received_at_a_time(host: Any, url: str, coefficients: Path, mine: bytes):
    with begin(host, 1000):
        answers = (
            requests.post(url, files=form(mine), headers=OURS, timeout=30) for _ in range(100)
        )
        refused = next(a for a in answers if a.status_code != 200)
        assert refused.status_code == 503
        assert "another one is being received" in refused.json()["error"]
    answers = (requests.post(url, files=form(mine), headers=OURS, timeout=30) for _ in range(1000))
    assert any(answer.status_code == 200 for answer in answers), (
        "the one that went away holds nothing up"
    )


@pytest.fixture(params=["/proc/sys/kernel/random", "a file"])
def no_folder(request: pytest.FixtureRequest, coefficients: Path, tmp_path: Path) -> Iterator[Path]:
    """Nothing can be written where coefficient files lie."""
    target = tmp_path / "file"
    target.write_bytes(b"x")
    coefficients.rmdir()
    coefficients.symlink_to(target if request.param == "a file" else request.param)
    yield coefficients
    coefficients.unlink()
    coefficients.mkdir()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="uses folders that Linux has")
def test_a_folder_that_cannot_be_written_is_said(url: str, no_folder: Path, mine: bytes):
    answer = requests.post(url, files=form(mine), headers=OURS, timeout=60)
    assert answer.status_code in (400, 507)
    assert answer.json()["error"]


# --- what is sent


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no such files")
def test_only_regular_files_in_the_folder_are_sent(
    url: str, coefficients: Path, tmp_path: Path, mine: bytes
):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / NAME).write_bytes(mine)
    (coefficients / NAME).write_bytes(mine)
    links = {
        "passwd": Path("/etc/passwd"),
        "file": outside / NAME,
        "loop": coefficients / "loop.safetensors",
        "device": Path("/dev/zero"),
        "gone": outside / "gone",
        "up": Path("../../host.log"),
    }
    for name, target in links.items():
        (coefficients / f"{name}.safetensors").symlink_to(target)
    (coefficients / "folder").symlink_to(outside)
    (coefficients / "inner").mkdir()
    (coefficients / "inner" / "own.safetensors").symlink_to(coefficients / NAME)
    (coefficients / "directory.safetensors").mkdir()
    os.mkfifo(coefficients / "pipe.safetensors")
    lying = [path.relative_to(coefficients) for path in coefficients.rglob("*.safetensors")]
    names = {*map(str, lying), f"folder/{NAME}", "../../host.log"}
    assert len(names) == len(links) + 6
    sent = {name for name in names if requests.get(url, params={"name": name}, timeout=30).ok}
    assert {NAME} <= sent <= {NAME, "inner/own.safetensors"}


@pytest.mark.parametrize("name", ['a";b', "\u00fc\u5b57", "a b", "%0d%0aX: y", "a'b"], ids=ascii)
def test_any_name_is_sent_in_one_line(url: str, coefficients: Path, mine: bytes, name: str):
    (coefficients / f"{name}.safetensors").write_bytes(mine)
    answer = requests.get(url, params={"name": f"{name}.safetensors"}, timeout=30)
    assert answer.content == mine
    assert answer.headers["Content-Disposition"].isascii()
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "X" not in answer.headers


# --- limits and threads, with a server in this process


async def serve_here(limits: Any) -> Any:
    from aiohttp import web
    from aiohttp.test_utils import TestClient, TestServer
    from scaling_cache.nodes.host.routes import add_routes

    app, table = web.Application(), web.RouteTableDef()
    add_routes(table, limits)
    app.add_routes(table)
    return TestClient(TestServer(app))


def upload(data: bytes, name: str = NAME) -> Any:
    from aiohttp import FormData

    body = FormData()
    body.add_field("file", data, filename=name)
    return body


def test_a_file_that_does_not_come_is_given_up(comfy: Path, tmp_path: Path, mine: bytes):
    from scaling_cache.nodes.host.routes import Limits

    async def stall() -> tuple[int, str, int]:
        async with await serve_here(Limits(seconds=0.2)) as client:
            reader, writer = await asyncio.open_connection(client.host, client.port)
            head = f"POST {PATH} HTTP/1.1\r\nHost: {client.host}\r\nX-Scaling-Cache: 1\r\n"
            writer.write(
                f"{head}Content-Type: {FORM}\r\nContent-Length: 999\r\n\r\n--{BOUNDARY}\r\n".encode()
            )
            head = await reader.readuntil(b"\r\n\r\n")
            writer.close()
            answer = await client.post(PATH, data=upload(mine), headers=OURS)
            return int(head.split()[1]), str(head), answer.status

    with looking_in(tmp_path / "folder"):
        status, _, after = asyncio.run(stall())
    assert (status, after) == (408, 200)


def test_only_so_many_files_are_kept(comfy: Path, tmp_path: Path, mine: bytes):
    from scaling_cache.nodes.host.coefficients import choices
    from scaling_cache.nodes.host.routes import Limits

    async def fill(most: int) -> list[tuple[int, str]]:
        async with await serve_here(Limits(files=most)) as client:
            answers = [
                await client.post(PATH, data=upload(mine, f"m{i}.safetensors"), headers=OURS)
                for i in range(4)
            ]
            return [(answer.status, (await answer.json()).get("error", "")) for answer in answers]

    with looking_in(tmp_path / "folder"):
        said = asyncio.run(fill(len(choices()) + 2))
    assert [status for status, _ in said] == [200, 200, 507, 507]
    assert said[-1][1].startswith("file: there are too many")
    assert len(kept(tmp_path / "folder")) == 2


def test_files_are_read_and_checked_off_the_event_loop(comfy: Path, tmp_path: Path, mine: bytes):
    """The host answers others in the meantime: what runs in the loop's thread is of the routes alone."""
    from scaling_cache.nodes.host.routes import Limits

    ran: set[str] = set()

    def note(frame: Any, event: str, _: Any) -> None:
        if event == "call":
            ran.add(Path(frame.f_code.co_filename).name)

    async def both() -> list[int]:
        async with await serve_here(Limits()) as client:
            sys.setprofile(note)
            try:
                answers = [
                    await client.post(PATH, data=upload(mine), headers=OURS),
                    await client.get(PATH, params={"name": NAME}),
                ]
                return [answer.status for answer in answers]
            finally:
                sys.setprofile(None)

    with looking_in(tmp_path / "folder"):
        assert asyncio.run(both()) == [200, 200]
    assert "routes.py" in ran
    assert not ran & {"coefficient_files.py", "coefficients.py", "files.py", "folder_paths.py"}
