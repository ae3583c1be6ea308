"""Step caching without a host: clocks, histories, predictors, schedules, policies and reports.

Everything here is pure torch and can be imported and tested without ComfyUI.
"""

VERSION = "0.1.0"
