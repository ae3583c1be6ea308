"""How near one picture, or latent, is to another.

PSNR and SSIM are of the pixels as they are saved, 8 bits per channel. SSIM is the library's (kornia),
with its Gaussian window of 11 pixels. The perceptual measure is GMSD (Xue et al. 2014, "Gradient
Magnitude Similarity Deviation"): it follows what people see about as well as multi-scale SSIM, needs no
weights and costs two small convolutions, so that a video is measured in a moment.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

_PEAK = 255.0
_SSIM_WINDOW = 11
# Of the paper, for pixels from 0 to 255.
_GMSD_CONSTANT = 170.0
_LUMA = (0.299, 0.587, 0.114)
# Samples of a spectrum, and what is silence in one, 100 dB below the loudest there is.
_WINDOW, _FLOOR = 1024, 1e-5
# Power below which an error is rounding.
_SILENT = 1e-14


@dataclass(frozen=True)
class Fidelity:
    """Attributes:
    psnr: decibels over all pictures together, infinite if they are identical.
    psnr_each: of each picture.
    ssim: mean, 1 for identical; None where it does not apply.
    ssim_each: of each picture.
    gmsd: mean, 0 for identical; None where it does not apply.
    gmsd_each: of each picture.
    error: relative error of a latent, `|a - b| / |b|`; None for pictures.
    notes: what could not be measured and why.
    """

    psnr: float
    psnr_each: tuple[float, ...]
    ssim: float | None = None
    ssim_each: tuple[float, ...] = ()
    gmsd: float | None = None
    gmsd_each: tuple[float, ...] = ()
    error: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def worst(self) -> int:
        """Picture with the lowest PSNR; the first whose PSNR is no number, if there is one."""
        known = [-math.inf if math.isnan(psnr) else psnr for psnr in self.psnr_each]
        return known.index(min(known))


def as_saved(pictures: torch.Tensor) -> torch.Tensor:
    """Pixels 0 to 255 as the host saves them: cut, not rounded.

    Args:
        pictures: [n, height, width, channels], 0 to 1.

    Returns:
        uint8, the same shape, on the CPU.
    """
    scaled = pictures.detach().to("cpu", torch.float32) * _PEAK
    return torch.nan_to_num(scaled).clamp(0, _PEAK).to(torch.uint8)


def compare_pictures(pictures: torch.Tensor, reference: torch.Tensor) -> Fidelity:
    """Measure pictures against others.

    Args:
        pictures, reference: uint8 [n, height, width, 3].
    """
    errors = [_mean_square(a, b) for a, b in zip(pictures, reference, strict=True)]
    height, width = pictures.shape[1:3]
    notes: list[str] = []
    ssims, gmsds = (), ()
    if min(height, width) < _SSIM_WINDOW:
        notes.append(f"No SSIM and GMSD: pictures of {width} x {height} are too small")
    else:
        gmsds = tuple(gmsd(a, b) for a, b in zip(pictures, reference, strict=True))
        try:
            measure = _ssim()
            ssims = tuple(measure(a, b) for a, b in zip(pictures, reference, strict=True))
        except ImportError as error:
            notes.append(f"No SSIM: kornia cannot be imported ({error})")
    return Fidelity(
        _decibels(_mean(errors), _PEAK),
        tuple(_decibels(e, _PEAK) for e in errors),
        _mean(ssims) if ssims else None,
        ssims,
        _mean(gmsds) if gmsds else None,
        gmsds,
        notes=tuple(notes),
    )


def compare_latents(latent: torch.Tensor, reference: torch.Tensor) -> Fidelity:
    """Measure latents against others; the peak of the PSNR is the range of the reference.

    Args:
        latent, reference: [n, channels, ...], any number of dimensions after.
    """
    a, b = (t.detach().to("cpu", torch.float64) for t in (latent, reference))
    peak = float(b.max() - b.min())
    errors = [_mean_square(x, y) for x, y in zip(a, b, strict=True)]
    size = float(b.norm())
    return Fidelity(
        _decibels(_mean(errors), peak),
        tuple(_decibels(e, peak) for e in errors),
        error=float((a - b).norm()) / size if size > 0 else None,
    )


@dataclass(frozen=True)
class SoundFidelity:
    """Attributes:
    si_sdr: scale-invariant signal to distortion in dB, infinite if they are alike but for loudness.
    spectral: log-spectral distance in dB, 0 for identical.
    """

    si_sdr: float
    spectral: float


def compare_sounds(sound: torch.Tensor, reference: torch.Tensor) -> SoundFidelity:
    """Measure sounds against others. SI-SDR (Le Roux et al. 2019) follows the wave, so that a shift which
    nobody hears counts; the log-spectral distance does not.

    Args:
        sound, reference: [..., samples], at one rate.
    """
    a, b = (t.detach().to("cpu", torch.float64).flatten(0, -2) for t in (sound, reference))
    power = float(b.square().sum())
    wanted = b * (float((a * b).sum()) / power if power > 0 else 0.0)
    lost, kept = float((a - wanted).square().sum()), float(wanted.square().sum())
    ratio = math.inf if lost <= _SILENT * kept else kept / lost
    decibels = 10 * math.log10(ratio) if ratio > 0 else -math.inf
    if not (math.isfinite(lost) and math.isfinite(kept)):
        decibels = math.nan
    spectra = [20 * torch.log10(_spectrum(t).clamp_min(_FLOOR)) for t in (a, b)]
    apart = (spectra[0] - spectra[1]).square().mean(-2).sqrt()
    return SoundFidelity(decibels, float(apart.mean()))


def _spectrum(sound: torch.Tensor) -> torch.Tensor:
    """Magnitudes [channels, frequencies, moments]; a sound shorter than a window ends in silence."""
    short = max(_WINDOW - sound.shape[-1], 0)
    window = torch.hann_window(_WINDOW, dtype=sound.dtype)
    padded = F.pad(sound, (0, short))
    found = torch.stft(
        padded, _WINDOW, _WINDOW // 4, window=window, center=False, return_complex=True
    )
    return found.abs() / window.sum()


def gmsd(picture: torch.Tensor, reference: torch.Tensor) -> float:
    """Gradient magnitude similarity deviation, 0 for identical pictures, 0.3 and more for wrecked ones.

    Luma, halved by averaging, its Prewitt gradients; the standard deviation of how similar they are.

    Args:
        picture, reference: uint8 [height, width, 3].
    """
    a, b = (_gradient(_luma(p)) for p in (picture, reference))
    similar = (2 * a * b + _GMSD_CONSTANT) / (a.square() + b.square() + _GMSD_CONSTANT)
    return float(similar.std(correction=0))


def _ssim() -> Callable[[torch.Tensor, torch.Tensor], float]:
    """The library's measure; slow to import, and the pack works without it."""
    from kornia.metrics import ssim

    def measure(picture: torch.Tensor, reference: torch.Tensor) -> float:
        a, b = (p.permute(2, 0, 1)[None].float() for p in (picture, reference))
        return float(ssim(a, b, _SSIM_WINDOW, max_val=_PEAK, padding="valid").mean())

    return measure


def _luma(picture: torch.Tensor) -> torch.Tensor:
    """[1, 1, height // 2, width // 2]."""
    luma = picture.float() @ torch.tensor(_LUMA)
    return F.avg_pool2d(luma[None, None], 2)


def _gradient(luma: torch.Tensor) -> torch.Tensor:
    """Magnitude of the Prewitt gradient."""
    across = torch.tensor([[1.0, 0.0, -1.0]]).repeat(3, 1) / 3
    kernels = torch.stack([across, across.T])[:, None]
    return F.conv2d(luma, kernels, padding=1).square().sum(1, keepdim=True).sqrt()


def _mean_square(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.double() - b.double()).square().mean())


def _decibels(mean_square: float, peak: float) -> float:
    if not math.isfinite(mean_square):
        return math.nan
    if mean_square == 0:
        return math.inf
    return 10 * math.log10(peak * peak / mean_square) if peak > 0 else -math.inf


def _mean(values: list[float] | tuple[float, ...]) -> float:
    return sum(values) / len(values)
