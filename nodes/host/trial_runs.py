"""Try coefficients out against learning during the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ...cache_core.calibration.trial import SPEEDUPS, Trial
from ...cache_core.decide.policies import fewest_calibrated
from ...cache_core.methods import ScalingCache
from ...cache_core.methods.base import Few
from ...cache_core.planning.gram import GramTable
from ...cache_core.predict.predictors import LEAST_SQUARES, SCALING
from ...cache_core.predict.row import cut
from ...cache_core.run.run import Run
from .cache import Cache, install
from .coefficients import NONE

# For each prompt: plainly, and at each speed-up learning and with coefficients.
RUNS = 1 + 2 * len(SPEEDUPS)
Sample = Callable[[Any], torch.Tensor]


def try_out(
    model: Any,
    samples: Sequence[tuple[Sample, GramTable]],
    steps: int,
    lengths: Sequence[int] = (),
) -> Trial | None:
    """Sample plainly, and with as many computed steps learning and with coefficients. One that had to
    compute more than the other counts as no nearer than that.

    Args:
        model: that computes everything.
        steps: of each sample.
        samples: each samples a given model with a prompt and seed of its own; with the products of guided
            outputs to predict from, of other prompts.
        lengths: of the streams of a row [batch, values], of which the worst one counts; none for one.

    Returns:
        None if the results cannot be compared.
    """
    psnr = np.zeros((len(samples), 2, len(SPEEDUPS)))
    most = steps / fewest_calibrated(steps)
    for prompt, (sample, table) in enumerate(samples):
        plain = sample(model)
        for i, speedup in enumerate(SPEEDUPS):
            learning = ScalingCache(min(speedup, most), predictor=SCALING, few=Few.STEPS)
            squares = replace(learning, predictor=LEAST_SQUARES)
            caches = Cache(learning, coefficients=NONE), Cache(squares, table=table)
            computed = []
            for kind, cache in enumerate(caches):
                runs: list[Run] = []
                result = sample(install(model, replace(cache, on_close=runs.append)))
                computed.append(sum(run.report.computed for run in runs))
                pairs = zip(cut(result, lengths), cut(plain, lengths), strict=True)
                psnr[prompt, kind, i] = min(_psnr(*pair) for pair in pairs)
            if computed[0] != computed[1]:
                # Where predictions fail more is computed: that is slower, and no reason to take them.
                more = int(np.argmax(computed))
                psnr[prompt, more, i] = psnr[prompt, :, i].min()
    return Trial(psnr) if np.isfinite(psnr).all() else None


def _psnr(result: torch.Tensor, plain: torch.Tensor) -> float:
    """In dB, of latents."""
    error = float((result - plain).float().square().mean())
    span = float(plain.max() - plain.min())
    return 10 * float(np.log10(max(span, 1e-30) ** 2 / max(error, 1e-30)))
