"""Write the table "your model, your steps" from the official templates, and count what it covers.

python -m docs.model_table
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cache_core.decide.policies import ENOUGH
from cache_core.planning.optimiser import target_steps
from demo.workflows.graphs import fewest_of, highest
from demo.workflows.official import Unfolded, index

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- models -->\n", "<!-- /models -->\n"
HELP = ROOT / "web" / "docs"


@dataclass(frozen=True)
class Row:
    """What to set for models that are run alike.

    Attributes:
        model: as people call it.
        files: a pattern for the beginning of the network's file.
    """

    model: str
    files: str


ROWS = (
    Row("MiniMax H3", r"minimax_h3_(fl2va|ref2va)"),
    Row("Qwen-Image 2.1, Edit", r"qwen_image_2\.1_int8"),
    Row("Wan 2.2 14B (2 x 10)", r"wan2\.2_(i2v|t2v|fun)"),
    Row("FLUX.2 dev", r"flux2_dev"),
    Row("FLUX.2 Klein base", r"flux-2-klein-base"),
    Row("FLUX.3 Klein base", r"flux3-image-klein-base"),
    Row("FLUX.3 Klein distilled", r"flux3-image-klein-int8"),
    Row("Qwen-Image-Edit 2511, FireRed", r"qwen_image_edit_2511|FireRed"),
    Row("Qwen-Image 2512", r"qwen_image_2512"),
    Row("MOSS-Image", r"moss_image"),
    Row("Anima", r"anima"),
    Row("MiniMax Music 3", r"minimax_music3"),
    Row("Z-Image", r"z_image_(bf16|int8)"),
    Row("SDXL", r"sd_xl_base"),
    Row("FLUX.1 dev, Fill, Kontext, Krea", r"flux1-(dev|fill|krea)"),
    Row("SD 3.5", r"sd3\.5_large"),
    Row("Wan 2.1, Wan 2.2 5B", r"wan2\.1_[it]2v|wan2\.2_ti2v_5B"),
    Row("HunyuanVideo, 1.5", r"hunyuan_?video"),
    Row("LTX-2 dev", r"ltx-2-19b-dev"),
    Row("Kandinsky 5", r"kandinsky5lite"),
)
WORDS = {
    "en": (
        ("your model", "steps", "set `speedup` (computed steps)"),
        ", draft {}",
        ("Z-Image Turbo, Krea 2 Turbo, LTX-2.3, LTX-2.5, 8-step LoRAs", "8", "2.0 (6), LTX-2.5: 7"),
        ("4-step Lightning and turbo LoRAs", "4", "off: 3 steps come as near"),
    ),
    "zh": (
        ("模型", "步数", "`speedup` 设为 (计算步数)"),
        ", 草稿 {}",
        ("Z-Image Turbo, Krea 2 Turbo, LTX-2.3, LTX-2.5, 8 步 LoRA", "8", "2.0 (6), LTX-2.5: 7"),
        ("4 步 Lightning 和 turbo LoRA", "4", "关闭：3 步同样接近"),
    ),
}
# Language, and whether models that are set alike share a row.
PAGES = {
    ROOT / "README.md": ("en", True),
    ROOT / "docs" / "models.md": ("en", False),
    HELP / "ScalingCache" / "en.md": ("en", False),
    HELP / "ScalingCache.md": ("en", False),
    HELP / "ScalingCache" / "zh.md": ("zh", False),
}


@dataclass(frozen=True)
class Run:
    """An official template that samples: what people run of it.

    Attributes:
        fewest: computed steps below which plain sampling with as few is about as near.
    """

    name: str
    usage: int
    steps: int
    networks: frozenset[str]
    fewest: int


@cache
def runs() -> tuple[Run, ...]:
    """The official templates with more than 8 steps; two models in turn count together."""
    found = []
    for name, entry in index().items():
        template = Unfolded(name)
        samplers = template.samplers()
        paired = {place for place in samplers if "start_at_step" in template.parts[place].inputs}
        steps = max([sum(samplers[p] for p in paired), *samplers.values()], default=0)
        if steps > ENOUGH:
            files = frozenset(template.networks())
            few = fewest_of((part.inputs for part in template.parts.values()), len(paired) > 1)
            found.append(Run(name, entry.get("usage", 0), steps, files, few))
    return tuple(found)


def of(row: Row) -> list[Run]:
    """What a row is about."""
    return [run for run in runs() if any(re.match(row.files, name) for name in run.networks)]


def share() -> float:
    """How much of the usage above 8 steps has a row."""
    covered = {run.name: run.usage for row in ROWS for run in of(row)}
    return sum(covered.values()) / sum(run.usage for run in runs())


def table(language: str, alike: bool = False) -> str:
    """The table in Markdown, with the steps of what is run most of each row.

    Args:
        alike: models that are set alike in one row.
    """
    head, draft, *few = WORDS[language]
    models: dict[tuple[str, ...], list[str]] = {}
    for row in ROWS:
        run = max(of(row), key=lambda run: run.usage)
        most = highest(run.steps, run.fewest)
        counts = ((s, max(target_steps(run.steps, s), run.fewest)) for s in (2.0, most))
        usual, fast = (f"{speedup} ({count})" for speedup, count in counts)
        setting = str(run.steps), usual + (draft.format(fast) if most > 2 else "")
        models.setdefault(setting if alike else (*setting, row.model), []).append(row.model)
    rows: list[Iterable[str]] = [head, ("---",) * len(head)]
    rows += [("; ".join(names), *setting[:2]) for setting, names in models.items()]
    rows += few
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def filled(page: str, language: str, alike: bool = False) -> str:
    """A page with the table between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"no line {BEGIN.strip()!r} and {END.strip()!r}")
    return f"{before}{BEGIN}\n{table(language, alike)}\n{END}{after}"


def main() -> None:
    for path, form in PAGES.items():
        page = path.read_text(encoding="utf-8")
        path.write_text(filled(page, *form), encoding="utf-8")
    print(f"{share():.1%} of the usage above {ENOUGH} steps has a row")
    rows = {run.name for row in ROWS for run in of(row)}
    for run in sorted(runs(), key=lambda run: -run.usage)[:60]:
        if run.name not in rows:
            print(f"  not: {run.usage:6} {run.name}, {run.steps} steps")


if __name__ == "__main__":
    main()
