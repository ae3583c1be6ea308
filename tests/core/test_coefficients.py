"""Coefficient files: what is written comes back, what is broken is refused in words."""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from scaling_cache.cache_core.calibration import files as coefficients
from scaling_cache.cache_core.calibration.block_tables import BlockTable
from scaling_cache.cache_core.calibration.files import (
    CoefficientError,
    CoefficientFile,
    Provenance,
    load,
    store,
)
from scaling_cache.cache_core.calibration.trial import Trial
from scaling_cache.cache_core.decide.signals import SignalKind
from scaling_cache.cache_core.planning.gram import GramTable

PROVENANCE = Provenance(
    family="WAN21_T2V",
    fingerprint="0123456789abcdef",
    sampler="euler",
    cfg=4.0,
    shape=(16, 5, 16, 16),
    samples=4,
    pack_version="0.1.0",
    source="a test",
)
SIGMAS = np.array([1.0, 0.6, 0.3, 0.1])


@pytest.fixture
def content() -> CoefficientFile:
    outputs = np.random.default_rng(0).standard_normal((3, 4, 10))
    gram = outputs @ outputs.transpose(0, 2, 1)
    return CoefficientFile(PROVENANCE, GramTable(SIGMAS, gram[:2]), GramTable(SIGMAS, gram[2:]))


@pytest.fixture
def path(tmp_path: Path, content: CoefficientFile) -> Path:
    file = tmp_path / "folder" / "table.safetensors"
    store(file, content)
    return file


def test_round_trip(path: Path, content: CoefficientFile):
    again = load(path)
    assert again.provenance == content.provenance
    np.testing.assert_array_equal(again.table.gram, content.table.gram)
    np.testing.assert_array_equal(again.table.sigmas, content.table.sigmas)
    np.testing.assert_array_equal(again.guided.gram, content.guided.gram)
    assert [p.name for p in path.parent.iterdir()] == [path.name], "no partial files are left"


def test_gains_come_back_and_serve_other_noise_levels(path: Path, content: CoefficientFile):
    assert load(path).guided.gains is None
    gains = np.array([4.0, 2.0, 1.0, 0.5])
    store(path, replace(content, guided=replace(content.guided, gains=gains)))
    again = load(path)
    np.testing.assert_array_equal(again.guided.gains, gains)
    assert again.blocks is None
    np.testing.assert_allclose(again.guided_at(7.0).gains_on((1.0, 0.8, 0.1)), (4.0, 3.0, 0.5))
    np.testing.assert_array_equal(content.guided.gains_on((0.9, 0.2)), (1.0, 1.0))


def test_a_trial_comes_back_and_says_what_was_nearer(path: Path, content: CoefficientFile):
    assert load(path).trial is None
    for learning, wins in ((50.0, True), (60.0, False)):
        psnr = np.array([[[learning] * 2, [62.0, 54.0]], [[learning] * 2, [63.0, 53.0]]])
        store(path, replace(content, trial=Trial(psnr)))
        trial = load(path).trial
        assert trial is not None
        assert trial.wins() is wins
        assert trial.told() == (
            f"58.0 dB with the coefficients, {learning:.1f} dB learning during the run"
        )


def test_a_difference_that_may_be_chance_does_not_win():
    learning = np.zeros((4, 2))
    for gains, wins in (((6.0, 7.0, 6.0, 7.0), True), ((9.0, -4.0, 6.0, -3.0), False)):
        squares = np.array(gains)[:, None].repeat(2, 1)
        assert Trial(np.stack([learning, squares], 1)).wins() is wins


@pytest.mark.parametrize("near", [10.0, -10.0])
def test_what_was_tried_at_4x_decides_from_3_5x_on_and_nowhere_else(near: float):
    learning = np.full((2, 3), 50.0)
    squares = learning + np.array([near, near, -near]) + np.array([[0.0], [0.1]])
    trial = Trial(np.stack([learning, squares], 1))
    for speedup in (None, 1.5, 2.0, 3.0, 3.4):
        assert trial.wins(speedup) is (near > 0)
        assert trial.told(speedup).startswith(f"{50 + near + 0.05:.1f} dB with")
    for speedup in (3.5, 4.0, 6.0):
        assert trial.wins(speedup) is (near < 0)
        assert trial.told(speedup).startswith(f"{50 - near + 0.05:.1f} dB with")
        # Files of earlier versions were not tried there.
        assert Trial(trial.psnr[..., :2]).wins(speedup) is (near > 0)


@pytest.mark.parametrize(
    "psnr", [np.ones(2), np.ones((3, 2, 4)), np.ones((1, 2, 2)), np.full((2, 2, 2), np.inf)]
)
def test_a_trial_that_cannot_be_is_refused(psnr: np.ndarray):
    with pytest.raises(ValueError, match=r"^trial: "):
        Trial(psnr)


@pytest.mark.parametrize("gains", [np.ones(3), np.array([1, 1, np.nan, 1]), np.zeros(4)])
def test_gains_that_cannot_be_are_refused(content: CoefficientFile, gains: np.ndarray):
    with pytest.raises(ValueError, match=r"^gains: "):
        replace(content.guided, gains=gains)


