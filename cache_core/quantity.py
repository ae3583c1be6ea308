"""The quantity that is cached in place of the model's denoised output."""

from __future__ import annotations

from enum import Enum

import torch

from .predictors import Sigma, Terms, broadcast, combine, subtract_scaled, wide_dtype


class Quantity(Enum):
    """What changes slowly from step to step.

    DERIVATIVE is `(x - denoised) / sigma`, the ODE derivative dx/dsigma of k-diffusion, the same for
    flow, eps and v models. Where a sampler adds fresh noise to x it is useless, since it would call
    that noise picture; DENOISED does not depend on it. OUTPUT_CHANGE and DENOISED_CHANGE are the
    derivative and the denoised output less x, as EasyCache and LazyCache keep them.
    """

    DERIVATIVE = "derivative"
    DENOISED = "denoised"
    OUTPUT_CHANGE = "output less input"
    DENOISED_CHANGE = "denoised less input"

    @classmethod
    def for_sampler(cls, stochastic: bool) -> Quantity:
        """What changes slowly with a sampler, which may add fresh noise between steps."""
        return cls.DENOISED if stochastic else cls.DERIVATIVE

    @property
    def less_input(self) -> bool:
        """Whether x is taken away from what the model gave."""
        return self in (Quantity.OUTPUT_CHANGE, Quantity.DENOISED_CHANGE)

    def of(self, x: torch.Tensor, denoised: torch.Tensor, sigma: Sigma) -> torch.Tensor:
        """The quantity as a tensor of its own, in float32 or wider.

        Args:
            x: noisy latent [batch, ...].
            denoised: model output of the same shape.
            sigma: noise level, a number or [batch].
        """
        wide = wide_dtype(x)
        if self is Quantity.DENOISED:
            return denoised.to(wide, copy=True)
        if self is Quantity.DENOISED_CHANGE:
            return denoised.to(wide) - x
        derivative = (x.to(wide) - denoised) / broadcast(sigma, x)
        return derivative - x if self is Quantity.OUTPUT_CHANGE else derivative

    def denoised(self, x: torch.Tensor, terms: Terms, sigma: torch.Tensor) -> torch.Tensor:
        """The denoised output that a quantity stands for, as a new tensor in the dtype of x.

        Args:
            terms: the quantity, as known ones it is summed from.
        """
        if self is Quantity.DENOISED:
            return combine(terms).to(x.dtype)
        if self is Quantity.DENOISED_CHANGE:
            return (x + combine(terms)).to(x.dtype)
        more = [(x, 1.0)] if self is Quantity.OUTPUT_CHANGE else []
        return subtract_scaled(x, broadcast(sigma, x), [*terms, *more]).to(x.dtype)
