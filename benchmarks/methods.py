"""Every method at several speeds on the demo model, beside plain sampling with fewer steps.

    python -m benchmarks.methods --clips 3

Settings are spread so that each method comes near 1.5, 2, 2.5 and 3 times where it can; what it really
reached stands in its row. TeaCache and MagCache use what the calibration of the model fitted for them;
DeepCache is left out, since this is no UNet.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from demo.host.client import Workflow
from demo.report import print_table, summarise
from demo.run import (
    STEPS,
    Method,
    advanced,
    fewer_steps,
    insert_cache,
    measure,
    scaling_cache,
    write,
)

OUT = Path(__file__).parent / "out"
TARGETS = (1.5, 2.0, 2.5, 3.0)
# Threshold or interval per row, and what else a method needs.
ADVANCED: dict[str, tuple[str, tuple[float, ...], dict[str, Any]]] = {
    "TeaCache": ("threshold", (0.1, 0.2, 0.3, 0.5), {"max_gap": 0}),
    "MagCache": ("threshold", (0.03, 0.06, 0.12, 0.24), {"max_gap": 0}),
    "EasyCache": ("threshold", (0.02, 0.04, 0.06, 0.08), {"max_gap": 0}),
    "LazyCache": ("threshold", (0.02, 0.04, 0.06, 0.08), {"max_gap": 0}),
    "SmoothCache": ("threshold", (0.05, 0.1, 0.15, 0.2), {"max_gap": 3}),
    "First Block Cache": ("threshold", (0.05, 0.1, 0.15, 0.25), {"max_gap": 0}),
    "DBCache": ("threshold", (0.05, 0.1, 0.15, 0.25), {"first_blocks": 2, "max_gap": 0}),
    "DiCache": ("threshold", (0.04, 0.08, 0.15, 0.25), {"max_gap": 0}),
}
SCHEDULED = (2, 3, 4)


def methods() -> list[Method]:
    """The plain run first: the others are compared with it."""
    chosen = [Method("plain", None, lambda _: None)]
    for target in TARGETS:
        chosen += [
            Method("fewer_steps", target, fewer_steps(round(STEPS / target))),
            Method("scaling_cache", target, scaling_cache(target, predictor="least squares")),
            Method("scaling_cache_online", target, scaling_cache(target, coefficients="none")),
        ]
    for name, (field, values, more) in ADVANCED.items():
        for value in values:
            change = advanced(method=name, **{field: value}, **more)
            chosen.append(Method(name, None, change, f"{field} {value:g}"))
    for interval in SCHEDULED:
        for level in ("whole step", "blocks"):
            change = advanced(method="TaylorSeer", granularity=level, interval=interval)
            chosen.append(Method("TaylorSeer", None, change, f"{level}, interval {interval}"))
        change = advanced(method="Delta Cache", blocks="1-6", interval=interval, warmup=6)
        chosen.append(Method("Delta Cache", None, change, f"6 of 8 blocks, interval {interval}"))
    chosen.append(Method("CFG Cache", None, cfg_cache(), "interval 5"))
    return chosen


def cfg_cache() -> Any:
    def change(workflow: Workflow) -> None:
        inputs = {"interval": 5, "start_percent": 0.36, "end_percent": 1.0}
        insert_cache(workflow, {"class_type": "ScalingCfgCache", "inputs": inputs})

    return change


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=3, help="clips per method (default: 3)")
    arguments = parser.parse_args()
    results, facts = measure(methods(), arguments.clips)
    rows = summarise(results, bed="demo_video", sampler="euler", cfg=4.0)
    OUT.mkdir(parents=True, exist_ok=True)
    write(OUT / "methods.json", facts, rows)
    print_table(sorted(rows, key=lambda row: row.speedup), facts)


if __name__ == "__main__":
    main()
