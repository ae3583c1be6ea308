"""Which ranks compute a picture together, and how they come to one decision.

Other packs (Raylight with xDiT) spread one model over several processes. Each of them runs the sampler
and this cache; what they decide has to be the same.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
import torch.distributed as dist

from ...cache_core.run.agreement import Agree

KEY = "scaling_cache_ranks"
_XFUSER = "xfuser.core.distributed"


class Sharing(Enum):
    """With whom a rank computes its pictures."""

    AUTO = "those of its replica where xDiT has made replicas, else all"
    WORLD = "all ranks"
    ALONE = "none"


@dataclass(frozen=True)
class Ranks:
    """Agreement by one all-reduce per group, which gives the same bits to all of its ranks.

    Attributes:
        groups: such that taken one after the other they join all ranks of a picture.
    """

    groups: tuple[Any, ...]

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        for group in self.groups:
            shared = values.to(_device(group, values.device), copy=True)
            dist.all_reduce(shared, group=group)
            values = (shared / dist.get_world_size(group)).to(values.device)
        return values


def agreement(options: Mapping[str, Any]) -> Agree | None:
    """How the decisions of a run are made the same on all ranks; None where there is one.

    Args:
        options: the transformer options of the run; under `KEY` they may hold a `Sharing`.
    """
    sharing = options.get(KEY, Sharing.AUTO)
    if sharing is Sharing.ALONE or not (dist.is_available() and dist.is_initialized()):
        return None
    groups = (_replica() if sharing is Sharing.AUTO else None) or (dist.group.WORLD,)
    groups = tuple(group for group in groups if dist.get_world_size(group) > 1)
    return Ranks(groups) if groups else None


def _replica() -> tuple[Any, ...] | None:
    """Groups over which xDiT spreads one picture, None where it is not in use."""
    xfuser = sys.modules.get(_XFUSER)
    if xfuser is None or not xfuser.model_parallel_is_initialized():
        return None
    found = (xfuser.get_sp_group(), xfuser.get_cfg_group(), xfuser.get_pp_group())
    return tuple(group.device_group for group in found)


def _device(group: Any, wanted: torch.device) -> torch.device:
    """Where a group can reduce values that lie on a device."""
    backend = str(dist.get_backend(group))
    if wanted.type == "cpu" and backend == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu") if backend == "gloo" else wanted
