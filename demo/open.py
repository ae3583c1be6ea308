"""`make open`: ComfyUI with the pack and the demo models, and the demo workflow open in the browser."""

from __future__ import annotations

import argparse
import tempfile
import threading
import webbrowser
from contextlib import suppress
from pathlib import Path

import requests

from .host.fetch import ROOT, FetchError
from .host.server import ServerError, place, serve

PACK = "scalingcache-demo"
WORKFLOW = "demo_emoji_on"


def show(port: int | None) -> None:
    """Run the host until Ctrl-C."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as base:
        # The demo's nodes and workflows as one pack: the page opens what a pack has as templates.
        pack = Path(base) / "custom_nodes" / PACK
        pack.mkdir(parents=True)
        for source in (ROOT / "demo" / "nodes").glob("*.py"):
            place(source, pack / source.name)
        place(ROOT / "demo" / "workflows", pack / "workflows")
        print("Starting ComfyUI", flush=True)
        with serve(Path(base), port=port, calibrated=True) as server:
            # Else the first visit opens the list of templates, and a small window shows no texts.
            settings = {"Comfy.TutorialCompleted": True, "LiteGraph.Canvas.MinFontSizeForLOD": 0}
            requests.post(f"{server.url}/api/settings", json=settings, timeout=30)
            url = f"{server.url}/?template={WORKFLOW}&source={PACK}"
            print(f"The demo workflow is open at {url}")
            print(
                f"Press Run there. If it is not open: Templates > Extensions > {PACK} > {WORKFLOW}."
            )
            print("Ctrl-C here ends ComfyUI; what it made is not kept.", flush=True)
            webbrowser.open(url)
            with suppress(KeyboardInterrupt):
                threading.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, help="where ComfyUI listens (default: a free port)")
    try:
        show(parser.parse_args().port)
    except (FetchError, ServerError) as error:
        raise SystemExit(f"open: {error}") from error


if __name__ == "__main__":
    main()
