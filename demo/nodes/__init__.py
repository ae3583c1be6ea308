"""Nodes that only the demo and the tests install; users of the pack never see them."""

from __future__ import annotations

from typing import Any


async def comfy_entrypoint() -> Any:
    from .prompt import DemoExtension

    return DemoExtension()
