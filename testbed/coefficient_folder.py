"""Where the host looks for coefficient files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import folder_paths
import numpy as np
from scaling_cache.cache_core.calibration.files import CoefficientFile, Provenance, store
from scaling_cache.cache_core.calibration.folder import record
from scaling_cache.cache_core.planning.gram import GramTable
from scaling_cache.nodes.host.coefficients import FOLDER, register_folder


def look_in(folder: Path) -> None:
    """Let the host find the coefficient files of one folder and no others."""
    folder_paths.folder_names_and_paths[FOLDER] = ([str(folder)], {".safetensors"})
    folder_paths.filename_list_cache.pop(FOLDER, None)


@contextmanager
def looking_in(folder: Path) -> Iterator[Path]:
    """The same for a while."""
    register_folder()
    before = folder_paths.folder_names_and_paths[FOLDER]
    look_in(folder)
    try:
        yield folder
    finally:
        folder_paths.folder_names_and_paths[FOLDER] = before
        folder_paths.filename_list_cache.pop(FOLDER, None)


def put(path: Path, content: CoefficientFile) -> None:
    """Write a file as a calibration does, for *auto* to find."""
    store(path, content)
    record(path, path.read_bytes())


def coefficient_file(path: Path, fingerprint: str) -> None:
    """Put a small file made for the model with that fingerprint."""
    provenance = Provenance(
        family="Flux",
        fingerprint=fingerprint,
        sampler="euler",
        cfg=1.0,
        shape=(16, 64, 64),
        samples=1,
        pack_version="0.1.0",
        source="a test",
    )
    table = GramTable(np.array([1.0, 0.5, 0.1]), np.eye(3)[None])
    put(path, CoefficientFile(provenance, table, table))
