"""What other nodes put around a run, as far as it can be known before it: where the network is asked
something else, and other caches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

# Noise level at which something changes, and whether steps at exactly it come before.
Mark = tuple[float, bool]
# Options of the network by which caches are known, and parts of the names of packs that hold some.
_OPTIONS = {
    "easycache": "EasyCache or LazyCache",
    "rel_l1_thresh": "TeaCache",
    "magcache_thresh": "MagCache",
}
_PACKS = {
    "teacache": "TeaCache",
    "magcache": "MagCache",
    "cachedit": "CacheDiT",
    "wavespeed": "WaveSpeed",
    "fsampler": "FSampler",
}
_FUNCTIONS = ("model_function_wrapper", "sampler_calc_cond_batch_function")


def other_cache(model_options: Mapping[str, Any], *more: Any) -> str:
    """A cache of the host or of another pack on the same model, by the traces it leaves; empty if none
    is seen.

    Args:
        model_options: of the run.
        more: further functions, in nested dictionaries and lists.
    """
    inside: Mapping[str, Any] = model_options.get("transformer_options", {})
    for option, name in _OPTIONS.items():
        if option in inside:
            return name
    held = [inside.get("wrappers"), *map(model_options.get, _FUNCTIONS), *more]
    for function in _functions(held):
        module = getattr(function, "__module__", None) or type(function).__module__
        plain = module.lower().replace("-", "").replace("_", "")
        for part, name in _PACKS.items():
            if part in plain:
                return name
    return ""


def breaks_of(
    conds: Mapping[str, Any],
    model_options: Mapping[str, Any],
    to_sigma: Callable[[float], float],
    schedule: Sequence[float],
) -> tuple[int, ...]:
    """Steps that differ from the one before in which conditionings, ControlNets, hooks and patches of
    the network with a range are on; rising.

    Args:
        conds: lists of conditionings by name, as the guider holds them when a run begins.
        model_options: of the run.
        to_sigma: the noise level at a share of the denoising.
        schedule: sigmas, the final one included.
    """
    marks = {*_of_conds(conds, to_sigma), *_of_patches(model_options, to_sigma)}
    sides = [[s >= mark if upto else s > mark for mark, upto in marks] for s in schedule[:-1]]
    return tuple(i + 1 for i, (before, here) in enumerate(pairwise(sides)) if before != here)


def _range(start: Any, end: Any) -> Iterator[Mark]:
    """Of something that is on from a noise level down to another, both included."""
    if start is not None:
        yield float(start), False
    if end is not None:
        yield float(end), True


def _of_conds(conds: Mapping[str, Any], to_sigma: Callable[[float], float]) -> Iterator[Mark]:
    for entry in (entry for entries in conds.values() for entry in entries or ()):
        for name in ("", "clip_"):
            shares = [entry.get(f"{name}{end}_percent") for end in ("start", "end")]
            yield from _range(*[None if s is None else to_sigma(s) for s in shares])
        yield from _range(entry.get("timestep_start"), entry.get("timestep_end"))
        yield from _of_hooks(entry.get("hooks"), to_sigma)
        control = entry.get("control")
        while control is not None:
            yield from _range(*[to_sigma(s) for s in control.timestep_percent_range])
            yield from _of_hooks(getattr(control, "extra_hooks", None), to_sigma)
            # Advanced-ControlNet's strengths by time.
            yield from _of_keyframes(getattr(control, "timestep_keyframes", None), to_sigma)
            control = control.previous_controlnet


def _of_hooks(group: Any, to_sigma: Callable[[float], float]) -> Iterator[Mark]:
    for hook in getattr(group, "hooks", ()):
        yield from _of_keyframes(getattr(hook, "hook_keyframe", None), to_sigma)


def _of_keyframes(group: Any, to_sigma: Callable[[float], float]) -> Iterator[Mark]:
    for frame in getattr(group, "keyframes", ()):
        yield to_sigma(frame.start_percent), False


def _of_patches(options: Mapping[str, Any], to_sigma: Callable[[float], float]) -> Iterator[Mark]:
    """Ranges that patches of the network hold, such as those of Deep Shrink: a function keeps what it
    was made with under the name that its author gave it."""
    inside: Mapping[str, Any] = options.get("transformer_options", {})
    names = ("patches", "patches_replace", "wrappers")
    held = [*map(inside.get, names), *map(options.get, _FUNCTIONS)]
    for patch in _functions(held):
        for name, value in _kept_by(patch).items():
            if type(value) not in (int, float) or not ("start" in name or "end" in name):
                continue
            if "sigma" in name:
                yield float(value), "end" in name
            elif "percent" in name and 0.0 <= value <= 1.0:
                yield to_sigma(value), "end" in name


def _functions(held: Any) -> Iterator[Any]:
    """All that can be called in nested dictionaries and lists."""
    if isinstance(held, Mapping):
        held = list(held.values())
    if isinstance(held, list | tuple):
        for item in held:
            yield from _functions(item)
    elif callable(held):
        yield held


def _kept_by(function: Any) -> dict[str, Any]:
    """What a function was made with, by name: variables around it, or attributes of its object."""
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    found = dict(getattr(getattr(function, "__self__", function), "__dict__", {}))
    if code is not None and cells:
        names = zip(code.co_freevars, cells, strict=True)
        found |= {name: _content(cell) for name, cell in names}
    return found


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not set yet
        return None
