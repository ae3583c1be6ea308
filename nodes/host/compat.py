"""One code for many host releases: use what this host knows, drop what it does not."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from comfy_api.latest import io

_I = TypeVar("_I")


def schema(**fields: Any) -> io.Schema:
    """A node schema with the fields that this host knows; an unknown one would drop the pack."""
    if io.Hidden.unique_id in fields.get("hidden", ()):
        # Else the host gives a node the output of another one with the same inputs, and with it the
        # other one's id: what the cache says would stand on the wrong node.
        fields["not_idempotent"] = True
    known = {f.name for f in dataclasses.fields(io.Schema)}
    return io.Schema(**{k: v for k, v in fields.items() if k in known})


def advanced(widget: _I) -> _I:
    """Fold an input away under the advanced ones; older hosts have no argument for it. Where the frontend
    does not fold on the canvas, web/settings.js does."""
    return telling(widget, advanced=True, scaling_cache_folds=True)


def telling(widget: _I, **more: Any) -> _I:
    """Let an input carry more for the frontend, as JSON."""
    extra: dict[str, Any] = getattr(widget, "extra_dict", None) or {}
    widget.extra_dict = {**extra, **more}  # pyright: ignore[reportAttributeAccessIssue]
    return widget
