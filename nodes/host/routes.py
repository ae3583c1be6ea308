"""What the web extension asks the host's server for."""

from __future__ import annotations

from typing import Any

from .learned import forget


def register_routes() -> None:
    """`POST /scaling_cache/forget` deletes what was learned. Nothing to do without a server."""
    try:
        from aiohttp import web
        from server import PromptServer  # pyright: ignore[reportMissingImports]
    except ImportError:
        return
    server = getattr(PromptServer, "instance", None)
    if server is None:
        return

    @server.routes.post("/scaling_cache/forget")
    async def forget_learned(request: Any) -> Any:
        return web.json_response({"forgotten": forget()})
