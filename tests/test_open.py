"""`make open`: what the browser is sent to, and what it shows."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from demo.host.fetch import ROOT
from demo.open import WORKFLOW

from .conftest import FLAGS, chromium


@pytest.mark.host
@pytest.mark.browser
def test_the_browser_shows_the_demo_workflow(tmp_path: Path):
    from playwright.sync_api import sync_playwright

    browser = tmp_path / "browser.py"
    browser.write_text("import sys; print('sent to', sys.argv[1], flush=True)")
    process = subprocess.Popen(
        [sys.executable, "-m", "demo.open"],
        cwd=ROOT,
        env={**os.environ, "BROWSER": f"{sys.executable} {browser} %s"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = (re.match("sent to (.+)", line) for line in process.stdout)
        (url,) = next(filter(None, found)).groups()
        nodes = json.loads((ROOT / "demo" / "workflows" / f"{WORKFLOW}.json").read_text())["nodes"]
        with sync_playwright() as playwright:
            page = playwright.chromium.launch(executable_path=chromium(), args=FLAGS).new_page()
            page.goto(url)
            page.wait_for_function(
                "types => String(window.app?.graph?._nodes.map(n => n.type).sort()) === String(types)",
                arg=sorted(node["type"] for node in nodes),
            )
            page.wait_for_timeout(1000)
            assert page.get_by_role("dialog").count() == 0
    finally:
        process.send_signal(signal.SIGINT)
    assert process.wait(timeout=300) == 0
