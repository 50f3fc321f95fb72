"""What people read on stdout: as wide as their terminal, of a fixed width where there is none, values as they are."""

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

WIDTH_ELSEWHERE = 140
"""Columns of a pipe or a file, where a table does not say otherwise."""

WIDTH_OF_ROWS = 200
"""The same for rows of what a stack holds: ids and ARNs stay whole."""


def console(width_elsewhere: int = WIDTH_ELSEWHERE) -> "Console":
    """Return stdout for tables and lines.

    Args:
        width_elsewhere: Columns where stdout is no terminal, so that what is written does not depend on who runs it.
    """
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else width_elsewhere)


def print_table(rows: Sequence[Mapping[str, Any]], caption: str, width_elsewhere: int = WIDTH_ELSEWHERE) -> None:
    """Print rows, whose columns are all keys of theirs, and a line below; the line only where there are none."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    out = console(width_elsewhere)
    if rows:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        table = Table(box=box.SIMPLE_HEAD)
        for name in columns:
            table.add_column(name, overflow="fold")  # An id of which a part is missing is none.
        for row in rows:
            # Names come from outside: nothing in them is a mark for the table.
            table.add_row(*[Text("" if row.get(name) is None else str(row[name])) for name in columns])
        out.print(table)
    out.print(caption, soft_wrap=True, markup=False)


def print_rows(rows: Sequence[Mapping[str, Any]], noun: str) -> None:
    """Print rows as a table, and how many there are."""
    print_table(rows, f"{len(rows):,} {noun}", WIDTH_OF_ROWS)
