"""What waits for the device: counted where tensors reach the host's memory, by who asks for it, and where
numbers of the host become a tensor."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

ROOT = Path(__file__).resolve().parents[2]
_OURS = (str(ROOT / "cache_core"), str(ROOT / "nodes"))
_TORCH = str(Path(torch.__file__).parent)

# A value, or a shape that depends on values, as the dispatcher sees it.
_VALUES = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.item.default,
    torch.ops.aten.is_nonzero.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.equal.default,
    torch.ops.aten.masked_select.default,
    torch.ops.aten._unique2.default,
}
# Numbers of the host that become a tensor, whatever the way: for a device they have to be copied there.
_MADE = torch.ops.aten.lift_fresh.default
# These do nothing to a tensor that is in the host's memory already, so the dispatcher does not see them
# here: they are caught as they are called. `tolist` of a single value is caught above.
_COPIES = {torch.Tensor.cpu, torch.Tensor.tolist, torch.Tensor.numpy}


@dataclass
class Reads:
    """Reads of the device by the pack and copies to it, per evaluation of the model, while the context is
    open.

    Attributes:
        evaluation: under way, -1 before the first one, their number after the last one.
        counts: reads per evaluation.
        copies: copies to the device per evaluation.
        places: file and line of each.
        host: copies in the host's memory; reading them waits for nothing.
    """

    evaluation: int = -1
    counts: Counter[int] = field(default_factory=Counter)
    copies: Counter[int] = field(default_factory=Counter)
    places: set[str] = field(default_factory=set)
    host: list[torch.Tensor] = field(default_factory=list)

    def note(self, tensor: torch.Tensor) -> None:
        """Count a read if the pack asked for it."""
        if any(
            tensor.untyped_storage()._cdata == kept.untyped_storage()._cdata for kept in self.host
        ):
            return
        self._count(self.counts)

    def note_copy(self) -> None:
        """Count a copy to the device if the pack asked for it."""
        self._count(self.copies)

    def _count(self, counts: Counter[int]) -> None:
        frame = sys._getframe(1)
        while frame is not None:
            name = frame.f_code.co_filename
            if not name.startswith(_TORCH) and name != __file__:
                break
            frame = frame.f_back
        if frame is not None and frame.f_code.co_filename.startswith(_OURS):
            counts[self.evaluation] += 1
            self.places.add(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}")

    def __enter__(self) -> Reads:
        self._modes = (_Values(self), _Copies(self))
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*error)

    def watching(self, model: Any) -> Any:
        """A clone that counts evaluations, for the cache to be put on: the first wrapper is outermost."""

        def evaluate(executor: Any, *args: Any, **kwargs: Any) -> Any:
            self.evaluation += 1
            return executor(*args, **kwargs)

        def sample(executor: Any, *args: Any, **kwargs: Any) -> Any:
            result = executor(*args, **kwargs)
            self.evaluation += 1
            return result

        patched = model.clone()
        patched.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "reads", evaluate)
        patched.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, "reads", sample)
        return patched


class _Values(TorchDispatchMode):
    def __init__(self, reads: Reads) -> None:
        super().__init__()
        self._reads = reads

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _VALUES:
            self._reads.note(args[0])
        if func is _MADE:
            self._reads.note_copy()
        return func(*args, **(kwargs or {}))


class _Copies(TorchFunctionMode):
    def __init__(self, reads: Reads) -> None:
        super().__init__()
        self._reads = reads

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        single = func is torch.Tensor.tolist and args[0].dim() == 0
        if (func in _COPIES and not single) or (func is torch.Tensor.to and _to_host(args, kwargs)):
            self._reads.note(args[0])
            # On the CPU there is no copy, so the tensor itself is marked.
            self._reads.host += [args[0]] if func is torch.Tensor.cpu else []
        return func(*args, **kwargs)


def _to_host(args: Any, kwargs: Any) -> bool:
    """Whether `to` names the CPU outright; a copy to another tensor's device stays where that is."""
    return "cpu" in (*args[1:], *kwargs.values())
