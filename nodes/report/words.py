"""Sentences of the pack in another language, by the catalogues of `locales/`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

_LOCALES = Path(__file__).parents[2] / "locales"
_PLACE = re.compile(r"\\\{\\\}")


class Catalogue:
    """Translations of what the pack says; a text that it lacks stays as it is.

    What is put into a sentence may be one of its own, and is translated too.
    """

    def __init__(self, messages: Mapping[str, str]) -> None:
        """
        Args:
            messages: by English sentence, with `{}` for what is put in; the first that fits counts. A
                translation names it by place: `{0}`.
        """
        shapes = ((_PLACE.sub("(.+?)", re.escape(key)), told) for key, told in messages.items())
        self._known = [(re.compile(shape), told) for shape, told in shapes]

    def of(self, text: str) -> str:
        """A text of one or several lines."""
        return "\n".join(map(self._sentence, text.split("\n")))

    def _sentence(self, text: str) -> str:
        for shape, told in self._known:
            if found := shape.fullmatch(text):
                return told.format(*map(self._sentence, found.groups()))
        return text


def messages(language: str) -> dict[str, str]:
    """Translations of a language such as "zh", by English sentence, without what is not translated yet.
    Empty if there are none."""
    files = {file.parent.name: file for file in _LOCALES.glob("*/messages.json")}
    if language not in files:
        return {}
    known = json.loads(files[language].read_text(encoding="utf-8"))
    return {sentence: told for sentence, told in known.items() if told}


@cache
def catalogue(language: str) -> Catalogue:
    """That of a language; an empty one if there is none."""
    return Catalogue(messages(language))
