"""The published methods, one file each. To add one: a file with a class like the others, and its
line in `METHODS`."""

from __future__ import annotations

from .base import Method
from .db_cache import DBCache
from .deepcache import DeepCache
from .delta_cache import DeltaCache
from .dicache import DiCache
from .first_block_cache import FirstBlockCache
from .magcache import MagCache
from .mixcache import MixCache
from .taylorseer import TaylorSeer
from .teacache import TeaCache

METHODS: tuple[type[Method], ...] = (
    TeaCache,
    MagCache,
    FirstBlockCache,
    DBCache,
    DiCache,
    TaylorSeer,
    DeltaCache,
    DeepCache,
    MixCache,
)
