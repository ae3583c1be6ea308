"""Draw with Pillow: smooth shapes, and texts and pictures on top of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from contextvars import ContextVar
from functools import cache, partial
from itertools import groupby

from PIL import Image, ImageDraw, ImageFont

WIDTH = 1200
MARGIN = 40
INNER = WIDTH - 2 * MARGIN
BACK, INK, MUTED, GRID, TILE = "#ffffff", "#1d2733", "#667380", "#e3e8ee", "#f3f6fa"
COMPUTED, PREDICTED, PREDICTED_EDGE, CURVE = "#2f6bd8", "#dbe7fb", "#9dbcf0", "#d9541e"
# Shapes are drawn so much larger and shrunk: Pillow draws hard edges.
_SCALE = 3
Point = tuple[float, float]
_Face = ImageFont.FreeTypeFont | ImageFont.ImageFont
# Fonts of Windows, macOS and Linux with Chinese, Japanese, Korean and other signs, by which Pillow finds
# them.
FONTS = (
    "msyh.ttc",
    "simsun.ttc",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "Arial Unicode.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKsc-Regular.otf",
    "SourceHanSansSC-Regular.otf",
    "wqy-zenhei.ttc",
    "wqy-microhei.ttc",
    "DroidSansFallbackFull.ttf",
    "malgun.ttf",
    "YuGothM.ttc",
    "DejaVuSans.ttf",
    "arial.ttf",
)
# Makes of a text what stands in the picture.
translation: ContextVar[Callable[[str], str]] = ContextVar("translation", default=str)
# Size at which signs are compared.
_SAMPLE = 16


def spoken(text: str) -> str:
    """A text in the language of the picture, or in English where no font has the signs of that."""
    told = translation.get()(text)
    return told if printable(told) == told else printable(text)


def length(text: str, size: float) -> float:
    """Width of a text."""
    return sum(face.getlength(part) for part, face in _parts(text, size))


def printable(text: str) -> str:
    """A text with question marks in place of signs that no font has."""
    return "".join("?" if _font_of(sign) is None else sign for sign in text)


def wrap(text: str, size: float, width: float) -> list[str]:
    """Lines that are no wider than `width`, broken at spaces, and within words that are wider."""
    lines: list[str] = []
    for word in printable(text).split():
        wide = length(word, size) > width
        for i, part in enumerate(word if wide else (word,)):
            longer = "".join((*lines[-1:], "" if i or not lines else " ", part))
            if lines and length(longer, size) <= width:
                lines[-1] = longer
            else:
                lines.append(part)
    return lines


def _parts(text: str, size: float) -> Iterator[tuple[str, _Face]]:
    """Pieces of a text with the fonts that have their signs."""
    for name, signs in groupby(text, _font_of):
        yield "".join(signs), _face(name or "", size)


def _face(name: str, size: float) -> _Face:
    """A font by its name; without one Pillow's own, which scales and is always there."""
    return ImageFont.truetype(name, size) if name else ImageFont.load_default(size)


def _font_of(sign: str) -> str | None:
    """The name of a font that has a sign: Pillow's own, or one of the system."""
    if sign.isascii():
        return ""
    return next((name for name in ("", *_installed(FONTS)) if _has(name, sign)), None)


@cache
def _installed(names: Sequence[str]) -> tuple[str, ...]:
    found = []
    for name in names:
        with suppress(OSError):
            ImageFont.truetype(name, _SAMPLE)
            found.append(name)
    return tuple(found)


@cache
def _has(name: str, sign: str) -> bool:
    """Whether a font draws a sign in another way than one that nobody has."""
    return _drawn(name, sign) != _drawn(name, "\U0010fffd")


def _drawn(name: str, sign: str) -> bytes:
    image = Image.new("L", (2 * _SAMPLE, 2 * _SAMPLE))
    ImageDraw.Draw(image).text((0, 0), sign, 255, _face(name, _SAMPLE))
    return image.tobytes()


class Canvas:
    """A part of the report, as wide as all of it."""

    def __init__(self, height: int) -> None:
        self.height = height
        self._shapes = Image.new("RGB", (WIDTH * _SCALE, height * _SCALE), BACK)
        self._draw = ImageDraw.Draw(self._shapes)
        self._pictures: list[tuple[Image.Image, tuple[int, int]]] = []
        self._texts: list[partial[None]] = []

    def box(
        self,
        corners: tuple[float, float, float, float],
        fill: str | None,
        edge: str | None = None,
        radius: float = 0,
    ) -> None:
        left, top, right, bottom = (c * _SCALE for c in corners)
        self._draw.rounded_rectangle(
            (left, top, max(left, right - 1), max(top, bottom - 1)),
            radius * _SCALE,
            fill,
            edge,
            _SCALE if edge else 0,
        )

    def line(self, points: Sequence[Point], fill: str, width: float = 1) -> None:
        scaled = [(x * _SCALE, y * _SCALE) for x, y in points]
        self._draw.line(scaled, fill, round(width * _SCALE), "curve")

    def dots(self, start: Point, end: Point, fill: str, gap: float = 6) -> None:
        """A dotted line from left to right."""
        (x, y), (stop, last) = start, end
        slope = (last - y) / (stop - x) if stop > x else 0.0
        for i in range(int((stop - x) / gap) + 1):
            at = x + i * gap
            self.dot((at, y + slope * (at - x)), fill, 1.2)

    def dot(self, at: Point, fill: str, radius: float) -> None:
        x, y, r = (v * _SCALE for v in (*at, radius))
        self._draw.ellipse((x - r, y - r, x + r, y + r), fill)

    def text(self, at: Point, text: str, size: float, fill: str = INK, anchor: str = "la") -> None:
        """
        Args:
            anchor: Pillow's: l, m or r, then a for the top or s for the baseline.
        """
        draw = partial(write, at=at, text=spoken(text), size=size, fill=fill, anchor=anchor)
        self._texts.append(draw)

    def picture(self, at: tuple[int, int], picture: Image.Image) -> None:
        self._pictures.append((picture, at))

    def image(self) -> Image.Image:
        """The finished part."""
        done = self._shapes.resize((WIDTH, self.height), Image.Resampling.BOX)
        for picture, at in self._pictures:
            done.paste(picture, at)
        draw = ImageDraw.Draw(done)
        for text in self._texts:
            text(draw)
        return done


def stack(parts: Sequence[Image.Image], gap: int = 26) -> Image.Image:
    """Parts below each other, with a margin above and below."""
    height = 2 * MARGIN + sum(p.height for p in parts) + gap * (len(parts) - 1)
    sheet = Image.new("RGB", (WIDTH, height), BACK)
    y = MARGIN
    for part in parts:
        sheet.paste(part, (0, y))
        y += part.height + gap
    return sheet


def write(
    draw: ImageDraw.ImageDraw,
    *,
    at: Point,
    text: str,
    size: float,
    fill: str = INK,
    anchor: str = "la",
) -> None:
    """Write into any picture; see `Canvas.text`."""
    x, y = at
    x -= {"l": 0.0, "m": 0.5, "r": 1.0}[anchor[0]] * length(text, size)
    own = ImageFont.load_default(size)
    # All parts stand on one line, whatever height their fonts have.
    ascent = own.getmetrics()[0] if isinstance(own, ImageFont.FreeTypeFont) else size
    for part, face in _parts(text, size):
        draw.text((x, y + (ascent if anchor[1] == "a" else 0)), part, fill, face, "ls")
        x += face.getlength(part)
