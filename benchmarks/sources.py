"""What can be read from Python sources without running them: lines, functions, nesting."""

from __future__ import annotations

import ast
import io
import math
import statistics
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef

_BLANK = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
_NESTS = (
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.With,
    ast.AsyncWith,
    ast.Try,
    ast.Match,
)
_APART = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Sizes:
    """A folder's Python files.

    Attributes:
        files: how many.
        lines: all.
        code: lines that are not blank, comment or docstring only.
        functions: how many, methods and functions in functions included.
        median, p90, longest: lines of code of a function, its signature included.
        deepest: most blocks of control flow in one another within a function.
    """

    files: int
    lines: int
    code: int
    functions: int
    median: float
    p90: int
    longest: int
    deepest: int


def python_files(folder: Path) -> list[Path]:
    """All, in folders below too."""
    return sorted(folder.rglob("*.py"))


def sizes(paths: Sequence[Path]) -> Sizes:
    """Of some files together."""
    texts = [path.read_text(encoding="utf-8") for path in paths]
    found = [pair for text in texts for pair in functions(text)]
    lengths = sorted(length for length, _ in found)
    return Sizes(
        files=len(texts),
        lines=sum(len(text.splitlines()) for text in texts),
        code=sum(len(code_lines(text)) for text in texts),
        functions=len(found),
        median=statistics.median(lengths) if lengths else 0,
        p90=percentile(lengths, 0.9),
        longest=max(lengths, default=0),
        deepest=max((depth for _, depth in found), default=0),
    )


def percentile(ordered: Sequence[int], share: float) -> int:
    """The smallest value that at least this share of all do not exceed; 0 for none."""
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else 0


def functions(text: str) -> list[tuple[int, int]]:
    """Lines of code and nesting of every function. What is inside another counts there as well."""
    code = code_lines(text)
    nodes = [n for n in ast.walk(ast.parse(text)) if isinstance(n, Function)]
    return [(len(code.intersection(_lines(node))), nesting(node)) for node in nodes]


def code_lines(text: str) -> set[int]:
    """Numbers of the lines that are not blank, comment or docstring only."""
    said = _docstrings(text)
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _BLANK and token.start not in said:
            found.update(range(token.start[0], token.end[0] + 1))
    return found


def nesting(function: Function) -> int:
    """Most blocks of control flow in one another; `elif` is as deep as its `if`."""
    return max(map(_depth, function.body))


def _docstrings(text: str) -> set[tuple[int, int]]:
    """Where strings start that are statements of their own."""
    return {
        (node.lineno, node.col_offset)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }


def _lines(node: Function) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _depth(statement: ast.stmt) -> int:
    if isinstance(statement, _APART):
        return 0
    own = isinstance(statement, _NESTS)
    inner = (_depth(part) - _is_elif(statement, part) for part in _parts(statement))
    return own + max(inner, default=0)


def _parts(statement: ast.stmt) -> Iterator[ast.stmt]:
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, ast.stmt):
            yield child
        elif isinstance(child, (ast.ExceptHandler, ast.match_case)):
            yield from child.body


def _is_elif(statement: ast.stmt, part: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.If)
        and isinstance(part, ast.If)
        and statement.orelse == [part]
        and part.col_offset == statement.col_offset
    )
