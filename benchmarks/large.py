"""What a step of a large model costs, computed and skipped: `python -m benchmarks large`.

Full-size networks in the host's own classes with random weights, which is enough for time and memory.
Each method of the pack computes everything and then about every second step, and the host's caches skip
likewise, each beside a plain run. For a machine whose GPU holds the model; `--models tiny` runs anywhere.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from testbed.methods import Entry, Level, entries
from testbed.networks import fitted, spec_of

from . import results
from .beds import environment, ready
from .meter import Meter

OUT, FILE = Path(__file__).parent / "out", "large.json"
STEPS, WARM, SEED = 10, 2, 1
_TOKENS = 256

_DOUBLE = {"hidden_size": 3072, "num_heads": 24, "mlp_ratio": 4.0, "axes_dim": [16, 56, 56]}
_TEXT = {"context_in_dim": 4096, "vec_in_dim": 768}


@dataclass(frozen=True)
class Large:
    """A model in full size.

    Attributes:
        family: whose tiny network it is like.
        network: arguments of the network that differ from the tiny one's.
        latent: shape without the batch.
        width: of the text.
        cfg: guidance scale; 1 for a distilled model.
    """

    family: str
    network: dict[str, Any]
    latent: tuple[int, ...]
    width: int
    cfg: float


MODELS = {
    "tiny": Large("flux", {}, (16, 16, 16), 24, 1.0),
    # 1024 x 1024.
    "flux_12b": Large(
        "flux",
        {**_DOUBLE, **_TEXT, "depth": 19, "depth_single_blocks": 38},
        (16, 128, 128),
        4096,
        1.0,
    ),
    # 832 x 480, 81 frames.
    "wan_14b": Large(
        "wan",
        {"dim": 5120, "ffn_dim": 13824, "num_heads": 40, "num_layers": 40, "text_dim": 4096},
        (16, 21, 60, 104),
        4096,
        5.0,
    ),
    # 1280 x 720, 33 frames.
    "hunyuan_video_13b": Large(
        "hunyuan_video",
        {**_DOUBLE, **_TEXT, "depth": 20, "depth_single_blocks": 40},
        (16, 9, 90, 160),
        4096,
        1.0,
    ),
}


@dataclass
class Row:
    """One method on one model. Seconds are medians over steps, each ended by waiting for the device.

    Attributes:
        parameters: of the network.
        compiled: whether the network was compiled with inductor.
        plain: seconds of a step without any cache, measured next to this row.
        computing: seconds of a step with the method when nothing is skipped; None for the host's caches.
        skipped: seconds of a skipped step; None if none was.
        computed: steps that ran in full, of `steps`.
        bytes: highest use of the device's memory beyond that of the plain run; None on a CPU.
        waits: times a skipped step waited for the device; None on a CPU.
    """

    model: str
    parameters: int
    dtype: str
    method: str
    level: str
    compiled: bool
    plain: float
    computing: float | None
    skipped: float | None
    computed: int
    steps: int
    bytes: int | None
    waits: float | None


@dataclass(frozen=True)
class Step:
    """One step of a run.

    Attributes:
        work: conditionings times blocks that ran.
    """

    seconds: float
    work: int
    waits: int


class Bench:
    """One model and how it is sampled."""

    def __init__(self, name: str, dtype: torch.dtype) -> None:
        import comfy.model_management
        import comfy.model_patcher

        self.name, self.large, self.dtype = name, MODELS[name], dtype
        self.device: torch.device = comfy.model_management.get_torch_device()
        base = build(self.large, dtype, self.device)
        self.parameters = sum(p.numel() for p in base.diffusion_model.parameters())
        cpu = torch.device("cpu")
        self.model = comfy.model_patcher.ModelPatcher(base, self.device, cpu)
        self.meter = Meter(base.diffusion_model)

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def run(self, model: Any) -> tuple[list[Step], int]:
        """Steps of a run after the first ones, and the highest use of the device's memory."""
        import comfy.sample

        steps: list[Step] = []
        noise = torch.randn(1, *self.large.latent, generator=torch.Generator().manual_seed(SEED))
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)
        with self.meter.counting() as rows, _waits(self.on_gpu) as waits:
            last = [time.perf_counter(), 0, 0]

            def tick(*_: Any) -> None:
                waited = len(waits)
                if self.on_gpu:
                    torch.cuda.synchronize(self.device)
                now = [time.perf_counter(), sum(rows), waited]
                steps.append(Step(*(a - b for a, b in zip(now, last, strict=True))))
                last[:] = [time.perf_counter(), sum(rows), len(waits)]

            with torch.inference_mode():
                comfy.sample.sample(
                    *(model, noise, STEPS + WARM, self.large.cfg, "euler", "simple"),
                    *(self.conditioning(2), self.conditioning(3), torch.zeros_like(noise)),
                    callback=tick,
                    disable_pbar=True,
                    seed=SEED,
                )
        peak = torch.cuda.max_memory_allocated(self.device) if self.on_gpu else 0
        return steps[WARM:], peak

    def conditioning(self, seed: int) -> list[list[Any]]:
        generator = torch.Generator().manual_seed(seed)
        text = torch.randn(1, _TOKENS, self.large.width, generator=generator)
        more = dict(spec_of(self.large.family).more)
        if "pooled_output" in more:
            pooled = self.large.network.get("vec_in_dim", more["pooled_output"].shape[1])
            more["pooled_output"] = torch.ones(1, pooled)
        return [[text, more]]

    def row(
        self,
        method: str,
        level: str,
        skipping: Any,
        everything: Any | None,
        compiled: bool = False,
    ) -> Row:
        """Measure a method beside a plain run.

        Args:
            skipping: the model with about every second step skipped.
            everything: with the method and all steps computed.
        """
        beside = compile_network(self.model) if compiled else self.model
        plain, before = self.run(beside)
        computing = None if everything is None else self.run(everything)[0]
        steps, peak = self.run(skipping)
        most = max(step.work for step in plain)
        skipped = [step for step in steps if step.work < most]
        return Row(
            model=self.name,
            parameters=self.parameters,
            dtype=str(self.dtype).removeprefix("torch."),
            method=method,
            level=level,
            compiled=compiled,
            plain=seconds(plain),
            computing=None if computing is None else seconds(computing),
            skipped=seconds(skipped) if skipped else None,
            computed=len(steps) - len(skipped),
            steps=len(steps),
            bytes=peak - before if self.on_gpu else None,
            waits=statistics.median(s.waits for s in skipped) if self.on_gpu and skipped else None,
        )


