"""The stations file: where each camera stands, in which time zone, and by how much its clock is wrong."""

import difflib
import re
import zoneinfo
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from deertrack.domain.errors import InputError
from deertrack.formats.tables import parse_number, read_table

COLUMNS = ("folder", "latitude", "longitude", "timezone", "clock_shift")
LONGEST_SHIFT = timedelta(days=36_525)  # a camera reset to 1970 is off by decades, none by a century

_WHAT = "a stations file"
_HINT = (
    "Write a CSV file with a header and one row for each station, such as:\n"
    "station,folder,latitude,longitude,timezone,clock_shift\n"
    "Creek,Creek/*,48.137,11.575,Europe/Berlin,-1h"
)
_SHIFT_HINT = "Write it as -1h, +1h30m, -00:07:30 (hours:minutes:seconds) or 3600 (seconds)."
_SIGNED = re.compile(r"([+-]?)\s*(\S.*)")
_CLOCK = re.compile(r"(\d{1,7}):([0-5]?\d)(?::([0-5]?\d(?:\.\d+)?))?", re.ASCII)
_SECONDS = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_UNITS = re.compile(
    r"(?:(?P<days>\d+(?:\.\d+)?)\s*d(?:ays?)?)?\s*"
    r"(?:(?P<hours>\d+(?:\.\d+)?)\s*h(?:ours?)?)?\s*"
    r"(?:(?P<minutes>\d+(?:\.\d+)?)\s*m(?:in(?:utes?)?)?)?\s*"
    r"(?:(?P<seconds>\d+(?:\.\d+)?)\s*s(?:ec(?:onds?)?)?)?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class StationRow:
    """One station as its file describes it.

    ``folder`` is a path or pattern (``*``, ``?``) under the photo root with forward slashes. ``latitude`` and
    ``longitude`` are in decimal degrees (WGS 84), both or neither. ``timezone`` is an IANA name. ``clock_shift``
    is what must be added to the camera's clock to make it right. None means that the file does not say.
    """

    station: str
    folder: str
    latitude: float | None = None
    longitude: float | None = None
    timezone: str | None = None
    clock_shift: timedelta | None = None


def read_stations(path: Path) -> tuple[StationRow, ...]:
    """Read a stations file: CSV with the column ``station`` and any of ``COLUMNS``.

    Raises:
        InputError: not such a file; names every row and column that is wrong, all in one message. A station or
            folder that is listed twice is wrong too.
    """
    table = read_table(path, _WHAT, required=("station",), optional=COLUMNS, others=False, hint=_HINT)
    stations = []
    first_row: dict[tuple[str, str], int] = {}
    for row in table:
        station = row.text("station")
        folder = row.read("folder", _folder, station)
        latitude = row.read("latitude", partial(parse_number, low=-90, high=90), None)
        longitude = row.read("longitude", partial(parse_number, low=-180, high=180), None)
        for column, other in (("latitude", "longitude"), ("longitude", "latitude")):
            if row.text(other) and not row.text(column):
                row.refuse(column, f"expected a number beside the {other}, got an empty cell")
        for column, value in (("station", station), ("folder", folder)):
            before = first_row.setdefault((column, value.casefold()), row.number)
            if value and before != row.number:
                row.refuse(column, f"expected each {column} once, got {value!r:.60} again (row {before})")
        stations.append(
            StationRow(
                station,
                folder,
                latitude,
                longitude,
                timezone=row.read("timezone", parse_timezone, None),
                clock_shift=row.read("clock_shift", parse_shift, None),
            )
        )
    table.check()
    return tuple(stations)


def parse_timezone(text: str) -> str:
    """An IANA time zone's name, checked.

    Raises:
        InputError: no such zone; the message suggests similar names.
    """
    zones = zoneinfo.available_timezones()
    if text in zones:
        return text
    spelling = {zone.casefold(): zone for zone in zones}
    plain = text.casefold().replace(" ", "_")
    near = [plain] if plain in spelling else difflib.get_close_matches(plain, spelling, n=3)
    guess = f"; did you mean {' or '.join(spelling[zone] for zone in near)}?" if near else ""
    raise InputError(
        f"expected an IANA time zone such as America/Chicago, got {text!r:.60}{guess}",
        hint="Their names: https://en.wikipedia.org/wiki/List_of_tz_database_time_zones",
    )


def parse_shift(text: str) -> timedelta:
    """How far to move a clock: "+1h", "-1h30m", "2d", "-00:07:30" (hours:minutes:seconds), "-3600" (seconds).

    Without a sign the clock moves forward; "1:30" is an hour and a half.

    Raises:
        InputError: none of these forms, or more than a century.
    """
    wrong = InputError(f"expected a clock shift such as -1h or +00:07:30, got {text!r:.40}", hint=_SHIFT_HINT)
    signed = _SIGNED.fullmatch(text.strip().casefold().replace("−", "-"))
    if not signed:
        raise wrong
    sign, amount = signed.groups()
    if clock := _CLOCK.fullmatch(amount):
        parts = dict(zip(("hours", "minutes", "seconds"), clock.groups(), strict=True))
    elif _SECONDS.fullmatch(amount):
        parts = {"seconds": amount}
    elif units := _UNITS.fullmatch(amount):
        parts = units.groupdict()
    else:
        raise wrong
    try:
        shift = timedelta(**{unit: float(number) for unit, number in parts.items() if number})
    except OverflowError:
        raise wrong from None
    if shift > LONGEST_SHIFT:
        raise wrong
    return -shift if sign == "-" else shift


def _folder(text: str) -> str:
    folder = text.replace("\\", "/").removeprefix("./").rstrip("/")
    if not folder or folder.startswith("/") or folder[1:2] == ":" or ".." in folder.split("/"):
        raise InputError(f"expected a folder under the photo folder, got {text!r:.60}")
    return folder
