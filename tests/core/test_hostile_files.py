"""Whatever lies in the folder: a file loads and then serves every purpose, or is refused in words."""

from __future__ import annotations

import json
import math
import os
import random
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load as tensors_of
from scaling_cache.cache_core.calibration.block_tables import (
    BlockTable,
    first_block_steps,
    first_block_threshold,
)
from scaling_cache.cache_core.calibration.files import (
    LARGEST_FILE,
    LARGEST_HEADER,
    CoefficientError,
    CoefficientFile,
    Provenance,
    dump,
    load,
    parse,
    read_provenance,
)
from scaling_cache.cache_core.calibration.profiling import mean_changes
from scaling_cache.cache_core.calibration.trial import Trial
from scaling_cache.cache_core.decide.signals import Polynomial, SignalKind
from scaling_cache.cache_core.methods import EOC, MagCache
from scaling_cache.cache_core.methods.eoc import Judged
from scaling_cache.cache_core.methods.magcache import resample
from scaling_cache.cache_core.methods.smoothcache import smooth_steps
from scaling_cache.cache_core.planning.gram import GramTable
from scaling_cache.cache_core.planning.optimiser import best_chains
from scaling_cache.cache_core.planning.prior import filled, steadied
from scaling_cache.cache_core.predict.predictors import Known, Now, snr_axis

STEPS = 8
# In `make test`, and in the long tests beside them.
FEW, MANY = 300, 8000
# Schedules of runs: of a flow model and of one that adds noise.
FLOW = (*np.linspace(1, 0.1, STEPS).tolist(), 0.0)
NOISE = (*np.geomspace(14.6, 0.03, STEPS).tolist(), 0.0)


def made(kind: str) -> CoefficientFile:
    """A file as Calibrate Cache writes it: of a plain calibration, of a refined one, with blocks or of
    one conditioning."""
    rng = np.random.default_rng(0)
    outputs = rng.standard_normal((3, 1, 40)) + rng.standard_normal((3, STEPS, 40)).cumsum(1) / 5
    outputs[2] = outputs[1] + 4.0 * (outputs[0] - outputs[1])
    gram = outputs @ outputs.transpose(0, 2, 1)
    sigmas = np.array((NOISE if kind == "plain" else FLOW)[:-1])
    cfg = 1.0 if kind == "one" else 4.0
    provenance = Provenance("Flux", "0" * 16, "euler", cfg, (16, 8, 8), 4, "0.1.0", "a test")
    table = GramTable(sigmas, gram[:1] if kind == "one" else gram[:2])
    file = CoefficientFile(provenance, table, GramTable(sigmas, gram[2:]))
    if kind == "refined":
        gains = np.linspace(3, 0.3, STEPS)
        trial = Trial(rng.uniform(20, 50, (4, 2, 3)))
        file = replace(file, guided=replace(file.guided, gains=gains), trial=trial)
    if kind == "blocks":
        each = rng.uniform(0, 1, (2, 6, STEPS))
        first = np.triu(rng.uniform(0, 1, (2, STEPS, STEPS)), 1)
        ratios = rng.uniform(0.8, 1.2, (2, STEPS))
        blocks = BlockTable(
            SignalKind.TOKENS, ratios, (2.0, -1, 1, 0.1, 0), (0.01, 0.5), first, each
        )
        file = replace(file, blocks=blocks)
    return file


GOOD = {kind: dump(made(kind)) for kind in ("plain", "refined", "blocks", "one")}


def use(file: CoefficientFile) -> list[float]:
    """All numbers that runs and nodes take from a file."""
    found: list[float] = []
    own = (*file.table.sigmas.tolist(), 0.0)
    other = NOISE if file.table.sigmas[0] <= 1 else FLOW
    tables = [file.guided_at(cfg) for cfg in (4.3, 100.0, -2.0, 0.0, 1e9, math.nan)]
    for table in (file.table, *tables[:3]):
        for schedule in (own, other):
            found += _planned(table, schedule, planned=table is tables[0])
    if file.trial is not None:
        for speedup in (None, 2.0, 4.0):
            found += [float(file.trial.wins(speedup)), float(len(file.trial.told(speedup)))]
    if file.blocks is not None:
        found += _of_blocks(file.blocks)
    return found


