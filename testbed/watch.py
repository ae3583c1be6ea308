"""Where to look into a transformer: module hooks that know nothing of the cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from .networks import spec_of

Hook = Callable[..., None]
_TEXT_FIRST = ("QwenImage", "MageFlow", "Lens", "SD3", "AuraFlow")


@dataclass
class Seen:
    """One call of the network, recorded by module hooks that know nothing of the cache.

    Attributes:
        args, kwargs: of the call.
        into: input of block 0.
        after_first: output of block 0.
        out: picture's part of the last block's output.
        final: input of the module after the blocks.
        signal: modulated input of block 0.
        ran: blocks that ran, by name.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    into: torch.Tensor | None = None
    after_first: torch.Tensor | None = None
    out: torch.Tensor | None = None
    final: torch.Tensor | None = None
    signal: torch.Tensor | None = None
    ran: list[str] = field(default_factory=list)


class Watch:
    """Records the calls of a network while the context is open."""

    def __init__(self, network: Any, name: str) -> None:
        self._network = network
        self._spec = spec_of(name)
        self.calls: list[Seen] = []
        self._handles: list[Any] = []

    def __enter__(self) -> Watch:
        spec, net = self._spec, self._network
        get = net.get_submodule
        add = self._handles.append
        add(net.register_forward_pre_hook(self._begin, with_kwargs=True))
        add(get(spec.first).register_forward_pre_hook(self._enter, with_kwargs=True))
        add(get(spec.first).register_forward_hook(self._first))
        add(get(spec.last).register_forward_hook(self._last))
        add(get(spec.final).register_forward_pre_hook(self._final))
        if spec.modulated:
            add(get(spec.modulated).register_forward_pre_hook(self._modulated))
        for path in dict.fromkeys(p.rpartition(".")[0] for p in (spec.first, spec.last)):
            for name, module in get(path).named_children():
                add(module.register_forward_pre_hook(self._ran(f"{path}.{name}")))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _begin(self, module: Any, args: Any, kwargs: Any) -> None:
        kept = tuple(a.clone() if isinstance(a, torch.Tensor) else a for a in args)
        self.calls.append(Seen(kept, dict(kwargs)))

    def _enter(self, module: Any, args: Any, kwargs: Any) -> None:
        named = [kwargs[n] for n in ("img", "hidden_states", "image_tokens") if n in kwargs]
        place = 1 if self._spec.config in ("SD3", "AuraFlow") else 0  # they take the text first
        self.calls[-1].into = self._batch_first(named[0] if named else args[place]).clone()

    def _first(self, module: Any, args: Any, out: Any) -> None:
        self.calls[-1].after_first = self._img(out).clone()

    def _last(self, module: Any, args: Any, out: Any) -> None:
        seen = self.calls[-1]
        seen.out = self._img(out).clone()

    def _final(self, module: Any, args: Any) -> None:
        seen = self.calls[-1]
        seen.final = args[0].clone()
        if self._spec.joined and seen.out is not None and seen.into is not None:
            # Which end is the picture's is what the network itself goes on with.
            count = seen.into.shape[1]
            first, last = seen.out[:, :count], seen.out[:, -count:]
            seen.out = first if torch.equal(first, seen.final) else last

    def _modulated(self, module: Any, args: Any) -> None:
        if self.calls[-1].signal is None:
            self.calls[-1].signal = self._batch_first(args[0]).clone()

    def _batch_first(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.movedim(self._spec.batch, 0)

    def _ran(self, path: str) -> Hook:
        return lambda module, args: self.calls[-1].ran.append(path)

    def _img(self, out: Any) -> torch.Tensor:
        if isinstance(out, torch.Tensor):
            return self._batch_first(out)
        # Picture first, but for those that return the text first.
        return out[1] if self._spec.config in _TEXT_FIRST else out[0]


def replay(network: Any, name: str, calls: list[Seen]) -> list[Seen]:
    """The same inputs through the plain network: what each call would have computed."""
    with Watch(network, name) as watch, torch.inference_mode():
        for call in calls:
            options = {
                k: v
                for k, v in call.kwargs["transformer_options"].items()
                if k in ("sigmas", "sample_sigmas", "cond_or_uncond", "uuids", "rope_options")
            }
            network(*call.args, **{**call.kwargs, "transformer_options": options})
    return watch.calls
