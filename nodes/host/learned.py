"""Coefficients that ordinary runs leave behind, one small file per model and sampler.

The computed steps of a run are a coarse calibration: the products of their outputs say where the model's
outputs bend. They are kept where no coefficient file was made for the model, and later runs use them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import folder_paths
import numpy as np

from ...cache_core import VERSION
from ...cache_core.calibration import GramTable
from ...cache_core.coefficients import (
    SUFFIX,
    CoefficientError,
    CoefficientFile,
    Provenance,
    load,
    store,
)
from ...cache_core.quantity import Quantity
from ...cache_core.recording import KnotRecorder
from ...cache_core.run import CacheRun
from .fingerprint import family, fingerprint
from .progress import log

FOLDER = "learned"
# After so many pictures more of them change nothing.
ENOUGH = 8
# Files of about 40 kB each; the one that was written longest ago goes first.
MOST_FILES = 64


@dataclass(frozen=True)
class Lesson:
    """What a run can teach.

    Attributes:
        table: products of the guided outputs at the computed steps.
        samples: pictures in the run.
        sampler: name of the sampler.
        cfg: guidance scale, 1 for a run that has none.
        shape: of a latent, without the batch.
    """

    table: GramTable
    samples: int
    sampler: str
    cfg: float
    shape: tuple[int, ...]


@dataclass
class Learner:
    """Collects the guided outputs at the computed steps of a run, for later runs of the same model.

    Attributes:
        patcher: the model.
        sampler: its name.
        cfg: guidance scale, 1 for a run that has none.
        recorder: keeps the outputs, None once something went wrong.
        shape: of the latents, batch included, once one was seen.
        complete: whether the last step has been evaluated.
    """

    patcher: Any
    sampler: str
    cfg: float
    recorder: KnotRecorder | None
    shape: tuple[int, ...] = ()
    complete: bool = False

    def observe(self, run: CacheRun, x: Any, guided: Any, timestep: Any) -> None:
        """Take in the guided output of an evaluation. A fault costs the lesson, not the picture."""
        self.complete = run.finished
        if self.recorder is None or not run.computes:
            return
        try:
            self.recorder.observe(run.sigma, Quantity.DERIVATIVE.of(x, guided, timestep))
            self.shape = tuple(x.shape)
        except Exception as error:
            self._give_up(error)

    def close(self) -> None:
        """Keep what was learned, of a run that came to its end."""
        recorder, self.recorder = self.recorder, None
        if recorder is None or not self.complete:
            return
        try:
            table = recorder.table()
            if table is not None:
                lesson = Lesson(table, self.shape[0], self.sampler, self.cfg, self.shape[1:])
                remember(self.patcher, lesson)
        except Exception as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self.recorder = None
        log.warning("[Scaling Cache] nothing is learned from this run: %s", error)


def folder() -> Path:
    """Where learned files lie, beside the user's own coefficient files."""
    return Path(folder_paths.models_dir) / "scaling_cache" / FOLDER


def path_of(patcher: Any, sampler: str) -> Path:
    plain = re.sub(r"\W", "", sampler)
    return folder() / f"{fingerprint(patcher)}_{plain}{SUFFIX}"


def recall(patcher: Any, sampler: str) -> CoefficientFile | None:
    """What was learned about a model with a sampler; None if nothing, or if it cannot be read."""
    path = path_of(patcher, sampler)
    if not path.exists():
        return None
    try:
        return load(path)
    except CoefficientError as error:
        log.warning("[Scaling Cache] %s is not used: %s", path.name, error)
        return None


def remember(patcher: Any, lesson: Lesson) -> None:
    """Add what a run taught to what is known.

    Raises:
        OSError: if it cannot be written.
    """
    content = merged(recall(patcher, lesson.sampler), _file(patcher, lesson))
    if content is not None:
        store(path_of(patcher, lesson.sampler), content)
        _prune()


def merged(known: CoefficientFile | None, new: CoefficientFile) -> CoefficientFile | None:
    """What to keep; None if that is what is there already.

    Runs with the same computed steps add up. Otherwise the one that knows more counts: a wider range
    of sigma, or as wide a one with more steps.
    """
    if known is None:
        return new
    old_sigmas, sigmas = known.guided.sigmas, new.guided.sigmas
    if np.array_equal(old_sigmas, sigmas):
        samples = known.provenance.samples + new.provenance.samples
        if known.provenance.samples >= ENOUGH:
            return None
        both = GramTable(sigmas, known.guided.gram + new.guided.gram)
        return CoefficientFile(replace(known.provenance, samples=samples), both, both)
    wider = not known.guided.covers(sigmas.tolist())
    narrower = not new.guided.covers(old_sigmas.tolist())
    if wider or (not narrower and len(sigmas) > len(old_sigmas)):
        return new
    return None


def forget() -> int:
    """Delete all learned files; gives their number."""
    files = list(folder().glob(f"*{SUFFIX}")) if folder().is_dir() else []
    for file in files:
        file.unlink(missing_ok=True)
    folder_paths.filename_list_cache.pop("scaling_cache", None)
    return len(files)


def _file(patcher: Any, lesson: Lesson) -> CoefficientFile:
    provenance = Provenance(
        family=family(patcher),
        fingerprint=fingerprint(patcher),
        sampler=lesson.sampler,
        cfg=lesson.cfg,
        shape=lesson.shape,
        samples=lesson.samples,
        pack_version=VERSION,
        source="learned while sampling",
    )
    return CoefficientFile(provenance, lesson.table, lesson.table)


def _prune() -> None:
    files = sorted(folder().glob(f"*{SUFFIX}"), key=lambda file: file.stat().st_mtime)
    for file in files[:-MOST_FILES]:
        file.unlink(missing_ok=True)
