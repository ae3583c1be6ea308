"""Write the workflow files: UI templates and their API-format twins, and blueprints.

    python -m demo.workflows.build

Templates go to workflows/, blueprints to subgraphs/, what is of the demo model to demo/workflows/.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from ..host.client import Client
from ..host.fetch import ROOT
from ..host.server import serve
from .blueprints import blueprint_format, blueprints
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
        write(graph.folder / f"{graph.name}.json", ui_format(graph, info))
        write(graph.folder / "api" / f"{graph.name}.json", api_format(graph))
    for each in blueprints():
        write(each.graph.folder / f"{each.graph.name}.json", blueprint_format(each, info))


def write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
