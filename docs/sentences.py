"""What the pack says while it runs, as templates for the catalogues of `locales/`.

`python -m docs.sentences` writes each catalogue anew: sentences of the code that it lacks come in with an
empty translation, those that the code says no longer go. A key is the English sentence with `{}` for each
thing that is put in; its translation names them by place: `{0}`, `{1}`.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
CATALOGUES = sorted((ROOT / "locales").glob("*/messages.json"))
# Words of the report that stand alone, which in the code could be anything.
WORDS = (
    "Speed-up",
    "Time",
    "Error",
    "measure",
    "value",
    "worst",
    "measured",
    "estimated",
    "identical",
    "picture",
    "latent",
    "step",
    "scheduled",
    "Coefficients",
    "Sound SI-SDR",
    "Sound LSD",
)
# Short texts of the page, likewise; and what it adds to inputs.
OF_THE_PAGE = (
    "Step {} of 0-{}",
    "{} to go",
    "Replaced. {}",
    "Imported {}",
    "Copied {}",
    "computed",
    "predicted",
    "waiting",
    "muted",
    "bypassed",
    "unknown",
    "Nodes",
    "0 is {}",
    "threshold {}",
    "Not {}: {}.",
    "What is left out: the whole step, or blocks inside the network.",
    "How what is left out is predicted. Auto is the method's own way.",
)
# How sentences and words are put together. What is a name stays as it is, so they can be last.
JOINTS = ("{}: {}; {}", "{}; {}", "{}: {}", "{} ({})")
# What nobody reads in the browser: texts for the log, for the docs, and for Python.
_ELSEWHERE = {"log_fault", "debug", "info", "warning", "Page", "compile", "TypeVar"}
# Texts of nodes and their inputs have a catalogue of the host's, nodeDefs.json.
_SHOWN_BY_THE_HOST = ("io.Schema", "io.Input", "list[io.Input]")


def sentences() -> list[str]:
    """Every template, in the order in which they are tried: those that leave least open first."""
    found: dict[str, None] = {}
    for folder in ("cache_core", "nodes"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            found |= dict.fromkeys(_said(ast.parse(file.read_text(encoding="utf-8"))))
    for file in sorted((ROOT / "web").rglob("*.js")):
        found |= dict.fromkeys(_said_by_script(file.read_text(encoding="utf-8")))
    said = {line for text in found for line in text.split("\n") if _is_sentence(line)}
    return [*sorted(said | {*OF_THE_PAGE}, key=_openness), *WORDS, *JOINTS]


def _openness(text: str) -> tuple[bool, int, str]:
    """A text that begins with a sentence of its own may be taken for one that ends like this."""
    return text.startswith("{}"), -len(text.replace("{}", "")), text


def _is_sentence(text: str) -> bool:
    """Whether there is a word that is no name, beside another word or a thing that is put in."""
    parts = [part.strip("\"'(),.:;*x%") for part in text.split()]
    words = [part for part in parts if re.fullmatch(r"[A-Za-z][A-Za-z'/-]*", part)]
    plain = any(re.fullmatch(r"[a-z]{3,}|or", word) for word in words)
    return plain and len(words) + parts.count("{}") > 1


def _said(node: ast.AST) -> Iterator[str]:
    """Texts below a part of the code, as templates."""
    if isinstance(node, ast.JoinedStr):
        yield "".join(str(p.value) if isinstance(p, ast.Constant) else "{}" for p in node.values)
        # A text that is put in is one of its own.
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                yield from _said(part.value)
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield re.sub(r"\{[^{}]*\}", "{}", node.value)
    for child in ast.iter_child_nodes(node):
        if not _is_elsewhere(child):
            yield from _said(child)


def _said_by_script(code: str) -> Iterator[str]:
    """Texts of a script of the page, as templates; without comments, and without words for the search."""
    code = re.sub(
        r"/\*.*?\*/|^\s*//.*?$|^const WORDS = .*?$", "", code, flags=re.DOTALL | re.MULTILINE
    )
    for plain, template in re.findall(r'"([^"\n]*)"|`([^`]*)`', code):
        yield plain or re.sub(r"\$\{[^{}]*\}", "{}", template)


def _is_elsewhere(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        return name in _ELSEWHERE
    if isinstance(node, ast.FunctionDef) and node.returns is not None:
        return ast.unparse(node.returns) in _SHOWN_BY_THE_HOST
    docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return docstring or isinstance(node, ast.ImportFrom)


def main() -> None:
    wanted = sentences()
    for path in CATALOGUES:
        known = json.loads(path.read_text(encoding="utf-8"))
        told = {text: known.get(text, "") for text in wanted}
        path.write_text(json.dumps(told, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: {sum(not text for text in told.values())} to translate")


if __name__ == "__main__":
    main()
