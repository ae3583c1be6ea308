"""The commands from any folder: `python ComfyUI/custom_nodes/ComfyUI-ScalingCache/cli generate ...`."""

from __future__ import annotations

import io
import sys
from importlib import import_module
from pathlib import Path

COMMANDS = ("generate", "calibrate")


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in COMMANDS:
        print(f"usage: {sys.argv[0]} {{{','.join(COMMANDS)}}} --help", file=sys.stderr)
        return 2
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name with signs that a terminal or a file cannot have is not to break off what is done.
        sys.stdout.reconfigure(errors="backslashreplace")
    # In place of this folder, where Python begins: the commands are those of the pack's `cli`.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    return import_module(f"cli.{arguments[0]}").main(arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
