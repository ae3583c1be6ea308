"""The tiny networks, each built once, and what the pack tells the user."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from scaling_cache.nodes.host.progress import ProgressText

from testbed import networks


@pytest.fixture(scope="session", autouse=True)
def ready(comfy: Path) -> None:
    """The host finds what the pack registers."""


@pytest.fixture(scope="session")
def built() -> Callable[[str], Any]:
    """Gives the ModelPatcher of a tiny network. Tests clone it and leave it as it is."""
    return cache(networks.build)


@pytest.fixture(scope="session")
def plain(built: Callable[[str], Any]) -> Callable[..., Any]:
    """Gives what the host samples without the pack; arguments are those of `networks.sample`."""

    @cache
    def sample(name: str, more: tuple[tuple[str, Any], ...]) -> Any:
        return networks.sample(built(name), name, **dict(more))

    return lambda name, **more: sample(name, tuple(sorted(more.items())))


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a node tells the user at the end of a run, or instead of one."""
    texts: list[str] = []
    monkeypatch.setattr(ProgressText, "finish", lambda self, text: texts.append(text))
    return texts
