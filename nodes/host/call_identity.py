"""Identity of a batch of conditionings: what may share a history and what must not."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

Conds = Sequence[Sequence[Mapping[str, Any]] | None]


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
    conds: Conds, x: torch.Tensor, sigma: float, ordinal: int, model_options: Mapping[str, Any]
) -> Call:
    """Identify a call.

    The uuid of a conditioning is not unique: areas share one and context windows reuse it. So the
    key also holds the position in the call, the window, the order of the call within the evaluation
    (guidance nodes call again), the patches it runs with and the ControlNets that are on.

    Args:
        conds: lists of conditionings, None for one that is left out.
        x: noisy latent.
        sigma: scheduled noise level, compared with the ranges of timed conditionings.
        ordinal: number of the call within the evaluation, from 0.
        model_options: the host's options of the call.
    """
    parts: list[Hashable] = []
    for cond in conds:
        if cond is None:
            parts.append(None)
        else:
            parts.append(tuple([_entry_key(e, sigma) for e in cond if _applies(e, sigma)]))
    options: Mapping[str, Any] = model_options.get("transformer_options", {})
    replaced = options.get("patches_replace")
    # The host leaves the last window in the options, so it counts only where windows are in use.
    windows = model_options.get("context_handler") is not None
    # AnimateDiff-Evolved calls once for each of its own, which move from step to step.
    frames = (options.get("ad_params") or {}).get("sub_idxs")
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


def _entry_key(entry: Mapping[str, Any], sigma: float) -> Hashable:
    area, hooks, control = entry.get("area"), entry.get("hooks"), entry.get("control")
    return (
        entry.get("uuid"),
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
