"""Coefficient files: safetensors with JSON metadata, read without pickle, checked and tried before use.

A file comes from anywhere. Its header is short, and tells sizes and kinds of all tensors before one of
them is read; whatever is wrong with it or with them is one kind of error.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from dataclasses import fields as fields_of
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import numpy as safetensors

from ..decide.signals import SignalKind
from ..planning.gram import Floats, GramTable, affine_weights, definite, raised
from .block_tables import BlockTable
from .folder import write
from .trial import SPEEDUPS, Trial

FORMAT = 1
# A table of 1000 steps and 4 branches takes 32 MB; anything larger is not one of ours.
LARGEST_FILE = 64 * 2**20
# What the pack writes takes 2 KiB.
LARGEST_HEADER = 16 * 2**10
# Of all its lists and objects; 34 in what the pack writes.
_MOST_BRACKETS = 100
MOST_STEPS = 1000
_MOST_BRANCHES, _MOST_BLOCKS, _MOST_PROMPTS, _MOST_POWERS = 16, 1000, 1000, 16
_METADATA_KEY = "scaling_cache"
_TENSORS_IN_ORDER = ("sigmas", "gram", "guided")
_TENSORS = frozenset(_TENSORS_IN_ORDER)
_BLOCK_TENSORS = frozenset({"ratios", "polynomial", "valid"})
_GAINS, _TRIAL = "gains", "trial"
# Tensors of a block table that it may lack.
_FIRST, _EACH = "first_block", "block_changes"
_SIGNAL_KEY = "scaling_cache_signal"
# Most entries along each axis of each tensor.
_AXES: Mapping[str, tuple[int, ...]] = {
    "sigmas": (MOST_STEPS,),
    "gram": (_MOST_BRANCHES, MOST_STEPS, MOST_STEPS),
    "guided": (1, MOST_STEPS, MOST_STEPS),
    _GAINS: (MOST_STEPS,),
    _TRIAL: (_MOST_PROMPTS, 2, len(SPEEDUPS)),
    "ratios": (_MOST_BRANCHES, MOST_STEPS),
    "polynomial": (_MOST_POWERS,),
    "valid": (2,),
    _FIRST: (_MOST_BRANCHES, MOST_STEPS, MOST_STEPS),
    _EACH: (_MOST_BRANCHES, _MOST_BLOCKS, MOST_STEPS),
}
_NUMBERS = ("F32", "F64")
# Letters of a text in the provenance, and of an error that quotes a file.
_LONGEST_TEXT = 200
# Products, noise levels and gains so far from 1 overflow once they are multiplied, and no model has them.
_FAR = 1e30
_LARGEST_CFG = 1000.0
# Share of the trace by which half precision changes products.
_HALF = 1e-6
# Scales and rows at which a table is tried.
_TRIED_CFG = (0.0, 1.0, 7.5, _LARGEST_CFG)
_PAST = 3


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
        known = cfg == made or made in (0.0, 1.0) or len(self.table.gram) < 2
        if known or not abs(cfg) <= _LARGEST_CFG:
            return self.guided
        positive, negative = self.table.gram[:2]
        with np.errstate(all="ignore"):
            both = self.guided.gram[0] - made**2 * positive - (1 - made) ** 2 * negative
            both = both / (made * (1 - made))
            gram = cfg**2 * positive + cfg * (1 - cfg) * both + (1 - cfg) ** 2 * negative
            # Guidance in half precision is the sum but for its rounding, which lies on the diagonal.
            for products in (gram, raised(gram, _HALF)):
                if _sound(products):
                    return GramTable(self.guided.sigmas, products[None], self.guided.gains)
        return self.guided


def _sound(gram: Floats) -> bool:
    """Whether these can be products of outputs that are fit to reckon with."""
    sizes = np.diagonal(gram)
    return bool(((sizes >= 1 / _FAR) & (sizes <= _FAR)).all()) and definite(gram)


@dataclass(frozen=True)
class Header:
    """What stands before the tensors of a file.

    Attributes:
        provenance: where it comes from.
        signal: what the polynomial was fitted on, as the file says it; None if it does not.
        kinds: type and shape of each tensor.
    """

    provenance: Provenance
    signal: str | None
    kinds: Mapping[str, tuple[str, tuple[int, ...]]]

    def check(self) -> None:
        """
        Raises:
            ValueError: naming a tensor that is missing, or of a kind or size that none of ours has.
        """
        below = set(self.kinds) & {*_BLOCK_TENSORS, _FIRST, _EACH}
        if below and not below >= _BLOCK_TENSORS:
            raise ValueError("ratios, polynomial, valid: need all three or none")
        for name, (kind, shape) in self.kinds.items():
            most = _AXES[name]
            if kind not in _NUMBERS:
                raise ValueError(f"{name}: must be {' or '.join(_NUMBERS)}, got {kind}")
            fits = len(shape) == len(most) and all(
                1 <= n <= high for n, high in zip(shape, most, strict=True)
            )
            if not fits or (name == "valid" and shape != most):
                raise ValueError(f"{name}: need shape {list(most)} at most, got {list(shape)}")


def read_provenance(path: Path, name: str = "") -> Provenance:
    """Where a coefficient file comes from; no more than its header is read.

    Args:
        name: for messages, if it is another than the path's.

    Raises:
        CoefficientError: if the file is missing, too large, damaged or not a coefficient file.
    """
    with _told(name or path.name):
        size = _size(path)
        return _header(_read(path, min(size, 8 + LARGEST_HEADER)), size).provenance


def load(path: Path, name: str = "") -> CoefficientFile:
    """Read a coefficient file and try it out; arguments and errors as in `read_provenance`."""
    return parse(read(path, name), name or path.name)


def read(path: Path, name: str = "") -> bytes:
    """All of a file, unchecked but for its size; arguments and errors as in `read_provenance`."""
    with _told(name or path.name):
        return _read(path, _size(path))


def parse(data: bytes, name: str) -> CoefficientFile:
    """A coefficient file from its bytes.

    Raises:
        CoefficientError: if they are damaged, or anything in them cannot be used.
    """
    with _told(name):
        header = _header(data, len(data))
        header.check()
        found = safetensors.load(data)
        tensors = {key: np.asarray(value, np.float64) for key, value in found.items()}
        sigmas, gram, guided = (tensors[n] for n in _TENSORS_IN_ORDER)
        blocks = _parse_blocks(tensors, header.signal) if "ratios" in tensors else None
        trial = Trial(tensors[_TRIAL]) if _TRIAL in tensors else None
        guided = GramTable(sigmas, guided, tensors.get(_GAINS))
        content = CoefficientFile(header.provenance, GramTable(sigmas, gram), guided, blocks, trial)
        check_use(content)
        return content


def check_use(content: CoefficientFile) -> None:
    """Use a file as runs do, so that none of them is the first to find that it cannot be.

    Raises:
        ValueError: naming the field.
    """
    sigmas, gains = content.table.sigmas, content.guided.gains
    if sigmas[-1] < 1 / _FAR or sigmas[0] > _FAR:
        raise ValueError(f"sigmas: must be between {1 / _FAR:g} and {_FAR:g}")
    if gains is not None and not ((gains >= 1 / _FAR) & (gains <= _FAR)).all():
        raise ValueError(f"gains: must be between {1 / _FAR:g} and {_FAR:g}")
    for name, table in (("gram", content.table), ("guided", content.guided)):
        if not all(_sound(gram) for gram in table.gram):
            raise ValueError(
                f"{name}: must hold products of outputs, of squares between {1 / _FAR:g} and {_FAR:g}"
            )
    for cfg in (content.provenance.cfg, *_TRIED_CFG):
        if not np.isfinite(_weights(content.guided_at(cfg))).all():
            raise ValueError(f"guided: gives no weights at cfg {cfg:g}")
    if not np.isfinite(_weights(content.table)).all():
        raise ValueError("gram: gives no weights")


def _weights(table: GramTable) -> Floats:
    """Weights of the outputs before each step in it."""
    past = min(_PAST, len(table.sigmas) - 1)
    near = np.arange(past, len(table.sigmas))[:, None] - np.arange(past + 1)
    gram = table.gram.sum(0)[near[:, :, None], near[:, None, :]]
    rows = np.eye(past + 1)
    return affine_weights(gram, rows[1:], rows[:1], table.noise)


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Whatever goes wrong with what a file holds, as one kind of error with a sentence."""
    try:
        with np.errstate(all="ignore"):
            yield
    except OSError as error:
        why = error.strerror or error
        raise CoefficientError(f"coefficients: cannot read {name}: {why}") from error
    except _Damaged as error:
        raise CoefficientError(str(error).format(name)) from error
    except ValueError as error:
        raise CoefficientError(f"coefficients: {name}: {_plain(str(error))}") from error
    except Exception as error:
        # Of a library, or of numbers too large or nested too deeply for Python.
        raise CoefficientError(f"coefficients: {name} is damaged: {_plain(str(error))}") from error


