"""Write the table of replaced nodes into docs/migration.md from what the host is told.

python -m docs.replacements
"""

from __future__ import annotations

from pathlib import Path

from demo.host.inprocess import import_host, import_pack

from .method_table import filled

PAGE = Path(__file__).with_name("migration.md")


def table() -> str:
    """The table in Markdown."""
    import_pack()
    import_host()
    from scaling_cache.nodes.replacements import REPLACEMENTS

    rows = [("node", "pack", "becomes", "carried over", "set"), ("---",) * 5]
    for one in REPLACEMENTS:
        carried = [f"`{a}`" if a == b else f"`{a}` as `{b}`" for b, a in one.carried.items()]
        fixed = [f"`{name}` {'on' if value else 'off'}" for name, value in one.fixed.items()]
        ours = f"**{one.new.define_schema().display_name}**"
        rows.append((f"`{one.old}`", one.pack, ours, ", ".join(carried), ", ".join(fixed) or "-"))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), table()), encoding="utf-8")
