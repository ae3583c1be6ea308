"""Published settings that ship with the pack, and which of them fit a model."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from ...cache_core.calibration.block_tables import BlockTable
from ...cache_core.calibration.published import (
    Preset,
    Schedules,
    load_magcache,
    load_schedules,
    load_teacache,
)
from ...cache_core.decide.signals import Polynomial, SignalKind
from ...cache_core.methods import DiCache, MagCache, Model, TeaCache
from ...cache_core.methods.dicache import PUBLISHED as DICACHE
from ..families import find_family
from .coefficients import find_blocks

AUTO = "auto"
# What a calibrated model starts from: a sum of relative changes, and MagCache's usual settings.
_TEACACHE = 0.15
_MAGCACHE, _LONGEST, _RETENTION = 0.12, 4, 0.2
_SHIPPED = Path(__file__).parents[2] / "coefficients"


def presets_of(method: str) -> dict[str, Preset]:
    """Published settings by key, of a method that has some."""
    load, file = {
        TeaCache.name: (load_teacache, "teacache.json"),
        MagCache.name: (load_magcache, "magcache.json"),
    }[method]
    return load(_SHIPPED / file)


@cache
def schedules() -> dict[str, Schedules]:
    """Published schedules by the name of model and method."""
    return load_schedules(_SHIPPED / "schedules.json")


def thresholds_of(method: str) -> dict[str, float]:
    """What is recommended for each model, or each family, by a method that has such a choice."""
    if method == DiCache.name:
        return {family: threshold for family, (threshold, _) in DICACHE.items()}
    return {key: preset.method.threshold for key, preset in presets_of(method).items()}


def resolve(choice: str, method: str, model: Any) -> Preset | str:
    """The preset that the user chose, or the one that fits the model: from a coefficient file made for
    it, else a published one; else why there is none.

    Args:
        method: name of a method.

    Raises:
        ValueError: if the choice is not offered.
    """
    network = model.model.diffusion_model
    family, presets = find_family(network), presets_of(method)
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
    key = family.published(network).get(method.lower())
    if key is None:
        return (
            f"No published settings fit this {family.name} model: choose some on the {method} node, "
            "or make a coefficient file with Calibrate Cache"
        )
    return presets[key]


def facts_of(model: Any) -> Model:
    """What a method may know of a model before it is made."""
    network = model.model.diffusion_model
    family = find_family(network)
    searched = {name: found.computed for name, found in schedules().items()}
    if family is None:
        return Model(schedules=searched)

    def published(method: str) -> Any | str:
        preset = resolve(AUTO, method, model)
        return preset if isinstance(preset, str) else preset.method

    signals = frozenset(kind for kind in SignalKind if family.offers(kind))
    return Model(family.name, family.layout(network), signals, published, searched)


def _calibrated(method: str, family: str, name: str, table: BlockTable) -> Preset:
    """A preset from the user's own calibration. Its thresholds are those that most models have."""
    if method == MagCache.name:
        ratios = tuple(tuple(branch) for branch in table.ratios.tolist())
        return Preset(name, family, MagCache(ratios, _MAGCACHE, _LONGEST, _RETENTION))
    polynomial = Polynomial(table.polynomial, table.valid)
    return Preset(name, family, TeaCache(polynomial, _TEACACHE, table.signal))
