"""Write docs/compatibility.md from the results of the matrix: `python -m docs.compatibility_page`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("compatibility.md")
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "matrix.json"

Row = dict[str, Any]
Rows = list[Row]

_INTRO = """# Compatibility

Written by `make matrix`, and checked against fresh runs by the tests. Every row is a tiny network with
random weights in ComfyUI's own classes, sampled through ComfyUI's own samplers.

A method **works** when, computing everything, it gives the host's result bit for bit, and, leaving out
about every second step, a finite result of the same shape that is another one, with as many computed
steps as it reports. Inside the network each skipped call is also composed anew, from what the plain
network's blocks compute, and has to be the same. Where it refuses, it says why on the node, and the
result is the host's. How near a result is to the one without cache is not the question here: see
[results](results.md).

*Host* is the ComfyUI on which a row was run. Older ones do not have the models of a newer one; newer ones
are tested with all.
"""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


class _Notes:
    """Numbers for reasons, in the order in which they come."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def cell(self, row: Row) -> str:
        if not row.get("reason"):
            return "yes" if row["result"] == "works" else str(row["result"])
        number = self.numbers.setdefault(row["reason"], len(self.numbers) + 1)
        return f"{'no' if row['result'] == 'refuses' else '**fails**'} ({number})"

    def text(self) -> str:
        return "".join(f"{number}. {reason}\n" for reason, number in self.numbers.items())


def _families(rows: Rows, level: str) -> str:
    found = [row for row in rows if row["level"] == level]
    methods = list(dict.fromkeys(row["method"] for row in found))
    titles = list(dict.fromkeys(row["title"] for row in found))
    cells = {(row["title"], row["method"]): row for row in found}
    notes = _Notes()
    hosts = {row["title"]: row["host"] for row in found}
    lines = [
        (title, hosts[title], *(notes.cell(cells[title, method]) for method in methods))
        for title in titles
    ]
    return f"{_table(('model', 'host', *methods), lines)}\n{notes.text()}"


def _share(row: Row) -> str:
    if row["result"] != "works":
        return f"**{row['result']}**: {row['reason']}"
    return f"{row['computed']} of {row['evaluations']}"


def _samplers(rows: Rows) -> str:
    names = list(dict.fromkeys(row["sampler"] for row in rows))
    cells = {(row["sampler"], row["cfg"], row["cache"]): row for row in rows}
    hosts = {row["sampler"]: row["host"] for row in rows}
    scales = sorted({row["cfg"] for row in rows})
    lines = []
    for name in names:
        line = [name, hosts[name]]
        for cfg in scales:
            off = cells[name, cfg, "off"]
            line += [
                "same" if off["result"] == "works" else f"**{off['result']}**: {off['reason']}",
                _share(cells[name, cfg, "2x"]),
            ]
        lines.append(line)
    head = [part for cfg in scales for part in (f"cfg {cfg:g}, off", f"cfg {cfg:g}, 2x")]
    return _table(("sampler", "host", *head), lines)


def _schedulers(rows: Rows) -> str:
    return _table(("scheduler", "2x"), ((row["scheduler"], _share(row)) for row in rows))


def page(results: dict[str, Any]) -> str:
    """The page in Markdown."""
    rows: Rows = results["rows"]
    families = [row for row in rows if row["kind"] == "family"]
    counts = {
        result: sum(row["result"] == result for row in rows)
        for result in ("works", "refuses", "fails")
    }
    facts = [host["environment"] for host in results["hosts"].values()]
    on = "; ".join(f"ComfyUI {fact['host_version']}, torch {fact['torch']}" for fact in facts)
    missing = [
        f"- {version}: {', '.join(host['without_a_row'])}\n"
        for version, host in results["hosts"].items()
    ]
    parts = [
        _INTRO,
        f"{on}: {len(rows)} rows, "
        f"{counts['works']} work, {counts['refuses']} refuse, {counts['fails']} fail.\n",
    ]
    levels = {
        "whole step": "## Whole steps\n",
        "block stack": "## The block stack\n",
        "single blocks": "## Blocks with others running between them\n",
    }
    for level, title in levels.items():
        parts += [title, _families(families, level)]
    parts += [
        "## Samplers\n",
        "Scaling Cache on one model: *off* is the node at 1x, *2x* shows evaluations computed of those\n"
        "asked for, with *few_steps* at *whole steps*: by itself the node computes [more of so few\n"
        "steps](few_steps.md).\n",
        _samplers([row for row in rows if row["kind"] == "sampler"]),
        "## Schedulers\n",
        _schedulers([row for row in rows if row["kind"] == "scheduler"]),
        "## Not in these tables\n",
        "Model classes of each host without a row here; most differ from one that has a row in their\n"
        "conditioning only.\n",
        "".join(missing),
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(json.loads(RESULTS.read_text(encoding="utf-8"))), encoding="utf-8")
