"""Coefficient files that come and go: written by a calibration, received from a browser, sent to one."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import folder_paths

from ...cache_core.calibration.files import (
    CoefficientError,
    CoefficientFile,
    dump,
    parse,
    read,
    read_provenance,
)
from ...cache_core.calibration.folder import (
    RECORD,
    SUFFIX,
    check_record,
    is_file,
    place_for,
    record,
    write,
)
from .coefficients import FOLDER, files, fingerprints

_UNFINISHED = f" (unfinished){SUFFIX}"


class Target:
    """Where a calibration goes. Until it is over, what it has so far is kept in a file of its own.

    Attributes:
        path: of the file.
        unfinished: of the one beside it.
    """

    def __init__(self, name: str, model: Any, steps: int) -> None:
        """
        Args:
            name: as the user gave it.
            model: that is calibrated.
            steps: of each run.

        Raises:
            ValueError: naming the field, before anything is sampled: if the name is unfit or that of a
                file of another model, or if such a file cannot be written.
        """
        self.path = place_for(_own_folder(), name)
        self.unfinished = self.path.with_name(self.path.name.removesuffix(SUFFIX) + _UNFINISHED)
        self._known = fingerprints(model)
        for path in (self.path, self.unfinished):
            _check_model(path, self._known)
        with _writing(self.unfinished):
            write(self.unfinished, bytes(40 * steps**2 + 2**20), keep=False)
        _check_record(self.path)

    def keep(self, file: CoefficientFile) -> None:
        """Keep what there is so far."""
        _store(self.unfinished, file)

    def finish(self, file: CoefficientFile) -> None:
        """Keep the whole, which *auto* may take from now on.

        Raises:
            ValueError: if it cannot be written, or if a file of another model has come to its place
                meanwhile; it is then kept as unfinished.
        """
        self.keep(file)
        _check_model(self.path, self._known)
        _note(self.path, _store(self.path, file))
        with _writing(self.unfinished):
            self.unfinished.unlink(missing_ok=True)


def receive(name: str, data: bytes) -> str:
    """Keep a file that a user has, for *auto* too; gives the name under which the nodes offer it. Nothing
    is replaced.

    Args:
        name: of the user's file.
        data: all of it.

    Raises:
        ValueError: if the name is not a plain file name or is taken by another file, if the data are no
            coefficient file, or if it cannot be written.
    """
    path = place_for(_own_folder(), name)
    parse(data, path.name)
    if os.path.lexists(path) and not (is_file(path) and read(path) == data):
        raise ValueError(f"name: {path.name} is taken by another file")
    _check_record(path)
    if not is_file(path):
        with _writing(path):
            write(path, data)
    _note(path, data)
    return path.name


def offered(name: str) -> Path | None:
    """The coefficient file behind a name that the nodes offer; None for any other."""
    path = files().get(name)
    try:
        return path if path is not None and read_provenance(path) else None
    except CoefficientError:
        return None


def _own_folder() -> Path:
    """Where files are written."""
    return Path(folder_paths.get_folder_paths(FOLDER)[0])


def _check_model(path: Path, known: Collection[str]) -> None:
    """
    Raises:
        ValueError: if there is a file that is not of this model.
    """
    if not os.path.lexists(path):
        return
    try:
        made = read_provenance(path)
        if made.fingerprint in known:
            return
        other = f"{path.name} is there and of another model ({made.family})"
    except CoefficientError:
        other = f"{path.name} is there and of something else"
    raise ValueError(
        f"name: {other}, which a calibration does not replace: choose "
        "another name, or take that file away"
    )


def _store(path: Path, file: CoefficientFile) -> bytes:
    data = dump(file)
    parse(data, path.name)
    with _writing(path):
        write(path, data)
    return data


def _check_record(path: Path) -> None:
    """
    Raises:
        ValueError: if it cannot be noted that a file was made or imported.
    """
    with _writing(path.with_name(RECORD)):
        check_record(path.parent)


def _note(path: Path, data: bytes) -> None:
    """Note that a file was made or imported, for *auto*."""
    with _writing(path.with_name(RECORD)):
        record(path, data)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say where something cannot be written, and why."""
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise ValueError(f"name: {path.name} cannot be written in {path.parent}: {why}") from error
