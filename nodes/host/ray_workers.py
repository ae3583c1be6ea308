"""Raylight's workers: each is a Ray actor that holds a model of its own and samples with it.

A worker has the host on its path and knows nothing of this pack. So what is sent to it is a function by
value, which loads the pack from its folder there.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...cache_core.methods import Level, ScalingCache
from ...cache_core.methods.scaling import Mode
from .cache import Cache, install, remove
from .ranks import KEY, Sharing

ROOT = str(Path(__file__).parents[2])


def put(actors: Mapping[str, Any], method: ScalingCache) -> None:
    """Put Scaling Cache on the model of each worker, or take it off where the settings ask for that.

    Args:
        actors: what Raylight's loaders return.

    Raises:
        ValueError: if these are no workers of Raylight, or run PipeFusion.
    """
    try:
        import ray  # pyright: ignore[reportMissingImports]
        from ray import cloudpickle  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ValueError("ray_actors: Ray is not installed, so these are not Raylight's") from None
    workers = actors.get("workers") if isinstance(actors, Mapping) else None
    if not workers:
        raise ValueError("ray_actors: must come from a loader of Raylight")
    sharing = sharing_of(ray.get(workers[0].get_parallel_dict.remote()))
    # By value: a worker knows nothing of this pack until it has loaded it.
    names = ("speedup", "budget", "start_percent", "end_percent")
    values = {"mode": method.mode.value, **{name: getattr(method, name) for name in names}}
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    try:
        ray.get([w.model_function_runner.remote(work, ROOT, values, sharing.name) for w in workers])
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def sharing_of(parallel: Mapping[str, Any]) -> Sharing:
    """With whom a worker computes its pictures.

    Args:
        parallel: Raylight's settings.

    Raises:
        ValueError: with PipeFusion, which hands parts of a picture from one step to the next.
    """
    if parallel.get("pipefusion_enabled"):
        raise ValueError(
            "ray_actors: Scaling Cache does not work with PipeFusion, turn one of them off"
        )
    if parallel.get("is_fsdp"):
        # Weights are gathered from all workers, whatever they sample.
        return Sharing.WORLD
    return Sharing.AUTO if parallel.get("is_xdit") else Sharing.ALONE


def work(model: Any, root: str, values: dict[str, Any], sharing: str) -> Any:
    """Runs in a worker: the model with the cache. Uses nothing of this module, which is not there."""
    import importlib
    import importlib.util
    import os
    import sys

    name = "scaling_cache_in_worker"
    if name not in sys.modules:
        file = os.path.join(root, "__init__.py")
        spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=[root])
        if spec is None or spec.loader is None or not os.path.isfile(file):
            raise ValueError(f"ray_actors: this pack is not in {root} on the worker's machine")
        package = importlib.util.module_from_spec(spec)
        sys.modules[name] = package
        spec.loader.exec_module(package)
    return importlib.import_module(f"{name}.nodes.host.ray_workers").apply(model, values, sharing)


def apply(model: Any, values: dict[str, Any], sharing: str) -> Any:
    """A clone of a worker's model with Scaling Cache, or without it where the settings ask for that."""
    method = ScalingCache(**{**values, "mode": Mode(values["mode"])})
    plain = remove(model, Level.STEP)
    if method.off:
        return plain
    patched = install(plain, Cache(method, coefficients="none"))
    patched.model_options["transformer_options"][KEY] = Sharing[sharing]
    return patched
