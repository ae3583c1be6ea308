"""Which of the pack's functions a sampling run crosses, as the interpreter's profiler reports them.

Counted are calls of functions in files of the product's folders, each resumption of a generator among
them. What is compiled from text has no file, and the bodies of modules and classes are no functions.
Comprehensions are calls up to Python 3.11 only: compare trees with one Python. Progress is written by the
clock, so the calls of a whole run differ a little from one to the next; those of a typical step do not.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch

from demo.host.inprocess import import_host, import_pack
from testbed import networks

FOLDERS = ("cache_core", "nodes", "cli")
STEPS, SCALE, SAMPLER = 20, 4.0, "euler"
# The host's function with which an evaluation begins, outside of all wrappers.
_EVALUATION = "outer_predict_noise"


@dataclass(frozen=True)
class Case:
    """A run to watch.

    Attributes:
        network: of the testbed.
        node: its id in the host.
        inputs: in place of the node's defaults.
    """

    network: str
    node: str
    inputs: dict[str, Any]


CASES: dict[str, Case] = {
    "default run": Case("sd3", "ScalingCache", {"coefficients": "none"}),
    # A generous threshold and single skips: every other step, whatever the random weights do.
    "block method": Case(
        "flux", "ScalingFirstBlockCache", {"residual_diff_threshold": 1.0, "max_gap": 1}
    ),
}


@dataclass(frozen=True)
class Extent:
    """How much of the pack some calls cross.

    Attributes:
        files, functions: distinct ones.
        calls: all.
        paths: the files, sorted.
    """

    files: int
    functions: int
    calls: int
    paths: list[str]


@dataclass(frozen=True)
class Step:
    """A step: from the sampler's request for an output to its next request.

    Attributes:
        index: in the run.
        modules: of the network that ran in it.
        calls: of the pack's functions, in order.
    """

    index: int
    modules: int
    calls: list[CodeType]


@dataclass
class Recorder:
    """Notes the calls of a run and where its steps begin.

    Attributes:
        root: of the tree; only files in its product's folders are noted.
        calls: so far.
        modules: of the network that ran so far.
        starts: calls and modules at the start of each step.
    """

    root: Path
    calls: list[CodeType] = field(default_factory=list)
    modules: int = 0
    starts: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._inside = tuple(f"{self.root / folder}{os.sep}" for folder in FOLDERS)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Note what is called meanwhile."""
        before = sys.getprofile()
        sys.setprofile(self._see)
        try:
            yield
        finally:
            sys.setprofile(before)

    def watched(self, model: Any) -> Any:
        """The model, with the modules of its network counted as they run."""
        for module in model.model.diffusion_model.modules():
            module.register_forward_hook(self._ran)
        return model

    def steps(self) -> list[Step]:
        """All of the run; the last one reaches to its end."""
        ends = [*self.starts[1:], (len(self.calls), self.modules)]
        pairs = zip(self.starts, ends, strict=True)
        return [Step(i, b[1] - a[1], self.calls[a[0] : b[0]]) for i, (a, b) in enumerate(pairs)]

    def _see(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_name == _EVALUATION:
            self.starts.append((len(self.calls), self.modules))
        function = code.co_flags & inspect.CO_OPTIMIZED
        if event == "call" and function and code.co_filename.startswith(self._inside):
            self.calls.append(code)

    def _ran(self, *_: Any) -> None:
        self.modules += 1


def measure(root: Path) -> dict[str, Any]:
    """All cases, by name."""
    nodes = ready()
    return {name: watch(root, case, nodes[case.node]) for name, case in CASES.items()}


def ready() -> dict[str, Any]:
    """The host and the pack in this process; gives the pack's nodes by their ids."""
    torch.set_num_threads(1)
    pack = import_pack()
    import_host()
    return {node.define_schema().node_id: node for node in asyncio.run(_nodes(pack))}


async def _nodes(pack: Any) -> list[Any]:
    return await (await pack.comfy_entrypoint()).get_node_list()


def watch(root: Path, case: Case, node: Any) -> dict[str, Any]:
    """Sample once, and say what was crossed in all, while sampling, and in a step of each kind."""
    recorder = Recorder(root)
    model = recorder.watched(networks.build(case.network))
    inputs = {**defaults(node), **case.inputs}
    with recorder.recording():
        patched = node.execute(model=model, **inputs).args[0]
        executed = len(recorder.calls)
        networks.sample(patched, case.network, STEPS, SCALE, SAMPLER)
    skipped, computed = apart(recorder.steps())
    return {
        "whole": asdict(extent(root, recorder.calls)),
        "sampling": asdict(extent(root, recorder.calls[executed:])),
        "computed_steps": len(computed),
        "skipped": crossed(root, typical(skipped)),
        "computed": crossed(root, typical(computed)),
    }


def defaults(node: Any) -> dict[str, Any]:
    """A node's inputs as the user finds them."""
    inputs = node.define_schema().inputs
    return {i.id: i.default for i in inputs if getattr(i, "default", None) is not None}


def apart(steps: list[Step]) -> tuple[list[Step], list[Step]]:
    """Skipped steps, in which little of the network ran or nothing, and computed ones.

    Raises:
        ValueError: if the network ran alike in all.
    """
    ran = [step.modules for step in steps]
    if min(ran) == max(ran):
        raise ValueError("no step was skipped")
    middle = (min(ran) + max(ran)) / 2
    return [s for s in steps if s.modules < middle], [s for s in steps if s.modules > middle]


def typical(steps: list[Step]) -> Step:
    """A late step of its kind: of those in the second half of the run, the last with the fewest calls,
    since some also write progress, and on a busy machine each does. The run's last step ends the run as
    well, and is left out.

    Raises:
        ValueError: if there is none.
    """
    late = [step for step in steps if STEPS // 2 <= step.index < STEPS - 1]
    if not late:
        raise ValueError("no late step of a kind")
    usual = min(len(step.calls) for step in late)
    return [step for step in late if len(step.calls) == usual][-1]


def extent(root: Path, calls: list[CodeType]) -> Extent:
    """How much of the pack they cross."""
    paths = sorted({_path(root, code) for code in calls})
    return Extent(len(paths), len(set(calls)), len(calls), paths)


def crossed(root: Path, step: Step) -> dict[str, Any]:
    """A step: its index, how much it crosses, and its functions in the order of their first calls."""
    names = in_order(f"{_path(root, code)}:{_name(code)}" for code in step.calls)
    return {"step": step.index, **asdict(extent(root, step.calls)), "functions_in_order": names}


def in_order(names: Iterable[str]) -> list[str]:
    """Each once, where it came first."""
    return list(dict.fromkeys(names))


def _path(root: Path, code: CodeType) -> str:
    return Path(code.co_filename).relative_to(root).as_posix()


def _name(code: CodeType) -> str:
    # Names with their class from Python 3.11 on.
    return getattr(code, "co_qualname", code.co_name)
