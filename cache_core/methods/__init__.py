"""The published methods, one file each. To add one: a file with a class like the others, and its
line in `METHODS`."""

from __future__ import annotations

from .base import Method
from .delta_cache import DeltaCache
from .first_block_cache import FirstBlockCache
from .magcache import MagCache
from .teacache import TeaCache

METHODS: tuple[type[Method], ...] = (TeaCache, MagCache, FirstBlockCache, DeltaCache)
