"""The commands from any folder: `python ComfyUI/custom_nodes/ComfyUI-ScalingCache/cli generate ...`."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

COMMANDS = ("generate", "calibrate")


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in COMMANDS:
        print(f"usage: {sys.argv[0]} {{{','.join(COMMANDS)}}} --help", file=sys.stderr)
        return 2
    # In place of this folder, where Python begins: the commands are those of the pack's `cli`.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    return import_module(f"cli.{arguments[0]}").main(arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
