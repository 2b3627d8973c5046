"""The truth file: who is in which photo, as people who know the animals say. Used to measure, never to match."""

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from deertrack.domain.errors import InputError
from deertrack.domain.records import Box
from deertrack.formats.tables import Row, parse_number, read_table

_WHAT = "a truth file"
_OPTIONAL = ("encounter", "flank", "station", "timestamp", "detection")
_BOX = ("x", "y", "width", "height")
_HINT = (
    "Write a CSV file with a header and one row for each animal in each photo, such as:\n"
    "file,identity,encounter,flank,station,timestamp\n"
    "Creek/IMG_0001.JPG,N086,E0501,left,Creek,2025-09-03T16:12:19"
)


@dataclass(frozen=True, slots=True)
class TruthRow:
    """One animal in one photo.

    ``file`` is the photo's path under the photo root, with forward slashes. ``timestamp`` is the camera's own
    clock, with an offset only if the file has one. Where one photo shows several animals, ``box`` says which one
    is meant (columns x, y, width, height, fractions as in a detections file), or ``detection``, its place from
    0 among the photo's entries there. What the file leaves out is "" or None.
    """

    file: str
    identity: str
    encounter: str = ""
    flank: str = ""
    station: str = ""
    timestamp: datetime | None = None
    detection: int | None = None
    box: Box | None = None


def read_truth(path: Path) -> tuple[TruthRow, ...]:
    """Read a truth file: CSV with the columns ``file`` and ``identity``; other columns than these are ignored.

    Raises:
        InputError: not such a file; names every row and column that is wrong, all in one message. The same
            animal or the same detection listed twice for one photo is wrong too.
    """
    table = read_table(
        path, _WHAT, required=("file", "identity"), optional=(*_OPTIONAL, *_BOX), others=True, hint=_HINT
    )
    truth = []
    first_row: dict[tuple[str, str, object], int] = {}
    for row in table:
        file = row.text("file").replace("\\", "/").removeprefix("./")
        identity = row.text("identity")
        detection = row.read("detection", _count, None)
        for column, value in (("identity", identity), ("detection", detection)):
            before = first_row.setdefault((file, column, value), row.number)
            if file and value not in ("", None) and before != row.number:
                row.refuse(column, f"expected it once for each photo, got {value!r:.60} again (row {before})")
        truth.append(
            TruthRow(
                file,
                identity,
                encounter=row.text("encounter"),
                flank=row.text("flank").casefold(),
                station=row.text("station"),
                timestamp=row.read("timestamp", _timestamp, None),
                detection=detection,
                box=_box(row),
            )
        )
    table.check()
    return tuple(truth)


def _box(row: Row) -> Box | None:
    if not any(map(row.text, _BOX)):
        return None
    for column in _BOX:
        if not row.text(column):
            row.refuse(column, f"expected all of {', '.join(_BOX)} or none, got an empty cell")
    x, y, width, height = (row.read(column, partial(parse_number, low=0, high=1), None) for column in _BOX)
    if x is None or y is None or width is None or height is None:
        return None
    try:
        return Box(x, y, width, height)
    except InputError as error:
        row.refuse("width", error.message)
        return None


def _timestamp(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"expected a time such as 2025-09-03T16:12:19, got {text!r:.40}") from None


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InputError(f"expected a whole number from 0 up, got {text!r:.40}")
    return int(text)
