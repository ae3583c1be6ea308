"""What a run is asked: its conditionings, ControlNets, hooks and patches of the network. Which of them a
call has, so that outputs are told apart; where they change in mid-run; and what else is on the model."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, starmap, zip_longest
from typing import Any

import torch

from ...cache_core.run.run import Run

Conds = Sequence[Sequence[Mapping[str, Any]] | None]
# Noise levels from which on something is on, down to the other and both included.
Range = tuple[float, float]
# What of a conditioning tells when and where it takes part.
_PARTS = ("start_percent", "end_percent", "timestep_start", "timestep_end", "area")
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
# A sampler that makes a video part by part has the network remember every call, in the options under this
# name: a call that is left out loses that.
MEMORY = "ar_state"
WHY_MEMORY = (
    "The sampler makes a video part by part and the model remembers every call: all is computed"
)
_FUNCTIONS = ("model_function_wrapper", "sampler_calc_cond_batch_function")


@dataclass(frozen=True)
class Call:
    """One call of the host's conditioning batch.

    Attributes:
        keys: per conditioning, what tells its outputs from those of other conditionings and calls.
        active: per conditioning, whether it takes part at this sigma.
    """

    keys: tuple[Hashable, ...]
    active: tuple[bool, ...]


def describe_call(
    conds: Conds, x: torch.Tensor, run: Run, ordinal: int, model_options: Mapping[str, Any]
) -> Call:
    """Identify a call.

    The uuid of a conditioning is not unique: areas share one and context windows reuse it. So the
    key also holds the text, the position in the call, the window, the order of the call within the
    evaluation (guidance nodes call again), the patches it runs with and the ControlNets that are on.

    Args:
        conds: lists of conditionings, None for one that is left out.
        x: noisy latent.
        run: whose scheduled noise level is compared with the ranges of timed conditionings.
        ordinal: number of the call within the evaluation, from 0.
        model_options: the host's options of the call.
    """
    sigma = run.sigma
    options: Mapping[str, Any] = model_options.get("transformer_options", {})
    replaced = options.get("patches_replace")
    # The host leaves the last window in the options, so it counts only where windows are in use.
    windows = model_options.get("context_handler") is not None
    # AnimateDiff-Evolved calls once for each of its own, which move from step to step.
    frames = (options.get("ad_params") or {}).get("sub_idxs")
    # Windows make their conditionings anew at each call.
    lasting = not windows and frames is None
    parts: list[Hashable] = []
    for cond in conds:
        if cond is None:
            parts.append(None)
        else:
            parts.append(tuple([_entry_key(e, sigma, lasting) for e in cond if _applies(e, sigma)]))
    around = (
        ordinal,
        _window(options) if windows else None,
        None if frames is None else tuple(frames),
        _patches(replaced) if replaced else (),
        tuple(x.shape),
        x.dtype,
        x.device,
    )
    keys = tuple([(i, part, around) for i, part in enumerate(parts)])
    return Call(keys, tuple([bool(part) for part in parts]))


def _applies(entry: Mapping[str, Any], sigma: float) -> bool:
    """The host's own test: a timed conditioning applies from its start sigma down to its end."""
    start, end = entry.get("timestep_start"), entry.get("timestep_end")
    return not ((start is not None and sigma > start) or (end is not None and sigma < end))


def _entry_key(entry: Mapping[str, Any], sigma: float, lasting: bool) -> Hashable:
    area, hooks, control = entry.get("area"), entry.get("hooks"), entry.get("control")
    # Another pack may put another text in its place.
    text = (entry.get("model_conds") or {}).get("c_crossattn") if lasting else None
    return (
        entry.get("uuid"),
        id(getattr(text, "cond", None)),
        tuple(area) if area is not None else None,
        _hook_keyframes(hooks, sigma) if hooks is not None else (),
        _controls(control, sigma) if control is not None else (),
    )


def _controls(control: Any, sigma: float) -> Hashable:
    """Which of a chain of ControlNets are on. Their ranges end in mid-run, and a sampler that looks
    ahead asks beyond the end within one step."""
    on: list[bool] = []
    while control is not None:
        start, end = getattr(control, "timestep_range", None) or (math.inf, -math.inf)
        on.append(end <= sigma <= start)
        control = getattr(control, "previous_controlnet", None)
    return tuple(on)


