"""Tables as kubectl prints them: columns wide enough, nothing drawn, so that `awk` reads them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

GAP = "   "


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lines of left-aligned columns; an empty cell shows as `-`, control characters escaped."""
    cells = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return "\n".join(
        GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def _cell(value: object) -> str:
    return printable("" if value is None else str(value)) or "-"


def printable(text: str) -> str:
    """`text` on one line, without what could move a terminal's cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def count(number: int, word: str) -> str:
    """`1 object`, `2 objects`."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
