"""What the web extension asks the host's server for."""

from __future__ import annotations

import sys
from typing import Any

from .learned import forget


def register_routes() -> None:
    """`POST /scaling_cache/forget` deletes what was learned. Nothing to do without a server."""
    # Importing it here would load all of the host in a script that does without.
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    if server is None:
        return
    from aiohttp import web

    @server.routes.post("/scaling_cache/forget")
    async def forget_learned(request: Any) -> Any:
        return web.json_response({"forgotten": forget()})
