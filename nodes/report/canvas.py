"""Draw with Pillow: smooth shapes, and texts and pictures on top of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from PIL import Image, ImageDraw, ImageFont

WIDTH = 1200
MARGIN = 40
INNER = WIDTH - 2 * MARGIN
BACK, INK, MUTED, GRID, TILE = "#ffffff", "#1d2733", "#667380", "#e3e8ee", "#f3f6fa"
COMPUTED, PREDICTED, PREDICTED_EDGE, CURVE = "#2f6bd8", "#dbe7fb", "#9dbcf0", "#d9541e"
# Shapes are drawn so much larger and shrunk: Pillow draws hard edges.
_SCALE = 3
Point = tuple[float, float]


def font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own, which scales and is always there."""
    return ImageFont.load_default(size)


def printable(text: str) -> str:
    """What the font has signs for: Latin-1."""
    return text.encode("latin-1", "replace").decode("latin-1")


def wrap(text: str, size: float, width: float) -> list[str]:
    """Lines that are no wider than `width`, broken at spaces."""
    face = font(size)
    lines: list[str] = []
    for word in printable(text).split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and face.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


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
        draw = partial(_write, at=at, text=printable(text), size=size, fill=fill, anchor=anchor)
        self._texts.append(draw)

    def picture(self, at: tuple[int, int], picture: Image.Image) -> None:
        self._pictures.append((picture, at))

    def image(self) -> Image.Image:
        """The finished part."""
        done = self._shapes.resize((WIDTH, self.height), Image.Resampling.BOX)
        for picture, at in self._pictures:
            done.paste(picture, at)
        draw = ImageDraw.Draw(done)
        for write in self._texts:
            write(draw)
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


def _write(
    draw: ImageDraw.ImageDraw, *, at: Point, text: str, size: float, fill: str, anchor: str
) -> None:
    draw.text(at, text, fill, font(size), anchor)
