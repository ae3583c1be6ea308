"""`python -m benchmarks COMMAND`: `--help` lists what can be measured."""

from __future__ import annotations

import argparse
import logging

from . import (
    branches,
    calibration,
    cost,
    few_steps,
    fidelity,
    large,
    page,
    situations,
    snapshot,
    streams,
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the pack.")
    commands = parser.add_subparsers(dest="command", required=True)
    for module, summary in (
        (fidelity, "every method at equal speed, and how fast it is"),
        (calibration, "what a coefficient file gives at equal computed steps"),
        (cost, "what a skipped step costs, at several sizes"),
        (large, "what a step of a large model costs on this machine's GPU"),
        (situations, "what changes in mid-run, against fewer steps"),
        (few_steps, "what is to gain with 8 steps and fewer"),
        (branches, "ControlNets at some steps only"),
        (streams, "video and sound in one latent, each for itself"),
        (snapshot, "all that docs/results.md compares, on one revision"),
        (page, "write docs/results.md and README's table from result files"),
    ):
        name = module.__name__.rpartition(".")[2]
        command = commands.add_parser(name, help=summary, description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    options = parser.parse_args()
    logging.getLogger("ScalingCache").setLevel(logging.WARNING)
    options.run(options)


if __name__ == "__main__":
    main()
