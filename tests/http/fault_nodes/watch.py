"""Let tests see the server from inside."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from server import PromptServer  # pyright: ignore[reportMissingImports] - the host's


def add_routes() -> None:
    """- `GET /test/routes`: method, path and module of each handler that the router knows.
    - `GET /test/asked`: method, path, Origin, Host and status of each request to this pack's routes.
    """
    server = PromptServer.instance
    asked: list[list[Any]] = []

    @web.middleware
    async def note(request: Any, handler: Any) -> Any:
        response = await handler(request)
        if "/scaling_cache/" in request.path:
            named = [request.headers.get(name) for name in ("Origin", "Host")]
            asked.append([request.method, request.path, *named, response.status])
        return response

    # Outermost, so that it sees what the host itself refuses too.
    server.app.middlewares.insert(0, note)

    @server.routes.get("/test/routes")
    async def routes(_: Any) -> Any:
        found = server.app.router.routes()
        return web.json_response(
            [[r.method, r.resource.canonical, r.handler.__module__] for r in found if r.resource]
        )

    @server.routes.get("/test/asked")
    async def all_asked(_: Any) -> Any:
        return web.json_response(asked)