def _planned(table: GramTable, schedule: tuple[float, ...], planned: bool) -> list[float]:
    sigmas = schedule[:-1]
    found = [float(table.covers(sigmas)), *table.gains_on(sigmas).tolist()]
    products = table.on(sigmas)
    found += [*products.flatten().tolist(), *smooth_steps(products, 0.1, frozenset({0}), 3)]
    judged = Judged(table, EOC().judgement)
    for step in range(1, len(sigmas)):
        past = sigmas[max(step - 3, 0) : step][::-1]
        for depth in range(1, len(past) + 1):
            found += table.weights(sigmas[step], past[:depth])
        known = [Known(step, sigma, sigma, ()) for sigma in past]
        found += judged.weights(known, Now(step, sigmas[step], sigmas[step]))
    # What the corrector asks for: of known outputs after and before.
    found += table.weights(sigmas[1], (sigmas[-1], sigmas[0]))
    if planned:
        joined = table.joined(sigmas)
        over = filled(table, joined, _places(joined))
        drawn = steadied(over, snr_axis(schedule, _places(schedule)))
        for one in (table, over, drawn, steadied(table, float)):
            for corrected in (True, False):
                if len(sigmas) >= 3:
                    found += [c.error for c in best_chains(one, schedule, (), 3, corrected)]
    return found


def _places(sigmas: Sequence[float]) -> tuple[float, ...]:
    return tuple(-math.log(max(sigma, 1e-35)) for sigma in sigmas)


def _of_blocks(table: BlockTable) -> list[float]:
    tea = Polynomial(table.polynomial, table.valid)
    mag = MagCache(tuple(tuple(row) for row in table.ratios.tolist()), 0.1, 4, 0.2)
    found = [tea(change) for change in (0.0, 0.02, 1.0, 1e30)]
    found += [*resample(mag.ratios[0], 20), *resample(mag.ratios[-1], 1)]
    if table.first_block is not None:
        for speedup in (1.0, 2.0, 3.0):
            threshold = first_block_threshold(table.first_block, speedup)
            found += [threshold, *first_block_steps(table.first_block, threshold)]
    if table.block_changes is not None:
        found += mean_changes(table.block_changes.mean(0)).tolist()
    return found


# --- mutations: of the bytes, of the header, of what the tensors hold


