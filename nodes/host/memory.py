"""Room for the cache on the device."""

from __future__ import annotations

import comfy.model_management as mm
import torch


def reserve(count: int, device: torch.device) -> None:
    """Ask the host to free `count` bytes where they are not free already.

    The host has no way to reserve memory. Its own estimate leaves ample room for a few latents, so
    this acts only on a device that is all but full.
    """
    free = mm.get_free_memory(device)
    if device.type != "cpu" and isinstance(free, int) and free < count:
        in_use = [loaded for loaded in mm.current_loaded_models if loaded.currently_used]
        mm.free_memory(count, device, keep_loaded=in_use)
