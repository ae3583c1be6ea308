"""Every method of the pack on a tiny model, twice: computing everything, and about every second step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Level(Enum):
    """Where a method cuts. The values are what the page says."""

    STEP = "whole step"
    STACK = "block stack"
    BLOCK = "single blocks"


@dataclass(frozen=True)
class Entry:
    """A method as the nodes install it.

    Attributes:
        name: what the user reads.
        level: where it cuts.
        put: a cached clone of a model. Second argument: steps of the run. Third: whether it shall
            compute all of them, or about every second one.
        needs_file: whether it needs a coefficient file; its name is the fourth argument.
    """

    name: str
    level: Level
    put: Callable[[Any, int, bool, str], Any]
    needs_file: bool = False


def entries() -> tuple[Entry, ...]:
    """Every method, in the order of the page. The pack must be importable."""
    return (*_step_entries(), *_stack_entries(), *_block_entries())


def _on_steps(make: Callable[[int, bool], Any]) -> Callable[[Any, int, bool, str], Any]:
    def put(model: Any, steps: int, everything: bool, file: str) -> Any:
        from scaling_cache.nodes.host.cache import Cache, install

        return install(model, Cache(make(steps, everything), file))

    return put


def _on_blocks(make: Callable[[Any, int, bool], Any]) -> Callable[[Any, int, bool, str], Any]:
    def put(model: Any, steps: int, everything: bool, file: str) -> Any:
        from scaling_cache.nodes.host.cache import Cache, install

        return install(model, Cache(make(model, steps, everything)))

    return put


def _step_entries() -> tuple[Entry, ...]:
    from scaling_cache.cache_core.methods import (
        EOC,
        EasyCache,
        LazyCache,
        ScalingCache,
        SmoothCache,
        StepTaylorSeer,
    )
    from scaling_cache.cache_core.predict import predictors

    def scaling(steps: int, everything: bool) -> Any:
        listed = tuple(range(steps)) if everything else ()
        return ScalingCache(speedup=2.0, listed=listed)

    def least_squares(steps: int, everything: bool) -> Any:
        listed = tuple(range(steps)) if everything else ()
        return ScalingCache(speedup=2.0, listed=listed, predictor=predictors.LEAST_SQUARES)

    def following(kind: Any) -> Callable[[int, bool], Any]:
        return lambda steps, everything: kind(0.0 if everything else 10.0, head=2, max_gap=1)

    def step(name: str, make: Callable[[int, bool], Any], needs_file: bool = False) -> Entry:
        return Entry(name, Level.STEP, _on_steps(make), needs_file)

    return (
        step(ScalingCache.name, scaling),
        step(f"{ScalingCache.name}, least squares", least_squares, needs_file=True),
        step(StepTaylorSeer.name, lambda n, all_: StepTaylorSeer(1 if all_ else 2, head=2)),
        step(EasyCache.name, following(EasyCache)),
        step(LazyCache.name, following(LazyCache)),
        step(SmoothCache.name, lambda n, all_: SmoothCache(0.0 if all_ else 10.0, 1), True),
        step(EOC.name, lambda n, all_: EOC(1 if all_ else 2)),
        Entry("CFG Cache", Level.STEP, _put_cfg),
    )


def _put_cfg(model: Any, steps: int, everything: bool, file: str) -> Any:
    from scaling_cache.cache_core.methods import CfgCache
    from scaling_cache.nodes.host.cache import Cache, install

    return install(model, Cache(CfgCache(1 if everything else 2, start_percent=0.0)))


def _stack_entries() -> tuple[Entry, ...]:
    from scaling_cache.cache_core.methods import (
        DiCache,
        FirstBlockCache,
        MagCache,
        TaylorSeer,
        TeaCache,
    )

    def mag(model: Any, steps: int, everything: bool) -> Any:
        return MagCache(((1.0, *[0.97] * (steps - 1)),), 0.0 if everything else 10.0, 1, 0.2)

    def first(model: Any, steps: int, everything: bool) -> Any:
        return FirstBlockCache(0.0 if everything else 1.0, max_gap=1)

    def di(model: Any, steps: int, everything: bool) -> Any:
        return DiCache(0.0 if everything else 10.0, max_gap=1)

    def seer(model: Any, steps: int, everything: bool) -> Any:
        return TaylorSeer(1 if everything else 2, 1, 2)

    def stack(name: str, make: Callable[[Any, int, bool], Any]) -> Entry:
        return Entry(name, Level.STACK, _on_blocks(make))

    return (
        stack(TeaCache.name, _tea),
        stack(MagCache.name, mag),
        stack(FirstBlockCache.name, first),
        stack(DiCache.name, di),
        stack(f"{TaylorSeer.name} (blocks)", seer),
    )


def _tea(model: Any, steps: int, everything: bool) -> Any:
    from scaling_cache.cache_core.decide.signals import Polynomial, SignalKind
    from scaling_cache.cache_core.methods import TeaCache
    from scaling_cache.nodes.families import find_family

    family = find_family(model.model.diffusion_model)
    offered = (SignalKind.MODULATED, SignalKind.TIME_EMBEDDING, SignalKind.TOKENS)
    signal = next((s for s in offered if family is not None and family.offers(s)), offered[0])
    threshold = 0.0 if everything else 10.0
    return TeaCache(Polynomial((1.0, 0.0)), threshold, signal, max_gap=1)


def _block_entries() -> tuple[Entry, ...]:
    from scaling_cache.cache_core.methods import DBCache, DeepCache, DeltaCache, MixCache

    def db(model: Any, steps: int, everything: bool) -> Any:
        last = 1 if _blocks(model) > 2 else 0
        return DBCache(0.0 if everything else 1.0, 1, last, head=2, max_gap=1)

    def deep(model: Any, steps: int, everything: bool) -> Any:
        return DeepCache(1 if everything else 2)

    def mix(model: Any, steps: int, everything: bool) -> Any:
        trigger = 0.0 if everything else 20.0
        return MixCache(0.0 if everything else 10.0, trigger, head=2, max_gap=1)

    def block(name: str, make: Callable[[Any, int, bool], Any]) -> Entry:
        return Entry(name, Level.BLOCK, _on_blocks(make))

    return (
        block(DBCache.name, db),
        block(DeltaCache.name, _delta),
        block(MixCache.name, mix),
        block(DeepCache.name, deep),
    )


def _blocks(model: Any) -> int:
    from scaling_cache.nodes.families import find_family

    network = model.model.diffusion_model
    family = find_family(network)
    return 0 if family is None else family.layout(network).total


def _delta(model: Any, steps: int, everything: bool) -> Any:
    """All blocks but the second one of each stack."""
    from scaling_cache.cache_core.methods import DeltaCache
    from scaling_cache.cache_core.methods.delta_cache import StackPlan
    from scaling_cache.nodes.families import find_family

    network = model.model.diffusion_model
    family = find_family(network)
    stacks = () if family is None else family.layout(network).stacks
    start = steps if everything else 2
    return DeltaCache(
        tuple(
            StackPlan("blocks", kind, tuple(i for i in range(count) if i != 1), start, 2)
            for kind, count in stacks
        )
    )
