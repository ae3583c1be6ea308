"""Run a workflow on a running ComfyUI with another speed-up, and fetch what it made.

    python ComfyUI-ScalingCache/cli generate workflow.json --speedup 2.5 --report --out pictures

The workflow is one of yours, as the browser saves it or in API format (File > Export (API)). Writes the
files that it saves, and with a report: report.png, report.txt and report.json. Ends with 0 when all is
written, with 1 if the host refused or failed, with 2 if an argument or the workflow is unfit.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .calibrate import DONE, FAILED, UNFIT, Progress, server
from .client import Host, HostError
from .edit import with_input, with_report, with_speedup
from .workflow import Workflow, read

_REPORT = ("report.png", "report.txt", "report.json")


def parser() -> argparse.ArgumentParser:
    description, _, rest = (__doc__ or "").partition("\n\n")
    result = argparse.ArgumentParser(
        prog="cli generate",
        description=description,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = result.add_argument
    add("workflow", metavar="WORKFLOW", type=Path, help="your workflow, in either format")
    add("--speedup", type=float, help="of all cache nodes that are on")
    add("--set", metavar="NODE.INPUT=VALUE", action="append", default=[], help="any other input")
    add("--report", action="store_true", help="add a Cache Report before what is saved")
    add("--metadata", action="store_true", help="with statistics in the pictures; implies --report")
    add("--out", type=Path, default=Path("out"), help="folder for the files, default %(default)s")
    add("--server", default="http://127.0.0.1:8188", help="default %(default)s")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        host = Host(server(options.server))
        check_out(options.out)
        workflow, report = prepare(options, host)
    except (ValueError, HostError) as error:
        print(f"error: {error}", file=sys.stderr)
        return UNFIT if isinstance(error, ValueError) else FAILED
    try:
        outputs = run(host, workflow, options.metadata)
        options.out.mkdir(parents=True, exist_ok=True)
        for path in write(host, outputs, report, options.out):
            print(path)
    except (HostError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("error: left; the run may go on", file=sys.stderr)
        return FAILED
    if report is not None:
        print("\n".join(outputs[report]["text"]))
    return DONE


def prepare(options: argparse.Namespace, host: Host) -> tuple[Workflow, str | None]:
    """What to queue, and the id of its report node, if it has one.

    Raises:
        ValueError: naming the field.
        HostError: if the host had to be asked for its nodes and does not answer.
    """
    workflow = read(options.workflow, host.node)
    if options.speedup is not None:
        workflow = with_speedup(workflow, options.speedup)
    for assignment in options.set:
        workflow = with_input(workflow, assignment, host.node)
    if options.report or options.metadata:
        return with_report(workflow, options.metadata)
    return workflow, None


def check_out(folder: Path) -> None:
    """See before anything runs that files can be written; the folder is made when there are some.

    Raises:
        ValueError: if it cannot be made, or not be written in.
    """
    there = next((place for place in (folder, *folder.parents) if os.path.lexists(place)), folder)
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise ValueError(f"--out: {there} is no folder that can be written in")


def run(host: Host, workflow: Workflow, metadata: bool) -> dict[str, Any]:
    """Outputs per node. Ctrl-C takes the run off the host.

    Raises:
        HostError: if the host refused or did not finish.
    """
    prompt_id = host.queue(workflow, {} if metadata else None)
    progress = Progress(sys.stderr)
    try:
        return host.wait(prompt_id, progress)
    except KeyboardInterrupt:
        progress("stopping; Ctrl-C again leaves at once", 0)
        host.cancel(prompt_id)
        return host.wait(prompt_id, progress)  # fails, unless it was done just then
    finally:
        progress.end()


def write(host: Host, outputs: dict[str, Any], report: str | None, folder: Path) -> Iterator[Path]:
    """Write the saved files and the report; gives each path once it is written.

    Raises:
        HostError: if a file is gone.
    """
    taken: set[str] = set() if report is None else {*_REPORT}
    for item in saved(outputs):
        path = folder / free_name(Path(item["filename"]).name, taken)
        path.write_bytes(host.file(item))
        yield path
    if report is None:
        return
    made = outputs.get(report)
    if made is None:
        raise HostError("the run ended without a report; the host's log says why")
    statistics = json.dumps(made["scaling_cache"][0], indent=1)
    parts = host.file(made["images"][0]), "\n".join(made["text"]).encode(), statistics.encode()
    for name, content in zip(_REPORT, parts, strict=True):
        (folder / name).write_bytes(content)
        yield folder / name


def free_name(name: str, taken: set[str]) -> str:
    """A name for a file that no other of the run has, on any system, which is then taken: the host keeps
    files of one name in several folders."""
    path, number, free = Path(name), 1, name
    while free.casefold() in taken:
        number += 1
        free = f"{path.stem} ({number}){path.suffix}"
    taken.add(free.casefold())
    return free


def saved(outputs: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Files in the host's output folder, of any kind; previews are left out."""
    for made in outputs.values():
        for items in made.values():
            for item in items:
                if isinstance(item, dict) and item.get("type") == "output":
                    yield item


if __name__ == "__main__":
    sys.exit(main())
