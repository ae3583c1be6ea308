"""Stand-ins for blocks around which the host offers no replacement hook.

For the duration of one call the network's list of blocks is hidden behind a list of stand-ins, which give
each block's arguments the names that the host's hooks have. Weights, modules and their names stay as they
are, so that LoRA and offloading see the network that they know. Another thread that runs the network
meanwhile finds the blocks behind the stand-ins, or its own walk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock, get_ident
from typing import Any, Protocol

from torch import nn

from ..families.family import BlockCall, Family
from .progress import faults

KEY = "scaling_cache_hidden"
# Held while blocks are hidden or shown.
_SWAPPING = Lock()
_NOTHING = object()
# By thread, the call of the network that it is in.
Walks = dict[int, Any]


class Walk(Protocol):
    """One call of the network as its blocks see it."""

    family: Family
    network: Any

    def run_block(
        self, number: int, args: dict[str, Any], block: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> dict[str, Any]:
        """Run a block, or stand in for it."""
        ...

    def stand_ins(self, walks: Walks) -> dict[str, Any]:
        """Stand-ins by attribute of the network, which look for the walk of their thread."""
        ...


@dataclass
class Hidden:
    """Blocks of a network while a thread hides them.

    Attributes:
        walks: of the threads that do.
        places: what stands behind the stand-ins' names: attributes of a module, a name in them, and what
            they held under it.
    """

    walks: Walks = field(default_factory=dict)
    places: list[tuple[dict[str, Any], str, Any]] = field(default_factory=list)

    def hide(self, walk: Walk) -> None:
        """Hide the blocks of a network."""
        behind = walk.stand_ins(self.walks)
        for path in behind:
            within, _, name = path.rpartition(".")
            # A module finds its submodules only after its own attributes.
            attributes = vars(walk.network.get_submodule(within))
            self.places.append((attributes, name, attributes.get(name, _NOTHING)))
        for (attributes, name, _), other in zip(self.places, behind.values(), strict=True):
            attributes[name] = other


@contextmanager
def standing_in(walk: Walk) -> Iterator[None]:
    """Hide blocks of a network behind stand-ins while the context is open in some thread."""
    attributes, thread = vars(walk.network), get_ident()
    with faults(), _SWAPPING:
        hidden = attributes.get(KEY)
        if hidden is None:
            hidden = Hidden()
            hidden.hide(walk)
            attributes[KEY] = hidden
        outer, hidden.walks[thread] = hidden.walks.get(thread), walk
    try:
        yield
    finally:
        with _SWAPPING:
            hidden.walks[thread] = outer
            if not any(hidden.walks.values()):
                for place, name, before in hidden.places:
                    del place[name]
                    if before is not _NOTHING:
                        place[name] = before
                del attributes[KEY]


def stand_ins(walk: Walk, walks: Walks) -> dict[str, Any]:
    """Stand-ins for the blocks without hooks, by attribute of the network."""
    found: dict[str, Any] = {}
    number = 0
    for stack in walk.family.stacks:
        indices = stack.indices(walk.network)
        if stack.call is not None:
            blocks = stack.held(walk.network)
            numbers = {index: number + place for place, index in enumerate(indices)}
            found[stack.attribute] = _hide(blocks, numbers, walks, stack.call)
        number += len(indices)
    return found


def _hide(blocks: Any, numbers: dict[int, int], walks: Walks, call: BlockCall) -> Any:
    """The same container with stand-ins; a block that never runs stays."""
    if isinstance(blocks, nn.ModuleDict):
        names = list(blocks)
        return dict(zip(names, _hide(list(blocks.values()), numbers, walks, call), strict=True))
    return [
        StandIn(block, numbers[i], walks, call) if i in numbers else block
        for i, block in enumerate(blocks)
    ]


class StandIn:
    """Called as the block would be; other attributes are the block's. In a thread that has no walk it is
    the block."""

    def __init__(self, block: Any, number: int, walks: Walks, call: BlockCall) -> None:
        self._block = block
        self._number = number
        self._walks = walks
        self._form = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._block, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        walk = self._walks.get(get_ident())
        if walk is None:
            return self._block(*args, **kwargs)
        form = self._form
        with faults():
            stream = args[form.img] if isinstance(form.img, int) else kwargs[form.img]
            named: dict[str, Any] = {"args": args, "kwargs": kwargs}
            if form.pair:
                stream, named["txt"] = stream
            if form.txt is not None:
                named["txt"] = args[form.txt] if isinstance(form.txt, int) else kwargs.get(form.txt)
            named["img"] = stream[None] if form.batch is None else stream.movedim(form.batch, 0)
        out = walk.run_block(self._number, named, self._run)
        with faults():
            img = self._own(out["img"])
            return (img, out["txt"]) if named.get("txt") is not None else img

    def _run(self, named: dict[str, Any]) -> dict[str, Any]:
        """The block itself, on arguments by the hooks' names."""
        form, args, kwargs = self._form, list(named["args"]), dict(named["kwargs"])
        with faults():
            img = self._own(named["img"])
            _put(args, kwargs, form.img, (img, named["txt"]) if form.pair else img)
            if form.txt is not None:
                _put(args, kwargs, form.txt, named["txt"])
        out = self._block(*args, **kwargs)
        with faults():
            img, txt = out if isinstance(out, tuple) else (out, None)
            stream = img[None] if form.batch is None else img.movedim(form.batch, 0)
            return {"img": stream, "txt": txt}

    def _own(self, img: Any) -> Any:
        """The picture's stream as the block has it."""
        return img[0] if self._form.batch is None else img.movedim(0, self._form.batch)


def _put(args: list[Any], kwargs: dict[str, Any], where: int | str, value: Any) -> None:
    """Set an argument by its place or name."""
    if isinstance(where, int):
        args[where] = value
    else:
        kwargs[where] = value
