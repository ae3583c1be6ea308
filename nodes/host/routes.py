"""What the web extensions ask the host's server for, and who may ask.

Each route passes one check, `refusal`, and answers what goes wrong with a status and a sentence as JSON.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import folder_paths
from aiohttp import BodyPartReader, web

from ...cache_core.calibration.files import LARGEST_FILE
from ..report.words import messages
from .coefficient_files import offered, receive
from .coefficients import FOLDER, choices
from .progress import STATISTICS, log_fault

PATH = "/scaling_cache/coefficients"
RUNS = "/scaling_cache/runs"
MESSAGES = "/scaling_cache/messages"
# A page of another site can send a form, but a header of its own only to a server that allows it.
HEADER = "X-Scaling-Cache"
# What the parts of a form take beside the file.
_AROUND_A_FILE = 2**14
# No page shows, runs or embeds an answer.
_ANSWER = {"X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin"}

Handler = Callable[[Any], Awaitable[web.StreamResponse]]


class Refused(Exception):
    """A request that is not answered, with a status of HTTP and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class Limits:
    """Of what is received.

    Attributes:
        seconds: until all of a file has come.
        files: choices that the nodes offer at most.
    """

    seconds: float = 120.0
    files: int = 500


def register_routes() -> None:
    """Nothing to do without a server."""
    # Importing it here would load all of the host in a script that does without.
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    if server is not None:
        add_routes(server.routes, Limits())


def add_routes(table: web.RouteTableDef, limits: Limits) -> None:
    """Add the routes of the pack.

    - `GET /scaling_cache/coefficients?name=...` sends a file that the nodes offer.
    - `POST /scaling_cache/coefficients` keeps the file of a form, field `file`; one form at a time.
    - `GET /scaling_cache/runs?prompt_id=...` says what caches did in a prompt, and where its runs stand.
    - `GET /scaling_cache/messages?language=...` gives English sentences and their translations, as of a
      pack's locale files the host passes on those of its own kinds alone.
    """
    receiving = asyncio.Lock()

    async def send_file(request: Any) -> web.StreamResponse:
        name = request.query.get("name", "")
        path = await asyncio.to_thread(_to_send, name)
        if path is None:
            raise Refused(404, f"name: there is no file {name!r}")
        disposition = f"attachment; filename*=UTF-8''{quote(Path(name).name)}"
        return web.FileResponse(path, headers={"Content-Disposition": disposition})

    async def receive_file(request: Any) -> web.StreamResponse:
        if receiving.locked():
            raise Refused(503, "file: another one is being received, try again when it is there")
        async with receiving:
            try:
                name, data = await asyncio.wait_for(_read_form(request), limits.seconds)
            except asyncio.TimeoutError:
                raise Refused(408, f"file: did not come within {limits.seconds:g} s") from None
            # Reading and checking takes a while, in which the host has others to answer.
            return web.json_response({"name": await asyncio.to_thread(_keep, name, data, limits)})

    async def send_runs(request: Any) -> web.StreamResponse:
        if not (prompt := request.query.get("prompt_id", "")):
            raise ValueError("prompt_id: is missing")
        return web.json_response(STATISTICS.of(prompt))

    async def send_messages(request: Any) -> web.StreamResponse:
        return web.json_response(messages(request.query.get("language", "")))

    routes = (
        ("GET", PATH, send_file),
        ("POST", PATH, receive_file),
        ("GET", RUNS, send_runs),
        ("GET", MESSAGES, send_messages),
    )
    for method, path, handler in routes:
        table.route(method, path)(_guarded(handler))


