"""Every method of the pack, as the tests of what all have in common run over them: one that is in METHODS
is under all of these tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from scaling_cache.cache_core.methods import Level
from scaling_cache.cache_core.planning.gram import GramTable
from scaling_cache.cache_core.run.run import Run

from testbed.install import cached
from testbed.methods import Entry, entries

STEPS = 10
EVERY = {entry.name: entry for entry in entries()}
INSIDE = [name for name, entry in EVERY.items() if entry.kind.level is Level.BLOCKS]
TRANSFORMERS = [name for name in INSIDE if not EVERY[name].kind.unet]
_SIGMAS = np.linspace(1.0, 0.0, 21)
# Outputs that move along a line, for methods that need coefficients.
TABLE = GramTable(_SIGMAS, (1.0 + np.outer(_SIGMAS, _SIGMAS))[None])


def network_of(entry: Entry) -> str:
    """A tiny network that a method is for."""
    return "sd15" if entry.kind.unet else "flux"


def put(
    entry: Entry,
    model: Any,
    runs: list[Run] | None = None,
    steps: int = STEPS,
    everything: bool = False,
    **more: Any,
) -> Any:
    """A cached clone of a model, with coefficients where the method needs some."""
    method = entry.method(model, steps, everything)
    return cached(model, method, runs, table=TABLE if entry.needs_file else None, **more)


def left_out(run: Run) -> list[int]:
    """Steps at which something was left out."""
    return [r.step for r in run.report.records if not r.computed or "left out" in r.reason]
