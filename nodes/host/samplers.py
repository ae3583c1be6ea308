"""What the host's samplers do between two steps: evaluations of the model and fresh noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ...cache_core.plan import SamplerTraits


@dataclass(frozen=True)
class _Entry:
    """Evaluations of each step, and of the first and last ones where they differ.

    The last counts apply to schedules that end at sigma 0, where a sampler has no second point.
    """

    each: int = 1
    head: tuple[int, ...] = ()
    tail: tuple[int, ...] = ()
    stochastic: bool = False
    # Whether the option eta = 0 turns the added noise off.
    eta: bool = False
    # Whether it sums derivatives, with or without memory of earlier ones.
    sums: bool = False
    # Whether it draws polynomials through the last four of them, at their own distances.
    carries: bool = False

    def evaluations(self, steps: int, ends_at_zero: bool) -> tuple[int, ...]:
        counts = [self.each] * steps
        counts[: len(self.head)] = self.head
        if ends_at_zero and self.tail:
            counts[-len(self.tail) :] = self.tail
        return tuple(counts)


_ONE = _Entry()
_SUM = _Entry(sums=True)
_FOUR = _Entry(sums=True, carries=True)
_TWO = _Entry(2, tail=(1,))
_ONE_NOISY = _Entry(stochastic=True)
_ONE_ETA = _Entry(stochastic=True, eta=True)
_TWO_ETA = _Entry(2, tail=(1,), stochastic=True, eta=True)

_SAMPLERS: Mapping[str, _Entry] = {
    **dict.fromkeys(
        (
            "euler",
            "ipndm",
            "deis",
            "dpmpp_2m",
            "res_multistep",
            "gradient_estimation",
            "unipc",
            "unipc_bh2",
        ),
        _SUM,
    ),
    **dict.fromkeys(("lms", "ipndm_v"), _FOUR),
    **dict.fromkeys(
        (
            "euler_cfg_pp",
            "dpmpp_2m_cfg_pp",
            "res_multistep_cfg_pp",
            "gradient_estimation_cfg_pp",
        ),
        _ONE,
    ),
    **dict.fromkeys(("ddpm", "lcm", "er_sde", "sa_solver"), _ONE_NOISY),
    **dict.fromkeys(
        (
            "euler_ancestral",
            "euler_ancestral_cfg_pp",
            "dpmpp_2m_sde",
            "dpmpp_2m_sde_gpu",
            "dpmpp_2m_sde_heun",
            "dpmpp_2m_sde_heun_gpu",
            "dpmpp_3m_sde",
            "dpmpp_3m_sde_gpu",
            "res_multistep_ancestral",
            "res_multistep_ancestral_cfg_pp",
        ),
        _ONE_ETA,
    ),
    **dict.fromkeys(("heun", "dpm_2"), _TWO),
    **dict.fromkeys(
        (
            "dpm_2_ancestral",
            "dpmpp_2s_ancestral",
            "dpmpp_2s_ancestral_cfg_pp",
            "dpmpp_sde",
            "dpmpp_sde_gpu",
            "seeds_2",
        ),
        _TWO_ETA,
    ),
    "heunpp2": _Entry(3, tail=(2, 1)),
    "seeds_3": _Entry(3, tail=(1,), stochastic=True, eta=True),
    "sa_solver_pece": _Entry(2, head=(1,), stochastic=True),
}
# They choose their own sigmas, so that each evaluation has to be measured, but add no noise.
_FREE_ODE = frozenset({"dpm_fast", "dpm_adaptive"})


def schedule_of(model: Any, sampler_name: str, scheduler: str, steps: int) -> tuple[float, ...]:
    """Sigmas that the host samples, the final one included: for some samplers it drops one of the
    scheduler's."""
    import comfy.samplers

    sampler = comfy.samplers.KSampler(
        model, steps, model.load_device, sampler_name, scheduler, model_options={}
    )
    return tuple(float(sigma) for sigma in sampler.sigmas.tolist())


def sampler_traits(sampler: Any, sigmas: tuple[float, ...]) -> SamplerTraits:
    """Traits of a host sampler object on a schedule.

    A sampler that is not known is measured and taken for a noisy one: that predicts less, and is
    safe for any.
    """
    function = getattr(sampler, "sampler_function", None)
    name = getattr(function, "__name__", type(sampler).__name__)
    name = name.removeprefix("sample_").removesuffix("_function")
    options: Mapping[str, Any] = getattr(sampler, "extra_options", None) or {}
    churned = bool(options.get("s_churn", 0.0))
    entry = _SAMPLERS.get(name)
    if entry is None:
        return SamplerTraits(name, None, stochastic=churned or name not in _FREE_ODE)
    silent = entry.eta and options.get("eta") == 0
    return SamplerTraits(
        name,
        entry.evaluations(len(sigmas) - 1, sigmas[-1] == 0),
        stochastic=churned or (entry.stochastic and not silent),
        sums=entry.sums and not churned,
        carries=entry.carries,
    )


# Signal over noise that a model can just tell from noise alone in a latent of 16 x 16, about what suits
# the demo models. Noise averages out over more positions, so it falls with the root of their number
# (Esser et al., arXiv 2403.03206, section 5.3.2).
_TOLD, _POSITIONS = 1 / 30, 16 * 16


def log_snr(
    patcher: Any, schedule: tuple[float, ...], shape: Sequence[int]
) -> tuple[float, ...] | None:
    """Logarithm of signal over noise at each sigma of a schedule, which levels off where a model cannot
    tell the signal; None if it does not rise throughout.

    A flow model mixes `(1 - sigma)` of the picture with sigma of noise, the others add noise of size
    sigma. Cut off at a thousandth of noise, or below the smallest part that the schedule holds.

    Args:
        shape: of the latent, [batch, channels, ...].
    """
    from comfy.model_sampling import CONST

    flow = isinstance(patcher.get_model_object("model_sampling"), CONST)
    told = _TOLD * math.sqrt(_POSITIONS / max(math.prod(shape[2:]), 1))
    # A cut within the schedule would put two of its steps in one place, with no line between them.
    least = min([1e-3, *(0.5 * sigma for sigma in schedule if sigma > 0)])
    inside = [max(sigma, least) for sigma in schedule]
    ratios = [(1 - sigma if flow else 1.0) / sigma for sigma in inside]
    places = tuple(math.log(math.hypot(ratio, told)) for ratio in ratios)
    falls = all(a > b >= 0 for a, b in pairwise(schedule))
    return places if falls and all(a < b for a, b in pairwise(places)) else None
