"""Nodes for tests: a tiny model with random weights, and faults at a chosen step."""

from __future__ import annotations

from typing import Any


async def comfy_entrypoint() -> Any:
    from .nodes import TestExtension

    return TestExtension()
