"""Where the host looks for coefficient files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def look_in(folder: Path) -> None:
    """Let the host find the coefficient files of one folder and no others."""
    import folder_paths
    from scaling_cache.nodes.host.coefficients import FOLDER

    folder_paths.folder_names_and_paths[FOLDER] = ([str(folder)], {".safetensors"})
    folder_paths.filename_list_cache.pop(FOLDER, None)


@contextmanager
def looking_in(folder: Path) -> Iterator[Path]:
    """The same for a while."""
    import folder_paths
    from scaling_cache.nodes.host.coefficients import FOLDER, register_folder

    register_folder()
    before = folder_paths.folder_names_and_paths[FOLDER]
    look_in(folder)
    try:
        yield folder
    finally:
        folder_paths.folder_names_and_paths[FOLDER] = before
        folder_paths.filename_list_cache.pop(FOLDER, None)
