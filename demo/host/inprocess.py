"""The host's modules in this process, for tests, training and benchmarks without a server."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from .fetch import ROOT, host_path
from .launch import make_torchvision_importable

PACK = "scaling_cache"


def import_pack() -> ModuleType:
    """This pack as the package `scaling_cache`, loaded by file as the host loads it."""
    if PACK in sys.modules:
        return sys.modules[PACK]
    spec = importlib.util.spec_from_file_location(
        PACK, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACK] = module
    spec.loader.exec_module(module)
    return module


def import_host(*arguments: str) -> Path:
    """Make `import comfy` work, with the host set up for the CPU; returns its folder.

    Args:
        arguments: further command line arguments of the host.
    """
    folder = host_path()
    if "comfy.cli_args" in sys.modules:
        return folder
    make_torchvision_importable()
    # First, so that `import nodes` finds the host's module and not a folder of this repository.
    sys.path.insert(0, str(folder))
    argv = sys.argv
    sys.argv = [argv[0], "--cpu", *arguments]
    try:
        import comfy.options

        comfy.options.enable_args_parsing()
        import comfy.cli_args
    finally:
        sys.argv = argv
    return folder
