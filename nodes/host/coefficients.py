"""Coefficient files on this machine: the shipped ones and the user's, and which one fits a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import folder_paths

from ...cache_core.agreement import Agree, same_everywhere
from ...cache_core.block_tables import BlockTable
from ...cache_core.calibration import GramTable
from ...cache_core.coefficients import SUFFIX, CoefficientError, CoefficientFile, load
from ...cache_core.trial import Trial
from .fingerprint import family, fingerprint

AUTO, NONE = "auto", "none"
FOLDER = "scaling_cache"
# Runs of earlier versions left files of their own here; they are neither read nor offered.
_LEFT_OVER = "learned"
_SHIPPED = Path(__file__).parents[2] / "coefficients"


class _OutOfRange(CoefficientError):
    """A file of this model that was calibrated on a schedule too unlike the run's."""


@dataclass(frozen=True)
class Found:
    """What there is for a run.

    Attributes:
        guided: products of the guided outputs, None to learn during the run.
        note: sentence for the user, if one is due.
        trial: of the file, if it was tried out.
    """

    guided: GramTable | None = None
    note: str = ""
    trial: Trial | None = None


def register_folder() -> None:
    """Let users keep coefficient files under models/, extra_model_paths.yaml included."""
    own = str(Path(folder_paths.models_dir) / FOLDER)
    folder_paths.add_model_folder_path(FOLDER, own, is_default=True)
    folder_paths.add_model_folder_path(FOLDER, str(_SHIPPED))
    paths, _ = folder_paths.folder_names_and_paths[FOLDER]
    folder_paths.folder_names_and_paths[FOLDER] = (paths, {SUFFIX})


def choices() -> list[str]:
    """What the node offers: automatic, none, and each file by name."""
    return [AUTO, NONE, *_files()]


def _files() -> list[str]:
    try:
        names = folder_paths.get_filename_list(FOLDER)
    except OSError:
        # The host remembers folders and fails once one of them is gone.
        folder_paths.filename_list_cache.pop(FOLDER, None)
        names = folder_paths.get_filename_list(FOLDER)
    return [name for name in names if Path(name).parts[0] != _LEFT_OVER]


def find_coefficients(
    choice: str, patcher: Any, schedule: tuple[float, ...], cfg: float | None
) -> Found:
    """Coefficients for a model on a schedule. What cannot be used is said, never raised.

    Args:
        cfg: guidance scale of the run, None if it has none.
    """
    if choice == NONE:
        return Found()
    if choice != AUTO:
        try:
            return _use(choice, patcher, schedule, cfg)
        except CoefficientError as error:
            return _refused(error)
    refused = Found()
    for name in _files():
        try:
            return _use(name, patcher, schedule, cfg)
        except _OutOfRange as error:
            refused = _refused(error)
        except CoefficientError:
            continue  # made for another model: the common case, not worth a word
    return refused


def _refused(error: CoefficientError) -> Found:
    return Found(None, f"{error}; alpha is learned during the run")


def find_everywhere(agree: Agree, choice: str, *where: Any) -> Found:
    """Coefficients that all ranks of a picture have; none where one of them has others.

    Args:
        agree: of the ranks.
        choice, where: as `find_coefficients` has them.
    """
    found = find_coefficients(choice, *where)
    if choice == NONE or same_everywhere(agree, _content(found.guided)):
        return found
    return Found(None, "Coefficients: not used, since they are not the same on all ranks")


def _content(table: GramTable | None) -> bytes:
    return b"" if table is None else table.sigmas.tobytes() + table.gram.tobytes()


def nearer(found: Found, choice: str, noisy: bool) -> Found:
    """What the predictor auto takes of a file: all, unless learning during the run was nearer when it was
    tried out; a file that was not tried only if the user chose it.

    Args:
        choice: of the user.
        noisy: whether the sampler adds noise. Files are made without, and with it learning is 1 dB nearer
            on the demo's image model at cfg 4 and 4 dB on its video model.
    """
    if found.guided is None:
        return found
    if not (found.trial.wins if found.trial else choice != AUTO):
        why = "learning was nearer in its trial, so it learns" if found.trial else ""
    elif noisy:
        why = "made without the noise that this sampler adds, so it learns"
    else:
        return found
    return Found(None, f"{found.note}: {why}" if why else "")


def find_blocks(patcher: Any) -> tuple[str, BlockTable] | None:
    """Name and block table of the first file that was made for a model and holds one."""
    for name in _files():
        path = folder_paths.get_full_path(FOLDER, name)
        try:
            file = None if path is None else load(Path(path))
        except CoefficientError:
            continue
        if file is None or file.blocks is None:
            continue
        if file.provenance.fingerprint == fingerprint(patcher):
            return name, file.blocks
    return None


def _use(name: str, patcher: Any, schedule: tuple[float, ...], cfg: float | None) -> Found:
    """
    Raises:
        CoefficientError: if the file is unusable or does not fit.
    """
    path = folder_paths.get_full_path(FOLDER, name)
    if path is None:
        raise CoefficientError(f"coefficients: {name} is gone")
    file = load(Path(path))
    _check(file, name, patcher, schedule)
    guided = file.guided if cfg is None else file.guided_at(cfg)
    return Found(guided, f"Coefficients: {name}", trial=file.trial)


def _check(file: CoefficientFile, name: str, patcher: Any, schedule: tuple[float, ...]) -> None:
    if file.provenance.fingerprint != fingerprint(patcher):
        raise CoefficientError(
            f"coefficients: {name} was made for another model ({file.provenance.family}), this is "
            f"{family(patcher)}"
        )
    if not file.table.covers(schedule[:-1]):
        raise _OutOfRange(
            f"coefficients: {name} covers sigma {file.table.sigmas[0]:.3g} to "
            f"{file.table.sigmas[-1]:.3g}, this run goes from {schedule[0]:.3g} to {schedule[-2]:.3g}"
        )
