"""Record the outputs of plain runs as a Gram matrix, in bounded memory."""

from __future__ import annotations

import numpy as np
import torch

from .calibration import GramTable

# Elements per sample that stand for all: products over so many random ones are off by parts in 1000.
ELEMENTS = 2**16


class GramRecorder:
    """Products of the outputs of all steps, summed over runs and samples.

    Keeps `ELEMENTS` values per step and sample of the run under way, in the host's memory, and between
    runs the products alone.
    """

    def __init__(self, sigmas: tuple[float, ...]) -> None:
        """
        Args:
            sigmas: schedule of each run, the final sigma included.
        """
        self._sigmas = sigmas[:-1]
        self._rows: dict[int, dict[int, torch.Tensor]] = {}
        self._gram: dict[int, np.ndarray] = {}
        self._chosen: torch.Tensor | None = None
        self.samples = 0

    def observe(self, branch: int, step: int, value: torch.Tensor) -> None:
        """Take in one output; the first one of a step and branch counts.

        Args:
            branch: which output, such as the index of its conditioning.
            step: index of the step.
            value: [batch, ...]; copied.
        """
        rows = self._rows.setdefault(branch, {})
        if step not in rows:
            rows[step] = self._subset(value.reshape(value.shape[0], -1)).float().cpu()

    def finish_run(self) -> None:
        """Add the products of a run; one that was cut short adds nothing.

        Raises:
            ValueError: if an output holds NaN or infinity.
        """
        rows, self._rows = self._rows, {}
        steps = range(len(self._sigmas))
        if not rows or any(set(branch) != set(steps) for branch in rows.values()):
            return
        for branch, values in rows.items():
            stacked = torch.stack([values[i] for i in steps]).double()
            gram = torch.einsum("ibn,jbn->ij", stacked, stacked).numpy()
            if not np.isfinite(gram).all():
                raise ValueError("the model's output is not finite")
            self._gram[branch] = self._gram.get(branch, 0.0) + gram
        self.samples += next(iter(next(iter(rows.values())).values())).shape[0]

    def table(self, *branches: int) -> GramTable:
        """Products of some branches; one that never ran repeats the first.

        Raises:
            ValueError: if nothing was recorded, or the outputs are all zero.
        """
        if branches[0] not in self._gram:
            raise ValueError("no run was recorded to its end")
        first = self._gram[branches[0]]
        return GramTable(
            np.array(self._sigmas), np.stack([self._gram.get(b, first) for b in branches])
        )

    def _subset(self, flat: torch.Tensor) -> torch.Tensor:
        count = flat.shape[1]
        if count <= ELEMENTS:
            return flat
        if self._chosen is None:
            generator = torch.Generator().manual_seed(0)
            self._chosen = torch.randperm(count, generator=generator)[:ELEMENTS]
        return flat[:, self._chosen.to(flat.device)]
