"""Stand-ins for blocks around which the host offers no replacement hook.

For the duration of one call the network's list of blocks is hidden behind a list of stand-ins, which give
each block's arguments the names that the host's hooks have. Weights, modules and their names stay as they
are, so that LoRA and offloading see the network that they know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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
    # A module finds its submodules only after its own attributes.
    attributes = vars(network)
    before = {name: attributes[name] for name in behind if name in attributes}
    attributes.update(behind)
    try:
        yield
    finally:
        for name in behind:
            del attributes[name]
        attributes.update(before)


def stand_ins(walk: Walk) -> dict[str, Any]:
    """Stand-ins for the blocks without hooks, by attribute of the network."""
    found: dict[str, Any] = {}
    number = 0
    for stack in walk.family.stacks:
        indices = stack.indices(walk.network)
        if stack.call is not None:
            blocks = getattr(walk.network, stack.attribute)
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
        named = {"img": stream.movedim(form.batch, 0), "args": args, "kwargs": kwargs}
        if form.txt is not None:
            named["txt"] = kwargs.get(form.txt)
        out = self._walk.run_block(self._number, named, self._run)
        img = out["img"].movedim(0, form.batch)
        text = form.txt is not None and named["txt"] is not None
        return (img, out["txt"]) if text else img

    def _run(self, named: dict[str, Any]) -> dict[str, Any]:
        """The block itself, on arguments by the hooks' names."""
        form, args, kwargs = self._form, list(named["args"]), dict(named["kwargs"])
        img = named["img"].movedim(0, form.batch)
        if isinstance(form.img, int):
            args[form.img] = img
        else:
            kwargs[form.img] = img
        if form.txt is not None:
            kwargs[form.txt] = named["txt"]
        out = self._block(*args, **kwargs)
        img, txt = out if isinstance(out, tuple) else (out, None)
        return {"img": img.movedim(form.batch, 0), "txt": txt}
