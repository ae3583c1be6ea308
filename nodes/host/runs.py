"""Which sampling runs belong to what a report is given."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from comfy_execution.utils import get_executing_context

from ...cache_core.report import RunReport
from ...cache_core.run_log import FinishedRun, RunLog


def finished(name: str, report: RunReport, node: str | None, plain: bool = False) -> FinishedRun:
    """A run that the node under way has just sampled.

    Args:
        node: id of the cache node.
        plain: whether it ran without a cache.
    """
    sampler, prompt = _here()
    return FinishedRun(name, report, node, sampler, prompt, plain)


def refused(reason: str, node: str | None) -> FinishedRun:
    """A run that goes without the cache."""
    sampler, prompt = _here()
    return FinishedRun("Not cached", RunReport(0), node, sampler, prompt, refused=reason)


def runs_of(model: Any, samplers: Collection[str]) -> list[FinishedRun]:
    """What was sampled with a model: by the caches on it, or plainly where there is none.

    Args:
        model: as a cache node gave it, or a clone of that.
        samplers: nodes to look at; see `RunLog.latest`.
    """
    options = model.model_options.get("transformer_options", {})
    logs = [log for c in options.values() if isinstance(log := getattr(c, "log", None), RunLog)]
    runs = [run for log in logs for run in log.latest(samplers)]
    return [run for run in runs if not run.plain] or runs


def upstream(dynprompt: Any, node: str, field: str) -> set[str]:
    """Ids of all nodes that feed one input of a node.

    Args:
        dynprompt: the host's prompt with its expanded nodes, None if there is none.
    """
    if dynprompt is None or not dynprompt.has_node(node):
        return set()
    found: set[str] = set()
    waiting = _sources({field: dynprompt.get_node(node)["inputs"].get(field)})
    while waiting:
        source = waiting.pop()
        if source not in found and dynprompt.has_node(source):
            found.add(source)
            waiting += _sources(dynprompt.get_node(source)["inputs"])
    return found


def _sources(inputs: dict[str, Any]) -> list[str]:
    """Nodes that inputs are linked to."""
    return [v[0] for v in inputs.values() if isinstance(v, list) and len(v) == 2]


def _here() -> tuple[str | None, str | None]:
    """Id of the node under way and of its prompt."""
    context = get_executing_context()
    return (None, None) if context is None else (context.node_id, context.prompt_id)
