"""What the live view says of a run in words: over its marks, and to those who do not see them."""

from __future__ import annotations

from dataclasses import dataclass

from ...cache_core.run.report import RunReport


@dataclass(frozen=True)
class Told:
    """A run as far as it is told.

    Attributes:
        state: "running", "done" or "stopped".
        name: of the method.
        report: of the run.
        computed, predicted: steps that are told.
    """

    state: str
    name: str
    report: RunReport
    computed: int
    predicted: int

    @property
    def caption(self) -> str:
        """Where it stands, in few words."""
        done, total = self.computed + self.predicted, self.report.planned_steps
        left = self.report.seconds_left
        saved = self.report.plain_seconds - self.report.seconds
        if self.state == "stopped":
            return f"Stopped after {done} of {total} steps"
        if self.state == "running" and left:
            return f"{done} of {total} steps, {duration(left)} left"
        if self.state == "running":
            return f"{done} of {total} steps"
        if not self.predicted:
            return "Nothing predicted"
        if saved > 0:
            return f"{self.computed} of {total} computed, saved {duration(saved)}"
        return f"{self.computed} of {total} computed"

    @property
    def speed(self) -> str:
        """Speed-ups that were asked for and reached. The latter is an estimate: no plain run was made."""
        asked, reached = self.report.asked, self.report.speedup
        if asked and self.predicted:
            return f"asked {asked:.1f}x, about {reached:.1f}x"
        if self.predicted:
            return f"about {reached:.1f}x"
        return f"asked {asked:.1f}x" if asked and self.state != "done" else ""

    @property
    def summary(self) -> str:
        """All that is known, in lines."""
        report, total = self.report, self.report.planned_steps
        found = [
            f"{self.name}: {self.computed} of {total} steps computed, {self.predicted} predicted"
        ]
        to_go = total - self.computed - self.predicted
        if self.state == "stopped":
            found.append("stopped early")
        elif to_go > 0:
            found.append(f"{to_go} to go")
        if self.state != "running":
            found.append(duration(report.seconds))
        if self.predicted:
            found.append(f"about {report.speedup:.2f} times faster")
        if report.asked:
            found.append(f"asked {report.asked:.1f} times")
        if self.state == "running":
            return "\n".join(found)
        computed, predicted = report.seconds_per_step(True), report.seconds_per_step(False)
        if computed is not None and predicted is not None:
            each = duration(computed), duration(predicted)
            found.append(f"{each[0]} per computed step, {each[1]} per predicted step")
        if report.cache_bytes:
            found.append(f"{report.cache_bytes / 2**20:.3g} MiB held")
        return "\n".join([*found, *report.sentences])


def duration(seconds: float) -> str:
    """In the unit that fits, such as 340 ms, 2.1 s and 3:05 min."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02} min"
