"""The methods, one file each. To add one: a file with a class like the others, and its line in `METHODS`,
which nodes, docs, tests and benchmarks read."""

from __future__ import annotations

from .base import Inputs, Level, Method, Model, Start
from .budcache import BudCache
from .cfg import CfgCache
from .db_cache import DBCache
from .deepcache import DeepCache
from .delta_cache import DeltaCache
from .dicache import DiCache
from .easycache import EasyCache, LazyCache
from .eoc import EOC
from .first_block_cache import FirstBlockCache
from .magcache import MagCache
from .meancache import MeanCache
from .mixcache import MixCache
from .published_schedule import PublishedSchedule
from .scaling import ScalingCache
from .smoothcache import SmoothCache
from .spans import ScalingSpans
from .taylorseer import StepTaylorSeer, TaylorSeer
from .teacache import TeaCache

METHODS: tuple[type[Method], ...] = (
    ScalingCache,
    ScalingSpans,
    StepTaylorSeer,
    EasyCache,
    LazyCache,
    SmoothCache,
    EOC,
    BudCache,
    MeanCache,
    PublishedSchedule,
    TeaCache,
    MagCache,
    FirstBlockCache,
    DBCache,
    DiCache,
    TaylorSeer,
    DeltaCache,
    DeepCache,
    MixCache,
    CfgCache,
)

__all__ = ["METHODS", "Inputs", "Level", "Method", "Model", "Start"]
__all__ += [method.__name__ for method in METHODS]
