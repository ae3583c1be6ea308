"""Which coefficient files fit which model: any load of the one they were made with, and no other."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import comfy.sd
import pytest
import torch
from scaling_cache.cache_core.calibration.files import LARGEST_HEADER, load
from scaling_cache.cache_core.calibration.folder import RECORD
from scaling_cache.nodes.host.coefficient_files import offered, receive
from scaling_cache.nodes.host.coefficients import (
    choices,
    family,
    find_blocks,
    find_coefficients,
    fingerprint,
    fingerprints,
)
from scaling_cache.nodes.host.sampling import schedule_of

from demo.host.fetch import ROOT
from testbed import networks
from testbed.coefficient_folder import coefficient_file, looking_in

SHIPPED = ROOT / "demo" / "emoji_model"
FILE = "scalingcache_demo_emoji.safetensors"
DTYPES = (
    torch.float32,
    torch.bfloat16,
    torch.float16,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
)
each = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).split(".")[1])


def loaded(dtype: torch.dtype) -> Any:
    """The emoji model as the host loads it with a choice of weights."""
    weights = str(SHIPPED / "weights" / FILE)
    return comfy.sd.load_diffusion_model(weights, model_options={"dtype": dtype})


def earlier(model: Any) -> str:
    """The fingerprint that versions up to 0.1.0 wrote: the host's settings, dtype and all."""
    structure = {
        "family": family(model),
        "network": model.model.model_config.unet_config,
        "latent": type(model.model.latent_format).__name__,
    }
    text = json.dumps(structure, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def found(choice: str, model: Any) -> tuple[bool, str]:
    schedule = schedule_of(model, "euler", "simple", 30)
    found = find_coefficients(choice, model, schedule, 4.0)
    return found.guided is not None, found.note


@each
def test_the_shipped_file_fits_every_load(dtype: torch.dtype) -> None:
    with looking_in(SHIPPED / "coefficients") as folder:
        model = loaded(dtype)
        assert load(folder / FILE).provenance.fingerprint == fingerprint(model)
        for choice in ("auto", FILE):
            assert found(choice, model) == (True, f"Coefficients: {FILE}")


@each
def test_a_file_fits_every_load_whichever_it_was_made_with(
    dtype: torch.dtype, folder: Path
) -> None:
    model = loaded(dtype)
    others = {str(other): loaded(other) for other in DTYPES}
    assert len({fingerprint(other) for other in others.values()}) == 1
    assert len({earlier(other) for other in others.values()}) == len(DTYPES), "dtype was told"
    coefficient_file(folder / "new.safetensors", fingerprint(others["torch.float32"]))
    assert [found(choice, model)[0] for choice in ("auto", "new.safetensors")] == [True, True]
    (folder / "new.safetensors").unlink()
    for name, other in others.items():
        file = f"{name}.safetensors"
        coefficient_file(folder / file, earlier(other))
        assert [found(choice, model)[0] for choice in ("auto", file)] == [True, True], name
        (folder / file).unlink()


def test_another_architecture_is_refused() -> None:
    with looking_in(SHIPPED / "coefficients"):
        for name in ("sd3", "flux"):
            other = networks.build(name)
            assert not fingerprints(other) & fingerprints(loaded(torch.float32))
            assert found("auto", other) == (False, "")
            ok, note = found(FILE, other)
            assert not ok
            assert f"coefficients: {FILE} was made for another model (SD3)" in note
            assert "alpha is learned during the run" in note


def bytes_read() -> int:
    """By this process so far, of whatever file."""
    lines = Path("/proc/self/io").read_text(encoding="utf-8").splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


@pytest.fixture
def spoilt(folder: Path) -> Path:
    """200 files that are of no use: of other models and as large as can be, damaged in all ways, and one
    that says of itself that it is the best for the emoji model."""
    coefficient_file(folder / "one.safetensors", "another model")
    other = (folder / "one.safetensors").read_bytes()
    (folder / "one.safetensors").unlink()
    nested = b'{"__metadata__":{"scaling_cache":"' + b"[" * 9000 + b'"}}'
    kinds = (
        other,
        other[:100],
        other.replace(b'"F64"', b'"X64"'),
        b"",
        bytes(50),
        len(nested).to_bytes(8, "little") + nested,
        (2**40).to_bytes(8, "little") + b"{" * 99999,
        b"\n<img src=x onerror=alert(1)>",
    )
    for number in range(199):
        path = folder / f"{number:03}.safetensors"
        path.write_bytes(kinds[number % len(kinds)])
        if number % 3 == 0:
            with path.open("r+b") as file:
                file.truncate(2**22)
    coefficient_file(folder / "best.safetensors", fingerprint(loaded(torch.float32)))
    (folder / RECORD).unlink()
    return folder


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counts what Linux counts")
def test_of_other_files_the_header_is_read_and_no_more(spoilt: Path) -> None:
    model = loaded(torch.float32)
    for find in (lambda: found("auto", model), lambda: find_blocks(model)):
        before = bytes_read()
        assert not (find() or (False,))[0]
        assert bytes_read() - before < 200 * (LARGEST_HEADER + 8) + 10_000


def test_among_many_bad_files_the_own_one_is_found_and_the_others_get_one_sentence(
    spoilt: Path,
) -> None:
    model = loaded(torch.float32)
    ok, note = found("auto", model)
    assert not ok
    assert note.count("best.safetensors was neither calibrated nor imported here: choose it") == 1
    assert note.count("more files cannot be used") == 1
    assert note.count(".safetensors") == 2
    assert found("best.safetensors", model) == (True, "Coefficients: best.safetensors")
    coefficient_file(spoilt / "zz.safetensors", fingerprint(model))
    ok, note = found("auto", model)
    assert ok
    assert note.startswith("Coefficients: zz.safetensors; coefficients: 001.safetensors is damaged")
    assert note.count(".safetensors") == 2
    assert len(note) < 300


def test_every_bad_file_by_name_is_a_sentence(spoilt: Path) -> None:
    model = loaded(torch.float32)
    for path in spoilt.glob("*.safetensors"):
        ok, note = found(path.name, model)
        assert ok == (path.name == "best.safetensors")
        assert path.name in note


def test_auto_takes_what_was_made_or_imported_here_and_no_other(
    folder: Path, tmp_path_factory: Any
) -> None:
    model = loaded(torch.float32)
    coefficient_file(folder / "mine.safetensors", fingerprint(model))
    good = (folder / "mine.safetensors").read_bytes()
    assert found("auto", model) == (True, "Coefficients: mine.safetensors")
    coefficient_file(folder / "mine.safetensors", earlier(model))
    (folder / "mine.safetensors").write_bytes(good)
    ok, note = found("auto", model)
    assert not ok, "it was replaced by something else"
    assert "mine.safetensors was neither calibrated nor imported here" in note
    assert find_blocks(model) is None
    (folder / "mine.safetensors").rename(folder / "dropped.safetensors")
    assert not found("auto", model)[0]
    assert found("dropped.safetensors", model)[0]
    assert receive("dropped.safetensors", good) == "dropped.safetensors"
    assert found("auto", model) == (True, "Coefficients: dropped.safetensors")
    # The folder as it is, copied by the user.
    with looking_in(Path(shutil.copytree(folder, tmp_path_factory.mktemp("user") / "copy"))):
        assert found("auto", model)[0]
    (folder / RECORD).write_bytes(b"\xff" * 99)
    assert not found("auto", model)[0]


def test_links_in_the_folder_are_neither_offered_nor_sent(
    folder: Path, tmp_path_factory: Any
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    coefficient_file(outside / "a.safetensors", "some model")
    (folder / "a.safetensors").symlink_to(outside / "a.safetensors")
    (folder / "deep").symlink_to(outside)
    (folder / "secret.safetensors").write_text("root:x:0:0")
    assert choices() == ["auto", "none", "secret.safetensors"]
    assert offered("a.safetensors") is None
    assert offered("secret.safetensors") is None, "it is no coefficient file"
    data = (outside / "a.safetensors").read_bytes()
    with pytest.raises(ValueError, match="is a link"):
        receive("a.safetensors", data)
    coefficient_file(folder / "b.safetensors", "some model")
    assert offered("b.safetensors") == folder / "b.safetensors"


@pytest.mark.parametrize("name", ["CON", "a/b", "B.safetensors", "x" * 101])
def test_an_import_that_some_system_could_not_name_is_refused(folder: Path, name: str) -> None:
    coefficient_file(folder / "b.safetensors", "some model")
    before = sorted(folder.iterdir())
    with pytest.raises(ValueError, match=r"^name: "):
        receive(name, (folder / "b.safetensors").read_bytes())
    assert sorted(folder.iterdir()) == before


def test_an_import_says_where_it_cannot_write(folder: Path) -> None:
    coefficient_file(folder / "b.safetensors", "some model")
    (folder / "file").touch()
    with (
        looking_in(folder / "file"),
        pytest.raises(ValueError, match=r"^name: c\.safetensors cannot be written in .*file: "),
    ):
        receive("c", (folder / "b.safetensors").read_bytes())


def test_a_file_that_could_not_be_noted_is_not_taken_in(tmp_path: Path):
    """Else it would be there, and auto not take it."""
    (tmp_path / RECORD).mkdir()
    path = tmp_path / "sent" / "c.safetensors"
    path.parent.mkdir()
    coefficient_file(path, "some model")
    with (
        looking_in(tmp_path),
        pytest.raises(ValueError, match=rf"^name: {RECORD} cannot be written in .*: is no plain"),
    ):
        receive("c.safetensors", path.read_bytes())
    assert not (tmp_path / "c.safetensors").exists()
