"""Which tests `make test` leaves to `make test-long`: what takes long, and families beyond a few."""

from __future__ import annotations

import re

# Folders, files and tests, by the beginning of their ids.
LONG = (
    "tests/core/test_hostile_files.py::test_many",
    "tests/distributed/",
    "tests/host/test_devices.py",
    "tests/host/test_guidance.py",
    "tests/host/test_matrix.py",
    "tests/host/test_other_packs.py",
    "tests/host/test_samplers.py",
    "tests/host/test_same_as_before.py",
    "tests/host/test_soak.py",
    "tests/host/test_two_caches.py",
    "tests/host/test_ways.py",
    "tests/host/test_weights_and_sizes.py",
    "tests/methods/test_attention.py",
    "tests/methods/test_faults.py::test_an_end_at_any",
    "tests/methods/test_guard.py",
    "tests/methods/test_injected_faults.py::test_many_faults",
    "tests/methods/test_injected_faults.py::test_no_memory_at_many_operations",
    "tests/methods/test_threads.py",
    "tests/test_benchmarks.py",
    "tests/test_browser.py::test_a_template_opens",
    "tests/test_convert.py::test_it_is_what_the_page_would_queue",
    "tests/test_demo_model.py",
    "tests/test_emoji.py::test_a_student",
    "tests/test_emoji.py::test_it_draws",
    "tests/test_emoji.py::test_outlines",
    "tests/test_emoji.py::test_the_demo",
    "tests/test_foreign_pages.py",
    "tests/test_hostile_texts.py::test_the_live_view",
    "tests/test_hostile_texts.py::test_under_a_node",
    "tests/test_host_setup.py",
    "tests/test_insert.py",
    "tests/test_large_benchmark.py",
    "tests/test_combinations_view.py::test_only_the_inputs",
    "tests/test_live_view.py::test_a_cache_that",
    "tests/test_live_view.py::test_a_page",
    "tests/test_live_view.py::test_a_prompt",
    "tests/test_live_view.py::test_a_run_whose",
    "tests/test_live_view.py::test_inside",
    "tests/test_live_view.py::test_one_display",
    "tests/test_situations.py::test_no",
    "tests/test_situations.py::test_a_repair",
    "tests/test_situations.py::test_runs",
    "tests/http/test_replacements.py::test_in_the_page",
    "tests/test_open.py",
    "tests/test_sound_model.py",
)
# Tests in which each family has a parameter of its own, and the families that `make test` takes: one
# with two stacks, one of time signals, one without hooks, and a UNet.
FAMILIES = ("tests/methods/test_families.py", "tests/methods/test_deepcache.py")
FEW = {"flux", "wan", "lumina2", "sd15"}


def is_long(test: str) -> bool:
    """Whether a test is left out, by its id as pytest has it."""
    path, _, parameters = test.partition("[")
    if path.startswith(FAMILIES):
        named = set(re.split(r"[-\]]", parameters))
        return bool(parameters) and not named & FEW
    return path.startswith(LONG)