class _Damaged(ValueError):
    """What is wrong with a file as a whole, with a place for its name."""


def _plain(text: str) -> str:
    """What may quote a file, short and in one line."""
    return "".join(c if c.isprintable() else " " for c in text[:_LONGEST_TEXT])


def _size(path: Path) -> int:
    """
    Raises:
        _Damaged: if it is no plain file, or too large.
        OSError: if there is none.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise _Damaged("coefficients: {} is not a coefficient file")
    if found.st_size > LARGEST_FILE:
        raise _Damaged(
            f"coefficients: {{}} has {found.st_size} bytes, a coefficient file at most {LARGEST_FILE}"
        )
    return found.st_size


def _read(path: Path, size: int) -> bytes:
    """So many bytes at the beginning of a file, or all if it has become shorter."""
    data = bytearray()
    with path.open("rb", buffering=0) as file:
        while part := file.read(size - len(data)):
            data += part
    return bytes(data)


def _header(data: bytes, size: int) -> Header:
    """
    Args:
        data: beginning of a file, all of the header.
        size: of the whole file.

    Raises:
        _Damaged: if this is not the beginning of a coefficient file.
        ValueError: naming what in the metadata is wrong.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > size - 8:
        raise _Damaged("coefficients: {} is damaged: it ends too early")
    if length > LARGEST_HEADER:
        raise _Damaged(
            f"coefficients: {{}} is not a coefficient file: a header has {LARGEST_HEADER} bytes at most"
        )
    text = data[8 : 8 + length]
    if text.count(b"[") + text.count(b"{") > _MOST_BRACKETS:
        raise _Damaged(
            "coefficients: {} is not a coefficient file: its header is nested too deeply"
        )
    try:
        raw = json.loads(text)
    except ValueError:
        raise _Damaged("coefficients: {} is damaged: its header is no JSON") from None
    metadata = raw.pop("__metadata__", None) if isinstance(raw, dict) else None
    fields = metadata.get(_METADATA_KEY) if isinstance(metadata, dict) else None
    optional = _BLOCK_TENSORS | {_GAINS, _TRIAL, _FIRST, _EACH}
    if (
        not isinstance(metadata, dict)
        or not isinstance(fields, str)
        or set(raw) - optional != _TENSORS
    ):
        raise _Damaged("coefficients: {} is not a coefficient file")
    kinds = {name: _kind(name, entry) for name, entry in raw.items()}
    return Header(_parse(fields), metadata.get(_SIGNAL_KEY), kinds)


