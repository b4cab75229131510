"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, words: bool = False) -> str:
    """The first column left and the others right, as figures stand; all left where they are `words`."""
    ruler = ["---", *["---" if words else "---:"] * (len(columns) - 1)]
    lines = [columns, ruler, *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
