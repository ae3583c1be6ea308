"""Nodes for tests: a tiny model with random weights, and faults at a chosen step. Routes: what the
server's router holds, and what was asked of this pack."""

from __future__ import annotations

from typing import Any


async def comfy_entrypoint() -> Any:
    from .nodes import TestExtension
    from .watch import add_routes

    add_routes()
    return TestExtension()
