"""Checks of settings; each names the field and what is allowed."""

from __future__ import annotations

import math


def check_range(field: str, value: float, low: float, high: float) -> None:
    """
    Raises:
        ValueError: naming the field and its range.
    """
    if not (math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{field}: must be between {low} and {high}, got {value}")


def check_window(start_percent: float, end_percent: float) -> None:
    """
    Raises:
        ValueError: naming the field.
    """
    check_range("start_percent", start_percent, 0.0, 1.0)
    check_range("end_percent", end_percent, 0.0, 1.0)
    if start_percent > end_percent:
        raise ValueError(
            f"start_percent: must not be above end_percent, got {start_percent} and {end_percent}"
        )
