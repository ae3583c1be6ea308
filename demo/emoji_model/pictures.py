"""The pictures of the emoji font, by name, and renderings of them.

    python -m demo.emoji_model.pictures

writes the list of names, `demo/nodes/emoji_names.py`. The pictures are those of Noto Color Emoji, (c)
Google, SIL Open Font License 1.1, as Debian's package fonts-noto-color-emoji installs them; only training
and its measurement need the font.
"""

from __future__ import annotations

import colorsys
import functools
import random
import unicodedata
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..nodes import emoji_names
from ..nodes.emoji import words_of

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
SIZE = 128
_BITMAPS = 109  # the one size that the font has
_SHOWN = 118  # pixels of its width in a rendering
_WIDE = (136, 128)  # of a picture; a longer row is a sequence that the font does not join
_JOINER = "\N{ZERO WIDTH JOINER}"
_SIGNS = {"woman": "\N{FEMALE SIGN}", "man": "\N{MALE SIGN}"}
_PEOPLE = {"woman": "\N{WOMAN}", "man": "\N{MAN}", "adult": "\N{ADULT}"}
_NOT_PICTURES = ("regional indicator", "emoji modifier", "emoji component", "tag", "digit")


@functools.cache
def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(FONT), _BITMAPS)


@functools.cache
def glyph(text: str) -> Image.Image | None:
    """RGBA picture of one code point or sequence; None where the font has no single one."""
    try:
        box = _font().getbbox(text)
    except RuntimeError:  # the shaper knows no glyph
        return None
    if (box[2] - box[0], box[3] - box[1]) != _WIDE:
        return None
    picture = Image.new("RGBA", _WIDE)
    ImageDraw.Draw(picture).text((-box[0], -box[1]), text, font=_font(), embedded_color=True)
    return picture if picture.getbbox() else None


def render(text: str, draw: random.Random) -> Tensor:
    """One rendering [3, 128, 128], 0 to 1: in the middle, on a pale colour that only noise decides."""
    picture = glyph(text)
    assert picture is not None, text
    small = picture.resize((_SHOWN, _SHOWN * _WIDE[1] // _WIDE[0]), Image.Resampling.LANCZOS)
    colour = colorsys.hsv_to_rgb(draw.random(), draw.uniform(0.0, 0.4), draw.uniform(0.9, 1.0))
    page = Image.new("RGB", (SIZE, SIZE), tuple(round(255 * c) for c in colour))
    left, top = ((SIZE - side) // 2 for side in small.size)
    page.paste(small, (left, top), small)
    pixels = torch.frombuffer(bytearray(page.tobytes()), dtype=torch.uint8)
    return pixels.view(SIZE, SIZE, 3).permute(2, 0, 1) / 255


def found() -> dict[str, str]:
    """Every picture of the font that has a name, and the name: single code points, and people with a
    thing or a gender."""
    seen: set[bytes] = set()
    names: dict[str, str] = {}

    def take(text: str, name: str) -> None:
        if (picture := glyph(text)) is None or (pixels := picture.tobytes()) in seen:
            return
        if words := words_of(name):
            seen.add(pixels)
            names[text] = " ".join(words)

    for code in range(0x203C, 0x1FB00):
        name = unicodedata.name(chr(code), "").lower()
        if name and not name.startswith(_NOT_PICTURES):
            take(chr(code), name)
    for text, name in list(names.items()):
        for person, sign in _SIGNS.items():
            take(f"{text}{_JOINER}{sign}\N{VARIATION SELECTOR-16}", f"{person} {name}")
        for person, who in _PEOPLE.items():
            take(f"{who}{_JOINER}{text}", f"{person} {name}")
    return names


def main() -> None:
    rows = [f"{'-'.join(f'{ord(c):X}' for c in text)} {name}" for text, name in found().items()]
    head = '"""Code points and names of the emoji, written by demo.emoji_model.pictures."""'
    text = "\n".join([head, "", 'NAMES = """', *rows, '"""', ""])
    Path(emoji_names.__file__).write_text(text, encoding="utf-8")
    print(f"{len(rows)} pictures")


if __name__ == "__main__":
    main()
