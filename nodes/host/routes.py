"""What the web extensions ask the host's server for."""

from __future__ import annotations

import sys
from typing import Any

from ...cache_core.coefficients import LARGEST_FILE
from .coefficient_files import offered, receive


def register_routes() -> None:
    """Nothing to do without a server.

    - `GET /scaling_cache/coefficients?name=...` sends a file that the nodes offer.
    - `POST /scaling_cache/coefficients` keeps the file of a form, field `file`.
    """
    # Importing it here would load all of the host in a script that does without.
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    if server is None:
        return
    from aiohttp import web

    @server.routes.get("/scaling_cache/coefficients")
    async def send_file(request: Any) -> Any:
        name = request.query.get("name", "")
        path = offered(name)
        if path is None:
            return web.json_response({"error": f"name: there is no file {name!r}"}, status=404)
        disposition = {"Content-Disposition": f'attachment; filename="{path.name}"'}
        return web.FileResponse(path, headers=disposition)

    @server.routes.post("/scaling_cache/coefficients")
    async def receive_file(request: Any) -> Any:
        try:
            name, data = await _read_form(request)
            return web.json_response({"name": receive(name, data)})
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)


async def _read_form(request: Any) -> tuple[str, bytes]:
    """Name and content of the file in a form.

    Raises:
        ValueError: if there is none, or it is larger than a coefficient file can be.
    """
    form = await request.multipart() if request.content_type == "multipart/form-data" else None
    field = None if form is None else await form.next()
    if field is None or field.name != "file" or not field.filename:
        raise ValueError("file: must be a form with one file")
    data = bytearray()
    while chunk := await field.read_chunk():
        data += chunk
        if len(data) > LARGEST_FILE:
            raise ValueError(f"file: must have {LARGEST_FILE} bytes at most")
    return field.filename, bytes(data)
