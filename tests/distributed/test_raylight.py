"""The node for Raylight on real Ray actors, with the methods that Raylight's workers have.

Ray has no wheel for every Python and system: where it is not installed these tests are skipped.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scaling_cache.nodes.raylight import ScalingCacheRaylight

from demo.host.fetch import ROOT

ray = pytest.importorskip("ray", reason="Ray is not installed: no actors to test the node on")
WORLD = 2


class Worker:
    """What of Raylight's worker the node uses, and a network of its own to sample with."""

    def __init__(self, rank: int, folder: str, parallel: dict[str, Any]) -> None:
        import torch
        import torch.distributed as dist

        torch.set_num_threads(1)
        dist.init_process_group(
            "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=WORLD
        )
        from testbed import worker

        # The testbed imported the pack; a real worker knows nothing of it.
        for name in [n for n in sys.modules if n.split(".")[0] == "scaling_cache"]:
            del sys.modules[name]
        self.parallel_dict = parallel
        self.tools = worker
        self.plain = worker.network(rank)
        self.model = worker.exchanging(self.plain, WORLD)

    def get_parallel_dict(self) -> dict[str, Any]:
        return self.parallel_dict

    def set_parallel_dict(self, parallel: dict[str, Any]) -> None:
        self.parallel_dict = parallel

    def model_function_runner(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self.model = fn(self.model, *args, **kwargs)

    def sample(self) -> tuple[list[float], list[float]]:
        """The picture, and the noise levels at which the network ran."""
        from comfy.patcher_extension import WrappersMP

        seen: list[float] = []

        def count(executor: Any, x: Any, t: Any, *args: Any, **kwargs: Any) -> Any:
            seen.append(float(t.reshape(-1)[0]))
            return executor(x, t, *args, **kwargs)

        counted = self.model.clone()
        counted.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "count", count)
        return self.tools.sample(counted).flatten().tolist(), seen


@pytest.fixture(scope="module")
def actors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Two workers that compute pictures together."""
    paths = [str(ROOT), *(p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p)]
    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}}
    ray.init(num_cpus=WORLD, include_dashboard=False, runtime_env=environment, log_to_driver=False)
    # The host has a package called tests too, so this module is sent and not imported.
    module = sys.modules[__name__]
    ray.cloudpickle.register_pickle_by_value(module)
    folder = str(tmp_path_factory.mktemp("ray"))
    parallel = {"is_xdit": True, "is_fsdp": False, "ulysses_degree": WORLD, "cfg_degree": 1}
    try:
        kind = ray.remote(Worker)
        made = [kind.remote(rank, folder, parallel) for rank in range(WORLD)]
        ray.get([worker.__ray_ready__.remote() for worker in made], timeout=300)
        yield {"workers": made}
    finally:
        ray.cloudpickle.unregister_pickle_by_value(module)
        ray.shutdown()


def sample(actors: dict[str, Any]) -> list[tuple[list[float], list[float]]]:
    return ray.get([worker.sample.remote() for worker in actors["workers"]], timeout=300)


def execute(actors: dict[str, Any], **more: Any) -> Any:
    settings = {"speedup": 2.0, "mode": "target speed-up", "start_percent": 0.0, "end_percent": 1.0}
    return ScalingCacheRaylight.execute(actors, **{**settings, **more})


def test_all_workers_skip_the_same_steps(actors: dict[str, Any]):
    plain = sample(actors)
    assert all(len(seen) == 24 for _, seen in plain)
    for settings in ({}, {"mode": "error budget", "budget": 0.25}):
        assert execute(actors, **settings).args[0] is actors
        cached = sample(actors)
        assert cached[0][1] == cached[1][1], "not the same steps"
        assert 0 < len(cached[0][1]) < 24
        assert all(new != old for (new, _), (old, _) in zip(cached, plain, strict=True))
    execute(actors, speedup=1.0)
    assert sample(actors) == plain


def test_settings_and_actors_are_checked(actors: dict[str, Any]):
    with pytest.raises(ValueError, match="speedup"):
        execute(actors, speedup=9.0)
    for wrong in ({}, {"workers": []}, "workers"):
        with pytest.raises(ValueError, match="ray_actors: must come from a loader of Raylight"):
            execute(wrong)  # pyright: ignore[reportArgumentType]
    before = ray.get(actors["workers"][0].get_parallel_dict.remote())
    ray.get(actors["workers"][0].set_parallel_dict.remote({"pipefusion_enabled": True}))
    try:
        with pytest.raises(ValueError, match="PipeFusion"):
            execute(actors)
    finally:
        ray.get(actors["workers"][0].set_parallel_dict.remote(before))
