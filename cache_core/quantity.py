"""The quantity that is cached in place of the model's denoised output."""

from __future__ import annotations

from enum import Enum

import torch

from .predictors import broadcast, wide_dtype


class Quantity(Enum):
    """What changes slowly from step to step.

    DERIVATIVE is `(x - denoised) / sigma`, the ODE derivative dx/dsigma of k-diffusion, the same for
    flow, eps and v models. Where a sampler adds fresh noise to x it is useless, since it would call
    that noise picture; DENOISED does not depend on it.
    """

    DERIVATIVE = "derivative"
    DENOISED = "denoised"

    def of(self, x: torch.Tensor, denoised: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """The quantity as a tensor of its own, in float32 or wider.

        Args:
            x: noisy latent [batch, ...].
            denoised: model output of the same shape.
            sigma: noise level [batch].
        """
        if self is Quantity.DENOISED:
            return denoised.to(wide_dtype(x), copy=True)
        wide = wide_dtype(x)
        return (x.to(wide) - denoised) / broadcast(sigma, x)

    def denoised(self, x: torch.Tensor, value: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """The denoised output that a predicted quantity stands for, in the dtype of x."""
        if self is Quantity.DENOISED:
            return value.to(x.dtype)
        return (x - value * broadcast(sigma, x)).to(x.dtype)
