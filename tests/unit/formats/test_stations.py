import contextlib
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deertrack.domain.errors import InputError
from deertrack.formats.stations import StationRow, parse_shift, parse_timezone, read_stations

HEADER = "station,folder,latitude,longitude,timezone,clock_shift\n"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stations") / "stations.csv"


def problems(path: Path, content: str) -> list[str]:
    path.write_text(content, "utf-8")
    with pytest.raises(InputError) as error:
        read_stations(path)
    assert error.value.message.startswith(f"{path}")
    assert error.value.hint
    return [line.strip() for line in error.value.message.splitlines()[1:]]


def test_reads_stations(path: Path) -> None:
    path.write_text(
        HEADER
        + 'Creek,Creek\\*,48.137,-11.575,Europe/Berlin,-1h\n\n"Hill, upper",,,,,\n,,,,,\nOak,Oak/,,,UTC,0\n',
        "utf-8",
    )
    assert read_stations(path) == (
        StationRow("Creek", "Creek/*", 48.137, -11.575, "Europe/Berlin", timedelta(hours=-1)),
        StationRow("Hill, upper", "Hill, upper"),
        StationRow("Oak", "Oak", timezone="UTC", clock_shift=timedelta(0)),
    )


def test_only_the_station_is_required(path: Path) -> None:
    path.write_text("Station\nCreek\n")
    assert read_stations(path) == (StationRow("Creek", "Creek"),)


def test_reads_what_a_german_spreadsheet_writes(path: Path) -> None:
    path.write_bytes("STATION; Latitude ;longitude\r\nWühlbach;48,137;11,575\r\n".encode("utf-8-sig"))
    assert read_stations(path) == (StationRow("Wühlbach", "Wühlbach", 48.137, 11.575),)


def test_all_bad_cells_are_named_at_once_by_row_and_column(path: Path) -> None:
    content = (
        "Creek,,95,11.5,,\n"  # row 2
        "Hill,,48.1,,Europe/Berln,soon\n"
        "\n"
        "Oak,../cards,nan,east,,\n"  # row 5: the blank one counts, as in a spreadsheet
        ",,,,,\n"
        "creek,Elm,,,,\n"
        "Ash,elm,,,,,,x\n"
    )
    lines = problems(path, HEADER + content)
    expected = [
        ("row 2", "latitude", "between -90 and 90, got '95'"),
        ("row 3", "clock_shift", "such as -1h or +00:07:30, got 'soon'"),
        ("row 3", "longitude", "beside the latitude, got an empty cell"),
        ("row 3", "timezone", "got 'Europe/Berln'; did you mean Europe/Berlin"),
        ("row 5", "folder", "under the photo folder, got '../cards'"),
        ("row 5", "latitude", "between -90 and 90, got 'nan'"),
        ("row 5", "longitude", "between -180 and 180, got 'east'"),
        ("row 7", "station", "each station once, got 'creek' again (row 2)"),
        ("row 8", "column", "expected 6 cells as in the header, got 8"),
        ("row 8", "folder", "each folder once, got 'elm' again (row 7)"),
    ]
    assert len(lines) == len(expected)
    for row, column, what in expected:
        assert any(line.startswith(row) and what in line for line in lines), (row, column, lines)


def test_a_row_without_a_station_is_refused(path: Path) -> None:
    assert problems(path, HEADER + ",Creek,,,,\n") == [
        "row 2, column station: expected a value, got an empty cell"
    ]


def test_of_very_many_problems_the_first_are_shown(path: Path) -> None:
    lines = problems(path, "station,latitude,longitude\n" + "".join(f"S{i},x,0\n" for i in range(80)))
    assert len(lines) == 51
    assert lines[-1] == "… and 30 more"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got an empty file"),
        (b"\n;;\n", "only blank rows"),
        (b"station\n", "a header without rows"),
        (b"name,folder\nCreek,Creek\n", "the column station is missing; unknown column name"),
        (b"station,lat,tz\nA,1,UTC\n", "unknown column lat; unknown column tz"),
        (b"station,Station\nA,A\n", "the column station is there twice"),
        (
            "station\nWühlbach\n".encode("latin-1"),
            "line 2: expected a stations file as UTF-8 text, got the byte 0xfc",
        ),
        ("station\nCreek\n".encode("utf-16"), "UTF-8 text"),
        ("station\nCreek\n".encode("utf-16-le"), "UTF-8 text, got the byte 0x00"),
        (b'station\n"Creek\nHill\n', "line 3: expected a stations file as CSV"),
        (b"station\n" + b"x" * 200_000, "as CSV, got: field larger"),
    ],
)
def test_a_file_that_is_no_stations_file(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_stations(path)


@given(
    st.binary(max_size=80)
    | st.text(st.sampled_from('station,fodlecr;\t\n\r"1.:/'), max_size=120).map(str.encode)
)
def test_any_bytes_are_read_or_refused(path: Path, content: bytes) -> None:
    for start in (b"", HEADER.encode(), b"station\n"):
        path.write_bytes(start + content)
        try:
            rows = read_stations(path)
        except InputError:
            continue
        assert all(row.station and row.folder for row in rows)


@pytest.mark.parametrize(
    ("text", "shift"),
    [
        ("+1h", timedelta(hours=1)),
        ("-00:07:30", timedelta(minutes=-7, seconds=-30)),
        ("-3600", timedelta(hours=-1)),
        ("90", timedelta(seconds=90)),
        ("1:30", timedelta(hours=1, minutes=30)),
        ("+26:00:00.5", timedelta(hours=26, milliseconds=500)),
        ("1h30m", timedelta(hours=1, minutes=30)),
        ("-2 days 3 hours", -timedelta(days=2, hours=3)),
        ("- 1.5 H", timedelta(hours=-1.5)),
        ("−5min", timedelta(minutes=-5)),
        ("+9131d", timedelta(days=9131)),
        ("0", timedelta(0)),
    ],
)
def test_clock_shifts(text: str, shift: timedelta) -> None:
    assert parse_shift(text) == shift


@pytest.mark.parametrize(
    "text",
    ["", "+", "h", "1x", "1:60", "1:2:3:4", "--1h", "+-1h", "1e5", "nan", "40000d", "9" * 400, "30m1h", "١h"],
)
def test_senseless_clock_shifts(text: str) -> None:
    with pytest.raises(InputError, match="expected a clock shift such as") as error:
        parse_shift(text)
    assert "hours:minutes:seconds" in error.value.hint


@given(st.integers(-3_000_000_000, 3_000_000_000))
def test_shifts_written_in_any_form_mean_the_same(seconds: int) -> None:
    size, sign = abs(seconds), "-" if seconds < 0 else "+"
    minutes, hours = size // 60 % 60, size // 3600
    forms = [f"{seconds}", f"{sign}{size}s", f"{sign}{hours}:{minutes:02}:{size % 60:02}"]
    forms.append(f"{sign}{hours}h{minutes}m{size % 60}s")
    assert {parse_shift(form) for form in forms} == {timedelta(seconds=seconds)}


@given(st.text())
def test_any_text_is_a_shift_or_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        assert abs(parse_shift(text)) <= timedelta(days=36_525)


@pytest.mark.parametrize(
    "name", ["", "Europe", "europe/berlin", "CET+1", "../../etc/passwd", "/etc/localtime", "a\0b"]
)
def test_unknown_time_zones(name: str) -> None:
    with pytest.raises(InputError, match="expected an IANA time zone such as"):
        parse_timezone(name)
