"""What other nodes make of a question between a cache of whole steps and the network. A skipped step
never comes there, so a cache cannot know what they would have asked at it: where one puts something else
in the place of what the host hands over, all is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import get_ident
from typing import Any

import torch

from ...cache_core.methods.base import Level
from .session import KEY, Active, Session

# As the host calls the network, after the latent and its noise level.
_NAMES = ("c_concat", "c_crossattn", "control", "transformer_options")
WHY_REPLACED = (
    "another node changes what the network is asked, and a skipped step would not hear of it. Prompts "
    "with a start and an end, as the host has them, are seen"
)


class Watch:
    """Of one run: what is handed over outside of all other wrappers, and what comes in inside of them."""

    def __init__(self, session: Session) -> None:
        self._session = session
        # By thread: the host may make several calls at once, each on a device of its own.
        self._given: dict[int, dict[str, torch.Tensor]] = {}

    def above(self, executor: Any, x: Any, t: Any, *args: Any, **kwargs: Any) -> Any:
        if self._session.caches:
            self._session.caches[0].guard(self._hold, args, kwargs)
        return executor(x, t, *args, **kwargs)

    def below(self, executor: Any, x: Any, t: Any, *args: Any, **kwargs: Any) -> Any:
        if self._session.caches:
            self._session.caches[0].guard(self._compare, args, kwargs)
        return executor(x, t, *args, **kwargs)

    def _hold(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self._given[get_ident()] = _tensors(args, kwargs)

    def _compare(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        given, asked = self._given.pop(get_ident(), {}), _tensors(args, kwargs)
        if any(tensor is not given.get(name) for name, tensor in asked.items()):
            for active in _of_steps(self._session):
                active.guard(active.run.stop, WHY_REPLACED)


def arrange(wrappers: dict[str, Any], session: Session) -> dict[str, Any]:
    """Other nodes' wrappers around the network between ours, where whole steps are left out."""
    watch = Watch(session)
    ours = {f"{KEY}_above": [watch.above]}, {f"{KEY}_below": [watch.below]}
    return {**ours[0], **wrappers, **ours[1]} if _of_steps(session) else wrappers


def _of_steps(session: Session) -> list[Active]:
    """Caches of whole steps that still are at work."""
    level = Level.STEP
    return [a for a in session.caches if a.cache.method.level is level and not a.run.sealed]


def _tensors(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    named = {**dict(zip(_NAMES, args, strict=False)), **kwargs}
    return {name: value for name, value in named.items() if isinstance(value, torch.Tensor)}
