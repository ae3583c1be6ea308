"""Stand-ins for blocks around which the host offers no replacement hook.

For the duration of one call the network's list of blocks is hidden behind a list of stand-ins, which give
each block's arguments the names that the host's hooks have. Weights, modules and their names stay as they
are, so that LoRA and offloading see the network that they know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from torch import nn

from ..families.family import BlockCall, Family


class Walk(Protocol):
    """One call of the network as its blocks see it."""

    family: Family
    network: Any

    def run_block(
        self, number: int, args: dict[str, Any], block: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> dict[str, Any]:
        """Run a block, or stand in for it."""
        ...


@contextmanager
def hiding(network: Any, behind: Mapping[str, Any]) -> Iterator[None]:
    """Hide submodules of a network behind others, by attribute, while the context is open."""
    with ExitStack() as stack:
        for path, other in behind.items():
            within, _, name = path.rpartition(".")
            stack.enter_context(_hidden(vars(network.get_submodule(within)), name, other))
        yield


@contextmanager
def _hidden(attributes: dict[str, Any], name: str, behind: Any) -> Iterator[None]:
    """A module finds its submodules only after its own attributes."""
    before = {name: attributes[name]} if name in attributes else {}
    attributes[name] = behind
    try:
        yield
    finally:
        del attributes[name]
        attributes.update(before)


def stand_ins(walk: Walk) -> dict[str, Any]:
    """Stand-ins for the blocks without hooks, by attribute of the network."""
    found: dict[str, Any] = {}
    number = 0
    for stack in walk.family.stacks:
        indices = stack.indices(walk.network)
        if stack.call is not None:
            blocks = stack.held(walk.network)
            numbers = {index: number + place for place, index in enumerate(indices)}
            found[stack.attribute] = _hide(blocks, numbers, walk, stack.call)
        number += len(indices)
    return found


def _hide(blocks: Any, numbers: dict[int, int], walk: Walk, call: BlockCall) -> Any:
    """The same container with stand-ins; a block that never runs stays."""
    if isinstance(blocks, nn.ModuleDict):
        names = list(blocks)
        return dict(zip(names, _hide(list(blocks.values()), numbers, walk, call), strict=True))
    return [
        StandIn(block, numbers[i], walk, call) if i in numbers else block
        for i, block in enumerate(blocks)
    ]


class StandIn:
    """Called as the block would be; other attributes are the block's."""

    def __init__(self, block: Any, number: int, walk: Walk, call: BlockCall) -> None:
        self._block = block
        self._number = number
        self._walk = walk
        self._form = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._block, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        form = self._form
        stream = args[form.img] if isinstance(form.img, int) else kwargs[form.img]
        named: dict[str, Any] = {"args": args, "kwargs": kwargs}
        if form.pair:
            stream, named["txt"] = stream
        if form.txt is not None:
            named["txt"] = args[form.txt] if isinstance(form.txt, int) else kwargs.get(form.txt)
        named["img"] = stream[None] if form.batch is None else stream.movedim(form.batch, 0)
        out = self._walk.run_block(self._number, named, self._run)
        img = self._own(out["img"])
        return (img, out["txt"]) if named.get("txt") is not None else img

    def _run(self, named: dict[str, Any]) -> dict[str, Any]:
        """The block itself, on arguments by the hooks' names."""
        form, args, kwargs = self._form, list(named["args"]), dict(named["kwargs"])
        img = self._own(named["img"])
        _put(args, kwargs, form.img, (img, named["txt"]) if form.pair else img)
        if form.txt is not None:
            _put(args, kwargs, form.txt, named["txt"])
        out = self._block(*args, **kwargs)
        img, txt = out if isinstance(out, tuple) else (out, None)
        return {"img": img[None] if form.batch is None else img.movedim(form.batch, 0), "txt": txt}

    def _own(self, img: Any) -> Any:
        """The picture's stream as the block has it."""
        return img[0] if self._form.batch is None else img.movedim(0, self._form.batch)


def _put(args: list[Any], kwargs: dict[str, Any], where: int | str, value: Any) -> None:
    """Set an argument by its place or name."""
    if isinstance(where, int):
        args[where] = value
    else:
        kwargs[where] = value
