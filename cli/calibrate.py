"""Calibrate the model of a workflow on a running ComfyUI, without the browser.

    python ComfyUI-ScalingCache/cli calibrate workflow.json --name my_model --prompts prompts.txt

The workflow is one of yours, as the browser saves it or in API format (File > Export (API)). Its sampling
node is replaced by Calibrate Cache, with the same model, conditionings, latent and settings. Ends with 0
when the file is written, with 1 if the host refused or failed, with 2 if an argument or the workflow is
unfit.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

from cache_core.calibration.folder import file_name

from .client import Host, HostError
from .workflow import MORE_PROMPTS, Wanted, Workflow, calibration, read

DONE, FAILED, UNFIT = 0, 1, 2
# Between lines where nothing can be overwritten.
_SECONDS_APART = 30.0


def parser() -> argparse.ArgumentParser:
    description, _, rest = (__doc__ or "").partition("\n\n")
    result = argparse.ArgumentParser(
        prog="cli calibrate",
        description=description,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = result.add_argument
    add("workflow", metavar="WORKFLOW", type=Path, help="your workflow, in either format")
    add(
        "--name",
        required=True,
        help="of the file in models/scaling_cache; one of this model is replaced",
    )
    add("--prompts", type=Path, help=f"text file, a further prompt a line, {MORE_PROMPTS} at most")
    add("--runs", type=int, default=2, help="runs per prompt, default 2")
    add("--refine", action="store_true", help="measure at which steps errors matter most")
    add("--steps", type=int, help="default the workflow's own")
    add("--seed", type=int, help="of the first run, default the workflow's own")
    add("--sampler", metavar="ID", help="the sampling node, if the workflow has several")
    add("--server", default="http://127.0.0.1:8188", help="default %(default)s")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    # A name of its own makes the host calibrate again, also with the same settings as before.
    node = f"calibrate_{uuid.uuid4().hex}"
    try:
        host = Host(server(options.server))
        workflow = prepare(options, node, host)
    except (ValueError, HostError) as error:
        print(f"error: {error}", file=sys.stderr)
        return UNFIT if isinstance(error, ValueError) else FAILED
    try:
        text = run(host, workflow, node)
    except HostError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("error: left; the run may go on", file=sys.stderr)
        return FAILED
    print(text)
    print(
        f"models/scaling_cache/{file_name(options.name)}, in the folder of the ComfyUI at {host.url}"
    )
    return DONE


def prepare(options: argparse.Namespace, node: str, host: Host) -> Workflow:
    """What to queue.

    Raises:
        ValueError: naming the field.
        HostError: if the host had to be asked for its nodes and does not answer.
    """
    file_name(options.name)
    prompts = [] if options.prompts is None else read_prompts(options.prompts)
    wanted = Wanted(
        options.name,
        prompts,
        options.runs,
        options.steps,
        options.seed,
        options.sampler,
        options.refine,
    )
    return calibration(read(options.workflow, host.node), wanted, node)


def read_prompts(path: Path) -> list[str]:
    """The lines of a file that are not empty.

    Raises:
        ValueError: if it cannot be read or has none.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise ValueError(f"--prompts: {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"--prompts: {path} is not text in UTF-8") from error
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise ValueError(f"--prompts: {path} has no line with a prompt")
    return prompts


def server(url: str) -> str:
    """
    Raises:
        ValueError: unless it is an address that can be asked.
    """
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"--server: must be like http://127.0.0.1:8188, got {url}")
    return url


def run(host: Host, workflow: Workflow, node: str) -> str:
    """What the node says in the end. Ctrl-C takes the run off the host.

    Raises:
        HostError: if the host refused or did not finish.
    """
    prompt_id = host.queue(workflow)
    progress = Progress(sys.stderr)
    try:
        outputs = host.wait(prompt_id, progress, "calibrating")
    except KeyboardInterrupt:
        progress("stopping; Ctrl-C again leaves at once", 0)
        host.cancel(prompt_id)
        outputs = host.wait(
            prompt_id, progress, "calibrating"
        )  # fails, unless it was done just then
    finally:
        progress.end()
    try:
        return "\n".join(outputs[node]["text"])
    except KeyError:
        raise HostError("the run ended without a calibration; the host's log says why") from None


@dataclass
class Progress:
    """One line that changes on a terminal; elsewhere a line whenever the state changes, and now and then
    where it stands."""

    stream: TextIO
    state: str = ""
    told: float = 0.0

    def __call__(self, state: str, seconds: float, stand: str = "") -> None:
        line = f"{state}, {seconds:.0f} s" + (f"; {stand}" if stand else "")
        if self.stream.isatty():
            width = shutil.get_terminal_size().columns - 1
            self.stream.write("\r" + line[:width].ljust(width))
            self.stream.flush()
        elif state != self.state or (stand and seconds - self.told >= _SECONDS_APART):
            print(line if state == self.state else state, file=self.stream, flush=True)
            self.told = seconds
        self.state = state

    def end(self) -> None:
        if self.state and self.stream.isatty():
            self.stream.write("\n")


if __name__ == "__main__":
    sys.exit(main())
