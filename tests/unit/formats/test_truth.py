import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deertrack.domain.errors import InputError
from deertrack.domain.records import Box
from deertrack.formats.truth import TruthRow, read_truth


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("truth") / "truth.csv"


def test_reads_truth(path: Path) -> None:
    path.write_text(
        "file,identity,encounter,flank,station,timestamp,detection,x,y,width,height,weather\n"
        "Creek\\a.jpg,N086,E1,Left,Creek,2025-09-03T16:12:19,0,0.1,0.2,0.3,0.4,rain\n"
        "Creek/a.jpg,N087,E1,,Creek,2025-09-03 16:12:19Z,1,,,,,\n"
    )
    assert read_truth(path) == (
        TruthRow(
            "Creek/a.jpg",
            "N086",
            "E1",
            "left",
            "Creek",
            datetime.fromisoformat("2025-09-03T16:12:19"),
            0,
            Box(0.1, 0.2, 0.3, 0.4),
        ),
        TruthRow("Creek/a.jpg", "N087", "E1", "", "Creek", datetime(2025, 9, 3, 16, 12, 19, tzinfo=UTC), 1),
    )


def test_only_file_and_identity_are_required(path: Path) -> None:
    path.write_text("identity;file\nAda;a.jpg\nBo;a.jpg\nAda;b.jpg\n")
    assert [(row.file, row.identity) for row in read_truth(path)] == [
        ("a.jpg", "Ada"),
        ("a.jpg", "Bo"),
        ("b.jpg", "Ada"),
    ]


def test_all_bad_cells_are_named_at_once(path: Path) -> None:
    path.write_text(
        "file,identity,timestamp,detection,x,y,width,height\n"
        "a.jpg,,,,,,,\n"
        "a.jpg,Ada,yesterday,0,,,,\n"
        "a.jpg,Ada,,0,,,,\n"
        "b.jpg,Ada,,-1,0.5,0.5,2,\n"
        "c.jpg,Ada,,,1,0,0.5,0.5\n"
        ",Ada,,,,,,\n"
    )
    with pytest.raises(InputError) as error:
        read_truth(path)
    assert [line.strip() for line in error.value.message.splitlines()[1:]] == [
        "row 2, column identity: expected a value, got an empty cell",
        "row 3, column timestamp: expected a time such as 2025-09-03T16:12:19, got 'yesterday'",
        "row 4, column detection: expected it once for each photo, got 0 again (row 3)",
        "row 4, column identity: expected it once for each photo, got 'Ada' again (row 3)",
        "row 5, column detection: expected a whole number from 0 up, got '-1'",
        "row 5, column height: expected all of x, y, width, height or none, got an empty cell",
        "row 5, column width: expected a number between 0 and 1, got '2'",
        "row 6, column width: expected a box [x, y, width, height] inside 0…1, got [1.0, 0.0, 0.5, 0.5]",
        "row 7, column file: expected a value, got an empty cell",
    ]
    assert "file,identity,encounter" in error.value.hint


def test_a_file_without_identities_is_refused(path: Path) -> None:
    path.write_text("file,name\na.jpg,Ada\n")
    with pytest.raises(InputError, match="the column identity is missing"):
        read_truth(path)


@given(
    st.binary(max_size=80)
    | st.text(st.sampled_from('file,dentyx;\t\n\r"1.-:T'), max_size=120).map(str.encode)
)
def test_any_bytes_are_read_or_refused(path: Path, content: bytes) -> None:
    for start in (b"", b"file,identity\n", b"file,identity,timestamp,detection,x,y,width,height\na,"):
        path.write_bytes(start + content)
        try:
            rows = read_truth(path)
        except InputError:
            continue
        assert all(row.file and row.identity for row in rows)


def test_reads_the_real_nyala_truth() -> None:
    data = Path(os.environ.get("DEERTRACK_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))
    real = data / "nyala" / "truth.csv"
    if not real.exists():
        pytest.skip(f"no test photos: {real} is missing (set DEERTRACK_TEST_DATA)")
    rows = read_truth(real)
    assert len(rows) == 1213
    assert len({row.identity for row in rows}) == 179
    assert {row.flank for row in rows} == {"left", "right"}
    assert all(row.timestamp and row.timestamp.tzinfo is None for row in rows)
