"""The pack's own ways and, of each other kind, the one that came out best."""

from __future__ import annotations

from . import plots
from .results import Row, at_speed
from .ways import Group

OWN = ("scaling_cache_online", "scaling_cache")
OTHERS = (Group.PUBLISHED, Group.HOST, Group.FEWER)


def best(found: dict[str, Row], group: Group) -> Row | None:
    """The row of highest mean PSNR among the methods of a group."""
    rows = [row for row in found.values() if row["group"] == group.value]
    return max(rows, key=lambda row: row["psnr"], default=None)


def label(group: Group) -> str:
    """What the best of a group is called."""
    return f"best: {group.value}"


def standing(rows: list[Row], speed: float) -> dict[str, Row | None]:
    """Rows of one bed and plan at a speed: the pack's own by name, then the best of each other kind."""
    found = at_speed(rows, speed)
    own = {plots.name_of(method): found.get(method) for method in OWN}
    return own | {label(group): best(found, group) for group in OTHERS}
