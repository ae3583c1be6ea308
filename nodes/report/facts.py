"""The facts of a report: as a table, as a text and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...cache_core.calibration.fidelity import Fidelity, SoundFidelity
from ...cache_core.run.report import (
    FinishedRun,
    estimated_plain_seconds,
    measured_speedup,
    seconds,
)

# Of the JSON, for programs that read it.
VERSION = 1


@dataclass(frozen=True)
class Facts:
    """Attributes:
    runs: what was sampled, with the cache.
    plain: what was sampled without, to compare times; empty if nothing was.
    fidelity: how near the results are; None without a reference.
    count: pictures or latents.
    size: of one, in words.
    kind: "picture" or "latent".
    notes: what could not be told and why.
    sound: how near the sound is; None without one and its reference.
    streams: relative error of each further latent that was sampled with the one shown.
    """

    runs: Sequence[FinishedRun] = ()
    plain: Sequence[FinishedRun] = ()
    fidelity: Fidelity | None = None
    count: int = 1
    size: str = ""
    kind: str = "picture"
    notes: Sequence[str] = ()
    sound: SoundFidelity | None = None
    streams: Sequence[float | None] = ()

    @property
    def sampled(self) -> list[FinishedRun]:
        """Runs that have steps."""
        return [r for r in self.runs if r.report.records]

    @property
    def measured(self) -> bool:
        """Whether the plain time was measured, not estimated."""
        return any(r.report.records for r in self.plain)

    @property
    def speedup(self) -> float | None:
        """Plain time over time; None if nothing is known."""
        if not self.sampled or all(r.plain for r in self.sampled):
            return None
        if self.measured:
            return measured_speedup(self.sampled, self.plain)
        spent = seconds(self.sampled)
        return estimated_plain_seconds(self.sampled) / spent if spent > 0 else None

    @property
    def plain_seconds(self) -> float:
        """Measured if it was, else estimated."""
        return seconds(self.plain) if self.measured else estimated_plain_seconds(self.sampled)


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    measure: str
    value: str
    worst: str = ""
    meaning: str = ""


def rows(facts: Facts) -> list[Row]:
    """The table: speed, then fidelity."""
    found = [_computed(run) for run in facts.sampled]
    if facts.sampled:
        found.append(Row("Time", time(seconds(facts.sampled)), meaning=_against(facts)))
    if facts.speedup is not None:
        how = "measured" if facts.measured else "estimated from the computed steps"
        found.append(Row("Speed-up", f"{facts.speedup:.2f}x", meaning=how))
    return [*found, *fidelity_rows(facts), *sound_rows(facts)]


def fidelity_rows(facts: Facts) -> list[Row]:
    """The part of the table that compares with the reference."""
    fidelity = facts.fidelity
    if fidelity is None:
        return []
    several = facts.count > 1
    worst = f"{decibels(fidelity.psnr_each[fidelity.worst])} ({named(facts.kind, fidelity.worst)})"
    found = [
        Row(
            "PSNR",
            decibels(fidelity.psnr),
            worst if several else "",
            "higher is nearer; from about 40 dB hard to see"
            if facts.kind == "picture"
            else "higher is nearer; peak: range of the reference",
        )
    ]
    if fidelity.ssim is not None:
        low = f"{min(fidelity.ssim_each):.4f}" if several else ""
        found.append(Row("SSIM", f"{fidelity.ssim:.4f}", low, "structure; 1 is identical"))
    if fidelity.gmsd is not None:
        high = f"{max(fidelity.gmsd_each):.4f}" if several else ""
        found.append(Row("GMSD", f"{fidelity.gmsd:.4f}", high, "perceptual; 0 is identical"))
    if fidelity.error is not None:
        found.append(Row("Error", f"{fidelity.error:.2%}", "", "of the size of the reference"))
    return found


def sound_rows(facts: Facts) -> list[Row]:
    """The part of the table on what was sampled with the pictures."""
    found = [
        Row(f"Error, latent {i}", f"{error:.2%}", "", "of the size of the reference")
        for i, error in enumerate(facts.streams, 2)
        if error is not None
    ]
    if facts.sound is not None:
        near, far = facts.sound.si_sdr, facts.sound.spectral
        alike = "identical" if far == 0 else "identical but for loudness"
        told = alike if near == math.inf else decibels(near)
        found.append(Row("Sound SI-SDR", told, "", "higher is nearer"))
        found.append(Row("Sound LSD", f"{far:.2f} dB", "", "spectrum; 0 is identical"))
    return found


def notes(facts: Facts) -> list[str]:
    """Sentences below the table, each once."""
    said = [f"Not cached. {r.refused}" for r in facts.runs if r.refused]
    said += [note for run in facts.runs for note in run.report.sentences]
    said += facts.fidelity.notes if facts.fidelity is not None else ()
    return list(dict.fromkeys([*said, *facts.notes]))


def text(facts: Facts) -> str:
    """The report for the log, a text node or a terminal; one fact a line."""
    lines = []
    for row in rows(facts):
        value = f"{row.value}, worst {row.worst}" if row.worst else row.value
        lines.append(f"{row.measure}: {value}" + (f"; {row.meaning}" if row.meaning else ""))
    return "\n".join([*lines, *notes(facts)])


def as_dict(facts: Facts) -> dict[str, Any]:
    """JSON-ready; null where a number is unknown or infinite.

    The frontend takes it for a file when it looks through the results of a prompt, so it has no field
    that a file has: filename, subfolder, type, format, frame_rate.
    """
    fidelity, speedup = facts.fidelity, facts.speedup
    return {
        "version": VERSION,
        "speedup": _number(speedup, 3),
        "speedup_measured": facts.measured,
        "seconds": _number(seconds(facts.sampled), 4) if facts.sampled else None,
        "seconds_plain": None if speedup is None else _number(facts.plain_seconds, 4),
        "runs": [_finite(run.as_dict()) for run in facts.runs],
        "fidelity": None
        if fidelity is None
        else {
            "of": facts.kind,
            "count": facts.count,
            "identical": fidelity.psnr == math.inf,
            "psnr": _number(fidelity.psnr, 3),
            "psnr_worst": _number(fidelity.psnr_each[fidelity.worst], 3),
            "ssim": _number(fidelity.ssim, 5),
            "gmsd": _number(fidelity.gmsd, 5),
            "relative_error": _number(fidelity.error, 6),
        },
        "sound": None
        if facts.sound is None
        else {
            "identical": facts.sound.spectral == 0,
            "si_sdr": _number(facts.sound.si_sdr, 3),
            "log_spectral_distance": _number(facts.sound.spectral, 3),
        },
        "streams": [_number(error, 6) for error in facts.streams],
        "notes": notes(facts),
    }


def named(kind: str, index: int) -> str:
    """One of several pictures or latents, in words."""
    return f"picture {index + 1}" if kind == "picture" else f"latent {index + 1}"


def counted(facts: Facts) -> str:
    """How many pictures or latents there are, and how large."""
    count, size = facts.count, facts.size
    if facts.kind == "picture":
        return f"{count} pictures of {size}" if count > 1 else f"one picture of {size}"
    return f"{count} latents of {size}" if count > 1 else f"one latent of {size}"


def decibels(value: float) -> str:
    return "identical" if value == math.inf else f"{value:.2f} dB"


def time(spent: float) -> str:
    if spent < 1:
        return f"{spent * 1000:.0f} ms"
    return f"{spent:.2f} s" if spent < 100 else f"{spent / 60:.1f} min"


def _computed(run: FinishedRun) -> Row:
    report = run.report
    share = f"{report.computed} of {report.evaluations} computed"
    return Row(run.name, share, meaning="evaluations of the model")


def _against(facts: Facts) -> str:
    if facts.speedup is None:
        return "without a cache"
    how = "measured" if facts.measured else "estimated"
    return f"against {time(facts.plain_seconds)} without the cache, {how}"


def _number(value: float | None, digits: int) -> float | None:
    return round(value, digits) if value is not None and math.isfinite(value) else None


def _finite(facts: dict[str, Any]) -> dict[str, Any]:
    return {
        k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in facts.items()
    }
