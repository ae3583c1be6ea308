"""One rank: the host, the pack and a network whose weights no other rank has."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import comfy.ops
import comfy.sample
import comfy.sd
import torch
import torch.distributed as dist
from comfy.ldm.wan.model import WanModel
from comfy.patcher_extension import WrappersMP
from scaling_cache.cache_core.decide.signals import Polynomial, SignalKind
from scaling_cache.cache_core.methods import (
    DBCache,
    DiCache,
    EasyCache,
    FirstBlockCache,
    LazyCache,
    Method,
    MixCache,
    ScalingCache,
    TeaCache,
)
from scaling_cache.cache_core.methods.scaling import Mode
from scaling_cache.cache_core.outputs import OutputCache
from scaling_cache.cache_core.predict import predictors
from scaling_cache.nodes.host import ranks
from scaling_cache.nodes.host.cache import caches_of
from scaling_cache.nodes.host.coefficients import register_folder

from .install import cached

STEPS = 24
# What one rank may have otherwise than the others.
DIFFERENT = ("batch", "times", "none")


def work(rank: int, world: int, folder: str) -> None:
    """Sample with every case and write down which steps were computed."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=120),
    )
    register_folder()
    model = network(rank)
    found: dict[str, Any] = {}
    for name in cases():
        alone = sampled(model, name, {ranks.KEY: ranks.Sharing.ALONE})
        together = sampled(exchanging(model, world), name, {})
        found[name] = {"alone": alone, "together": together}
    for name in ("error budget", "First Block Cache"):
        for what in DIFFERENT:
            found[f"{name}, {what}"] = different(exchanging(model, world), name, what, rank)
    if world == 4:
        found["groups"] = in_groups(model, rank)
    found["fault"] = fault(model, rank)
    Path(folder, f"{rank}.json").write_text(json.dumps(found), encoding="utf-8")
    dist.barrier()
    dist.destroy_process_group()


def cases() -> dict[str, Method]:
    """Methods by name. All decide by what they measure."""
    line = Polynomial((1.0, 0.0))
    return {
        "error budget": ScalingCache(mode=Mode.BUDGET, budget=0.04),
        "EasyCache": EasyCache(0.5, warmup=3),
        "LazyCache": LazyCache(0.3, warmup=3),
        "TeaCache": TeaCache(line, 1.6, SignalKind.TIME_EMBEDDING),
        "First Block Cache": FirstBlockCache(0.08),
        "DBCache": DBCache(0.08, first_blocks=1, warmup=2),
        "DiCache": DiCache(0.2),
        "MixCache": MixCache(0.12, trigger=1.0),
    }


def network(rank: int) -> Any:
    """A Wan network with weights of this rank: what it measures is its own."""
    shape = WanModel(
        model_type="t2v",
        dim=128,
        num_heads=1,
        ffn_dim=256,
        num_layers=4,
        in_dim=16,
        out_dim=16,
        operations=comfy.ops.disable_weight_init,
    )
    generator = torch.Generator().manual_seed(rank)
    size = 0.05 * (1 + 0.25 * rank)
    weights = {
        name: torch.randn(value.shape, generator=generator) * size
        for name, value in shape.state_dict().items()
    }
    return comfy.sd.load_diffusion_model_state_dict(weights)


def exchanging(model: Any, world: int) -> Any:
    """A clone whose ranks meet at each run of the network, as those of a split network do."""

    def meet(executor: Any, *args: Any, **kwargs: Any) -> Any:
        here = torch.ones(1)
        dist.all_reduce(here)
        assert here.item() == world
        return executor(*args, **kwargs)

    patched = model.clone()
    patched.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "meet", meet)
    return patched


def sampled(model: Any, name: str, options: dict[str, Any]) -> list[str]:
    """Steps that a run computed, or why each was: what all ranks must have in common."""
    patched = cached(model, cases()[name], runs := [])
    patched.model_options["transformer_options"].update(options)
    sample(patched)
    (run,) = runs
    report = run.report
    assert not report.notes, report.notes
    assert report.evaluations == STEPS
    # Middle blocks that are left out leave the call a computed one, so the reasons count as well.
    return [f"{record.step} {record.computed} {record.reason}" for record in report.records]


def different(model: Any, name: str, what: str, rank: int) -> tuple[str, bool]:
    """Why a run was not cached that differs between the ranks, and whether it gave the plain picture."""
    positive = conditioning(2)
    if what == "times" and rank:
        positive += [[conditioning(5)[0][0], {"start_percent": 0.2 * rank, "end_percent": 0.9}]]
    batch = 1 + rank if what == "batch" else 1
    patched = cached(model, cases()[name])
    result = sample(patched, batch, positive)
    (cache,) = caches_of(patched)
    (run,) = cache.log.latest()
    return run.refused, torch.equal(result, sample(model, batch, positive))


def sample(model: Any, batch: int = 1, positive: Any = None) -> torch.Tensor:
    latent = torch.zeros(batch, 16, 1, 8, 8)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return comfy.sample.sample(
            model,
            noise,
            STEPS,
            4.0,
            "euler",
            "simple",
            positive or conditioning(2),
            conditioning(3),
            latent,
            disable_pbar=True,
            seed=4,
        )


def conditioning(seed: int) -> list[list[Any]]:
    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(1, 4, 4096, generator=generator), {}]]


def in_groups(model: Any, rank: int) -> dict[str, Any]:
    """Two replicas of two ranks, and one of four that is split twice: by all and by sums of sums."""
    pairs = [dist.new_group([0, 1]), dist.new_group([2, 3])]
    across = [dist.new_group([0, 2]), dist.new_group([1, 3])]
    value = torch.tensor([float(rank), 1.0 / (rank + 1), float("nan") if rank == 3 else 0.0])
    pair, other = pairs[rank // 2], across[rank % 2]
    own = dist.new_group([0]), dist.new_group([1]), dist.new_group([2]), dist.new_group([3])
    # xDiT is none of the packages for development; this is what the pack calls of it.
    xdit = ModuleType("xfuser.core.distributed")
    sys.modules[xdit.__name__] = xdit
    xdit.model_parallel_is_initialized = lambda: False
    world = ranks.agreement({})
    xdit.model_parallel_is_initialized = lambda: True
    xdit.get_sp_group = lambda: SimpleNamespace(device_group=pair)
    xdit.get_cfg_group = lambda: SimpleNamespace(device_group=own[rank])
    xdit.get_pp_group = lambda: SimpleNamespace(device_group=own[rank])
    replica = ranks.agreement({})
    del sys.modules[xdit.__name__]
    return {
        "xdit": [float(world(value)[0]), float(replica(value)[0])],
        "replica": ranks.Ranks((pair,))(value).tolist()[:2],
        "both": ranks.Ranks((pair, other))(value).tolist()[:2],
        "nan": bool(ranks.Ranks((pair, other))(value)[2].isnan()),
        "kept": float(value[0]),
    }


def fault(model: Any, rank: int) -> str:
    """A fault of the cache on one rank ends its run: the others would wait for it for ever. They plan the
    run with it and leave at the first call of the network."""

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a bug" if rank == 0 else "left")

    patched = cached(model, ScalingCache(predictor=predictors.ORDER_1))
    skips = OutputCache.skips
    if rank:
        patched.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "leave", broken)
    else:
        OutputCache.skips = broken
    try:
        sample(patched)
    except RuntimeError as error:
        return f"RuntimeError: {error}"
    finally:
        OutputCache.skips = skips
    return "no error"
