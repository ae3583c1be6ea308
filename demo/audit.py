"""What can be checked of the supply without a network, after `make setup`: that installed packages are as
they were packed, that they go together, and that the actions of the workflows are pinned by hash.

    make audit
"""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_USED = re.compile(r"uses:\s*(\S+)")
_PINNED = re.compile(r".+@[0-9a-f]{40}")


def altered(package: Distribution) -> Iterator[str]:
    """Files of a package whose content is not what its own record says; a missing one is none."""
    for file in package.files or ():
        path = Path(str(file.locate()))
        if file.hash is None or not path.is_file():
            continue
        digest = hashlib.new(file.hash.mode, path.read_bytes()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != file.hash.value:
            yield f"{package.name} {package.version}: {file} is not as it was packed"


def unpinned(folder: Path) -> Iterator[str]:
    """Actions that a workflow names by a tag or branch, which can be moved."""
    for path in sorted(folder.glob("*.yml")):
        for action in _USED.findall(path.read_text(encoding="utf-8")):
            if not _PINNED.fullmatch(action):
                yield f"{path.name}: {action} is not pinned by hash"


def main() -> int:
    packages = list(distributions())
    found = [line for package in packages for line in altered(package)]
    found += unpinned(ROOT / ".github" / "workflows")
    together = subprocess.run(
        [sys.executable, "-m", "pip", "check", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
    )
    print("\n".join([*found, together.stdout.strip()]))
    print(f"{len(packages)} packages looked at, {len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
