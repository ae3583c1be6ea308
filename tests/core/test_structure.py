"""What `benchmarks.structure` counts: on made-up sources and calls, without the host."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import CodeType, ModuleType

import pytest

from benchmarks import crossings, directions, sources, structure
from benchmarks.crossings import Recorder, Step

SOURCE = '''"""What it is."""

import os  # a remark

# Another.
class Thing:
    """A thing.

    With more said.
    """

    size: int = 1
    """Said after."""

    def long(self, rows):
        """Said."""
        for row in rows:
            if row:
                text = """two
lines"""
            elif os:
                with row:
                    pass

        def inner():
            return 1

        return inner
'''


def wrote(root: Path, **texts: str) -> Path:
    """A tree with these files; two underscores stand for a slash."""
    for name, text in texts.items():
        path = root / f"{name.replace('__', '/', 1)}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("crossed", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def code(path: str, name: str) -> CodeType:
    return compile(f"def {name}(): pass", path, "exec").co_consts[0]


def test_lines_of_code_leave_out_blanks_comments_and_docstrings():
    assert sources.code_lines(SOURCE) == {3, 6, 12, 15, *range(17, 24), 25, 26, 28}


def test_a_function_counts_its_code_and_elif_is_as_deep_as_if():
    assert sources.functions(SOURCE) == [(11, 3), (2, 0)]


@pytest.mark.parametrize(
    ("body", "deep"),
    [
        ("return 1", 0),
        ("if a: pass\nelif b: pass\nelif c: pass", 1),
        ("if a: pass\nelse:\n  if b: pass", 2),
        ("try: pass\nexcept E:\n  while a: pass", 2),
        ("match a:\n  case 1:\n    with b: pass", 2),
        ("class A:\n  if b: pass", 0),
    ],
)
def test_nesting(body: str, deep: int):
    text = "def f():\n" + "\n".join(f"  {line}" for line in body.splitlines())
    assert [depth for _, depth in sources.functions(text)] == [deep]


@pytest.mark.parametrize(("values", "found"), [([], 0), ([7], 7), (list(range(1, 11)), 9)])
def test_percentile(values: list[int], found: int):
    assert sources.percentile(values, 0.9) == found


def test_sizes_of_files_add_up(tmp_path: Path):
    root = wrote(tmp_path, nodes__a=SOURCE, nodes__b="x = 1\n")
    found = sources.sizes(sources.python_files(root / "nodes"))
    assert (found.files, found.lines, found.code, found.functions) == (2, 29, 15, 2)
    assert (found.median, found.longest, found.deepest) == (6.5, 11, 3)
    assert sources.sizes([]).p90 == 0


def test_imports_resolve_to_modules_of_the_pack(tmp_path: Path):
    root = wrote(
        tmp_path,
        cache_core____init__="VERSION = 1",
        cache_core__run="from . import plan, VERSION\nfrom .plan import x\nimport torch",
        cache_core__plan="def f():\n  from .run import y",
        nodes____init__="",
        nodes__node="from ..cache_core.run import z\nfrom ..cache_core import plan\nimport nodes",
    )
    found = directions.graph(root)
    assert found["cache_core.run"] == [":torch", "cache_core", "cache_core.plan"]
    assert found["cache_core.plan"] == ["cache_core.run"]
    assert found["nodes.node"] == [":nodes", "cache_core.plan", "cache_core.run"]
    assert directions.cycles(found) == [["cache_core.plan", "cache_core.run"]]


def test_rings_that_do_not_hang_together_are_apart():
    found = directions.cycles({"a": ["b"], "b": ["c"], "c": ["a", "d"], "d": ["e"], "e": ["d"]})
    assert found == [["a", "b", "c"], ["d", "e"]]


def test_the_core_imports_neither_nodes_nor_host():
    imports = {
        "cache_core.run": [
            ":comfy.samplers",
            ":folder_paths",
            ":numpy",
            "cache_core.plan",
            "nodes.a",
        ],
        "nodes.a": [":comfy.samplers", "cache_core.run"],
    }
    assert directions.upward(imports, ()) == [
        "cache_core.run -> comfy.samplers",
        "cache_core.run -> folder_paths",
        "cache_core.run -> nodes.a",
    ]


def test_a_layer_imports_none_above_it():
    layers = (
        "cache_core.predict",
        "cache_core.methods",
        "cache_core.run",
        "cache_core.methods.high",
    )
    imports = {
        "cache_core.methods.base": ["cache_core.predict", "cache_core.run.loop"],
        "cache_core.methods.high": ["cache_core.run"],
        "cache_core.predictor": ["cache_core.run"],
    }
    assert directions.upward(imports, layers) == ["cache_core.methods.base -> cache_core.run.loop"]


def test_only_functions_in_product_folders_are_noted(tmp_path: Path):
    text = (
        "from dataclasses import dataclass\n"
        "@dataclass\nclass A:\n  a: int\n"
        "def count():\n  yield 1\n  yield 2\n"
        "def f(other):\n  class B: pass\n  A(1)\n  return list(count()), other()"
    )
    root = wrote(tmp_path, nodes__a=text, other__b="def g(): pass")
    a, b = loaded(root / "nodes" / "a.py"), loaded(root / "other" / "b.py")
    recorder = Recorder(root)
    with recorder.recording():
        a.f(b.g)
    a.f(b.g)
    assert [one.co_name for one in recorder.calls] == ["f", "count", "count", "count"]
    found = crossings.extent(root, recorder.calls)
    assert found == crossings.Extent(1, 2, 4, ["nodes/a.py"])


def test_steps_reach_from_one_request_to_the_next(tmp_path: Path):
    codes = [code(str(tmp_path / "nodes" / "a.py"), name) for name in "abcab"]
    recorder = Recorder(tmp_path, codes, 5, [(1, 0), (2, 5)])
    first, last = recorder.steps()
    assert (first.calls, first.modules) == (codes[1:2], 5)
    assert (last.calls, last.modules) == (codes[2:], 0)
    found = crossings.crossed(tmp_path, last)
    assert found["functions_in_order"] == ["nodes/a.py:c", "nodes/a.py:a", "nodes/a.py:b"]


def test_a_typical_step_is_late_and_of_its_kind():
    one = code("a", "a")
    steps = [Step(i, 9 * (i % 2), [one] * (7 if i == 16 else 2 + i % 2)) for i in range(20)]
    skipped, computed = crossings.apart(steps)
    assert [step.index for step in skipped] == list(range(0, 20, 2))
    assert crossings.typical(skipped).index == 18
    assert crossings.typical(computed).index == 17
    assert len(crossings.typical(skipped[:-1]).calls) == 2
    with pytest.raises(ValueError, match="skipped"):
        crossings.apart(computed)


def test_each_name_once_where_it_came_first():
    assert crossings.in_order("abcab") == ["a", "b", "c"]


def test_files_are_sorted_by_what_keeps_them():
    paths = [
        "README.md",
        "docs/methods.md",
        "docs/methods/one.md",
        "tests/core/data.json",
        "workflows/api/a.json",
    ]
    found = structure.sorted_out(paths)
    assert [found[k] for k in ("by_hand", "generated", "workflows", "total")] == [2, 2, 1, 5]
    assert found["paths_by_hand"] == ["README.md", "docs/methods/one.md"]


def test_of_files_to_read_the_first_that_is_there_counts(tmp_path: Path):
    root = wrote(tmp_path, cache_core__run="a\nb", cache_core__settings="a")
    assert structure.read_first(root) == {
        "run": {"path": "cache_core/run.py", "lines": 2},
        "method": {"path": "cache_core/settings.py", "lines": 1},
    }


def test_table_puts_numbers_to_the_right():
    lines = structure.table("title", {"a": {"n_n": 1.5}, "long name": {"n_n": 100}}, ("n_n",))
    assert lines == ["", "title        n n", "  a          1.5", "  long name  100"]
