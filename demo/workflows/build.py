"""Write the workflow files: UI templates and their API-format twins.

    python -m demo.workflows.build

Templates for users go to workflows/, those of the demo model to demo/workflows/.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from ..host.client import Client
from ..host.fetch import ROOT
from ..host.server import serve
from .file_format import api_format, ui_format
from .official import shapes
from .templates import graphs


def main() -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as base:
        packs = {"scalingcache-demo": ROOT / "demo" / "nodes"}
        with serve(Path(base), packs) as server:
            # What this host does not know yet, ComfyUI's own templates show.
            info = {**shapes(), **Client(server.url).get("/object_info")}
    for graph in graphs():
        for path, content in (
            (graph.folder / f"{graph.name}.json", ui_format(graph, info)),
            (graph.folder / "api" / f"{graph.name}.json", api_format(graph)),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
