"""Write the table of methods into docs/methods.md from what the methods say of themselves.

python -m docs.method_table
"""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

from cache_core.methods import METHODS

PAGE = Path(__file__).with_name("methods.md")
BEGIN, END = "<!-- table -->\n", "<!-- /table -->\n"
# After the name, one title per field of `Page`.
HEAD = (
    "method",
    "leaves out",
    "signal",
    "reference replaced",
    "predictor",
    "needs to know of a model",
    "keeps per conditioning",
    "waits for the device",
    "source",
)


def table() -> str:
    """The table in Markdown."""
    rows = [HEAD, ("---",) * len(HEAD)]
    rows += [(method.name, *astuple(method.page)) for method in METHODS]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def filled(page: str, rows: str) -> str:
    """A page with a table between its marks.

    Args:
        page: text of it.
        rows: the table in Markdown.

    Raises:
        ValueError: if the page has no marks.
    """
    before, _, rest = page.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"no line {BEGIN.strip()!r} and {END.strip()!r}")
    return f"{before}{BEGIN}\n{rows}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), table()), encoding="utf-8")
