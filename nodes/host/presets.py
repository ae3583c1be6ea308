"""Published settings that ship with the pack, and which of them fit a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...cache_core.presets import MagPreset, TeaPreset, load_magcache, load_teacache
from ..families import find_family

AUTO = "auto"
_SHIPPED = Path(__file__).parents[2] / "coefficients"


def teacache_presets() -> dict[str, TeaPreset]:
    return load_teacache(_SHIPPED / "teacache.json")


def magcache_presets() -> dict[str, MagPreset]:
    return load_magcache(_SHIPPED / "magcache.json")


def resolve(choice: str, method: str, presets: dict[str, Any], model: Any) -> Any | str:
    """The preset that the user chose, or the one that fits the model; else why there is none.

    Raises:
        ValueError: if the choice is not offered.
    """
    network = model.model.diffusion_model
    family = find_family(network)
    if choice != AUTO:
        if choice not in presets:
            allowed = ", ".join([AUTO, *presets])
            raise ValueError(f"model_type: must be one of {allowed}, got {choice!r}")
        preset = presets[choice]
        if family is not None and preset.family != family.name:
            return f"{choice} is for {preset.family} models, this one is {family.name}"
        return preset
    if family is None:
        return ""
    key = family.published(network).get(method)
    if key is None:
        return f"No published settings fit this {family.name} model: choose one in model_type"
    return presets[key]
