"""The folder of coefficient files: names, links, whole files and the record of what was made there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import pytest
from scaling_cache.cache_core.calibration import folder as module
from scaling_cache.cache_core.calibration.folder import (
    LONGEST_NAME,
    RECORD,
    file_name,
    files_in,
    is_recorded,
    place_for,
    record,
    recorded,
    sweep,
    write,
)

from demo.host.fetch import ROOT


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("my_model", "my_model"),
        ("my_model.safetensors", "my_model"),
        ("my_model.SafeTensors", "my_model"),
        ("model (1).safetensors", "model (1)"),
        ("Wan 2.2 - 14B", "Wan 2.2 - 14B"),
        ("模型", "模型"),
        ("मॉडल", "मॉडल"),
        (unicodedata.normalize("NFD", "café"), "café"),
        ("console", "console"),
        ("com10", "com10"),
        ("x" * LONGEST_NAME, "x" * LONGEST_NAME),
    ],
)
def test_names_that_every_system_can_have(text: str, name: str):
    assert file_name(text) == f"{name}.safetensors"
    assert file_name(file_name(text)) == file_name(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "..", ".hidden", " x", "x ", "x.", "-x", ".safetensors", "x .safetensors"),
        *(
            "../up",
            "a/b",
            "a\\b",
            "/etc/passwd",
            "C:x",
            "a\0b",
            "a\nb",
            "a\x1bb",
            "<img>",
            'a"b',
            "a*",
        ),
        *(
            "CON",
            "nul",
            "Aux",
            "prn",
            "com1",
            "LPT9",
            "COM¹",
            "con.model",
            "nul .x",
            "aux.safetensors",
        ),
        *("x" * (LONGEST_NAME + 1), "模" * 34, "é" * 51, "a\u202eb", "a\u200bb", "a\ud800"),
    ],
)
def test_names_that_some_system_cannot_have(text: str):
    with pytest.raises(ValueError, match=r"^name: ") as error:
        file_name(text)
    assert len(str(error.value)) < 300


def test_a_name_that_differs_by_capital_letters_alone_is_refused(tmp_path: Path):
    (tmp_path / "Größe.safetensors").touch()
    assert place_for(tmp_path, "Größe") == tmp_path / "Größe.safetensors"
    for text in ("größe", "GRÖßE", "Grösse", "GRÖSSE"):
        with pytest.raises(ValueError, match="by capital letters alone"):
            place_for(tmp_path, text)
    assert place_for(tmp_path / "none", "x") == tmp_path / "none" / "x.safetensors"


def test_a_file_that_is_there_in_another_form_keeps_its_name(tmp_path: Path):
    there = tmp_path / unicodedata.normalize("NFD", "café.safetensors")
    there.touch()
    assert place_for(tmp_path, "café") == there


def test_no_link_is_followed_but_the_folder_itself(tmp_path: Path):
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    (outside / "deep").mkdir(parents=True)
    (outside / "deep" / "x.safetensors").write_bytes(b"kept")
    (inside / "sub").mkdir(parents=True)
    for path in ("b.safetensors", "sub/a.safetensors", "bad\nname.safetensors", "no.txt"):
        (inside / path).touch()
    (inside / "dir.safetensors").mkdir()
    (inside / "file.safetensors").symlink_to(outside / "deep" / "x.safetensors")
    (inside / "gone.safetensors").symlink_to(outside / "gone")
    (inside / "folder").symlink_to(outside)
    (inside / "loop").symlink_to(inside)
    link = tmp_path / "link"
    link.symlink_to(inside)
    for folder in (inside, link):
        found = dict(files_in(folder))
        assert list(found) == ["b.safetensors", str(Path("sub", "a.safetensors"))]
        assert found["b.safetensors"] == folder / "b.safetensors"
    with pytest.raises(ValueError, match="is a link"):
        place_for(inside, "file")
    write(inside / "file.safetensors", b"new")
    assert (outside / "deep" / "x.safetensors").read_bytes() == b"kept"
    old = inside / "old.safetensors.0123456789abcdef.part"
    old.symlink_to(outside / "deep" / "x.safetensors")
    os.utime(old, (0, 0), follow_symlinks=False)
    sweep(inside)
    assert (outside / "deep" / "x.safetensors").exists()
    assert old.is_symlink()
    (inside / RECORD).symlink_to(outside / "deep" / "x.safetensors")
    assert not recorded(inside)
    with pytest.raises(OSError, match="link"):
        record(inside / "b.safetensors", b"")
    assert (outside / "deep" / "x.safetensors").read_bytes() == b"kept"


def test_a_record_holds_for_what_was_recorded(tmp_path: Path):
    path = tmp_path / "a b.safetensors"
    assert not recorded(tmp_path)
    record(path, b"one")
    known = recorded(tmp_path)
    assert is_recorded(known, path.name)
    assert is_recorded(known, path.name, b"one")
    assert not is_recorded(known, path.name, b"two")
    assert not is_recorded(known, "b.safetensors")
    record(path, b"two")
    assert is_recorded(recorded(tmp_path), path.name, b"two")
    assert not is_recorded(recorded(tmp_path), path.name, b"one")


def test_what_sha256sum_writes_is_a_record(tmp_path: Path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"some")
    line = subprocess.run(["sha256sum", path.name], cwd=tmp_path, capture_output=True, check=True)
    (tmp_path / RECORD).write_bytes(line.stdout)
    assert is_recorded(recorded(tmp_path), path.name, b"some")


@pytest.mark.parametrize(
    "damage", [b"", b"\xff" * 50, b"\0" * 99, b"[" * 9999, b"ab  a.safetensors"]
)
def test_a_damaged_record_loses_what_is_damaged_and_no_more(tmp_path: Path, damage: bytes):
    path = tmp_path / "a.safetensors"
    record(path, b"one")
    whole = (tmp_path / RECORD).read_bytes()
    (tmp_path / RECORD).write_bytes(whole[:40] + damage)
    assert not recorded(tmp_path)
    record(path, b"one")
    assert is_recorded(recorded(tmp_path), path.name, b"one"), "a line that was cut spoils no other"


def test_of_a_long_record_the_end_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_LARGEST_RECORD", 1000)
    for number in range(30):
        record(tmp_path / f"{number}.safetensors", b"")
    known = recorded(tmp_path)
    assert is_recorded(known, "29.safetensors", b"")
    assert 1 < len(known) < 20


def test_leftovers_go_once_they_are_old_and_ours(tmp_path: Path):
    names = {
        "a.safetensors.0123456789abcdef.part": False,
        "a.safetensors.4711.part": False,
        "a.safetensors.part": True,
        "a.part": True,
        "a.txt.0123456789abcdef.part": True,
        "a.safetensors.user copy.part": True,
    }
    for name in names:
        (tmp_path / name).touch()
    write(tmp_path / "b.safetensors", b"b")
    assert {path.name for path in tmp_path.iterdir()} == {*names, "b.safetensors"}, "all are young"
    for name in names:
        os.utime(tmp_path / name, (time.time() - 2 * 24 * 3600,) * 2)
    write(tmp_path / "b.safetensors", b"b")
    stay = {name for name, stays in names.items() if stays}
    assert {path.name for path in tmp_path.iterdir()} == {*stay, "b.safetensors"}


def test_a_write_that_is_not_to_stay_leaves_nothing(tmp_path: Path):
    write(tmp_path / "a.safetensors", b"kept")
    write(tmp_path / "a.safetensors", bytes(1000), keep=False)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
    assert (tmp_path / "a.safetensors").read_bytes() == b"kept"


WRITER = """
import sys
from pathlib import Path
from cache_core.calibration.folder import write
path = Path(sys.argv[1])
number = 0
print("ready", flush=True)
while True:
    number += 1
    write(path, bytes([number % 256]) * 2_000_000)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
def test_a_killed_write_leaves_a_whole_file_and_nothing_for_long(tmp_path: Path):
    path = tmp_path / "a.safetensors"
    left = 0
    for kill in range(12):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        # Another part of a write each time.
        time.sleep(0.02 + 0.0037 * kill)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        if path.exists():
            data = path.read_bytes()
            assert len(data) == 2_000_000
            assert len(set(data)) == 1, "all of one write"
        left = len(list(tmp_path.glob("*.part")))
    assert left, "no write was killed in the middle"
    for part in tmp_path.glob("*.part"):
        os.utime(part, (0, 0))
    write(path, b"whole")
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
