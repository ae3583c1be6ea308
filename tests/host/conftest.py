"""A tiny real model in this process and the host's own ways to sample it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import comfy.sample
import comfy.sd  # the fault nodes find it loaded inside the host
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from scaling_cache.cache_core.methods import ScalingCache
from scaling_cache.cache_core.methods.base import Few
from scaling_cache.cache_core.planning import prior
from scaling_cache.cache_core.predict.predictors import snr_axis
from scaling_cache.nodes.host.cache import Cache, install
from scaling_cache.nodes.host.sampling import log_snr, over_run

from testbed.coefficient_folder import looking_in
from testbed.observe import listening

WIDTH = 4096


@pytest.fixture(scope="session", autouse=True)
def ready(comfy: Path) -> None:
    """The host finds what the pack registers."""


@pytest.fixture(scope="session")
def tiny() -> Any:
    """ModelPatcher of a Wan network with random weights."""
    path = Path(__file__).parents[1] / "http" / "fault_nodes" / "nodes.py"
    spec = importlib.util.spec_from_file_location("fault_nodes", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.tiny_wan(2)


def conditioning(seed: int, **more: Any) -> list[list[Any]]:
    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(1, 4, WIDTH, generator=generator), dict(more)]]


def steadied(model: Any, table: Any, schedule: tuple[float, ...]) -> Any:
    """A calibrated table as Scaling Cache takes it on a schedule of the model."""
    shape = (1, 16, 1, 8, 8)
    places = log_snr(model, schedule, shape)
    assert places is not None
    return prior.steadied(over_run(table, model, schedule, shape), snr_axis(schedule, places))


@dataclass
class Evaluations:
    """What really reached the network: one entry per call of the conditioning batch."""

    sigmas: list[float] = field(default_factory=list)


def counting(model: Any) -> tuple[Any, Evaluations]:
    """A clone whose conditioning batches are counted where nothing of the pack is in between."""
    seen = Evaluations()

    def count(executor: Any, model: Any, conds: Any, x: Any, timestep: Any, options: Any) -> Any:
        seen.sigmas.append(float(timestep[0]))
        return executor(model, conds, x, timestep, options)

    counted = model.clone()
    counted.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "count", count)
    return counted, seen


@pytest.fixture(scope="session")
def sample() -> Callable[..., torch.Tensor]:
    """The host's KSampler on a tiny latent."""

    def run(
        model: Any,
        sampler: str = "euler",
        steps: int = 12,
        cfg: float = 4.0,
        batch: int = 1,
        size: int = 8,
        scheduler: str = "simple",
        positive: Any = None,
        negative: Any = None,
        latent: torch.Tensor | None = None,
        **more: Any,
    ) -> torch.Tensor:
        if latent is None:
            latent = torch.zeros(batch, 16, 1, size, size)
        noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            return comfy.sample.sample(
                model,
                noise,
                steps,
                cfg,
                sampler,
                scheduler,
                positive or conditioning(2),
                negative or conditioning(3),
                latent,
                disable_pbar=True,
                seed=4,
                **more,
            )

    return run


@pytest.fixture
def cached(tiny: Any) -> Callable[..., tuple[Any, list[Any]]]:
    """The tiny model (or another) with the cache on whole steps, as many as asked for, and the reports
    of its runs as they end."""
    reports: list[Any] = []

    def make(model: Any = None, **settings: Any) -> tuple[Any, list[Any]]:
        reports.clear()
        settings = {"few": Few.STEPS, **settings}
        method, close = ScalingCache(**settings), lambda run: reports.append(run.report)
        cache = Cache(method, coefficients="none", on_close=close)
        return install(tiny if model is None else model, cache), reports

    return make


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What the pack tells the user."""
    with listening() as lines:
        yield lines


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where alone the host finds coefficient files."""
    with looking_in(tmp_path):
        yield tmp_path
