"""Latents as things that can be compared and looked at."""

from __future__ import annotations

from typing import Any

import torch

# Values so many standard deviations from the mean are black or white.
_SPREAD = 2.5


def parts(field: str, latent: Any) -> list[torch.Tensor]:
    """The latents that were sampled together, those that hold something first.

    Args:
        field: name of the input, for messages.
        latent: as the host has it.

    Raises:
        ValueError: if it holds no tensor.
    """
    samples = latent["samples"]
    found = list(samples.unbind()) if getattr(samples, "is_nested", False) else [samples]
    if not all(isinstance(part, torch.Tensor) for part in found) or not found:
        raise ValueError(f"{field}: holds no latent")
    return sorted(found, key=lambda part: not part.numel())


def frames(field: str, samples: torch.Tensor) -> torch.Tensor:
    """Latent frames [n, channels, height, width]; sound has one channel, its features as rows.

    Args:
        field: name of the input, for messages.
        samples: one latent.

    Raises:
        ValueError: if it has unknown dimensions.
    """
    samples = samples.detach().to("cpu", torch.float32)
    if samples.ndim == 3:
        return samples[:, None]
    if samples.ndim == 4:
        return samples
    if samples.ndim == 5:
        return samples.movedim(2, 1).flatten(0, 1)
    raise ValueError(f"{field}: must have 3 to 5 dimensions, got {tuple(samples.shape)}")


def preview(latent: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Pictures uint8 [n, height, width, 3] of the first three channels, or of the only one.

    Args:
        latent: from `frames`.
        scale: the same shape, whose spread sets the contrast.
    """
    shown = latent[:, :3] if latent.shape[1] >= 3 else latent[:, :1].expand(-1, 3, -1, -1)
    mean, spread = scale.mean(), scale.std(correction=0) * _SPREAD
    share = (shown - mean) / (2 * spread if spread > 0 else 1.0) + 0.5
    return (torch.nan_to_num(share).clamp(0, 1) * 255).to(torch.uint8).movedim(1, -1).contiguous()
