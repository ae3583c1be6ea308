"""Attention statistics against the same numbers made another way."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scaling_cache.cache_core.calibration import attention
from scaling_cache.cache_core.calibration.attention import AttentionStatistics, preference, spread

SEEDS = st.integers(0, 10_000)
SIDES = st.integers(1, 9)


def weights(q: np.ndarray, k: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The whole attention matrix in float64, query by query; the mask is added."""
    out = np.zeros((*q.shape[:3], k.shape[2]))
    for place in np.ndindex(*q.shape[:3]):
        logits = k[place[:2]] @ q[place] / math.sqrt(q.shape[-1]) + mask[place]
        powers = np.exp(logits - logits.max())
        out[place] = powers / powers.sum()
    return out


@given(st.integers(1, 100), st.integers(1, 6000))
def test_queries_are_spread_one_to_each_part(limit: int, total: int):
    found = spread(limit, total).tolist()
    count = min(limit, total)
    assert len(found) == count
    for part, index in enumerate(found):
        assert part * total // count <= index < (part + 1) * total // count
    assert found == sorted(set(found))
    if total <= limit:
        assert found == list(range(total))


@pytest.mark.parametrize("side", [32, 64, 128])
def test_queries_do_not_stand_in_one_column_of_a_square_picture(side: int):
    columns = spread(64, side * side) % side
    counts = torch.bincount(columns * 8 // side, minlength=8)
    assert counts.min() >= 4


@given(
    SEEDS,
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(1, 12),
    st.integers(1, 6),
    st.sampled_from(["none", "boolean", "added", "per sample", "per query"]),
    st.sampled_from([1, 40, 2**24]),
)
def test_column_means_are_those_of_the_whole_matrix(
    seed: int, samples: int, heads: int, tokens: int, width: int, kind: str, elements: int
):
    generator = torch.Generator().manual_seed(seed)
    q, k = torch.randn(2, samples, heads, tokens, width, generator=generator) * 2
    first = int(torch.randint(tokens, (), generator=generator))
    columns = slice(first, tokens)
    rows = first + spread(4, tokens - first)
    shape = {
        "none": None,
        "boolean": (1, 1, 1, tokens),
        "added": (1, 1, 1, tokens),
        "per sample": (samples, 1, 1, tokens),
        "per query": (samples, heads, tokens, tokens),
    }[kind]
    mask, added = None, np.zeros((samples, heads, tokens, tokens))
    if shape is not None:
        mask = torch.randn(shape, generator=generator)
        if kind == "boolean":
            mask = mask > 0
            mask[..., 0] = True
            added = added + np.where(mask.numpy(), 0.0, -np.inf)
        else:
            added = added + mask.double().numpy()
    whole = weights(q.double().numpy(), k.double().numpy(), added)
    wanted = whole[:, :, rows.numpy()][..., columns].mean((1, 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "_ELEMENTS", elements)
        found = attention.column_means(q, k, rows, columns, mask)
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-5)
    everything = attention.column_means(q, k, rows, slice(0, tokens), mask)
    np.testing.assert_allclose(everything.sum(1).numpy(), 1, atol=1e-5)


def test_half_precision_is_worked_on_in_float32():
    q, k = torch.full((2, 1, 1, 8, 64), 60.0, dtype=torch.float16)
    found = attention.column_means(q, k, torch.arange(8), slice(0, 8))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.full((1, 8), 1 / 8))


@given(SEEDS, st.integers(1, 2), st.integers(0, 3), SIDES, SIDES, st.integers(1, 4))
def test_contrast_is_the_mean_difference_of_each_patch(
    seed: int, samples: int, frames: int, height: int, width: int, patch: int
):
    shape = (samples, 3, *([frames] if frames else []), height, width)
    positive, negative = torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed))
    found = attention.token_contrast(positive, negative, patch)
    gap = (positive - negative).abs().reshape(samples, 3, max(frames, 1), height, width)
    wanted = [
        gap[:, :, frame, top : top + patch, left : left + patch].mean((1, 2, 3))
        for frame in range(max(frames, 1))
        for top in range(0, height, patch)
        for left in range(0, width, patch)
    ]
    torch.testing.assert_close(found, torch.stack(wanted, 1), rtol=1e-5, atol=1e-6)
    assert attention.picture_tokens(positive.shape, patch) == found.shape[1]


@pytest.mark.parametrize(
    ("shape", "tokens"), [((2, 64, 33), 17), ((2, 16, 9, 5), 15), ((2, 16, 3, 9, 5), 45)]
)
def test_channels_of_a_latent_are_no_places(shape: tuple[int, ...], tokens: int):
    assert attention.picture_tokens(torch.Size(shape), 2) == tokens


# Few values, so that equal ones are common.
NUMBERS = st.integers(-8, 8).map(float)


