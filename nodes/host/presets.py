"""Published settings that ship with the pack, and which of them fit a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...cache_core.block_tables import BlockTable
from ...cache_core.methods import MagCache, TeaCache
from ...cache_core.presets import MagPreset, TeaPreset, load_magcache, load_teacache
from ...cache_core.signals import Polynomial
from ..families import find_family
from .coefficients import find_blocks

AUTO = "auto"
# What a calibrated model starts from: a sum of relative changes, and MagCache's usual settings.
_TEACACHE = 0.15
_MAGCACHE, _LONGEST, _RETENTION = 0.12, 4, 0.2
_SHIPPED = Path(__file__).parents[2] / "coefficients"


def teacache_presets() -> dict[str, TeaPreset]:
    return load_teacache(_SHIPPED / "teacache.json")


def magcache_presets() -> dict[str, MagPreset]:
    return load_magcache(_SHIPPED / "magcache.json")


def resolve(choice: str, method: str, presets: dict[str, Any], model: Any) -> Any | str:
    """The preset that the user chose, or the one that fits the model: from a coefficient file made for
    it, else a published one; else why there is none.

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
    if (calibrated := find_blocks(model)) is not None:
        return _calibrated(method, family.name, *calibrated)
    key = family.published(network).get(method)
    if key is None:
        return (
            f"No published settings fit this {family.name} model: choose one in model_type, or make a "
            "coefficient file with Calibrate Cache"
        )
    return presets[key]


def _calibrated(method: str, family: str, name: str, table: BlockTable) -> TeaPreset | MagPreset:
    """A preset from the user's own calibration. Its thresholds are those that most models have."""
    if method == "magcache":
        ratios = tuple(tuple(branch) for branch in table.ratios.tolist())
        return MagPreset(name, family, MagCache(ratios, _MAGCACHE, _LONGEST, _RETENTION), ())
    polynomial = Polynomial(table.polynomial, table.valid)
    method_ = TeaCache(polynomial, _TEACACHE, table.signal)
    return TeaPreset(name, family, method_, 0.0, 1.0, (), ())
