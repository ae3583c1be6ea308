"""Which methods, granularities, predictors and networks go together, and why the others do not."""

from __future__ import annotations

from enum import Enum

from .methods import METHODS, Method
from .settings import PredictorKind
from .stack_predictors import REUSE, Align, StackPredictor, Taylor
from .step_methods import STEP_METHODS

AUTO = "auto"


class Granularity(Enum):
    """What is left out at a skipped step. The values are what the user reads."""

    STEP = "whole step"
    BLOCKS = "blocks"


STEP_PREDICTORS: dict[str, PredictorKind] = {
    "reuse": PredictorKind.ORDER_0,
    "scaling": PredictorKind.SCALING,
    "least squares": PredictorKind.LEAST_SQUARES,
    "order 1": PredictorKind.ORDER_1,
    "order 2": PredictorKind.ORDER_2,
    "Taylor 1": PredictorKind.TAYLOR_1,
    "Taylor 2": PredictorKind.TAYLOR_2,
    "Taylor 3": PredictorKind.TAYLOR_3,
}
BLOCK_PREDICTORS: dict[str, StackPredictor] = {
    "reuse": REUSE,
    "Taylor 1": Taylor(1),
    "Taylor 2": Taylor(2),
    "Taylor 3": Taylor(3),
    "alignment": Align(),
}
PREDICTORS = (AUTO, *dict.fromkeys((*STEP_PREDICTORS, *BLOCK_PREDICTORS)))
GRANULARITIES = (AUTO, *(g.value for g in Granularity))

_STEP = {method.name: method for method in STEP_METHODS}
BLOCK_METHODS: dict[str, type[Method]] = {method.name: method for method in METHODS}
METHOD_NAMES = tuple(dict.fromkeys((*_STEP, *BLOCK_METHODS)))


def granularities(method: str) -> tuple[Granularity, ...]:
    """What a method can leave out, its own way first."""
    found = [Granularity.STEP] if method in _STEP else []
    return (*found, *([Granularity.BLOCKS] if method in BLOCK_METHODS else []))


def predictors(method: str, granularity: Granularity) -> tuple[str, ...]:
    """Predictors that go with a method."""
    if granularity is Granularity.STEP:
        return tuple(
            name
            for name, kind in STEP_PREDICTORS.items()
            if (method != "TaylorSeer" or kind.is_taylor)
            and (_STEP[method].uses_coefficients or kind is not PredictorKind.LEAST_SQUARES)
        )
    probes = method in BLOCK_METHODS and BLOCK_METHODS[method].probes
    return tuple(
        name
        for name, predictor in BLOCK_PREDICTORS.items()
        if (probes or not predictor.aligned)
        and (method != "TaylorSeer" or isinstance(predictor, Taylor))
    )


def choose(method: str, granularity: str, predictor: str) -> Granularity:
    """The granularity that a choice means.

    Args:
        method: name of a method.
        granularity: value of a Granularity, or AUTO.
        predictor: name of a predictor, or AUTO for the method's own.

    Raises:
        ValueError: naming the field, the allowed values and why the others are not.
    """
    _check("method", method, METHOD_NAMES)
    _check("granularity", granularity, GRANULARITIES)
    _check("predictor", predictor, PREDICTORS)
    able = granularities(method)
    if granularity == AUTO:
        fitting = [g for g in able if predictor == AUTO or predictor in predictors(method, g)]
        wanted = fitting[0] if fitting else able[0]
    else:
        wanted = Granularity(granularity)
    if wanted not in able:
        level = "inside the network" if able == (Granularity.BLOCKS,) else "on whole steps"
        raise ValueError(
            f"granularity: {method} works {level}, so it must be {able[0].value!r} or 'auto', "
            f"got {granularity!r}"
        )
    allowed = predictors(method, wanted)
    if predictor not in (AUTO, *allowed):
        raise ValueError(
            f"predictor: {_why_not(method, predictor, wanted)}; with {method} and "
            f"{wanted.value!r} it must be one of auto, {', '.join(allowed)}"
        )
    return wanted


def offers() -> dict[str, dict[str, dict[str, str]]]:
    """Why a choice is refused, empty if it is not, by method, granularity and predictor."""
    return {
        method: {
            level: {predictor: _refusal(method, level, predictor) for predictor in PREDICTORS}
            for level in GRANULARITIES
        }
        for method in METHOD_NAMES
    }


def _refusal(method: str, granularity: str, predictor: str) -> str:
    try:
        choose(method, granularity, predictor)
    except ValueError as error:
        return str(error).partition(": ")[2]
    return ""


def why_not_inside(method: Method | type[Method], unet: bool) -> str:
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
    return (
        f"{method.name} is for transformers, and this model is a UNet: use DeepCache of the Step Cache "
        "(Advanced) node, or the Scaling Cache node"
    )


def _why_not(method: str, predictor: str, granularity: Granularity) -> str:
    if method == "TaylorSeer":
        return f"{predictor!r} is not TaylorSeer's"
    if predictor == "least squares" and granularity is Granularity.STEP:
        return "least squares needs coefficients, which this method does not look for"
    if predictor == "alignment" and granularity is Granularity.BLOCKS:
        return (
            "alignment follows the first blocks, which this method does not run before it decides"
        )
    if predictor == "alignment":
        return "alignment follows the first blocks, and a whole step runs none"
    return f"{predictor!r} follows the noise level, which changes of blocks do not"


def _check(field: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{field}: must be one of {', '.join(allowed)}, got {value!r}")
