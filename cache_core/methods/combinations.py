"""Which methods, granularities, predictors and networks go together, and why the others do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ..predict.predictors import AUTO as OWN
from ..predict.predictors import (
    LEAST_SQUARES,
    ORDER_1,
    ORDER_2,
    REPEAT,
    SCALING,
    TAYLOR_1,
    TAYLOR_2,
    TAYLOR_3,
    Align,
    Predictor,
)
from . import METHODS, Level, Method
from .base import one_of

AUTO = "auto"
# Names that go together with a choice, and in a line each why others do not.
Offer = tuple[list[str], str]
_ALL = (REPEAT, SCALING, LEAST_SQUARES, ORDER_1, ORDER_2, TAYLOR_1, TAYLOR_2, TAYLOR_3, Align())
PREDICTORS: dict[str, Predictor] = {predictor.name: predictor for predictor in _ALL}
PREDICTOR_NAMES = (AUTO, *PREDICTORS)
# As the Scaling Cache node offers them.
SCALING_CACHE_PREDICTORS: dict[str, Predictor] = {
    **{p.name: p for p in (OWN, SCALING, LEAST_SQUARES)},
    "order 0": REPEAT,
    **{p.name: p for p in (ORDER_1, ORDER_2)},
}
_LEVELS = (Level.STEP, Level.BLOCKS)
GRANULARITIES = (AUTO, *(level.value for level in _LEVELS))
_OFFERED = {(m.name, m.level): m for m in METHODS if m.level in _LEVELS}
METHOD_NAMES = tuple(dict.fromkeys(name for name, _ in _OFFERED))


def levels(name: str) -> tuple[Level, ...]:
    """What a method can leave out, its own way first."""
    return tuple(level for level in _LEVELS if (name, level) in _OFFERED)


def predictors(name: str, level: Level) -> tuple[str, ...]:
    """Predictors that go with a method."""
    return tuple(p.name for p in _ALL if _OFFERED[name, level].allows(p))


def uses(name: str) -> tuple[str, ...]:
    """The inputs of Step Cache (Advanced) that a method looks at."""
    return next(method.uses for (own, _), method in _OFFERED.items() if own == name)


def thresholds() -> dict[str, float | None]:
    """What a threshold of 0 stands for, by method; None where it is the model's."""
    return {
        own: None if "from_inputs" in vars(method) else getattr(method, "threshold", None)
        for (own, _), method in _OFFERED.items()
        if "threshold" in method.uses
    }


def choose(name: str, granularity: str, predictor: str) -> type[Method]:
    """The method that a choice means.

    Args:
        name: of a method.
        granularity: value of a Level, or AUTO.
        predictor: name of a predictor, or AUTO for the method's own.

    Raises:
        ValueError: naming the field, the allowed values and why the others are not.
    """
    one_of("method", METHOD_NAMES, name)
    one_of("granularity", GRANULARITIES, granularity)
    one_of("predictor", PREDICTOR_NAMES, predictor)
    able = levels(name)
    if granularity == AUTO:
        fitting = [g for g in able if predictor == AUTO or predictor in predictors(name, g)]
        wanted = fitting[0] if fitting else able[0]
    else:
        wanted = Level(granularity)
    if wanted not in able:
        level = "inside the network" if able == (Level.BLOCKS,) else "on whole steps"
        why = f"{name} works {level}"
        raise _Refused(
            f"granularity: {why}, so it must be {able[0].value!r} or 'auto', got {granularity!r}",
            why,
        )
    allowed = predictors(name, wanted)
    if predictor not in (AUTO, *allowed):
        why = _why_not(_OFFERED[name, wanted], PREDICTORS[predictor])
        raise _Refused(
            f"predictor: {why}; with {name} and {wanted.value!r} it must be one of auto, "
            f"{', '.join(allowed)}",
            why,
        )
    return _OFFERED[name, wanted]


class _Refused(ValueError):
    """A choice that does not go together.

    Attributes:
        why: the reason alone.
    """

    def __init__(self, sentence: str, why: str) -> None:
        super().__init__(sentence)
        self.why = why


def offers() -> dict[str, dict[str, Offer]]:
    """What goes with each method, for the lists of the node: under `granularity` what it can leave out,
    under each granularity its predictors."""
    return {
        method: {
            "granularity": _offer(GRANULARITIES, partial(_refusal, method, predictor=AUTO)),
            **{
                name: _offer(PREDICTOR_NAMES, partial(_refusal, method, name))
                for name in GRANULARITIES
            },
        }
        for method in METHOD_NAMES
    }


def _offer(names: Sequence[str], refusal: Callable[[str], str]) -> Offer:
    reasons = {name: refusal(name) for name in names}
    lines = []
    for why in filter(None, dict.fromkeys(reasons.values())):
        refused = ", ".join(name for name, reason in reasons.items() if reason == why)
        lines.append(f"Not {refused}: {why}.")
    return [name for name, why in reasons.items() if not why], "\n".join(lines)


def _refusal(method: str, granularity: str, predictor: str) -> str:
    """The reason, empty if there is none; in it the predictor is "it", so that several share one."""
    try:
        choose(method, granularity, predictor)
    except _Refused as error:
        return error.why.replace(repr(predictor), "it")
    return ""


def why_not_inside(method: type[Method], unet: bool) -> str:
    """Why a method does not work inside a network; empty if it does.

    Args:
        unet: whether the network is a UNet.
    """
    if method.unet == unet:
        return ""
    if method.unet:
        return (
            f"{method.name} is for UNets such as SD 1.5 and SDXL, and this model is a transformer: "
            "choose another method"
        )
    instead = " or ".join(m.name for m in METHODS if m.unet)
    return (
        f"{method.name} is for transformers, and this model is a UNet: use {instead} of the Step Cache "
        "(Advanced) node, or the Scaling Cache node"
    )


def _why_not(method: type[Method], predictor: Predictor) -> str:
    inside = method.level is Level.BLOCKS
    if not any(method.allows(p) for p in (REPEAT, SCALING)):
        return (
            f"{predictor.name!r} is not {method.name}'s"  # its predictors are a kind of their own
        )
    if predictor.aligned and inside:
        return (
            "alignment follows the first blocks, which this method does not run before it decides"
        )
    if predictor.aligned:
        return "alignment follows the first blocks, and a whole step runs none"
    if inside:
        return f"{predictor.name!r} follows the noise level, which changes of blocks do not"
    return "least squares needs coefficients, which this method does not look for"
