"""Which blocks look at the foreground: attention statistics of one plain run.

ProfilingDiT (arXiv 2504.03140) measures, per block, the share of the foreground that the block attends to
much, `R = |attended and foreground| / |foreground|`, and caches the blocks with a low one: they draw the
background, which changes little. How much a token is attended to is the mean of its column of the
attention matrix.

The published foreground is a segmentation of the predicted noise by a further network. Here it is where
the prompt acts: the tokens at which the outputs for the positive and for the negative conditioning differ
by more than the mean. That needs no other network and is one rule for every model, whereas attention to
the text would need one for joint and one for cross-attention. So attention gives the scores alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

# Queries that stand for all of a picture.
QUERIES = 64
# Numbers that may be worked on at once, in float32: 64 MiB.
_ELEMENTS = 2**24
_GOLDEN = (math.sqrt(5) - 1) / 2


def spread(limit: int, total: int) -> torch.Tensor:
    """Indices of up to `limit` of `total` tokens, rising: one in each of as many parts of one length.

    The place in its part moves on by the golden ratio. A fixed one would be the same column of the
    picture in each row wherever the parts are as long as a row.
    """
    count = min(limit, total)
    ends = torch.arange(count + 1) * total // count
    place = (torch.arange(count, dtype=torch.float64) * _GOLDEN) % 1
    return ends[:-1] + (ends.diff() * place).long()


def column_means(
    q: torch.Tensor,
    k: torch.Tensor,
    rows: torch.Tensor,
    columns: slice,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean over queries and heads of `softmax(q k^T / sqrt(width))`, in float32, in bounded memory.

    Args:
        q, k: [samples, heads, tokens, width].
        rows: indices of the queries to take.
        columns: keys to give the means of; the softmax is over all of them.
        mask: added to the scores, or whether to attend if boolean; broadcasts to
            [samples, heads, queries, keys].

    Returns:
        [samples, columns].
    """
    samples, heads, keys, width = k.shape
    rows = rows.to(q.device)
    group = max(1, _ELEMENTS // (keys * (len(rows) + width)))
    total = q.new_zeros((samples, len(range(keys)[columns])), dtype=torch.float32)
    for sample in range(samples):
        for head in range(0, heads, group):
            part = slice(head, head + group)
            taken = q[sample, part].index_select(1, rows).float()
            scores = taken @ k[sample, part].float().transpose(1, 2) / math.sqrt(width)
            if mask is not None:
                scores = _masked(scores, _part_of(mask, sample, part, rows))
            total[sample] += scores.softmax(-1)[..., columns].mean(1).sum(0)
    return total / heads


def _part_of(mask: torch.Tensor, sample: int, heads: slice, rows: torch.Tensor) -> torch.Tensor:
    """[heads, rows, keys] of a mask [samples, heads, queries, keys], where 1 stands for any number."""
    part = mask[sample if mask.shape[0] > 1 else 0]
    part = part[heads] if part.shape[0] > 1 else part
    return part.index_select(1, rows) if part.shape[1] > 1 else part


def _masked(scores: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    if mask.dtype == torch.bool:
        return scores.masked_fill(~mask, -math.inf)
    return scores + mask.float()


def picture_tokens(shape: torch.Size, patch: int) -> int:
    """Number of tokens of a latent [samples, channels, ((frames,) height,) width]."""
    places = shape[2:]
    return math.prod(places[:-2]) * math.prod(-(-side // patch) for side in places[-2:])


def token_contrast(positive: torch.Tensor, negative: torch.Tensor, patch: int) -> torch.Tensor:
    """Mean absolute difference of two outputs over each token.

    Args:
        positive, negative: [samples, channels, (frames,) height, width].
        patch: height and width of a token.

    Returns:
        [samples, tokens], float32, in the order of rows.
    """
    difference = (positive.float() - negative.float()).abs().mean(1)
    frames = difference.reshape(-1, 1, *difference.shape[-2:])
    pooled = torch.nn.functional.avg_pool2d(frames, patch, ceil_mode=True)
    return pooled.reshape(len(positive), -1)


def preference(scores: NDArray[np.floating], contrast: NDArray[np.floating]) -> NDArray[np.float64]:
    """Share of the foreground that is attended to more than the median token, 0 to 1, mean over samples.

    One half is no preference. The median, since a few tokens hold most of some blocks' attention, which
    would put nearly all others below the mean; a token at the median counts half.

    Args:
        scores: how much each token is attended to [..., samples, tokens].
        contrast: how much the prompt acts on it [samples, tokens]; the foreground is above the mean.

    Returns:
        [...].

    Raises:
        ValueError: if the sizes differ, a number is not finite, or a sample has no foreground.
    """
    if scores.shape[-2:] != contrast.shape:
        raise ValueError(f"scores: must be of shape {contrast.shape}, got {scores.shape[-2:]}")
    if not (np.isfinite(scores).all() and np.isfinite(contrast).all()):
        raise ValueError("scores, contrast: must be finite")
    foreground = contrast > contrast.mean(-1, keepdims=True)
    if not foreground.any(-1).all():
        raise ValueError("contrast: no token is above the mean, so there is no foreground")
    middle = np.median(scores, -1, keepdims=True)
    attended = (scores > middle) + 0.5 * (scores == middle)
    return ((attended * foreground).sum(-1) / foreground.sum(-1)).mean(-1)


@dataclass
class AttentionStatistics:
    """Sums over the steps of one run, on the device: one number per block and token.

    Attributes:
        stopped: why nothing more is measured; empty while it is.
    """

    stopped: str = ""
    _scores: dict[int, torch.Tensor] = field(default_factory=dict)
    _contrast: torch.Tensor | None = None

    def observe(self, block: int, scores: torch.Tensor) -> None:
        """Take in how much each token is attended to in a block [samples, tokens]."""
        if not self.stopped:
            known = self._scores.get(block)
            self._scores[block] = scores if known is None else known + scores

    def contrast(self, contrast: torch.Tensor) -> None:
        """Take in `token_contrast` of a step; each step counts the same."""
        if not self.stopped:
            tiny = torch.finfo(contrast.dtype).tiny
            share = contrast / contrast.mean(-1, keepdim=True).clamp_min(tiny)
            self._contrast = share if self._contrast is None else self._contrast + share

    def stop(self, why: str) -> None:
        """Give up, once: drop what was measured."""
        self.stopped = self.stopped or why
        self._scores.clear()
        self._contrast = None

    def preferences(self, blocks: int) -> NDArray[np.float64]:
        """Foreground preference of each block, in one read of the device.

        Raises:
            ValueError: with the reason, if there is none.
        """
        if self.stopped:
            raise ValueError(self.stopped)
        if set(self._scores) != set(range(blocks)):
            raise ValueError("the attention could not be followed through all blocks")
        if self._contrast is None:
            raise ValueError("there was no negative conditioning")
        scores = torch.stack([self._scores[block] for block in range(blocks)])
        return preference(scores.cpu().double().numpy(), self._contrast.cpu().double().numpy())