def _hook_keyframes(group: Any, sigma: float) -> Hashable:
    """Keyframe of each scheduled hook: it changes the weights in mid-run, and outputs before and
    after are not one history. The host itself moves on only when the model runs."""
    return tuple(
        sum(sigma <= frame.start_t for frame in hook.hook_keyframe.keyframes)
        for hook in getattr(group, "hooks", ())
        if getattr(hook, "hook_keyframe", None) is not None
    )


def _window(options: Mapping[str, Any]) -> Hashable:
    indices = getattr(options.get("context_window"), "index_list", None)
    return None if indices is None else tuple(indices)


def _patches(replaced: Mapping[str, Any]) -> Hashable:
    return tuple(
        (name, tuple(sorted(map(str, patches)))) for name, patches in sorted(replaced.items())
    )


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
    ranges = {*_of_conds(conds, to_sigma), *_of_patches(model_options, to_sigma)}
    on = [[end <= sigma <= start for start, end in ranges] for sigma in schedule[:-1]]
    return tuple(i + 1 for i, (before, here) in enumerate(pairwise(on)) if before != here)


def _range(start: Any, end: Any) -> Range:
    """Of something that is on from a noise level, or from the first, down to another, or to the last."""
    return math.inf if start is None else float(start), -math.inf if end is None else float(end)


def _of_conds(conds: Mapping[str, Any], to_sigma: Callable[[float], float]) -> Iterator[Range]:
    for entry in (entry for entries in conds.values() for entry in entries or ()):
        for name in ("", "clip_"):
            shares = [entry.get(f"{name}{end}_percent") for end in ("start", "end")]
            yield _range(*[None if s is None else to_sigma(s) for s in shares])
        yield _range(entry.get("timestep_start"), entry.get("timestep_end"))
        yield from _of_hooks(entry.get("hooks"), to_sigma)
        control = entry.get("control")
        while control is not None:
            yield _range(*[to_sigma(s) for s in control.timestep_percent_range])
            yield from _of_hooks(getattr(control, "extra_hooks", None), to_sigma)
            # Advanced-ControlNet's strengths by time.
            yield from _of_keyframes(getattr(control, "timestep_keyframes", None), to_sigma)
            control = control.previous_controlnet


def _of_hooks(group: Any, to_sigma: Callable[[float], float]) -> Iterator[Range]:
    for hook in getattr(group, "hooks", ()):
        yield from _of_keyframes(getattr(hook, "hook_keyframe", None), to_sigma)


def _of_keyframes(group: Any, to_sigma: Callable[[float], float]) -> Iterator[Range]:
    for frame in getattr(group, "keyframes", ()):
        yield _range(to_sigma(frame.start_percent), None)


def _of_patches(options: Mapping[str, Any], to_sigma: Callable[[float], float]) -> Iterator[Range]:
    """Ranges that patches of the network hold, such as those of Deep Shrink: a function keeps what it
    was made with under the name that its author gave it."""
    inside: Mapping[str, Any] = options.get("transformer_options", {})
    names = ("patches", "patches_replace", "wrappers")
    held = [*map(inside.get, names), *map(options.get, _FUNCTIONS)]
    for patch in _functions(held):
        kept = {n: v for n, v in _kept_by(patch).items() if type(v) in (int, float)}
        sigmas = {n: float(v) for n, v in kept.items() if "sigma" in n}
        shares = {n: v for n, v in kept.items() if "percent" in n and 0.0 <= v <= 1.0}
        for levels in (sigmas, {n: to_sigma(v) for n, v in shares.items() if n not in sigmas}):
            ends = [[v for n, v in levels.items() if end in n] for end in ("start", "end")]
            yield from starmap(_range, zip_longest(*ends))


def likeness(conds: Mapping[str, Any], inside: bool) -> Sequence[Any]:
    """What of their conditionings ranks must have in common to measure as many numbers at the same steps.

    Args:
        conds: lists of conditionings by name, as the guider holds them when a run begins.
        inside: whether it is measured inside the network, where the length of the text counts.
    """
    return [(name, [_part(entry, inside) for entry in conds[name]]) for name in sorted(conds)]


def _part(entry: Mapping[str, Any], inside: bool) -> Sequence[Any]:
    control, hooks = entry.get("control"), getattr(entry.get("hooks"), "hooks", ())
    frames = [getattr(getattr(h, "hook_keyframe", None), "keyframes", ()) for h in hooks]
    starts = [[frame.start_percent for frame in each] for each in frames]
    times = None if control is None else getattr(control, "timestep_percent_range", ())
    text = getattr(entry.get("cross_attn"), "shape", ()) if inside else ()
    return [*[entry.get(name) for name in _PARTS], starts, times, tuple(text)]


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
