"""Labelled sets: photos of animals whose identity people told. Used to measure, never to match.

Three shapes are read: a folder with one folder of photos for each animal; a CSV with ``file`` and ``identity``
(docs/data.md, "Truth file"); and the CSV of the wildlife-datasets toolkit, with ``path`` and ``identity``.
Public sets are large and never clean, so a row that cannot be used is named and left out.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from deertrack.domain.errors import InputError
from deertrack.domain.records import Box
from deertrack.formats.tables import Row, Table, parse_number, read_table

_WHAT = "a labelled set"
_HINT = (
    "Give a folder with one folder of photos for each animal, or a CSV file with a header and one row for each "
    "animal in each photo, such as:\n"
    "file,identity,encounter,flank,station,timestamp\n"
    "Creek/IMG_0001.JPG,N086,E0501,left,Creek,2025-09-03T16:12:19"
)
# Our name of a column, and those that others give it.
_FILE = ("file", "path", "filename", "image")
_OURS = {
    "encounter": ("encounter", "encounter_id"),
    "flank": ("flank", "orientation", "viewpoint"),
    "station": ("station", "camera", "location"),
    "timestamp": ("timestamp", "datetime", "date"),
    "bbox": ("bbox",),
}
_BOX = ("x", "y", "width", "height")
# What toolkits write where they mean nothing.
_NOTHING = {"", "nan", "none", "null", "na", "n/a", "unknown"}
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """One animal in one photo.

    ``file`` is relative, with forward slashes, or absolute. ``box`` is in fractions, ``pixels`` (x, y, width,
    height) in pixels of the photo; at most one of them is set. What is not told is "" or None.
    """

    file: str
    identity: str
    encounter: str = ""
    flank: str = ""
    station: str = ""
    timestamp: datetime | None = None
    box: Box | None = None
    pixels: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """The rows of a labelled set, and one line for each that was left out."""

    rows: tuple[LabelledRow, ...]
    skipped: tuple[str, ...] = ()


def read_labelled_table(path: Path) -> LabelledFile:
    """Read a CSV; columns that mean nothing here are ignored.

    Rows without a photo or an identity ("unknown" and "nan" are none) are left out and named, as is a row that
    repeats one before it. A date without a time counts as that whole day. A cell that cannot be understood in
    another column counts as empty.

    Raises:
        InputError: not such a file; names the columns that are missing.
    """
    columns = [name for names in _OURS.values() for name in names]
    table = read_table(path, _WHAT, required=(), optional=(*_BOX,), others=True, hint=_HINT)
    present = {name for row in table for name in row.cells}
    file_column = next((name for name in _FILE if name in present), None)
    missing = ["file (or path)"] * (file_column is None) + ["identity"] * ("identity" not in present)
    if missing or file_column is None:
        raise InputError(
            f"{path}: expected {_WHAT} with the columns file (or path), identity, {', '.join(columns)}, but "
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing",
            hint=_HINT,
        )
    rows: list[LabelledRow] = []
    skipped: list[str] = []
    seen: dict[tuple[object, ...], int] = {}
    for row in table:
        parsed = _row(row, file_column)
        key = (parsed.file, parsed.identity, parsed.box, parsed.pixels)
        before = seen.setdefault(key, row.number)
        if not parsed.file or not parsed.identity:
            skipped.append(f"row {row.number}: no {'identity' if parsed.file else 'photo'} is given")
        elif before != row.number:
            skipped.append(f"row {row.number}: says the same as row {before}")
        else:
            rows.append(parsed)
    if not rows:
        raise InputError(f"{path}: expected {_WHAT}, but no row names a photo and an animal", hint=_HINT)
    return LabelledFile(tuple(rows), (*skipped, *_problems(table)))


def folder_rows(photos: Iterator[str]) -> LabelledFile:
    """The rows of a folder of identity folders.

    Args:
        photos: paths of its photos below it, with forward slashes. The first folder is the identity; a folder below
            it named left or right tells the flank.
    """
    rows, skipped = [], []
    for file in photos:
        identity, *inner = file.split("/")
        if not inner:
            skipped.append(f"{file}: lies in no animal's folder")
            continue
        flank = next((part.casefold() for part in inner[:-1] if part.casefold() in ("left", "right")), "")
        rows.append(LabelledRow(file, identity, flank=flank))
    return LabelledFile(tuple(rows), tuple(skipped))


def _problems(table: Table) -> list[str]:
    return [line for _, line in table.problems]


def _row(row: Row, file_column: str) -> LabelledRow:
    cells = {ours: next((v for n in names if (v := _text(row, n))), "") for ours, names in _OURS.items()}
    box, pixels = _boxes(row, cells["bbox"])
    return LabelledRow(
        file=row.text(file_column).replace("\\", "/").removeprefix("./"),
        identity=_text(row, "identity"),
        encounter=cells["encounter"],
        flank=cells["flank"].casefold(),
        station=cells["station"],
        timestamp=_timestamp(cells["timestamp"]),
        box=box,
        pixels=pixels,
    )


def _text(row: Row, column: str) -> str:
    text = row.text(column)
    return "" if text.casefold() in _NOTHING else text


def _timestamp(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _boxes(row: Row, bbox: str) -> tuple[Box | None, tuple[float, float, float, float] | None]:
    """The box of a row: in fractions, or in pixels (wildlife-datasets: [x, y, width, height])."""
    if all(map(row.text, _BOX)):
        fraction = partial(parse_number, low=0, high=1)
        numbers = [row.read(column, fraction, math.nan) for column in _BOX]
    else:
        try:
            listed = json.loads(bbox)
        except ValueError:
            listed = _NUMBER.findall(bbox)
        try:
            numbers = [float(value) for value in listed]
        except (TypeError, ValueError):
            return None, None
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)) or min(numbers[2:]) <= 0:
        return None, None
    x, y, width, height = numbers
    if max(x + width, y + height) > 1.001:
        return None, (x, y, width, height)
    try:
        return Box(x, y, width, height), None
    except InputError:
        return None, None
