"""Clips of one shape that bounces and sounds: a tone for its height, louder where it hits a wall."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

FRAMES, SIZE, COLOURS = 16, 16, 3
# Loudness of each note at each moment of the sound.
NOTES, MOMENTS = 4, 32
VIDEO, SOUND = (COLOURS, FRAMES, SIZE, SIZE), (NOTES, MOMENTS)
RATE, SECONDS = 8000, 1.0
_PITCHES = (220.0, 330.0, 495.0, 742.5)
# Mean and spread of clips: what a model sees has mean 0 and spread 1.
_VIDEO, _SOUND = (0.045, 0.16), (0.185, 0.195)

HUES = ((1.0, 0.2, 0.2), (0.2, 1.0, 0.2), (0.3, 0.4, 1.0), (1.0, 0.9, 0.2))
SHAPES, SPEEDS, FADES = 3, 3, 3


class Words(NamedTuple):
    """What a prompt says, each an index: hue, shape, speed, and how fast the sound of a hit fades."""

    hue: int
    shape: int
    speed: int
    fade: int


PROMPTS = [
    Words(*found) for found in product(range(len(HUES)), range(SHAPES), range(SPEEDS), range(FADES))
]
WORDS = len(HUES) + SHAPES + SPEEDS + FADES


def encode(prompts: Sequence[Words | None]) -> Tensor:
    """Conditioning [n, 1, WORDS]: a one for each word, zeros for none."""
    found = torch.zeros(len(prompts), 1, WORDS)
    for row, prompt in zip(found, prompts, strict=True):
        if prompt is not None:
            starts = (0, len(HUES), len(HUES) + SHAPES, len(HUES) + SHAPES + SPEEDS)
            row[0, [start + word for start, word in zip(starts, prompt, strict=True)]] = 1
    return found


def render(prompts: Sequence[Words], seed: int) -> tuple[Tensor, Tensor]:
    """Clips as a model sees them: video [n, *VIDEO] and sound [n, *SOUND]."""
    generator, n = torch.Generator().manual_seed(seed), len(prompts)
    hue, shape, speed, fade = torch.tensor(prompts).T
    begin, way = torch.rand(2, n, 2, generator=generator)
    angle = 2 * math.pi * way[:, :1]
    velocity = torch.cat([angle.cos(), angle.sin()], 1) * (0.6 + 0.6 * speed[:, None])

    def place(times: Tensor) -> tuple[Tensor, Tensor]:
        """Of the middle [n, times, 2] from 0 to 1, and how often it has hit a wall [n, times]."""
        path = begin[:, None] + velocity[:, None] * times[:, None]
        return 1 - (path.remainder(2) - 1).abs(), path.floor().abs().sum(-1)

    where, _ = place(torch.arange(FRAMES) / FRAMES)
    grid = (torch.arange(SIZE) + 0.5) / SIZE
    # Its middle keeps away from the walls by its own size.
    off = grid - (0.2 + 0.6 * where)[..., None]
    across, down = off[..., 0, :].abs()[:, :, None, :], off[..., 1, :].abs()[:, :, :, None]
    sizes = torch.stack([(across**2 + down**2).sqrt(), torch.maximum(across, down), across + down])
    reach = sizes[shape, torch.arange(n)]
    inside = torch.sigmoid((0.17 - reach) * 60)
    colour = torch.tensor(HUES)[hue]
    video = inside[:, None] * colour[:, :, None, None, None]
    moments = torch.arange(MOMENTS) / MOMENTS
    where, hits = place(moments)
    hit = torch.cat([torch.zeros(n, 1), (hits.diff(dim=1) != 0).float()], 1)
    since, loud = torch.zeros(n), []
    for moment in range(MOMENTS):
        since = torch.maximum(since * (0.45 + 0.2 * fade), hit[:, moment])
        loud.append(0.35 + 0.65 * since)
    note = torch.arange(NOTES) / (NOTES - 1)
    near = torch.exp(-(((where[..., 1:] - note) * 3) ** 2))
    sound = (near * torch.stack(loud, 1)[..., None]).movedim(1, 2)
    return (video - _VIDEO[0]) / _VIDEO[1], (sound - _SOUND[0]) / _SOUND[1]


def pictures(video: Tensor) -> Tensor:
    """Frames [n, FRAMES, SIZE, SIZE, 3] in 0 to 1."""
    return (video * _VIDEO[1] + _VIDEO[0]).clamp(0, 1).movedim(1, -1)


def waves(sound: Tensor) -> Tensor:
    """Sound [n, samples] at RATE: a sine for each note."""
    loud = (sound * _SOUND[1] + _SOUND[0]).clamp_min(0)
    samples = int(RATE * SECONDS)
    loud = torch.nn.functional.interpolate(loud, samples, mode="linear")
    turns = torch.tensor(_PITCHES)[:, None] * torch.arange(samples) / RATE
    return (loud * torch.sin(2 * math.pi * turns)).sum(1) / NOTES
