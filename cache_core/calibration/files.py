"""Coefficient files: safetensors with JSON metadata, read without pickle, checked, written atomically."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ..decide.signals import SignalKind
from ..planning.gram import GramTable
from .block_tables import BlockTable
from .trial import Trial

FORMAT = 1
SUFFIX = ".safetensors"
# A table of 1000 steps and 4 branches takes 32 MB; anything larger is not one of ours.
LARGEST_FILE = 64 * 2**20
_METADATA_KEY = "scaling_cache"
_TENSORS_IN_ORDER = ("sigmas", "gram", "guided")
_TENSORS = frozenset(_TENSORS_IN_ORDER)
_BLOCK_TENSORS = frozenset({"ratios", "polynomial", "valid"})
_GAINS, _TRIAL = "gains", "trial"
# Tensors of a block table that it may lack.
_FIRST, _EACH = "first_block", "block_changes"
_SIGNAL_KEY = "scaling_cache_signal"


class CoefficientError(ValueError):
    """A coefficient file that cannot be used, with a sentence for the user."""


@dataclass(frozen=True)
class Provenance:
    """Where a table comes from and what it fits.

    Attributes:
        family: name of the host's model class.
        fingerprint: structure of the model, see `nodes.host.fingerprint`.
        sampler: sampler it was measured with.
        cfg: guidance scale.
        shape: latent shape without the batch.
        samples: number of runs.
        pack_version: version that wrote the file.
        source: who measured it, on what.
    """

    family: str
    fingerprint: str
    sampler: str
    cfg: float
    shape: tuple[int, ...]
    samples: int
    pack_version: str
    source: str


@dataclass(frozen=True)
class CoefficientFile:
    """Calibrated tables with their provenance.

    Attributes:
        table: outputs per conditioning, from which alpha follows.
        guided: one branch, what guidance made of them, from which the steps to compute and the repair of
            predicted ones follow; with the gains if they were measured.
        blocks: what TeaCache, MagCache and First Block Cache need, where the blocks can be reached.
        trial: whether the tables beat learning during the run, if that was tried.
    """

    provenance: Provenance
    table: GramTable
    guided: GramTable
    blocks: BlockTable | None = None
    trial: Trial | None = None

    def guided_at(self, cfg: float) -> GramTable:
        """Products of the guided outputs at another guidance scale.

        With outputs p and n of the two conditionings, `n + cfg (p - n)` is `cfg p + (1 - cfg) n`, so the
        products `p n` follow from those at the calibrated scale. Those at the calibrated scale are the
        answer where they do not: calibrated with cfg 1, or guidance of another kind.
        """
        made = self.provenance.cfg
        if cfg == made or made in (0.0, 1.0) or len(self.table.gram) < 2:
            return self.guided
        positive, negative = self.table.gram[:2]
        both = self.guided.gram[0] - made**2 * positive - (1 - made) ** 2 * negative
        both = both / (made * (1 - made))
        gram = cfg**2 * positive + cfg * (1 - cfg) * both + (1 - cfg) ** 2 * negative
        if np.linalg.eigvalsh(gram)[0] < -1e-6 * np.trace(gram):
            return self.guided
        return GramTable(self.guided.sigmas, gram[None], self.guided.gains)


def read_provenance(path: Path, name: str = "") -> Provenance:
    """Where a coefficient file comes from, without its tensors.

    Args:
        name: for messages, if it is another than the path's.

    Raises:
        CoefficientError: if the file is missing, too large, damaged or not a coefficient file.
    """
    name = name or path.name
    with _opened(path, name) as file:
        return _provenance(file, name)


def load(path: Path, name: str = "") -> CoefficientFile:
    """Read a coefficient file; arguments and errors as in `read_provenance`."""
    name = name or path.name
    with _opened(path, name) as file:
        provenance = _provenance(file, name)
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
        metadata = file.metadata()
    try:
        sigmas, gram, guided = (np.asarray(tensors[n], np.float64) for n in _TENSORS_IN_ORDER)
        below = set(tensors) & (_BLOCK_TENSORS | {_FIRST, _EACH})
        blocks = _parse_blocks(tensors, metadata) if below else None
        gains = np.asarray(tensors[_GAINS], np.float64) if _GAINS in tensors else None
        trial = Trial(np.asarray(tensors[_TRIAL], np.float64)) if _TRIAL in tensors else None
        return CoefficientFile(
            provenance, GramTable(sigmas, gram), GramTable(sigmas, guided, gains), blocks, trial
        )
    except (ValueError, TypeError) as error:
        raise CoefficientError(f"coefficients: {name}: {error}") from error


@contextmanager
def _opened(path: Path, name: str) -> Iterator[Any]:
    """A file whose header was read."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise CoefficientError(f"coefficients: cannot read {name}: {error.strerror}") from error
    if size > LARGEST_FILE:
        raise CoefficientError(
            f"coefficients: {name} has {size} bytes, a coefficient file at most {LARGEST_FILE}"
        )
    try:
        with safe_open(str(path), framework="numpy") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise CoefficientError(f"coefficients: {name} is damaged: {error}") from error


