"""Coefficient files on this machine: the shipped ones and the user's, and which one fits a model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache as remembered
from pathlib import Path
from typing import Any

import folder_paths

from ...cache_core.calibration.block_tables import BlockTable
from ...cache_core.calibration.files import (
    CoefficientError,
    CoefficientFile,
    parse,
    read,
    read_provenance,
)
from ...cache_core.calibration.folder import SUFFIX, files_in, is_recorded, recorded
from ...cache_core.calibration.trial import Trial
from ...cache_core.planning.gram import GramTable
from ...cache_core.predict.predictors import AUTO as AUTO_PREDICTOR
from ...cache_core.run.agreement import Agree, same_everywhere

AUTO, NONE = "auto", "none"
FOLDER = "scaling_cache"
_SHIPPED = Path(__file__).parents[2] / "coefficients"
_LEARNED = "learned"
# Most steps that models of few steps are sampled with.
_FEW_STEPS = 12
# What the host writes into a network's settings when it loads it: how, and not what.
_LOADED = ("dtype",)
_DTYPES = [
    f"torch.{name}" for name in ("float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
]


class _Foreign(CoefficientError):
    """A file of another model: the common case, not worth a word unless the user chose it."""


class _Unfit(CoefficientError):
    """A file of this model that does not serve the run."""


@dataclass(frozen=True)
class Found:
    """What there is for a run.

    Attributes:
        guided: products of the guided outputs, None to learn during the run.
        note: sentence for the user, if one is due.
        trial: of the file, if it was tried out.
        unlike: how the file was made otherwise than the run is sampled, as if of another model; empty
            where the user chose the file.
    """

    guided: GramTable | None = None
    note: str = ""
    trial: Trial | None = None
    unlike: str = ""


def register_folder() -> None:
    """Let users keep coefficient files under models/, extra_model_paths.yaml included."""
    own = str(Path(folder_paths.models_dir) / FOLDER)
    folder_paths.add_model_folder_path(FOLDER, own, is_default=True)
    folder_paths.add_model_folder_path(FOLDER, str(_SHIPPED))
    paths, _ = folder_paths.folder_names_and_paths[FOLDER]
    folder_paths.folder_names_and_paths[FOLDER] = (paths, {SUFFIX})


def choices() -> list[str]:
    """What the node offers: automatic, none, and each file by name, but for names that the frontend's
    list would take for HTML."""
    return [AUTO, NONE, *(name for name in files() if "<" not in name)]


def files() -> dict[str, Path]:
    """Path of each file by name, the user's before the shipped ones; without those that earlier versions
    of the pack left behind by themselves."""
    found: dict[str, Path] = {}
    for folder in folder_paths.get_folder_paths(FOLDER):
        for name, path in files_in(Path(folder)):
            if Path(name).parts[0] != _LEARNED:
                found.setdefault(name, path)
    return found


def table_for(
    cache: Any, sampling: Any, traits: Any, agree: Agree | None, note: Callable[[str], None]
) -> GramTable | None:
    """Calibrated products that a run predicts from, None to learn during the run.

    | the cache | table |
    | --- | --- |
    | carries one | that one |
    | its method, as it predicts, reads none | none; a file that the user chose is said to be unused |
    | else | of a file that fits; with the predictor auto only if learning is not surely as near |

    Args:
        cache: as the model carries it.
        sampling: what is sampled, with `traits` of the sampler.
        agree: of the ranks.
        note: keeps a sentence for the user.
    """
    method, choice = cache.method, cache.coefficients
    predictor = cache.predictor or getattr(method, "predictor", None)
    if cache.table is not None or not method.uses_coefficients:
        return cache.table
    if not method.reads(predictor):
        if choice not in (AUTO, NONE):
            note(f"{choice} is not used: choose the predictor least squares")
        return None
    found = find_everywhere(agree, choice, sampling.patcher, sampling.schedule, sampling.scale)
    if predictor is AUTO_PREDICTOR:
        found = nearer(found, choice, traits, method.asked)
    elif found.unlike:
        found = replace(found, note=f"{found.note}: {found.unlike}")
    if found.note:
        note(found.note)
    return found.guided


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
            file = _fitting(choice, files().get(choice), patcher, fingerprints(patcher))
            return replace(_used(choice, file, schedule, cfg), unlike="")
        except CoefficientError as error:
            return _refused(error)
    seen: list[Found] = []

    def alike(name: str, file: CoefficientFile) -> Found | None:
        seen.append(_used(name, file, schedule, cfg))
        return None if seen[-1].unlike else seen[-1]

    found, refused, spoilt = _first(patcher, alike)
    best: Found = found or next(iter(seen), _refused(refused) if refused else Found())
    return replace(best, note="; ".join(filter(None, (best.note, spoilt))))


def _first(
    patcher: Any, use: Callable[[str, CoefficientFile], Any]
) -> tuple[Any, CoefficientError | None, str]:
    """What the first file gives that *auto* may take for a model.

    It may take what came with the pack, was calibrated here or was imported: a file that merely appeared
    in the folder is for the user to choose.

    Args:
        use: makes something of a file; raises `_Unfit` or gives None to pass on.

    Returns:
        None if none serves; why not, of the first of this model; a sentence on those that nobody can use.
    """
    known, records = fingerprints(patcher), remembered(recorded)
    refused: CoefficientError | None = None
    spoilt: list[CoefficientError] = []
    for name, path in files().items():
        try:
            file = _fitting(name, path, patcher, known, records)
            if (found := use(name, file)) is not None:
                return found, None, _in_one(spoilt)
        except _Foreign:
            continue
        except _Unfit as error:
            refused = refused or error
        except CoefficientError as error:
            spoilt.append(error)
    return None, refused, _in_one(spoilt)


def _in_one(errors: Sequence[CoefficientError]) -> str:
    """One sentence for all files that cannot be read."""
    if not errors:
        return ""
    if errors[1:]:
        return f"{errors[0]}, and {len(errors) - 1} more files cannot be used"
    return str(errors[0])


def find_everywhere(agree: Agree | None, choice: str, *where: Any) -> Found:
    """Coefficients that all ranks of a picture have; none where one of them has others.

    Args:
        agree: of the ranks.
        choice, where: as `find_coefficients` has them.
    """
    found = find_coefficients(choice, *where)
    if agree is None or choice == NONE or same_everywhere(agree, _content(found.guided)):
        return found
    return Found(None, "Coefficients: not used, since they are not the same on all ranks")


def nearer(found: Found, choice: str, traits: Any, asked: float | None) -> Found:
    """What the predictor auto takes of a file: all, unless learning during the run was nearer when
    it was tried out; a file that was not tried, or was made otherwise than the run is sampled, only if
    the user chose it.

    Args:
        choice: of the user.
        traits: of the sampler. Files are made without noise; where it adds some, they choose the steps
            alone, and nothing where it is wholly new at each step or what is added is not known.
        asked: speed-up that decides; None for a budget, which knows the error of calibrated weights
            only.
    """
    if found.guided is None:
        return found
    if not (found.trial.wins(asked) if found.trial else choice != AUTO):
        why = "not surely nearer in its trial, so it learns"
        if not found.trial:
            why = "not tried out, so it learns; choose the file, or calibrate with two prompts"
    elif found.unlike:
        why = f"{found.unlike}, so it learns; choose the file if it is of this very model"
    elif traits.noisy and asked is not None:
        why = "chooses the steps; made without noise, so weights are learned"
        return replace(found, note=f"{found.note}: {why}")
    elif traits.stochastic:
        why = "made without the noise that this sampler adds or may add, so it learns"
    else:
        return found
    return Found(None, f"{found.note}: {why}")


def find_blocks(patcher: Any) -> tuple[str, BlockTable] | None:
    """Name and block table of the first file that was made for a model and holds one."""
    found, *_ = _first(patcher, lambda name, file: file.blocks and (name, file.blocks))
    return found


def family(patcher: Any) -> str:
    """The host's name for the kind of model, such as `WAN21_T2V` or `Flux`."""
    config = getattr(patcher.model, "model_config", None)
    return type(config).__name__ if config is not None else type(patcher.model).__name__


