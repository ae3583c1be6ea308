"""The folder of coefficient files: names that mean the same on every system, files that are there as a
whole or not at all, and a record of those that were made or imported there.

Standard library only, since the commands use it too. The folder itself may be a link; no link in it is
followed, neither to read nor to write.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
import time
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

SUFFIX = ".safetensors"
# In the form of `sha256sum`, so that a user can add a file by hand.
RECORD = "known.sha256"
# Bytes of a name without its suffix: all file systems have room for what is added while it is written.
LONGEST_NAME = 100
_LARGEST_RECORD = 2**20
_RECORDED = re.compile(r"([0-9a-f]{64}) [ *](.+)")
# What no file of Windows may be called, whatever follows the first dot.
_RESERVED = {"CON", "PRN", "AUX", "NUL"} | {
    f"{port}{n}" for port in ("COM", "LPT") for n in "0123456789¹²³"
}
# What is written takes the place of a file once it is whole; this is left of a write that was killed.
_PART = re.compile(r".+\.[0-9a-f]+\.part")
_OLD = 24 * 3600
_JUNCTION = 0xA0000003


def file_name(text: str) -> str:
    """The name of a coefficient file, with its suffix, of what a user calls it: one that every system can
    have, and in the form in which all of them write letters with accents.

    Raises:
        ValueError: if it is no plain file name.
    """
    name = unicodedata.normalize("NFC", text)
    stem = name[: -len(SUFFIX)] if name.lower().endswith(SUFFIX) else name
    plain = all(c in "_ .-()" or unicodedata.category(c)[0] in "LMN" for c in stem)
    if not stem or not plain or stem[0] in " .-" or stem[-1] in " .":
        raise ValueError(
            "name: must be letters, digits, spaces, dots, dashes, underscores or brackets, and neither "
            f"begin nor end with a dot or a space, got {_short(text)}"
        )
    if len(stem.encode()) > LONGEST_NAME:
        raise ValueError(f"name: must have {LONGEST_NAME} bytes at most, got {len(stem.encode())}")
    if stem.partition(".")[0].rstrip().upper() in _RESERVED:
        raise ValueError(f"name: Windows keeps {_short(stem)} for itself, choose another one")
    return stem + SUFFIX


def place_for(folder: Path, text: str) -> Path:
    """Where a file of that name is or would be: under the name that it has there.

    Raises:
        ValueError: if it is no plain file name, or where some systems would take another for it.
    """
    name = file_name(text)
    for there in sorted(os.listdir(folder)) if folder.is_dir() else ():
        same = unicodedata.normalize("NFC", there)
        if same != name and same.casefold() == name.casefold():
            raise ValueError(
                f"name: {name} differs from {_short(there)}, which is there, by capital letters alone: "
                "choose that or another one"
            )
        if same == name:
            if is_link(folder / there):
                raise ValueError(f"name: {name} is a link in that folder, choose another one")
            return folder / there
    return folder / name


def files_in(folder: Path) -> Iterator[tuple[str, Path]]:
    """Name within the folder and path of each coefficient file in it and below, in order of the names."""
    found: dict[str, Path] = {}
    waiting = [("", str(folder))]
    while waiting:
        inner, place = waiting.pop()
        for entry in _entries(place):
            name = os.path.join(inner, entry.name)
            if entry.is_dir(follow_symlinks=False):
                if not is_link(Path(entry.path)):
                    waiting.append((name, entry.path))
            elif (
                name.endswith(SUFFIX)
                and name.isprintable()
                and entry.is_file(follow_symlinks=False)
            ):
                found[name] = Path(entry.path)
    yield from sorted(found.items())


def _entries(folder: str) -> Sequence[os.DirEntry[str]]:
    """What lies in a folder; nothing if it is gone or not ours to read."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return ()


def is_link(path: Path) -> bool:
    """Whether what lies there leads elsewhere: a link, or what Windows calls a junction."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISLNK(found.st_mode) or getattr(found, "st_reparse_tag", 0) == _JUNCTION


def is_file(path: Path) -> bool:
    """Whether a plain file lies there, and no link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def write(path: Path, data: bytes, keep: bool = True) -> None:
    """Write a file; readers see the old one or the new one, never a part, also after a crash.

    Args:
        keep: False to take it away again, once it is seen that it can be written.

    Raises:
        OSError: if it cannot be written; what was there stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    part = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if keep:
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Take away what killed writes left behind a day or longer ago."""
    for part in folder.glob(f"*{SUFFIX}.*.part"):
        try:
            old = time.time() - part.lstat().st_mtime > _OLD
            if old and _PART.fullmatch(part.name) and is_file(part):
                part.unlink()
        except OSError:
            pass  # another process was quicker, or it is not ours to take away


def record(path: Path, data: bytes) -> None:
    """Note beside a file that it was made or imported here, so that it may be taken unasked.

    One line is added at a time: two processes lose none, and a line that a crash cut off spoils no other.

    Raises:
        OSError: if it cannot be noted.
    """
    check_record(path.parent)
    with path.with_name(RECORD).open("ab") as file:
        file.write(f"\n{_digest(data)}  {path.name}\n".encode())


def check_record(folder: Path) -> None:
    """See that files in a folder can be noted there, as far as that is known before.

    Raises:
        OSError: if they cannot.
    """
    notes = folder / RECORD
    if is_link(notes):
        raise OSError(errno.ELOOP, "is a link", str(notes))
    if os.path.lexists(notes):
        if not is_file(notes):
            raise OSError(errno.EINVAL, "is no plain file", str(notes))
        notes.open("ab").close()


def recorded(folder: Path) -> Mapping[str, str]:
    """Digest of each file in a folder that was made or imported there, by name; what is damaged in the
    record counts for nothing."""
    path = folder / RECORD
    try:
        if not is_file(path):
            return {}
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - _LARGEST_RECORD, 0))
            text = file.read(_LARGEST_RECORD).decode(errors="replace")
    except OSError:
        return {}
    found = (_RECORDED.fullmatch(unicodedata.normalize("NFC", line)) for line in text.splitlines())
    return {match[2]: match[1] for match in found if match}


def is_recorded(known: Mapping[str, str], name: str, data: bytes | None = None) -> bool:
    """Whether a file of that name was made or imported, and is as it was then.

    Args:
        data: of the file, None to ask for the name alone.
    """
    digest = known.get(unicodedata.normalize("NFC", name))
    return digest is not None and (data is None or digest == _digest(data))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _short(text: str) -> str:
    """A text that came from anywhere, as part of a sentence."""
    return repr(text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}...")
