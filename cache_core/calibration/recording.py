"""Record the outputs of runs as a Gram matrix, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..planning.gram import GramTable
from ..predict.row import cut

# Elements per sample that stand for all: products over so many random ones are off by parts in 1000.
ELEMENTS = 2**16


class Subset:
    """Elements of an output that stand for all, of one size always the same random ones."""

    def __init__(self, most: int) -> None:
        """
        Args:
            most: elements per sample.
        """
        self._most = most
        self._chosen: dict[int, torch.Tensor] = {}

    def __call__(self, value: torch.Tensor) -> torch.Tensor:
        """[batch, elements] of an output [batch, ...]; a view where it is small enough."""
        flat = value.reshape(value.shape[0], -1)
        if flat.shape[1] <= self._most:
            return flat
        chosen = self._chosen.get(flat.shape[1])
        if chosen is None:
            generator = torch.Generator().manual_seed(0)
            order = torch.randperm(flat.shape[1], generator=generator)
            chosen = self._chosen[flat.shape[1]] = order[: self._most].to(flat.device)
        return flat[:, chosen]


class GramRecorder:
    """Products of the outputs of all steps, summed over runs and samples. Streams of one row count alike,
    whatever their size.

    Keeps `ELEMENTS` values per step and sample of the run under way, in the host's memory, and between
    runs the products alone.
    """

    def __init__(self, sigmas: tuple[float, ...], lengths: Sequence[int] = ()) -> None:
        """
        Args:
            sigmas: schedule of each run, the final sigma included.
            lengths: of the streams of a row; none where it is one.
        """
        self._sigmas, self._lengths = sigmas[:-1], lengths
        self._rows: dict[int, dict[int, list[torch.Tensor]]] = {}
        self._gram: dict[int, np.ndarray] = {}
        self._thin = Subset(ELEMENTS)
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
            rows[step] = [self._thin(part).float().cpu() for part in cut(value, self._lengths)]

    def finish_run(self) -> None:
        """Add the products of a run; one that was cut short adds nothing.

        Raises:
            ValueError: if an output holds NaN or infinity.
        """
        rows, self._rows = self._rows, {}
        steps = range(len(self._sigmas))
        if not rows or any(set(branch) != set(steps) for branch in rows.values()):
            return
        sizes: list[float] = []
        for branch, values in rows.items():
            streams = zip(*[values[i] for i in steps], strict=True)
            each = [_products(torch.stack(parts)) for parts in streams]
            # By the sizes in the first branch: products of the branches then still go together.
            sizes = sizes or [max(float(np.trace(gram)), 1e-30) for gram in each]
            alike = [own * (max(sizes) / size) for own, size in zip(each, sizes, strict=True)]
            gram = np.sum(alike, 0)
            if not np.isfinite(gram).all():
                raise ValueError("the model's output is not finite")
            self._gram[branch] = self._gram.get(branch, 0.0) + gram
        self.samples += len(next(iter(rows.values()))[0][0])

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


def _products(outputs: torch.Tensor) -> np.ndarray:
    """Of the outputs [steps, batch, elements] of one stream."""
    wide = outputs.double()
    return torch.einsum("ibn,jbn->ij", wide, wide).numpy()
