"""Rows for people and for programs: an aligned table on a terminal, tab-separated lines elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_rows(console: Console, header: Sequence[str], rows: Sequence[Sequence[str]], *, right: str = "") -> None:
    """Prints rows under a header.

    Args:
      console: Where to.
      header: Names of the columns.
      rows: Cells without control characters.
      right: Names of the columns that hold numbers, separated by blanks.
    """
    if not console.is_terminal:
        # Not by console.print, which would expand the tabs and fold long lines.
        for row in (header, *rows):
            console.file.write("\t".join(row) + "\n")
        return
    table = Table(box=None, pad_edge=False)
    for name in header:
        table.add_column(name, justify="right" if name in right.split() else "left")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
