"""CSV tables that people write by hand or export from a spreadsheet: every bad cell is named, all at once."""

import csv
import io
import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from deertrack.domain.errors import InputError
from deertrack.formats.files import read_text

Value = TypeVar("Value")
_MOST_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its number as a spreadsheet shows it (the header is usually row 1) and its filled cells."""

    number: int
    cells: dict[str, str]
    problems: list[tuple[int, str]] = field(repr=False)

    def read(self, column: str, parse: Callable[[str], Value], blank: Value) -> Value:
        """The cell's value; ``blank`` for an empty cell, and for a bad one after noting what is wrong."""
        if column not in self.cells:
            return blank
        try:
            return parse(self.cells[column])
        except InputError as error:
            self.refuse(column, error.message)
            return blank

    def text(self, column: str) -> str:
        """The cell's text, "" if it is empty."""
        return self.cells.get(column, "")

    def refuse(self, column: str, reason: str) -> None:
        """Note what is wrong with a cell."""
        self.problems.append((self.number, f"row {self.number}, column {column}: {reason}"))


@dataclass(frozen=True)
class Table:
    """A table's rows and what is wrong with them so far."""

    path: Path
    rows: tuple[Row, ...]
    problems: list[tuple[int, str]]
    hint: str

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def check(self) -> None:
        """Raise one ``InputError`` that names every noted problem (the first fifty of very many)."""
        if self.problems:
            lines = [line for _, line in sorted(self.problems)[:_MOST_SHOWN]]
            if more := len(self.problems) - len(lines):
                lines.append(f"… and {more} more")
            raise InputError("\n  ".join([f"{self.path}: cannot be used:", *lines]), hint=self.hint)


def read_table(
    path: Path, what: str, *, required: Collection[str], optional: Collection[str], others: bool, hint: str
) -> Table:
    """Read a CSV file with a header: UTF-8; comma, semicolon or tab; blank rows are passed over.

    Column names count without letter case. Cells are stripped. An empty cell in a required column, or more
    cells than the header has, are noted as problems for ``Table.check``.

    Args:
        path: the file.
        what: what it should be, with its article, for the messages.
        required: columns that must be there, filled in every row.
        optional: columns that may be there.
        others: whether any other column may be there too; it is then read but means nothing.
        hint: what to do about a file that cannot be used.

    Raises:
        InputError: not a readable CSV file; a column is missing, unknown or there twice; no rows.
    """
    text = read_text(path, what)
    first_line = text.lstrip().partition("\n")[0]
    delimiter = max(",;\t", key=first_line.count)
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    try:
        numbered = [(number, [cell.strip() for cell in row]) for number, row in enumerate(reader, 1)]
    except csv.Error as error:
        raise InputError(
            f"{path}, line {reader.line_num}: expected {what} as CSV, got: {error}", hint=hint
        ) from None
    filled = [(number, row) for number, row in numbered if any(row)]
    if not filled:
        raise InputError(f"{path}: expected {what}, got only blank rows", hint=hint)
    columns = _columns(path, what, filled[0][1], required, optional, others=others, hint=hint)
    if len(filled) == 1:
        raise InputError(f"{path}: expected {what}, got a header without rows", hint=hint)

    problems: list[tuple[int, str]] = []
    rows = []
    for number, cells in filled[1:]:
        named = zip(columns, cells, strict=False)
        row = Row(number, {column: cell for column, cell in named if column and cell}, problems)
        if any(cells[len(columns) :]):
            line = f"row {number}: expected {len(columns)} cells as in the header, got {len(cells)}"
            problems.append((number, line))
        for column in required:
            if column not in row.cells:
                row.refuse(column, "expected a value, got an empty cell")
        rows.append(row)
    return Table(path, tuple(rows), problems, hint)


def _columns(
    path: Path,
    what: str,
    header: list[str],
    required: Collection[str],
    optional: Collection[str],
    *,
    others: bool,
    hint: str,
) -> list[str]:
    columns = [name.casefold() for name in header]
    known = [*required, *optional]
    problems = [f"the column {name} is missing" for name in required if name not in columns]
    problems += [f"the column {name} is there twice" for name in known if columns.count(name) > 1]
    if not others:
        problems += [f"unknown column {name}" for name in columns if name and name not in known]
    if problems:
        expected = f"expected {what} with the columns {', '.join(known)}"
        raise InputError(f"{path}: {expected}, but {'; '.join(problems)}", hint=hint)
    return columns


def parse_number(text: str, low: float, high: float) -> float:
    """A decimal number in [low, high], with a point or a comma.

    Raises:
        InputError: not a number, or outside the range.
    """
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        number = math.nan
    if not low <= number <= high:
        raise InputError(f"expected a number between {low:g} and {high:g}, got {text!r:.40}")
    return number
