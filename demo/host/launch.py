"""Run the host's main.py in this process, also where torch and torchvision are of different builds.

Usage: python launch.py COMFYUI_FOLDER [arguments of the host]
"""

from __future__ import annotations

import os
import runpy
import sys

_OPERATORS = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def declare_torchvision_operators() -> None:
    """Declare operators that torchvision registers for at import.

    Its compiled part does not load next to a CPU-only torch, and without the declarations neither
    does the Python part. Nothing in the host's sampling calls them.
    """
    import torch

    for name in _OPERATORS:
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", _SCHEMA)


def make_torchvision_importable() -> None:
    """Import torchvision, with declared operators if it does not import without."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        declare_torchvision_operators()


def main() -> None:
    folder = os.path.abspath(sys.argv[1])
    make_torchvision_importable()
    sys.path[0] = folder
    sys.argv = [os.path.join(folder, "main.py"), *sys.argv[2:]]
    os.chdir(folder)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
