"""Columns of text that line up, the same on a terminal and in a pipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from turnkeeper.cli.figures import printable

GAP = "  "


def columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """One line for each row. A column that is empty in every row is left out."""
    kept = [index for index in range(len(header)) if any(row[index] for row in rows)]
    table = [[header[index] for index in kept], *([printable(row[index]) for index in kept] for row in rows)]
    widths = [max(len(row[place]) for row in table) for place in range(len(kept))]
    for row in table:
        yield f"{GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()}\n"
