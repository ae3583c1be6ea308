"""Randomised runs with faults: `python -m benchmarks.soak --runs 1000`.

Family, method, sampler, scheduler, steps, guidance, batch, size and fault by chance. After each run
nothing of the pack may be alive, and the next one must be as if fresh. Prints runs, faults and failures;
exits with 1 if there is a failure.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import secrets
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import reduce
from operator import add

from testbed.soak import Tally, soak

from .matrix import prepare


def part(runs: int, seed: int) -> Tally:
    """Runs of one process."""
    return soak(runs, seed, lambda line: print(line, flush=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=None, help="of the first process; default: any")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    chosen = parser.parse_args()
    seed = secrets.randbelow(2**31) if chosen.seed is None else chosen.seed
    counts = [len(range(job, chosen.runs, chosen.jobs)) for job in range(chosen.jobs)]
    print(f"seed {seed}, {chosen.jobs} processes")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(chosen.jobs, context, initializer=prepare) as pool:
        parts = pool.map(part, counts, range(seed, seed + chosen.jobs))
        tally = reduce(add, parts, Tally())
    for case, wrong in tally.failures:
        print(f"{wrong}: {case}")
    print(tally.summary())
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