def _provenance(file: Any, name: str) -> Provenance:
    """From the header of an open file."""
    metadata, optional = file.metadata() or {}, _BLOCK_TENSORS | {_GAINS, _TRIAL, _FIRST, _EACH}
    if set(file.keys()) - optional != _TENSORS or _METADATA_KEY not in metadata:
        raise CoefficientError(f"coefficients: {name} is not a coefficient file")
    try:
        return _parse(metadata[_METADATA_KEY])
    except (ValueError, TypeError) as error:
        raise CoefficientError(f"coefficients: {name}: {error}") from error


def store(path: Path, content: CoefficientFile) -> None:
    """Write a coefficient file."""
    text = json.dumps({"format": FORMAT, **asdict(content.provenance)}, sort_keys=True)
    table = content.table
    tensors = (table.sigmas, table.gram, content.guided.gram)
    # Views would be written as the memory behind them lies.
    named: dict[str, np.ndarray] = {
        n: np.ascontiguousarray(t) for n, t in zip(_TENSORS_IN_ORDER, tensors, strict=True)
    }
    metadata = {_METADATA_KEY: text}
    if content.guided.gains is not None:
        named[_GAINS] = np.ascontiguousarray(content.guided.gains)
    if content.trial is not None:
        named[_TRIAL] = np.ascontiguousarray(content.trial.psnr)
    blocks = content.blocks
    if blocks is not None:
        named |= {
            "ratios": np.ascontiguousarray(blocks.ratios),
            "polynomial": np.array(blocks.polynomial),
            "valid": np.array(blocks.valid),
        }
        for key, changes in ((_FIRST, blocks.first_block), (_EACH, blocks.block_changes)):
            if changes is not None:
                # As large as a table of products, and known to fewer digits.
                named[key] = np.ascontiguousarray(changes, np.float32)
        metadata[_SIGNAL_KEY] = blocks.signal.value
    write(path, save(named, metadata=metadata))


def write(path: Path, data: bytes, check: Callable[[Path], object] | None = None) -> None:
    """Write a file; readers see the old one or the new one, never a part.

    Args:
        check: reads what was written, under another name, and raises if it must not take its place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        if check is not None:
            check(part)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _parse_blocks(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> BlockTable:
    """
    Raises:
        ValueError: naming the field that is wrong.
    """
    if not set(tensors) >= _BLOCK_TENSORS:
        raise ValueError("ratios, polynomial, valid: need all three or none")
    ratios, polynomial, valid = (
        np.asarray(tensors[n], np.float64) for n in ("ratios", "polynomial", "valid")
    )
    if polynomial.ndim != 1 or valid.shape != (2,):
        raise ValueError("polynomial, valid: need one axis, of two numbers the second")
    try:
        signal = SignalKind(metadata.get(_SIGNAL_KEY))
    except ValueError:
        raise ValueError("signal: unknown") from None
    first, each = (
        np.asarray(tensors[n], np.float64) if n in tensors else None for n in (_FIRST, _EACH)
    )
    bounds = (float(valid[0]), float(valid[1]))
    return BlockTable(signal, ratios, tuple(polynomial.tolist()), bounds, first, each)


def _parse(text: str) -> Provenance:
    """Provenance from JSON.

    Raises:
        ValueError: naming the field that is missing, unknown or of a wrong type.
    """
    raw = json.loads(text)
    if not isinstance(raw, dict):
        raise ValueError("metadata: must be a JSON object")
    if raw.pop("format", None) != FORMAT:
        raise ValueError(f"format: this version reads format {FORMAT}")
    names = {f.name for f in fields(Provenance)}
    if set(raw) != names:
        odd = ", ".join(sorted(set(raw) ^ names))
        raise ValueError(f"metadata: missing or unknown fields: {odd}")
    for name, kind in _KINDS.items():
        if not isinstance(raw[name], kind) or isinstance(raw[name], bool):
            raise ValueError(f"{name}: has a wrong type")
    if not all(isinstance(n, int) and n > 0 for n in raw["shape"]):
        raise ValueError("shape: must hold positive numbers")
    if raw["samples"] < 1:
        raise ValueError("samples: must be 1 or more")
    return Provenance(**{**raw, "cfg": float(raw["cfg"]), "shape": tuple(raw["shape"])})


_KINDS: dict[str, type | tuple[type, ...]] = {
    "family": str,
    "fingerprint": str,
    "sampler": str,
    "cfg": (int, float),
    "shape": list,
    "samples": int,
    "pack_version": str,
    "source": str,
}