@st.composite
def measured(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Scores [blocks, samples, tokens] and a contrast with a foreground in each sample."""
    blocks, samples, tokens = (draw(st.integers(1, n)) for n in (3, 2, 12))
    tokens += 1
    scores = draw(hnp.arrays(np.float64, (blocks, samples, tokens), elements=NUMBERS))
    contrast = draw(
        hnp.arrays(np.float64, (samples, tokens), elements=st.integers(0, 8).map(float))
    )
    contrast[:, draw(st.integers(0, tokens - 1))] = 20.0
    return scores, contrast


def counted(scores: list[float], contrast: list[float]) -> float:
    """The rule for one block and sample, token by token."""
    foreground = [i for i, c in enumerate(contrast) if c * len(contrast) > sum(contrast)]
    total = 0.0
    for i in foreground:
        # Above the median: more are below than above.
        below = sum(s < scores[i] for s in scores)
        above = sum(s > scores[i] for s in scores)
        half = len(scores) / 2
        if below >= half:
            total += 1
        elif above < half:
            total += 0.5
    return total / len(foreground)


@given(measured())
def test_preference_is_the_share_of_the_foreground_above_the_median(found: tuple):
    scores, contrast = found
    wanted = [
        np.mean([counted(list(s), list(c)) for s, c in zip(block, contrast, strict=True)])
        for block in scores
    ]
    np.testing.assert_allclose(preference(scores, contrast), wanted)


@given(measured(), SEEDS)
def test_preference_looks_at_the_order_alone(found: tuple, seed: int):
    scores, contrast = found
    value = preference(scores, contrast)
    assert ((value >= 0) & (value <= 1)).all()
    np.testing.assert_array_equal(preference(4 * scores + 1, 8 * contrast), value)
    np.testing.assert_array_equal(preference(scores**3, contrast), value)
    np.testing.assert_allclose(preference(-scores, contrast), 1 - value)
    order = np.random.default_rng(seed).permutation(scores.shape[-1])
    np.testing.assert_allclose(preference(scores[..., order], contrast[:, order]), value)
    np.testing.assert_array_equal(preference(np.zeros_like(scores), contrast), 0.5)


def test_attention_on_the_foreground_alone_is_1_and_on_the_background_0():
    contrast = np.array([[5.0, 4.0, 0.0, 0.0, 1.0, 0.0]])
    inside = contrast.copy()
    np.testing.assert_array_equal(preference(np.stack([inside, -inside]), contrast), [1.0, 0.0])


@pytest.mark.parametrize(
    ("scores", "contrast", "field"),
    [
        (np.zeros((2, 1, 4)), np.arange(5.0)[None], "scores"),
        (np.full((1, 4), np.nan), np.arange(4.0)[None], "scores, contrast"),
        (np.zeros((1, 4)), np.array([[0, 1, np.inf, 0]]), "scores, contrast"),
        (np.zeros((2, 4)), np.array([[0, 1, 2, 3], [0, 0, 0, 0]]), "contrast"),
    ],
)
def test_bad_measurements_are_named(scores: np.ndarray, contrast: np.ndarray, field: str):
    with pytest.raises(ValueError, match=f"^{field}: "):
        preference(scores, contrast)


@given(SEEDS, st.integers(1, 4), st.integers(1, 5))
def test_a_run_sums_scores_and_counts_each_step_the_same(seed: int, blocks: int, steps: int):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(steps, blocks, 2, 6, generator=generator)
    contrast = torch.rand(steps, 2, 6, generator=generator)
    contrast[..., 0] += 1
    found = AttentionStatistics()
    for step in range(steps):
        for block in range(blocks):
            found.observe(block, scores[step, block])
        # A step whose outputs differ more by a factor counts no more.
        found.contrast(contrast[step] * 4.0**step)
    shares = contrast.double() / contrast.double().mean(-1, keepdim=True)
    wanted = preference(scores.double().sum(0).numpy(), shares.sum(0).numpy())
    np.testing.assert_allclose(found.preferences(blocks), wanted)


def test_a_run_that_measured_too_little_says_why():
    found = AttentionStatistics()
    with pytest.raises(ValueError, match="through all blocks"):
        found.preferences(1)
    found.observe(0, torch.rand(1, 4))
    with pytest.raises(ValueError, match="through all blocks"):
        found.preferences(2)
    with pytest.raises(ValueError, match="no negative conditioning"):
        found.preferences(1)
    found.contrast(torch.zeros(1, 4))
    with pytest.raises(ValueError, match="no foreground"):
        found.preferences(1)
    found.stop("first")
    found.stop("second")
    found.observe(0, torch.rand(1, 4))
    found.contrast(torch.rand(1, 4))
    with pytest.raises(ValueError, match=r"^first$"):
        found.preferences(1)
