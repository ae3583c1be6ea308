"""Which model this is, as far as coefficients care."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def family(patcher: Any) -> str:
    """The host's name for the kind of model, such as `WAN21_T2V` or `Flux`."""
    config = getattr(patcher.model, "model_config", None)
    return type(config).__name__ if config is not None else type(patcher.model).__name__


def fingerprint(patcher: Any) -> str:
    """Short hash of a model's structure: the same for a finetune, another for another architecture.

    Weights are left out on purpose: reading them would load an offloaded model, and a table fits
    finetunes of one base.
    """
    config = getattr(patcher.model, "model_config", None)
    structure = {
        "family": family(patcher),
        "network": getattr(config, "unet_config", {}),
        "latent": type(getattr(patcher.model, "latent_format", None)).__name__,
    }
    text = json.dumps(structure, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