def fingerprint(patcher: Any) -> str:
    """Short hash of a model's structure: the same for a finetune and however it was loaded, another
    for another architecture.

    Weights are left out on purpose: reading them would load an offloaded model, and a table fits
    finetunes of one base.
    """
    return _hash(patcher, {k: v for k, v in _network(patcher).items() if k not in _LOADED})


def fingerprints(patcher: Any) -> frozenset[str]:
    """All that files of this model may bear: files of earlier versions tell how it was loaded too,
    by the dtype that the host writes into the network's settings."""
    network = dict(_network(patcher))
    older = {_hash(patcher, {**network, "dtype": dtype}) for dtype in (None, *_DTYPES)}
    return frozenset({fingerprint(patcher), _hash(patcher, network), *older})


def _network(patcher: Any) -> Mapping[str, Any]:
    return getattr(getattr(patcher.model, "model_config", None), "unet_config", {})


def _hash(patcher: Any, network: Mapping[str, Any]) -> str:
    structure = {
        "family": family(patcher),
        "network": network,
        "latent": type(getattr(patcher.model, "latent_format", None)).__name__,
    }
    text = json.dumps(structure, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _content(table: GramTable | None) -> bytes:
    return b"" if table is None else table.sigmas.tobytes() + table.gram.tobytes()


def _refused(error: CoefficientError) -> Found:
    return Found(None, f"{error}; alpha is learned during the run")


def _used(
    name: str, file: CoefficientFile, schedule: tuple[float, ...], cfg: float | None
) -> Found:
    """
    Raises:
        CoefficientError: if the file does not fit the run.
    """
    table = file.table
    if not table.covers(schedule[:-1]):
        raise _Unfit(
            f"coefficients: {name} covers sigma {table.sigmas[0]:.3g} to {table.sigmas[-1]:.3g}, "
            f"this run goes from {schedule[0]:.3g} to {schedule[-2]:.3g}"
        )
    guided = file.guided if cfg is None else file.guided_at(cfg)
    unlike = "" if cfg is None else _unlike(file, len(schedule) - 1, cfg)
    return Found(guided, f"Coefficients: {name}", file.trial, unlike)


def _unlike(file: CoefficientFile, steps: int, cfg: float) -> str:
    """How a file was made as of a base model where a run is as of one for few steps, or the other way
    round; empty if that does not show.

    The two have the same structure, by a LoRA or as a model of its own, and their coefficients are 4 to
    10 dB further on the demo's students than learning is, where 8 and 20 steps are sampled.
    """
    made, count = file.provenance.cfg, len(file.table.sigmas)
    if made == 0.0:
        return ""
    if made != 1.0 and cfg == 1.0:
        return "made with guidance, and this run has none"
    if made == 1.0 and cfg != 1.0:
        return "made without guidance, and this run has it"
    if cfg == 1.0 and (count <= _FEW_STEPS) != (steps <= _FEW_STEPS):
        return f"made with {count} steps, and this run has {steps}"
    return ""


def _fitting(
    name: str,
    path: Path | None,
    patcher: Any,
    known: frozenset[str],
    records: Callable[[Path], Mapping[str, str]] | None = None,
) -> CoefficientFile:
    """A file that was made for a model; of any other no more than the header is read.

    Args:
        known: fingerprints of the model.
        records: what was made or imported in a folder; None if the user chose the file.

    Raises:
        CoefficientError: if the file is unusable, was made for another model or is not to be taken
            unasked.
    """
    if path is None:
        raise CoefficientError(f"coefficients: {name} is gone")
    made = read_provenance(path, name)
    if made.fingerprint not in known:
        raise _Foreign(
            f"coefficients: {name} was made for another model ({made.family}), this is {family(patcher)}"
        )
    record = None if records is None or path.is_relative_to(_SHIPPED) else records(path.parent)
    strange = _Unfit(
        f"coefficients: {name} was neither calibrated nor imported here: choose it by name or import it"
    )
    if record is not None and not is_recorded(record, path.name):
        raise strange
    data = read(path, name)
    if record is not None and not is_recorded(record, path.name, data):
        raise strange
    return parse(data, name)
