"""Muon for weights of any shape. torch.optim.Muon takes matrices only, not convolution kernels.

Keller Jordan et al., 2024: the momentum of a matrix, orthogonalised by a Newton-Schulz iteration.
"""

from __future__ import annotations

import torch
from torch import Tensor


def orthogonalise(matrix: Tensor, iterations: int = 5) -> Tensor:
    """Nearly the closest orthogonal matrix, in bfloat16 precision."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.bfloat16()
    tall = x.size(0) > x.size(1)
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(iterations):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if tall else x).float()


class Muon(torch.optim.Optimizer):
    """Muon with updates of AdamW's size, so that one learning rate serves both."""

    def __init__(
        self, params, lr: float, momentum: float = 0.95, weight_decay: float = 0.01
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            for value in group["params"]:
                if value.grad is None:
                    continue
                momentum = self.state[value].setdefault("momentum", torch.zeros_like(value))
                momentum.lerp_(value.grad, 1 - group["momentum"])
                update = value.grad.lerp(momentum, group["momentum"]).flatten(1)
                update = orthogonalise(update) * 0.2 * max(update.shape) ** 0.5
                value.mul_(1 - group["lr"] * group["weight_decay"])
                value.add_(update.view_as(value), alpha=-group["lr"])
