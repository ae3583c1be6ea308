"""Faults of the pack, wherever it can have one: at a call of one of its functions, or at a tensor
operation that it asks for."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Sized
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_ROOT = Path(__file__).resolve().parents[2]
_OURS = (str(_ROOT / "cache_core"), str(_ROOT / "nodes"))
_TORCH = str(Path(torch.__file__).parent)
# The net itself: what asks the host for its own work, and what catches and tells faults. A fault at the
# entry of one of them is one of the call that the host, or the net, makes.
NET = {
    "session_of",
    "_answer",
    "calc_cond_batch.<locals>.compute",
    "Active.guard",
    "apply_model",
    "apply_model.<locals>.execute",
    "_walked",
    "BlockWalk.run_block",
    "BlockWalk._run_block",
    "StandIn._run",
    "_through",
    "start",
    "standing_in",
    "StandIn.__call__",
    "faults",
    "CacheFault.__init__",
    "give_up",
    "log_fault",
    "tell",
}


def _name(code: CodeType) -> str:
    # Names with their class from Python 3.11 on.
    return getattr(code, "co_qualname", code.co_name)


@dataclass(frozen=True)
class Place:
    """One call of a function in a run that is the same each time.

    Attributes:
        code: of the function.
        number: of its calls, from 0.
    """

    code: CodeType
    number: int

    def __str__(self) -> str:
        return f"{Path(self.code.co_filename).name}:{_name(self.code)}, call {self.number}"


@dataclass
class Calls:
    """Calls of the pack's functions by the pack while the context is open. At one of them an error is
    raised, as if by the function.

    Attributes:
        at: which.
        error: what is raised there.
        ran: grows with each call of the network.
        seen: how often each was called.
        struck: calls of the network before it was raised, None if it was not.
    """

    at: Place | None = None
    error: Exception | None = None
    ran: Sized = ()
    seen: dict[CodeType, int] = field(default_factory=dict)
    struck: int | None = None

    def __enter__(self) -> Calls:
        sys.setprofile(self._see)
        return self

    def __exit__(self, *_: Any) -> None:
        sys.setprofile(None)

    def _see(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(_OURS) or not _counts(frame):
            return
        number = self.seen.get(code, 0)
        self.seen[code] = number + 1
        if self.error is not None and self.at == Place(code, number):
            self.struck = len(self.ran)
            raise self.error


def _counts(frame: FrameType) -> bool:
    """Whether the pack called a function of its own that is none of the net."""
    name = _name(frame.f_code)
    comprehension = frame.f_code.co_name.endswith(("comp>", "genexpr>"))
    if not frame.f_code.co_flags & inspect.CO_OPTIMIZED or comprehension or name in NET:
        return False
    caller = frame.f_back
    while caller is not None and caller.f_code.co_filename == contextlib.__file__:
        caller = caller.f_back
    return caller is not None and caller.f_code.co_filename.startswith(_OURS)


class Operations(TorchDispatchMode):
    """Tensor operations that the pack asks for while the context is open. One of them finds no memory.

    Attributes:
        at: which, from 0; None for none of them.
        count: so far.
        place: file and line of the one that failed.
    """

    def __init__(self, at: int | None = None) -> None:
        super().__init__()
        self.at = at
        self.count = 0
        self.place = ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            name = frame.f_code.co_filename
            if not name.startswith(_TORCH) and name not in (__file__, contextlib.__file__):
                break
            frame = frame.f_back
        if frame is not None and frame.f_code.co_filename.startswith(_OURS):
            self.count += 1
            if self.count - 1 == self.at:
                code = frame.f_code
                self.place = f"{Path(code.co_filename).name}:{frame.f_lineno} {func}"
                raise torch.OutOfMemoryError("no memory left")
        return func(*args, **(kwargs or {}))