def build(large: Large, dtype: torch.dtype, device: torch.device) -> Any:
    """The host's model with random weights."""
    import comfy.supported_models

    spec = spec_of(large.family)
    network = fitted({**spec.network, **large.network})
    config = getattr(comfy.supported_models, spec.config)(network)
    config.set_inference_dtype(dtype, None)
    model = config.get_model({}, "", device=device)
    torch.manual_seed(SEED)
    with torch.no_grad():
        for weight in model.diffusion_model.parameters():
            weight.normal_(0, 0.02)
    return model


def compile_network(model: Any) -> Any:
    """A clone that the host compiles."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    clone = model.clone()
    set_torch_compile_wrapper(clone, backend="inductor")
    return clone


@contextmanager
def _waits(on_gpu: bool) -> Iterator[list[warnings.WarningMessage]]:
    """CUDA's own warnings about operations that wait for the device; none elsewhere."""
    if not on_gpu:
        yield []
        return
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode(before)


def seconds(steps: list[Step]) -> float:
    return statistics.median(step.seconds for step in steps)


def rows(bench: Bench, only: list[str] | None, compiled: bool) -> Iterator[Row]:
    """A row per method that works on the model."""
    for entry in entries():
        if entry.needs_file or (only and entry.name not in only):
            continue
        skipping, everything = both(entry, bench.model)
        if skipping is not bench.model:
            yield bench.row(entry.name, entry.level.value, skipping, everything)
    for name, cached in host_caches(bench.model):
        if not only or name in only:
            yield bench.row(name, Level.STEP.value, cached, None)
    if compiled:
        step = next(entry for entry in entries() if entry.level is Level.STEP)
        skipping, everything = map(compile_network, both(step, bench.model))
        yield bench.row(step.name, step.level.value, skipping, everything, compiled=True)


def both(entry: Entry, model: Any) -> tuple[Any, Any]:
    """Clones of a model with a method that skips, and with one that computes everything."""
    return entry.put(model, STEPS + WARM, False), entry.put(model, STEPS + WARM, True)


def host_caches(model: Any) -> Iterator[tuple[str, Any]]:
    """The host's own, with a threshold that skips."""
    from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode

    for name, node in (("EasyCache (host)", EasyCacheNode), ("LazyCache (host)", LazyCacheNode)):
        yield name, node.execute(model, 1.0, 0.15, 0.95, False).args[0]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", nargs="+", choices=MODELS, default=[*MODELS][1:])
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16")
    parser.add_argument("--ways", nargs="+", metavar="NAME", help="only these methods")
    parser.add_argument("--no-compile", action="store_true", help="leave out the compiled rows")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for the JSON file")


def run(options: argparse.Namespace) -> None:
    """Measure, print, and write `large.json` after each model."""
    ready()
    facts = {**environment(), **device_facts()}
    found: list[results.Row] = []
    for name in options.models:
        bench = Bench(name, getattr(torch, options.dtype))
        for row in tqdm(rows(bench, options.ways, not options.no_compile), desc=name, unit="row"):
            found.append(asdict(row))
            results.write(options.out / FILE, facts, found)
        del bench
    show(found)


def device_facts() -> dict[str, Any]:
    """The GPU in words, if there is one."""
    if not torch.cuda.is_available():
        return {}
    return {"device": torch.cuda.get_device_name(), "cuda": torch.version.cuda}


def show(found: list[results.Row]) -> None:
    """The rows as a table."""
    from tabulate import tabulate

    names = [
        "model",
        "method",
        "level",
        "compiled",
        "plain",
        "computing",
        "skipped",
        "bytes",
        "waits",
    ]
    table = [[row[name] for name in names] for row in found]
    print(tabulate(table, names, missingval="", floatfmt=".4g"))