def packed(header: Any, body: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def flip_bits(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    end = len(data) if rng.random() < 0.7 else 8 + int.from_bytes(data[:8], "little")
    for _ in range(rng.choice((1, 1, 2, 8, 100))):
        changed[rng.randrange(end)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(data: bytes, rng: random.Random) -> bytes:
    keep = rng.choice((rng.randrange(len(data)), rng.randrange(16), len(data) - 1))
    return data[:keep] if rng.random() < 0.8 else data + bytes(rng.randrange(1, 50))


def other_length(data: bytes, rng: random.Random) -> bytes:
    own = int.from_bytes(data[:8], "little")
    length = rng.choice(
        (0, 1, own - 1, own + 1, len(data) - 8, LARGEST_HEADER + 1, 2**40, 2**64 - 1)
    )
    return length.to_bytes(8, "little") + data[8:]


HOSTILE = (
    *("null", "true", "-1", "0", "0.5", "NaN", "Infinity", "-Infinity", "1e308", "1e400", "1e-320"),
    *(
        "1" * 401,
        "-" + "9" * 5000,
        "[" * 900 + "]" * 900,
        "[" * 7000,
        '{"a":' * 3000,
        '""',
        "[]",
        "{}",
    ),
    *(
        '"\\u0000"',
        '"\\ud800"',
        '"\\n"',
        '"<img src=x onerror=alert(1)>"',
        f'"{"x" * 9000}"',
        "[true]",
    ),
    *("[1.5]", "[99999999999999999999]", "[[8]]", "1000001", "[1,2,3,4,5,6,7,8,9]", '"4"', "4.0"),
)


def other_field(data: bytes, rng: random.Random) -> bytes:
    """A value of the metadata, written as nobody would."""
    header, body = parts(data)
    entry = header["__metadata__"]
    fields = json.loads(entry["scaling_cache"])
    name = rng.choice([*fields, "more"])
    fields[name] = "HERE"
    value = rng.choice(HOSTILE)
    entry["scaling_cache"] = json.dumps(fields).replace('"HERE"', value)
    if rng.random() < 0.1:
        entry["scaling_cache_signal"] = rng.choice(("time embedding", "", "x" * 999))
    return packed(header, body)


def other_header(data: bytes, rng: random.Random) -> bytes:
    header, body = parts(data)
    if rng.random() < 0.4:
        return packed(rng.choice(HOSTILE).encode(), body)
    name = rng.choice(list(header))
    header[name] = "HERE"
    return packed(json.dumps(header).replace('"HERE"', rng.choice(HOSTILE)).encode(), body)


KINDS = [
    "BOOL",
    "U8",
    "I8",
    "F8_E5M2",
    "F8_E4M3",
    "F4",
    "I16",
    "U16",
    "F16",
    "BF16",
    "I32",
    "U32",
    "F32",
    "F64",
    "I64",
    "U64",
    "C64",
    "X",
]


def other_tensor(data: bytes, rng: random.Random) -> bytes:
    """What the header says of a tensor."""
    header, body = parts(data)
    name = rng.choice([key for key in header if key != "__metadata__"])
    entry, what = header[name], rng.randrange(5)
    if what == 0:
        entry["dtype"] = rng.choice(KINDS)
    elif what == 1:
        shape = entry["shape"]
        wrong = (
            [],
            [0],
            [1, *shape],
            shape[::-1],
            [2**40, 2**40],
            [-1],
            shape[:-1],
            [len(body) // 8],
        )
        entry["shape"] = rng.choice(wrong)
    elif what == 2:
        entry["data_offsets"] = rng.choice(
            ([0, 0], [0, 2**60], [8, 0], [-8, 8], "x", entry["data_offsets"][:1])
        )
    elif what == 3:
        header[rng.choice(("gram", "gains", "valid", "more", name))] = header.pop(name)
    else:
        del header[name]
    return packed(header, body)


SPECIAL = (
    math.nan,
    math.inf,
    -math.inf,
    1e308,
    -1e308,
    1e-308,
    5e-324,
    0.0,
    -0.0,
    -1.0,
    1e30,
    1e-30,
    1.0,
)


def other_numbers(data: bytes, rng: random.Random) -> bytes:
    """Numbers in the tensors that no calibration gives, of kinds and sizes that it gives or not."""
    header, _ = parts(data)
    tensors = {name: np.array(value, np.float64) for name, value in tensors_of(data).items()}
    name = rng.choice(list(tensors))
    value, what = tensors[name], rng.randrange(8)
    if what == 0:
        flat = value.reshape(-1)
        for _ in range(rng.choice((1, 2, 9))):
            flat[rng.randrange(flat.size)] = rng.choice(SPECIAL)
    elif what == 1:
        value *= 10.0 ** rng.choice((rng.randint(-330, 308), rng.randint(-20, 20)))
    elif what == 2:
        value[...] = rng.choice(SPECIAL)
    elif what == 3:
        value += np.random.default_rng(rng.randrange(99)).standard_normal(value.shape) * value.std()
    elif what == 4 and value.ndim == 3 and value.shape[1] == value.shape[2]:
        random_ = np.random.default_rng(rng.randrange(99)).standard_normal(value.shape)
        value += (random_ + random_.transpose(0, 2, 1)) * 10.0 ** rng.randint(-16, 1) * value.std()
    elif what == 5 and value.ndim == 3:
        # Outputs that cancel each other, repeat each other or are hardly there.
        signs = np.array([rng.choice((1, -1, 1e-15, 1e-8)) for _ in range(value.shape[2])])
        tensors[name] = (
            value[:, :1, :1] * np.ones_like(value) * signs * signs[:, None][: value.shape[1]]
        )
    elif what == 6:
        tensors[name] = value[..., : rng.randint(1, value.shape[-1])]
    else:
        keep = rng.randint(1, STEPS)
        for other in tensors:
            axes = [slice(keep) if n == STEPS else slice(None) for n in tensors[other].shape]
            tensors[other] = tensors[other][tuple(axes)]
    kind = rng.choice((*[np.float64] * 9, np.float32, np.float16, np.int8))
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tensors[name] = tensors[name].astype(kind)
    if rng.random() < 0.3:
        tensors["sigmas"] = _odd_sigmas(tensors["sigmas"], rng)
    entries, body = {"__metadata__": header["__metadata__"]}, b""
    names = {"float64": "F64", "float32": "F32", "float16": "F16", "int8": "I8"}
    for key, value in sorted(tensors.items(), key=lambda item: -item[1].itemsize):
        start, content = len(body), np.ascontiguousarray(value).tobytes()
        body += content
        shape, ends = list(value.shape), [start, start + len(content)]
        entries[key] = {"dtype": names[value.dtype.name], "shape": shape, "data_offsets": ends}
    return packed(entries, body)


def _odd_sigmas(sigmas: np.ndarray, rng: random.Random) -> np.ndarray:
    steps = np.arange(len(sigmas))
    odd = (
        lambda: 1.0 - steps * 1e-15,
        lambda: 10.0 ** (29 - 8 * steps),
        lambda: 1e-300 * (len(steps) - steps),
        lambda: -1.0 * steps,
        lambda: sigmas * 10.0 ** rng.randint(-40, 40),
        lambda: np.nextafter(sigmas[0], sigmas[0] - steps),
    )
    return rng.choice(odd)()


MUTATIONS: Sequence[Callable[[bytes, random.Random], bytes]] = (
    flip_bits,
    cut,
    other_length,
    other_field,
    other_header,
    other_tensor,
    other_numbers,
    other_numbers,
)


def hostile(number: int) -> bytes:
    """A good file that one mutation or more have been at; the same for the same number."""
    rng = random.Random(number)
    data = GOOD[rng.choice(sorted(GOOD))]
    for _ in range(rng.choice((1, 1, 1, 2))):
        try:
            data = rng.choice(MUTATIONS)(data, rng)
        except Exception:
            if data in GOOD.values():
                raise
            break  # of what the first mutation left the second makes nothing
    return data


def serves(data: bytes) -> bool:
    """Whether a file loads, after it was used for everything.

    Raises:
        Exception: if it is refused otherwise than in words, or loads and cannot be used.
    """
    try:
        file = parse(data, "a.safetensors")
    except CoefficientError as error:
        words = str(error)
        assert words.startswith("coefficients: a.safetensors")
        assert words.isprintable()
        assert len(words) < 300
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(use(file)).all()
    return True


def fuzz(numbers: range) -> None:
    served = []
    for number in numbers:
        try:
            served.append(serves(hostile(number)))
        except Exception as error:
            pytest.fail(f"hostile({number}): {type(error).__name__}: {error}")
    # Otherwise it is one half of the assertion alone that was tried.
    assert 0.05 < np.mean(served) < 0.5


@pytest.mark.parametrize("kind", sorted(GOOD))
def test_what_calibrate_cache_writes_serves(kind: str):
    assert serves(GOOD[kind])


def test_few_hostile_files():
    fuzz(range(FEW))


def test_many_hostile_files():
    fuzz(range(FEW, FEW + MANY))


# --- what is said


def changed(
    change: Callable[[dict[str, Any], dict[str, Any]], None], kind: str = "blocks"
) -> bytes:
    """A good file with another header.

    Args:
        change: gets the header and the metadata's fields.
    """
    header, body = parts(GOOD[kind])
    entry = header["__metadata__"]
    fields = json.loads(entry["scaling_cache"])
    change(header, fields)
    entry["scaling_cache"] = json.dumps(fields)
    return packed(header, body)


def field(name: str, value: Any) -> bytes:
    return changed(lambda _, fields: fields.update({name: value}))


def tensor(name: str, **entry: Any) -> bytes:
    return changed(lambda header, _: header[name].update(entry))


def numbers(name: str, value: float) -> bytes:
    file = made("blocks")
    array = {"gram": file.table.gram, "sigmas": file.table.sigmas, "guided": file.guided.gram}[name]
    array[...] = np.eye(STEPS) * value if name != "sigmas" else array * value
    return dump(file)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (packed(b"[" * 5000 + b"]" * 5000, b""), "its header is nested too deeply"),
        (packed(b"[1, 2", b""), "is damaged: its header is no JSON"),
        (packed(b" " * (LARGEST_HEADER + 1), b""), f"a header has {LARGEST_HEADER} bytes at most"),
        (packed(b"{}", b""), "is not a coefficient file"),
        (b"", "is damaged: it ends too early"),
        (field("cfg", math.nan), "cfg: must be a number from 0 to 1000"),
        (field("cfg", math.inf), "cfg: must be a number from 0 to 1000"),
        (field("cfg", 10**400), "cfg: must be a number from 0 to 1000"),
        (field("cfg", -1), "cfg: must be a number from 0 to 1000"),
        (field("family", "x" * 201), "family: must be a text of 200 printable characters at most"),
        (field("source", "a\nb"), "source: must be a text of 200 printable"),
        (field("samples", 10**30), "samples: must be a whole number above 0"),
        (field("shape", [True]), "shape: must be up to 8 whole numbers above 0"),
        (tensor("gram", dtype="BF16"), "gram: must be F32 or F64, got BF16"),
        (tensor("gram", dtype="F8_E4M3"), "gram: must be F32 or F64, got F8_E4M3"),
        (tensor("sigmas", dtype="I64"), "sigmas: must be F32 or F64, got I64"),
        (tensor("gram", shape=[1, 5600, 5600]), "gram: need shape [16, 1000, 1000] at most"),
        (tensor("sigmas", shape=[2, 4]), "sigmas: need shape [1000] at most, got [2, 4]"),
        (tensor("valid", shape=[1]), "valid: need shape [2] at most, got [1]"),
        (numbers("gram", -1.0), "gram: the outputs of a step are all zero"),
        (numbers("gram", 1e40), "gram: must hold products of outputs, of squares between"),
        (numbers("guided", 1e-40), "guided: must hold products of outputs"),
        (numbers("sigmas", 1e40), "sigmas: must be between 1e-30 and 1e+30"),
        (numbers("sigmas", math.nan), "gram, sigmas: must be finite"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_named_and_what_is_allowed(data: bytes, said: str, tmp_path: Path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    with pytest.raises(CoefficientError) as error:
        load(path)
    assert said in str(error.value)


def test_products_that_no_outputs_have_are_refused():
    file = made("plain")
    file.guided.gram[0, 0, 1] = file.guided.gram[0, 1, 0] = 3 * file.guided.gram.max()
    with pytest.raises(CoefficientError, match="guided: must hold products of outputs"):
        parse(dump(file), "a.safetensors")


def test_of_a_file_no_more_than_its_header_tells_where_it_comes_from(tmp_path: Path):
    """A file of the largest size, none of which but the header is there."""
    path = tmp_path / "a.safetensors"
    header, body = parts(GOOD["one"])
    path.write_bytes(packed(header, body))
    with path.open("r+b") as file:
        file.truncate(LARGEST_FILE)
    assert read_provenance(path).family == "Flux"
    with path.open("r+b") as file:
        file.truncate(LARGEST_FILE + 1)
    with pytest.raises(CoefficientError, match=f"at most {LARGEST_FILE}"):
        read_provenance(path)


def test_what_is_no_plain_file_is_not_opened(tmp_path: Path):
    os.mkfifo(tmp_path / "fifo.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    for name in ("fifo", "folder"):
        for reading in (load, read_provenance):
            with pytest.raises(CoefficientError, match="is not a coefficient file"):
                reading(tmp_path / f"{name}.safetensors")
