"""What a network is trained to predict."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .evaluate import SHIFT


class Task(NamedTuple):
    """One batch.

    Attributes:
        noisy: latents as the network gets them.
        time: as the network gets it, [n].
        wanted: output.
        importance: weight of the squared error, broadcast to the output.
    """

    noisy: Tensor
    time: Tensor
    wanted: Tensor
    importance: Tensor


# From clean latents and the number of the step.
Objective = Callable[[Tensor, int], Task]


def flow(importance: Tensor, shift: float = SHIFT) -> Objective:
    """Rectified flow: x_t = (1 - t) x_0 + t noise, the network predicts noise - x_0. Half of the times
    are uniform and half logit-normal, both shifted."""

    def objective(clean: Tensor, step: int) -> Task:
        count = len(clean)
        even = torch.rand(count) if step % 2 else torch.sigmoid(torch.randn(count))
        t = (shift * even / (1 + (shift - 1) * even)).to(clean.device)
        noise = torch.randn_like(clean)
        share = _column(t, clean)
        return Task((1 - share) * clean + share * noise, t * 1000, noise - clean, importance)

    return objective


def epsilon(alphas: Tensor) -> Objective:
    """Noise prediction: x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise, the network predicts the noise.
    Errors count by min(SNR, 5) / SNR (Hang et al., 2023, arXiv:2303.09556).

    Args:
        alphas: a_t, the share of the clean latents' variance, by index of time.
    """

    def objective(clean: Tensor, step: int) -> Task:
        index = torch.randint(len(alphas), (len(clean),))
        a = _column(alphas[index].to(clean), clean)
        snr = a / (1 - a)
        noise = torch.randn_like(clean)
        noisy = a.sqrt() * clean + (1 - a).sqrt() * noise
        return Task(noisy, index.to(clean), noise, snr.clamp(max=5) / snr)

    return objective


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (like.ndim - 1))
