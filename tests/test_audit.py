"""What is checked of the supply without a network."""

from __future__ import annotations

import base64
import hashlib
from importlib.metadata import PathDistribution
from pathlib import Path

from demo.audit import ROOT, altered, unpinned


def test_a_file_that_is_not_as_it_was_packed_is_named(tmp_path: Path):
    code = tmp_path / "thing.py"
    code.write_text("safe = True")
    digest = (
        base64.urlsafe_b64encode(hashlib.sha256(code.read_bytes()).digest()).rstrip(b"=").decode()
    )
    notes = tmp_path / "thing-1.0.dist-info"
    notes.mkdir()
    (notes / "METADATA").write_text("Name: thing\nVersion: 1.0\n")
    (notes / "RECORD").write_text(f"thing.py,sha256={digest},\ngone.py,sha256={digest},\n")
    package = PathDistribution(notes)
    assert not [*altered(package)]
    code.write_text("safe = False")
    assert [*altered(package)] == ["thing 1.0: thing.py is not as it was packed"]


def test_actions_of_others_are_pinned_to_a_commit(tmp_path: Path):
    workflows = ROOT / ".github" / "workflows"
    assert not [*unpinned(workflows)]
    assert any("uses:" in path.read_text(encoding="utf-8") for path in workflows.glob("*.yml"))
    (tmp_path / "moved.yml").write_text("steps:\n  - uses: other/action@v4 # v4.1.0\n")
    assert [*unpinned(tmp_path)] == ["moved.yml: other/action@v4 is not pinned by hash"]
