"""Published settings of the methods: JSON files with a source per entry, checked on reading."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..decide.signals import Polynomial, SignalKind
from ..methods.base import rising
from ..methods.magcache import MagCache
from ..methods.teacache import TeaCache
from .files import CoefficientError

FORMAT = 1
LARGEST_FILE = 2**20
_SIGNALS = {
    "tokens": SignalKind.TOKENS,
    "modulated": SignalKind.MODULATED,
    "time_embedding": SignalKind.TIME_EMBEDDING,
    "time_projection": SignalKind.TIME_PROJECTION,
}


@dataclass(frozen=True)
class Preset:
    """Published settings of a method for a model.

    Attributes:
        key: name of the model.
        family: family of networks that it fits.
        method: with the recommended settings and window; TeaCache's is about twice as fast.
        thresholds: published ones.
        sources: repository, file and line each.
    """

    key: str
    family: str
    method: Any
    thresholds: tuple[float, ...] = ()
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Schedules:
    """Computed steps that one method searched on one model.

    Attributes:
        key: name of model and method.
        model, method: each.
        shift: of the flow schedule.
        latent: shape of a latent, without the batch and channels.
        computed: lists of steps, each from the first to the last one of the run.
        sources: paper and repository.
    """

    key: str
    model: str
    method: str
    shift: float
    latent: tuple[int, ...]
    computed: tuple[tuple[int, ...], ...]
    sources: tuple[str, ...]


def load_teacache(path: Path) -> dict[str, Preset]:
    """Polynomials by key.

    Raises:
        CoefficientError: if the file cannot be read or an entry is wrong.
    """
    return {entry["key"]: _build(path, entry, _tea) for entry in _entries(path)}


def load_magcache(path: Path) -> dict[str, Preset]:
    """Tables of ratios by key.

    Raises:
        CoefficientError: if the file cannot be read or an entry is wrong.
    """
    return {entry["key"]: _build(path, entry, _mag) for entry in _entries(path)}


def load_schedules(path: Path) -> dict[str, Schedules]:
    """Schedules by key.

    Raises:
        CoefficientError: if the file cannot be read or an entry is wrong.
    """
    return {entry["key"]: _build(path, entry, _schedules) for entry in _entries(path)}


def _tea(entry: Mapping[str, Any]) -> Preset:
    valid = entry["valid"]
    polynomial = Polynomial(
        tuple(map(float, entry["coefficients"])), None if valid is None else tuple(valid)
    )
    method = TeaCache(
        polynomial,
        float(entry["threshold"]),
        _SIGNALS[entry["signal"]],
        int(entry["head"]),
        bool(entry["last"]),
        start_percent=float(entry["start_percent"]),
        end_percent=float(entry["end_percent"]),
    )
    thresholds, sources = tuple(entry["thresholds"]), tuple(entry["sources"])
    return Preset(entry["key"], entry["family"], method, thresholds, sources)


def _mag(entry: Mapping[str, Any]) -> Preset:
    method = MagCache(
        tuple(tuple(map(float, branch)) for branch in entry["ratios"]),
        float(entry["threshold"]),
        int(entry["longest"]),
        float(entry["retention"]),
        bool(entry["inclusive"]),
        bool(entry["round_retention"]),
        tuple(entry["never"]),
    )
    return Preset(entry["key"], entry["family"], method, sources=tuple(entry["sources"]))


def _schedules(entry: Mapping[str, Any]) -> Schedules:
    computed = tuple(rising("computed", tuple(map(int, steps))) for steps in entry["computed"])
    if not computed or any(len(steps) < 2 or steps[0] for steps in computed):
        raise ValueError("computed: must hold lists from step 0 to the last one")
    return Schedules(
        entry["key"],
        str(entry["model"]),
        str(entry["method"]),
        float(entry["shift"]),
        tuple(map(int, entry["latent"])),
        computed,
        tuple(map(str, entry["sources"])),
    )


def _entries(path: Path) -> list[dict[str, Any]]:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise CoefficientError(f"{path.name}: larger than {LARGEST_FILE} bytes")
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        if isinstance(error, CoefficientError):
            raise
        raise CoefficientError(f"{path.name}: cannot be read: {error}") from error
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise CoefficientError(f"{path.name}: format: this version reads format {FORMAT}")
    entries = raw.get("entries")
    if not isinstance(entries, list) or not all(
        isinstance(e, dict) and isinstance(e.get("key"), str) for e in entries
    ):
        raise CoefficientError(f"{path.name}: entries: must be a list of objects with a key")
    return entries


def _build(path: Path, entry: Mapping[str, Any], make: Any) -> Any:
    try:
        return make(entry)
    except KeyError as error:
        raise CoefficientError(
            f"{path.name}: {entry['key']}: missing or unknown: {error.args[0]}"
        ) from error
    except (TypeError, ValueError) as error:
        raise CoefficientError(f"{path.name}: {entry['key']}: {error}") from error
