"""Every method of the pack on a tiny model, twice: computing everything, and about every second step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from scaling_cache.cache_core import methods
from scaling_cache.cache_core.decide.layout import Layout
from scaling_cache.cache_core.methods import METHODS, Method, Model, ScalingCache
from scaling_cache.cache_core.methods.base import BlockMethod
from scaling_cache.cache_core.predict.predictors import LEAST_SQUARES, Predictor
from scaling_cache.nodes.host.presets import facts_of

from .install import cached

# Blocks enough for any method.
_LAYOUT = Layout((("double_block", 6), ("single_block", 6)))


class Level(Enum):
    """Where a method cuts. The values are what the page says."""

    STEP = "whole step"
    STACK = "block stack"
    BLOCK = "single blocks"


@dataclass(frozen=True)
class Entry:
    """A method as the nodes install it.

    Attributes:
        kind: the method.
        name: what the user reads, unique.
        level: where it cuts.
        needs_file: whether it needs a coefficient file.
        predictor: in place of the method's own.
    """

    kind: type[Method]
    name: str
    level: Level
    needs_file: bool = False
    predictor: Predictor | None = None

    def method(self, model: Any, steps: int, everything: bool) -> Method:
        """The method for a model.

        Args:
            steps: of the run.
            everything: whether it computes all of them, or about every second one.
        """
        made = self.kind.example(everything, steps, facts_of(model))
        return made if self.predictor is None else replace(made, predictor=self.predictor)

    def put(self, model: Any, steps: int, everything: bool, coefficients: str = "none") -> Any:
        """A cached clone of a model.

        Args:
            steps, everything: as in `method`.
            coefficients: name of a coefficient file.
        """
        return cached(model, self.method(model, steps, everything), coefficients=coefficients)


def entries() -> tuple[Entry, ...]:
    """Every method, in the order of the page: by level, those for UNets alone last."""
    found: list[Entry] = []
    for kind in METHODS:
        taken = kind.name in [entry.name for entry in found]
        name = f"{kind.name} ({kind.level.value})" if taken else kind.name
        found.append(Entry(kind, name, _level(kind), kind.page.needs == "coefficient file"))
        if kind is ScalingCache:
            name = f"{name}, {LEAST_SQUARES.name}"
            found.append(Entry(kind, name, Level.STEP, True, LEAST_SQUARES))
    levels = list(Level)
    return tuple(sorted(found, key=lambda e: (levels.index(e.level), e.kind.unet)))


def _level(kind: type[Method]) -> Level:
    """The whole stack is one run of blocks that ends with the last one."""
    if kind.level is not methods.Level.BLOCKS:
        return Level.STEP
    method = kind.example(False, 10, Model(layout=_LAYOUT))
    assert isinstance(method, BlockMethod)
    ends = [span.last for span in method.spans(_LAYOUT)]
    return Level.STACK if ends == [_LAYOUT.total - 1] else Level.BLOCK
