"""Methods on whole steps, one file each. To add one: a file with a class like the others, and its line in
`STEP_METHODS`. Scaling Cache itself is `Settings`."""

from __future__ import annotations

from ..settings import Settings
from .base import StepMethod
from .easycache import EasyCache, LazyCache
from .eoc import EOC
from .smoothcache import SmoothCache
from .taylorseer import StepTaylorSeer

STEP_METHODS: tuple[type[StepMethod], ...] = (
    Settings,
    StepTaylorSeer,
    EasyCache,
    LazyCache,
    SmoothCache,
    EOC,
)
