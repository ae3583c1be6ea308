"""One row of the matrix: a method on a family, judged."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from scaling_cache.cache_core.methods import Level
from scaling_cache.nodes.host.calibrating import Plan, calibrate

from . import networks
from .coefficient_folder import put
from .composed import Answer, fault_of_answers
from .methods import Entry
from .observe import Seen, answering, listening, refusal, watching

STEPS = 10
# With larger weights the first blocks of random networks change too fast for methods that compare them.
SPREAD = 0.1
WORKS, REFUSES, FAILS = "works", "refuses", "fails"


@dataclass(frozen=True)
class Row:
    """What came of a method on a family.

    Attributes:
        family, title: key and name of the family.
        level, method: of the method.
        result: works, refuses or fails.
        reason: why it refuses or fails; empty if it works.
        computed, evaluations: of the run at twice the speed.
    """

    family: str
    title: str
    level: str
    method: str
    result: str
    reason: str = ""
    computed: int = 0
    evaluations: int = 0


class Family:
    """The tiny networks of a family, one per stage, with what is made of them once."""

    def __init__(self, name: str, folder: Path) -> None:
        """
        Args:
            folder: where the host finds coefficient files; files of this family are written to it.
        """
        self.name = name
        self._folder = folder

    @cached_property
    def models(self) -> list[Any]:
        return networks.build_stages(self.name, SPREAD)

    @cached_property
    def plain(self) -> torch.Tensor:
        """What the host samples without the pack."""
        return self.sample(self.models)

    def sample(self, models: list[Any]) -> torch.Tensor:
        return networks.sample_stages(models, self.name, STEPS)

    @cached_property
    def files(self) -> list[str]:
        """Names of the coefficient files, one per stage."""
        names: list[str] = []
        for stage, model in enumerate(self.models):
            path = self._folder / f"{self.name}_{stage}.safetensors"
            latent = {"samples": networks.empty(self.name)}
            plan = Plan((1,), 2 * STEPS, 3.0, "euler", "simple")
            texts = [networks.conditioning(self.name, 2)], networks.conditioning(self.name, 3)
            with torch.inference_mode():
                put(path, calibrate(model, *texts, latent, plan))
            names.append(path.name)
        return names


def row(family: Family, entry: Entry) -> Row:
    """Run a method computing everything, then at twice the speed, and judge both."""
    title = networks.TITLES[family.name]
    head = (family.name, title, entry.level.value, entry.name)
    try:
        return Row(*head, *_judge(family, entry))
    except Exception as error:
        first = str(error).strip().splitlines()
        return Row(*head, FAILS, f"{type(error).__name__}: {first[0] if first else ''}")


Verdict = tuple[str, str, int, int]


def _judge(family: Family, entry: Entry) -> Verdict:
    same, _, why, _ = _run(family, entry, everything=True)
    if why:
        if not torch.equal(same, family.plain):
            return FAILS, f"refuses ({why}) and yet changes the result", 0, 0
        return REFUSES, why, 0, 0
    if not torch.equal(same, family.plain):
        return FAILS, "with every step computed the result is not the host's", 0, 0
    fast, seen, why, answers = _run(family, entry, everything=False)
    if why:
        return REFUSES, why, 0, 0
    reports = [report for one in seen for report in one.reports]
    computed, evaluations = (
        sum(getattr(r, n) for r in reports) for n in ("computed", "evaluations")
    )
    result, broken = _verdict(family.plain, fast, seen, reports)
    if result == WORKS and (fault := _fault(family, entry, seen, answers)):
        result, broken = FAILS, fault
    return result, broken, computed, evaluations


def _fault(family: Family, entry: Entry, seen: list[Seen], answers: list[list[Answer]]) -> str:
    """What a run gave that its method does not give; empty if nothing."""
    batch = networks.spec_of(family.name).batch
    found = [one.record.fault(batch) for one in seen]
    if entry.kind.level is Level.STEP:
        done = [[e.answer for e in one.evaluations if e.answer is not None] for one in seen]
        found += map(fault_of_answers, answers, done)
    return next(filter(None, found), "")


def _verdict(
    plain: torch.Tensor, fast: torch.Tensor, seen: list[Seen], reports: list[Any]
) -> tuple[str, str]:
    notes = "; ".join(note for report in reports for note in report.notes)
    computed = sum(report.computed for report in reports)
    ran = sum(one.computed for one in seen)
    planned = sum(report.evaluations for report in reports)
    if notes and computed == ran == planned and torch.equal(fast, plain):
        return REFUSES, notes
    checks: dict[str, Callable[[], bool]] = {
        "the result has another shape": lambda: fast.shape == plain.shape,
        "the result is not finite": lambda: bool(torch.isfinite(fast).all()),
        f"{computed} computed steps reported, {ran} seen": lambda: computed == ran,
        "nothing was skipped": lambda: ran < planned,
        "steps were skipped and the result is the host's": lambda: not torch.equal(fast, plain),
        f"caching stopped ({notes})": lambda: "stopped" not in notes,
    }
    broken = next((text for text, holds in checks.items() if not holds()), "")
    return (FAILS, broken) if broken else (WORKS, "")


def _run(
    family: Family, entry: Entry, everything: bool
) -> tuple[torch.Tensor, list[Seen], str, list[list[Answer]]]:
    """The result, what was seen of each stage, why it was not cached, and what the samplers got."""
    files = family.files if entry.needs_file else ["none"] * len(family.models)
    with ExitStack() as stack:
        lines = stack.enter_context(listening())
        watched, seen, answers = [], [], []
        for model, file in zip(family.models, files, strict=True):
            asked, given = answering(model)
            answers.append(given)
            cached = entry.put(asked, STEPS, everything, file)
            one, found = stack.enter_context(watching(cached))
            watched.append(one)
            seen.append(found)
        result = family.sample(watched)
    return result, seen, refusal(lines), answers
