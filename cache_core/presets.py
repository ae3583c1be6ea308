"""Published settings of the methods: JSON files with a source per entry, checked on reading."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .coefficients import CoefficientError
from .methods.magcache import MagCache
from .methods.teacache import TeaCache
from .signals import Polynomial, SignalKind

FORMAT = 1
LARGEST_FILE = 2**20
_SIGNALS = {
    "tokens": SignalKind.TOKENS,
    "modulated": SignalKind.MODULATED,
    "time_embedding": SignalKind.TIME_EMBEDDING,
    "time_projection": SignalKind.TIME_PROJECTION,
}


@dataclass(frozen=True)
class TeaPreset:
    """A published polynomial.

    Attributes:
        key: name of the model.
        family: family of networks that it fits.
        method: TeaCache with the recommended threshold, about twice as fast.
        start_percent, end_percent: recommended window.
        thresholds: published ones.
        sources: repository, file and line each.
    """

    key: str
    family: str
    method: TeaCache
    start_percent: float
    end_percent: float
    thresholds: tuple[float, ...]
    sources: tuple[str, ...]


@dataclass(frozen=True)
class MagPreset:
    """A published table of ratios.

    Attributes:
        key: name of the model.
        family: family of networks that it fits.
        method: MagCache with the published settings.
        sources: repository, file and line each.
    """

    key: str
    family: str
    method: MagCache
    sources: tuple[str, ...]


def load_teacache(path: Path) -> dict[str, TeaPreset]:
    """Polynomials by key.

    Raises:
        CoefficientError: if the file cannot be read or an entry is wrong.
    """
    return {entry["key"]: _build(path, entry, _tea) for entry in _entries(path)}


def load_magcache(path: Path) -> dict[str, MagPreset]:
    """Tables of ratios by key.

    Raises:
        CoefficientError: if the file cannot be read or an entry is wrong.
    """
    return {entry["key"]: _build(path, entry, _mag) for entry in _entries(path)}


def _tea(entry: Mapping[str, Any]) -> TeaPreset:
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
    )
    return TeaPreset(
        entry["key"],
        entry["family"],
        method,
        float(entry["start_percent"]),
        float(entry["end_percent"]),
        tuple(entry["thresholds"]),
        tuple(entry["sources"]),
    )


def _mag(entry: Mapping[str, Any]) -> MagPreset:
    method = MagCache(
        tuple(tuple(map(float, branch)) for branch in entry["ratios"]),
        float(entry["threshold"]),
        int(entry["longest"]),
        float(entry["retention"]),
        bool(entry["inclusive"]),
        bool(entry["round_retention"]),
        tuple(entry["never"]),
    )
    return MagPreset(entry["key"], entry["family"], method, tuple(entry["sources"]))


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
