"""The language of the user, for what is drawn and not sent as text."""

from __future__ import annotations

import json
from pathlib import Path

import folder_paths


def language() -> str:
    """The one that is chosen in the host's settings, such as "zh"; English where none is, and where the
    host has several users, of whom it does not say which one a prompt is of."""
    path = Path(folder_paths.get_user_directory(), "default", "comfy.settings.json")
    try:
        chosen = json.loads(path.read_text(encoding="utf-8")).get("Comfy.Locale")
    except (OSError, ValueError, AttributeError):
        return "en"
    return chosen if isinstance(chosen, str) else "en"
