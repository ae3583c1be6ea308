"""ComfyUI-ScalingCache: fewer model evaluations for the same picture."""

from __future__ import annotations

from typing import Any

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> Any:
    """The extension. Imported here, so that the core can be used and tested without the host."""
    from .nodes import ScalingCacheExtension

    return ScalingCacheExtension()


__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
