"""Coefficient files that come and go: written by a calibration, received from a browser, sent to one."""

from __future__ import annotations

import re
from pathlib import Path

import folder_paths

from ...cache_core.calibration.files import SUFFIX, CoefficientFile, load, store, write
from .coefficients import AUTO, FOLDER, NONE, choices

_NAME = re.compile(r"[\w][\w .-]{0,99}")


def file_path(name: str) -> Path:
    """Where the nodes look for a file of that name.

    Raises:
        ValueError: if the name is not a plain file name.
    """
    if not _NAME.fullmatch(name) or name.startswith("."):
        raise ValueError(
            f"name: must be letters, digits, spaces, dots, dashes or underscores, got {name!r}"
        )
    return Path(folder_paths.get_folder_paths(FOLDER)[0]) / f"{name.removesuffix(SUFFIX)}{SUFFIX}"


def save(path: Path, file: CoefficientFile) -> None:
    """Write a file and let the nodes find it."""
    store(path, file)
    _relist()


def receive(name: str, data: bytes) -> str:
    """Keep a file that a user has; gives the name under which the nodes offer it. Nothing is replaced.

    Args:
        name: of the user's file.
        data: all of it.

    Raises:
        ValueError: if the name is not a plain file name or is taken by another file, or if the data are
            no coefficient file.
    """
    path = file_path(name)
    if path.exists():
        if path.read_bytes() != data:
            raise ValueError(f"name: {path.name} is taken by another file")
        return path.name
    write(path, data, check=lambda part: load(part, path.name))
    _relist()
    return path.name


def offered(name: str) -> Path | None:
    """The file behind a name that the nodes offer; None for any other."""
    if name in (AUTO, NONE) or name not in choices():
        return None
    path = folder_paths.get_full_path(FOLDER, name)
    return None if path is None else Path(path)


def _relist() -> None:
    folder_paths.filename_list_cache.pop(FOLDER, None)