def _kind(name: str, entry: Any) -> tuple[str, tuple[int, ...]]:
    """Type and shape of a tensor."""
    kind, shape = (
        entry.get(key) if isinstance(entry, dict) else None for key in ("dtype", "shape")
    )
    if not isinstance(kind, str) or not isinstance(shape, list) or not all(map(_is_whole, shape)):
        raise ValueError(f"{name}: has no type and shape")
    return kind, tuple(shape)


def store(path: Path, content: CoefficientFile) -> None:
    """Write a coefficient file.

    Raises:
        CoefficientError: if it could not be read again.
        OSError: if it cannot be written; what was there stays.
    """
    data = dump(content)
    parse(data, path.name)
    write(path, data)


def dump(content: CoefficientFile) -> bytes:
    """The bytes of a coefficient file."""
    text = json.dumps({"format": FORMAT, **asdict(content.provenance)}, sort_keys=True)
    table = content.table
    tensors = (table.sigmas, table.gram, content.guided.gram)
    named: dict[str, np.ndarray] = dict(zip(_TENSORS_IN_ORDER, tensors, strict=True))
    metadata = {_METADATA_KEY: text}
    if content.guided.gains is not None:
        named[_GAINS] = content.guided.gains
    if content.trial is not None:
        named[_TRIAL] = content.trial.psnr
    blocks = content.blocks
    if blocks is not None:
        named |= {
            "ratios": blocks.ratios,
            "polynomial": np.array(blocks.polynomial),
            "valid": np.array(blocks.valid),
        }
        for key, changes in ((_FIRST, blocks.first_block), (_EACH, blocks.block_changes)):
            if changes is not None:
                # As large as a table of products, and known to fewer digits.
                named[key] = changes.astype(np.float32)
        metadata[_SIGNAL_KEY] = blocks.signal.value
    # Views would be written as the memory behind them lies.
    whole = {
        name: np.ascontiguousarray(value, np.float32 if value.dtype == np.float32 else np.float64)
        for name, value in named.items()
    }
    return safetensors.save(whole, metadata=metadata)


