"""Write the table of methods into docs/methods.md from the methods themselves.

python -m docs.method_table
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cache_core.decide.signals import Polynomial, Reference, SignalKind
from cache_core.methods import (
    EOC,
    METHODS,
    DBCache,
    DeepCache,
    DeltaCache,
    DiCache,
    EasyCache,
    FirstBlockCache,
    MagCache,
    Method,
    MixCache,
    ScalingCache,
    SmoothCache,
    StepMethod,
    TaylorSeer,
    TeaCache,
)
from cache_core.methods.delta_cache import WAN_14B
from cache_core.predict import predictors

PAGE = Path(__file__).with_name("methods.md")
BEGIN, END = "<!-- table -->\n", "<!-- /table -->\n"
HEAD = (
    "method",
    "leaves out",
    "signal",
    "reference replaced",
    "predictor",
    "needs to know of a model",
    "keeps per conditioning",
    "waits for the device",
    "source",
)
_TEA = TeaCache(Polynomial((1.0, 0.0)), 0.1)
# One of each, as a user gets it.
BLOCK_METHODS: tuple[Method, ...] = (
    _TEA,
    MagCache(((1.0,),), 0.1, 2, 0.2),
    FirstBlockCache(),
    DBCache(),
    DiCache(),
    TaylorSeer(),
    WAN_14B,
    DeepCache(),
    MixCache(),
)


def block_row(method: Method) -> tuple[str, ...]:
    signal = method.signal.value
    waits = "one number per step"
    if isinstance(method, TeaCache):
        signal += (
            "; time embedding (Wan, Lumina 2, HiDream); tokens that enter it (HiDream dev, fast)"
        )
        waits += "; for time embeddings once, before the first step"
    elif method.signal is SignalKind.NONE:
        waits = "never"
    spans = "each run of skipped blocks" if isinstance(method, DeltaCache) else "the blocks"
    depth = method.predictor.depth
    kept = f"change of {spans}" + (f", {depth} times" if depth > 1 else "")
    if method.predictor.aligned:
        kept += ", and of the first blocks"
    if method.signal is not SignalKind.NONE:
        kept += ", the compared tensor"
    left = "listed blocks" if isinstance(method, DeltaCache) else "blocks"
    if isinstance(method, DeepCache):
        left, kept = "deep blocks of a UNet", "what enters the last blocks"
    if isinstance(method, MixCache):
        left = "all blocks, the middle ones or the negative conditioning"
        signal = "residuals of all and of the middle blocks, guidance difference"
        kept, waits = f"{kept}, of the middle ones, 2 latents", "one read per computed step"
    if method.signal.is_probe:
        left += " but the first ones"
    return (
        method.name,
        left,
        signal,
        "computed steps" if isinstance(method, MixCache) else _reference(method.reference),
        method.predictor.name,
        method.calibration,
        kept,
        waits,
        method.source,
    )


def step_row(kind: type[StepMethod]) -> tuple[str, ...]:
    method: Any = kind()
    predictor = method.predictor
    name = "reuse" if predictor is predictors.REPEAT else predictor.value
    kept = f"{predictor.order + 1} latents" if predictor.order else "1 latent"
    waits = "one number per computed step"
    needs = "none"
    if isinstance(method, EasyCache):
        kept += ", and 3 for the run"
        waits = "one number per step, one more per computed step"
    if isinstance(method, ScalingCache):
        name = "scaling, or least squares"
        kept = "2 latents, or 3, and 3 in all"
        needs = "none; for least squares a coefficient file"
    if isinstance(method, SmoothCache):
        needs = "coefficient file"
    if isinstance(method, EOC):
        name = "reuse; least squares of two where calibration says that it pays"
        needs = "none; corrects with a coefficient file"
    return (
        method.name,
        "whole step",
        method.signal.value,
        _reference(method.reference),
        name,
        needs,
        kept,
        waits,
        method.source,
    )


def table() -> str:
    """The table in Markdown."""
    rows = [HEAD, ("---",) * len(HEAD)]
    rows += [step_row(kind) for kind in METHODS]
    rows += [block_row(method) for method in BLOCK_METHODS]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def filled(page: str) -> str:
    """A page with the table between its marks.

    Raises:
        ValueError: if the page has no marks.
    """
    before, _, rest = page.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"{PAGE.name}: no line {BEGIN.strip()!r} and {END.strip()!r}")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def _reference(reference: Reference) -> str:
    return "-" if reference is Reference.NONE else reference.value


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