def refusal(method: str, headers: Mapping[str, str]) -> str:
    """Why a request is not one of the user's own page or programs; empty if it is.

    | header | must be |
    | --- | --- |
    | Sec-Fetch-Site | if there, same-origin; `none`, for an address that the user typed, may only read |
    | Origin | if there, what Host names |
    | Host | without Sec-Fetch-Site a name that is certainly this machine's |
    | X-Scaling-Cache | there, unless the request only reads |

    A page can make its name lead to this machine, and then it is of this origin. But browsers send
    Sec-Fetch-Site to loopback names and over https alone, where a name must have its certificate. So a
    name is looked at where that header is missing. Programs send neither it nor Origin.

    Args:
        method: of HTTP, upper case.
        headers: names in any case.
    """
    reads = method in ("GET", "HEAD")
    host, site, origin = (headers.get(name) for name in ("Host", "Sec-Fetch-Site", "Origin"))
    own = (host or "").lower()
    foreign = origin is not None and origin.lower() not in (f"http://{own}", f"https://{own}")
    if foreign or site not in (None, "same-origin", *(("none",) if reads else ())):
        return "refused: the request comes from another page than ComfyUI's own"
    if site is None and not _is_this_machine(own):
        return (
            f"refused: {own!r} may be another page's name for this machine; open ComfyUI by its IP "
            "address, as localhost or over https"
        )
    if not reads and HEADER not in headers:
        return f"refused: the request must have the header {HEADER}"
    return ""


def _is_this_machine(host: str) -> bool:
    """Whether a value of Host is an address, or a name that no other's DNS can answer for."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    own = socket.gethostname().lower()
    if name in ("localhost", own, f"{own}.local") or name.endswith(".localhost"):
        return True
    try:
        return bool(ip_address(name))
    except ValueError:
        return False


def _guarded(handler: Handler) -> Handler:
    """A handler for the user's own requests alone, that answers in sentences."""

    @wraps(handler)
    async def answer(request: Any) -> web.StreamResponse:
        try:
            if why := refusal(request.method, request.headers):
                raise Refused(403, why)
            response = await handler(request)
        except Exception as error:
            status, why = _in_words(error)
            response = web.json_response({"error": why}, status=status)
        response.headers.update(_ANSWER)
        return response

    return answer


def _in_words(error: Exception) -> tuple[int, str]:
    """Status and sentence for what went wrong."""
    if isinstance(error, Refused):
        return error.status, str(error)
    if isinstance(error, ValueError):
        return 400, str(error)
    if isinstance(error, OSError):
        return 507, f"file: cannot be stored or read: {error.strerror or error}"
    return 500, log_fault("a request failed", error)


def _to_send(name: str) -> Path | None:
    """A regular file that the nodes offer and that lies in their folders; no link leads out of them."""
    path = offered(name)
    if path is None:
        return None
    path = path.resolve()
    folders = (Path(folder).resolve() for folder in folder_paths.get_folder_paths(FOLDER))
    inside = path.is_file() and any(path.is_relative_to(folder) for folder in folders)
    return path if inside else None


def _keep(name: str, data: bytes, limits: Limits) -> str:
    """Store a file that was received, if there is room for one more; gives its name."""
    if len(choices()) >= limits.files:
        raise Refused(507, "file: there are too many already, remove some")
    return receive(name, data)


async def _read_form(request: Any) -> tuple[str, bytes]:
    """Name and content of the file in a form.

    Raises:
        Refused: if it is larger than a coefficient file can be, or of a size that is not known before.
        ValueError: if it is no such form.
    """
    size = request.content_length
    if size is None or "Content-Encoding" in request.headers:
        raise Refused(411, "file: must come uncompressed and with its Content-Length")
    too_large = Refused(413, f"file: must have {LARGEST_FILE} bytes at most")
    if size > LARGEST_FILE + _AROUND_A_FILE:
        raise too_large
    try:
        field = await (await request.multipart()).next()
        if not isinstance(field, BodyPartReader) or field.name != "file" or not field.filename:
            raise ValueError("no such field")
        data = bytearray()
        while chunk := await field.read_chunk():
            data += chunk
    except ConnectionError:
        raise
    except Exception as error:
        # What is wrong with a form is told in many ways, some of them no ValueError.
        raise ValueError("file: must be a form with one file") from error
    if len(data) > LARGEST_FILE:
        raise too_large
    return field.filename, bytes(data)