def _parse_blocks(tensors: Mapping[str, Floats], signal: str | None) -> BlockTable:
    """
    Raises:
        ValueError: naming the field that is wrong.
    """
    try:
        kind = SignalKind(signal)
    except ValueError:
        raise ValueError("signal: unknown") from None
    low, high = tensors["valid"].tolist()
    polynomial = tuple(tensors["polynomial"].tolist())
    first, each = tensors.get(_FIRST), tensors.get(_EACH)
    return BlockTable(kind, tensors["ratios"], polynomial, (low, high), first, each)


def _parse(text: str) -> Provenance:
    """Provenance from JSON.

    Raises:
        ValueError: naming the field that is missing, unknown or not as it must be.
    """
    try:
        raw = json.loads(text)
    except RecursionError:
        raise ValueError("metadata: is nested too deeply") from None
    except ValueError:
        raise ValueError("metadata: must be JSON") from None
    if not isinstance(raw, dict):
        raise ValueError("metadata: must be a JSON object")
    if raw.pop("format", None) != FORMAT:
        raise ValueError(f"format: this version reads format {FORMAT}")
    names = {f.name for f in fields_of(Provenance)}
    if set(raw) != names:
        odd = ", ".join(sorted(set(raw) ^ names))
        raise ValueError(f"metadata: missing or unknown fields: {odd}")
    for name, (fits, wanted) in _WANTED.items():
        if not fits(raw[name]):
            raise ValueError(f"{name}: must be {wanted}")
    return Provenance(**{**raw, "cfg": float(raw["cfg"]), "shape": tuple(raw["shape"])})


def _is_whole(value: Any) -> bool:
    """Whether it is a number of something, and not beyond all counting."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_TEXT and value.isprintable()


def _is_scale(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and 0 <= value <= _LARGEST_CFG


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 8 and all(_is_whole(n) and n for n in value)


_TEXT = (_is_text, f"a text of {_LONGEST_TEXT} printable characters at most")
_WANTED: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "family": _TEXT,
    "fingerprint": _TEXT,
    "sampler": _TEXT,
    "cfg": (_is_scale, f"a number from 0 to {_LARGEST_CFG:g}"),
    "shape": (_is_shape, "up to 8 whole numbers above 0"),
    "samples": (lambda value: _is_whole(value) and value > 0, "a whole number above 0"),
    "pack_version": _TEXT,
    "source": _TEXT,
}
