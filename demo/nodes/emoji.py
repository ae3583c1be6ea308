"""The emoji model's language: up to eight words of the names of the emoji, in any order."""

from __future__ import annotations

import difflib
import functools
import random
from collections import Counter

import torch

from .emoji_names import NAMES

# Most words of a prompt, and entries of its embedding: words first, zeros after them.
LENGTH = 8
EMBEDDING_WIDTH = POOLED_WIDTH = 1408
_JOINING = ("a", "and", "at", "for", "from", "in", "of", "on", "or", "over", "the", "to", "with")
# Words of names that say nothing of the picture.
_SILENT = frozenset((*_JOINING, "sign", "symbol"))
_AMPLITUDE = 16.0
_HELD_OUT = 64


def words_of(text: str) -> list[str]:
    """The telling words of a name or prompt, each once, at most eight."""
    words = "".join(c if c.isalnum() else " " for c in text.lower()).split()
    return list(dict.fromkeys(w for w in words if w not in _SILENT))[:LENGTH]


@functools.cache
def all_names() -> dict[str, str]:
    """Name of every picture, by its code points."""
    rows = [line.split(" ", 1) for line in NAMES.strip().splitlines()]
    return {"".join(chr(int(code, 16)) for code in codes.split("-")): name for codes, name in rows}


@functools.cache
def vocabulary() -> dict[str, int]:
    """Place of every word in an embedding."""
    return {
        w: i for i, w in enumerate(sorted({w for n in all_names().values() for w in n.split()}))
    }


class Words(tuple[str, ...]):
    """A prompt."""

    def __str__(self) -> str:
        return " ".join(self)


def parse(text: str) -> Words | None:
    """Prompt from a text; None for an empty one, which asks for nothing.

    Raises:
        ValueError: naming a word that no picture's name has.
    """
    words = words_of(text)
    if unknown := [w for w in words if w not in vocabulary()]:
        near = difflib.get_close_matches(unknown[0], vocabulary(), 3)
        hint = f"; near it: {', '.join(near)}" if near else ""
        raise ValueError(f"prompt: no emoji's name has the word {unknown[0]!r}{hint}")
    return Words(words) if words else None


def encode(words: Words | None) -> torch.Tensor:
    """Text embedding float32 [1, 8, 1408]: one entry per word, zeros for the rest."""
    embedding = torch.zeros(1, LENGTH, EMBEDDING_WIDTH)
    for position, word in enumerate(words or ()):
        embedding[0, position, vocabulary()[word]] = _AMPLITUDE
    return embedding


def pool(words: Words | None) -> torch.Tensor:
    """Pooled text embedding float32 [1, 1408]: the mean of the words' entries."""
    return encode(words).sum(1) / max(len(words or ()), 1)


def all_prompts() -> list[Words]:
    """The names that belong to one picture only."""
    counts = Counter(all_names().values())
    return [Words(name.split()) for name, count in counts.items() if count == 1]


def held_out_prompts() -> list[Words]:
    """64 names to measure with, always the same. The networks know their pictures as they know all;
    calibration and the choice of settings do not."""
    prompts = all_prompts()
    random.Random(1234).shuffle(prompts)
    return prompts[:_HELD_OUT]


def training_prompts() -> list[Words]:
    """All other names."""
    held_out = set(held_out_prompts())
    return [p for p in all_prompts() if p not in held_out]
