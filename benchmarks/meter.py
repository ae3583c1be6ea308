"""How much of a network ran, whatever left the rest out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class Meter:
    """Counts, per block, the conditionings that went through it."""

    def __init__(self, network: Any) -> None:
        """
        Raises:
            ValueError: if the blocks of the network are not known.
        """
        from scaling_cache.nodes.families import find_family

        family = find_family(network)
        if family is None:
            raise ValueError(f"network: {type(network).__name__} is of no known family")
        self._blocks: list[torch.nn.Module] = []
        for stack in family.stacks:
            held = stack.held(network)
            of_stack = [held] if stack.single else [held[i] for i in stack.indices(network)]
            # The host calls the layers of a UNet's block and not the block.
            self._blocks += [block[0] for block in of_stack] if family.unet else of_stack

    @contextmanager
    def counting(self) -> Iterator[list[int]]:
        """Conditionings per block while the context is open."""
        rows = [0] * len(self._blocks)

        def count(number: int) -> Any:
            def hook(block: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                first = next(v for v in (*args, *kwargs.values()) if isinstance(v, torch.Tensor))
                rows[number] += first.shape[0]

            return hook

        handles = [
            block.register_forward_pre_hook(count(i), with_kwargs=True)
            for i, block in enumerate(self._blocks)
        ]
        try:
            yield rows
        finally:
            for handle in handles:
                handle.remove()


def in_steps(rows: list[int], plain: list[int], steps: int, free: int = 0) -> float:
    """What ran, in steps of the plain run.

    Args:
        rows: conditionings per block.
        plain: the same of the plain run.
        steps: of the plain run.
        free: blocks at the start that count for nothing.
    """
    return steps * sum(rows[free:]) / sum(plain[free:])