@pytest.mark.parametrize("cfg", [0.0, 1.0, 2.5, 4.0, 9.0])
def test_guided_outputs_at_another_scale(cfg: float):
    positive, negative = np.random.default_rng(1).standard_normal((2, 4, 10))

    def product(scale: float) -> np.ndarray:
        guided = negative + scale * (positive - negative)
        return guided @ guided.T

    table = np.stack([positive @ positive.T, negative @ negative.T])
    file = CoefficientFile(
        PROVENANCE, GramTable(SIGMAS, table), GramTable(SIGMAS, product(PROVENANCE.cfg)[None])
    )
    np.testing.assert_allclose(file.guided_at(cfg).gram[0], product(cfg), rtol=1e-9, atol=1e-9)


def test_guidance_of_another_kind_keeps_the_calibrated_products(content: CoefficientFile):
    assert content.guided_at(7.0) is content.guided
    plain = replace(content, provenance=replace(PROVENANCE, cfg=1.0))
    assert plain.guided_at(7.0) is plain.guided


BLOCKS = BlockTable(
    SignalKind.MODULATED,
    np.full((2, 4), 0.9),
    (1.5, 0.1),
    (0.01, 0.3),
    np.triu(np.full((2, 4, 4), 0.25), 1),
    np.full((2, 6, 4), 0.5),
)


def test_round_trip_with_blocks(tmp_path: Path, content: CoefficientFile):
    store(tmp_path / "a.safetensors", replace(content, blocks=BLOCKS))
    again = load(tmp_path / "a.safetensors").blocks
    assert again is not None
    np.testing.assert_array_equal(again.ratios, BLOCKS.ratios)
    np.testing.assert_array_equal(again.first_block, BLOCKS.first_block)
    np.testing.assert_array_equal(again.block_changes, BLOCKS.block_changes)
    assert (again.signal, again.polynomial, again.valid) == (
        BLOCKS.signal,
        BLOCKS.polynomial,
        BLOCKS.valid,
    )


@pytest.mark.parametrize("field", ["first_block", "block_changes"])
def test_files_without_changes_of_blocks_are_read(
    tmp_path: Path, content: CoefficientFile, field: str
):
    less = replace(BLOCKS, **{field: None})
    store(tmp_path / "a.safetensors", replace(content, blocks=less))
    again = load(tmp_path / "a.safetensors").blocks
    assert again is not None
    assert getattr(again, field) is None


def test_blocks_are_checked(tmp_path: Path, content: CoefficientFile):
    path = tmp_path / "a.safetensors"
    store(path, replace(content, blocks=BLOCKS))
    path.write_bytes(path.read_bytes().replace(b"modulated input", b"modulated inpux"))
    with pytest.raises(CoefficientError, match="signal"):
        load(path)


def test_missing(tmp_path: Path):
    with pytest.raises(CoefficientError, match=r"cannot read none\.safetensors"):
        load(tmp_path / "none.safetensors")


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated(path: Path, keep: int):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CoefficientError, match="damaged"):
        load(path)


def test_a_pickle_is_not_opened(tmp_path: Path):
    class Trap:
        def __reduce__(self) -> tuple:
            return (os.mkdir, (str(tmp_path / "sprung"),))

    file = tmp_path / "trap.safetensors"
    file.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CoefficientError, match="damaged"):
        load(file)
    assert not (tmp_path / "sprung").exists()


def test_too_large(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(coefficients, "LARGEST_FILE", 100)
    with pytest.raises(CoefficientError, match="at most 100"):
        load(path)


def test_foreign(tmp_path: Path):
    file = tmp_path / "model.safetensors"
    save_file({"weight": np.ones(3)}, str(file))
    with pytest.raises(CoefficientError, match="not a coefficient file"):
        load(file)


def write(path: Path, gram: np.ndarray, metadata: dict[str, object]) -> None:
    tensors = {"sigmas": SIGMAS, "gram": gram, "guided": gram}
    save_file(tensors, str(path), metadata={"scaling_cache": json.dumps(metadata)})


def good_metadata() -> dict[str, object]:
    return {"format": 1, **PROVENANCE.__dict__, "shape": list(PROVENANCE.shape)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format"),
        ({"cfg": "four"}, "cfg"),
        ({"samples": 0}, "samples"),
        ({"samples": True}, "samples"),
        ({"shape": [16, -1]}, "shape"),
        ({"extra": 1}, "extra"),
        ({"family": None}, "family"),
    ],
)
def test_metadata_is_checked(tmp_path: Path, change: dict[str, object], message: str):
    file = tmp_path / "table.safetensors"
    write(file, np.eye(4)[None], {**good_metadata(), **change})
    with pytest.raises(CoefficientError, match=message):
        load(file)


def test_a_missing_field_is_named(tmp_path: Path):
    metadata = good_metadata()
    del metadata["source"]
    write(tmp_path / "table.safetensors", np.eye(4)[None], metadata)
    with pytest.raises(CoefficientError, match="source"):
        load(tmp_path / "table.safetensors")


@pytest.mark.parametrize(
    ("gram", "message"),
    [
        (np.full((1, 4, 4), np.nan), "finite"),
        (np.zeros((1, 4, 4)), "zero"),
        (np.eye(3)[None], "shape"),
    ],
)
def test_values_are_checked(tmp_path: Path, gram: np.ndarray, message: str):
    write(tmp_path / "table.safetensors", gram, good_metadata())
    with pytest.raises(CoefficientError, match=message):
        load(tmp_path / "table.safetensors")


def test_a_failed_write_leaves_the_old_file(
    path: Path, content: CoefficientFile, monkeypatch: pytest.MonkeyPatch
):
    before = path.read_bytes()

    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        store(path, replace(content, provenance=replace(PROVENANCE, samples=9)))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]
