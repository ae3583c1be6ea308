"""PSNR, SSIM and GMSD against other implementations and their own properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scaling_cache.cache_core.calibration import fidelity
from skimage.metrics import peak_signal_noise_ratio, structural_similarity


def pair(noise: float = 12, count: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy pictures and clean ones, uint8 [count, 96, 128, 3]."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(96), torch.arange(128), indexing="ij")
    clean = torch.stack([(x * 2) % 256, (y * 2) % 256, (x * y // 16) % 256], -1).to(torch.uint8)
    noisy = [
        (clean.float() + torch.randn(clean.shape, generator=generator) * noise * (i + 1))
        for i in range(count)
    ]
    return torch.stack(noisy).clamp(0, 255).to(torch.uint8), clean.expand(count, -1, -1, -1)


def test_psnr_and_ssim_are_those_of_another_library():
    noisy, clean = pair(count=3)
    found = fidelity.compare_pictures(noisy, clean)
    a, b = noisy.numpy(), clean.numpy()
    assert found.psnr == pytest.approx(peak_signal_noise_ratio(b, a, data_range=255))
    each = [peak_signal_noise_ratio(y, x, data_range=255) for x, y in zip(a, b, strict=True)]
    assert found.psnr_each == pytest.approx(each)
    assert found.worst == 2
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    ssim = [
        structural_similarity(y, x, channel_axis=-1, data_range=255, **settings)
        for x, y in zip(a, b, strict=True)
    ]
    assert found.ssim_each == pytest.approx(ssim, abs=1e-4)
    assert found.ssim == pytest.approx(np.mean(ssim), abs=1e-4)


def test_gmsd_is_that_of_another_library():
    noisy, clean = pair()
    # piq 0.8.0 on the same pictures
    assert fidelity.gmsd(noisy[0], clean[0]) == pytest.approx(0.0353, abs=5e-5)


def test_gmsd_grows_with_the_damage():
    values = [fidelity.gmsd(pair(noise)[0][0], pair()[1][0]) for noise in (0, 3, 12, 50)]
    assert values[0] == 0
    assert values == sorted(values)


def test_identical_pictures():
    _, clean = pair(count=2)
    found = fidelity.compare_pictures(clean, clean)
    assert (found.psnr, found.ssim, found.gmsd) == (math.inf, pytest.approx(1.0), 0.0)


def test_pictures_too_small_for_a_window_have_psnr_only():
    tiny = torch.zeros(1, 8, 40, 3, dtype=torch.uint8)
    found = fidelity.compare_pictures(tiny, tiny + 1)
    assert found.psnr == pytest.approx(20 * math.log10(255))
    assert found.ssim is None
    assert found.gmsd is None
    assert found.notes == ("No SSIM and GMSD: pictures of 40 x 8 are too small",)


def test_pixels_are_cut_as_the_host_saves_them():
    values = torch.tensor([-1.0, 0.0, 0.9999 / 255, 1.0, 7.0, float("nan"), float("inf")])
    pixels = fidelity.as_saved(values.view(1, 1, 1, -1)).flatten()
    assert pixels.tolist() == [0, 0, 0, 255, 255, 0, 255]


def test_latents_have_the_range_of_the_reference():
    generator = torch.Generator().manual_seed(1)
    reference = torch.randn(2, 4, 8, 8, generator=generator)
    latent = reference + torch.randn(reference.shape, generator=generator) * 0.01
    found = fidelity.compare_latents(latent, reference)
    size = float(reference.max() - reference.min())
    expected = peak_signal_noise_ratio(reference.numpy(), latent.numpy(), data_range=size)
    assert found.psnr == pytest.approx(expected, rel=1e-5)
    assert found.error == pytest.approx(float((latent - reference).norm() / reference.norm()))
    assert found.ssim is None
    assert fidelity.compare_latents(reference * 0, reference * 0).error is None
