"""Labelled sets as people and toolkits write them."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from deertrack.domain.errors import InputError
from deertrack.domain.records import Box
from deertrack.formats.labelled import folder_rows, read_labelled_table

Table = Callable[[str], Path]


@pytest.fixture
def table(tmp_path: Path) -> Table:
    def write(text: str) -> Path:
        path = tmp_path / "set.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_our_own_columns(table: Table) -> None:
    read = read_labelled_table(
        table(
            "file,identity,encounter,flank,station,timestamp,weather\n"
            "Creek\\IMG_1.JPG,A,E1,Left,Creek,2025-09-03T16:12:19,rain\n"
            "./Creek/IMG_2.JPG,B,,,,,\n"
        )
    )
    first, second = read.rows
    assert (first.file, first.identity, first.encounter, first.flank, first.station) == (
        "Creek/IMG_1.JPG",
        "A",
        "E1",
        "left",
        "Creek",
    )
    assert first.timestamp == datetime(2025, 9, 3, 16, 12, 19)  # noqa: DTZ001 (the camera's own clock)
    assert (second.file, second.encounter, second.timestamp, second.box) == (
        "Creek/IMG_2.JPG",
        "",
        None,
        None,
    )
    assert read.skipped == ()


def test_the_columns_of_wildlife_datasets(table: Table) -> None:
    read = read_labelled_table(
        table(
            ",image_id,identity,path,date,orientation,bbox\n"
            '0,17,A,images/1.jpg,2019-05-02,left,"[10, 20, 30.5, 40]"\n'
            "1,18,B,images/2.jpg,nan,nan,nan\n"
            '2,19,C,images/3.jpg,sometime in May,right,"[0.1 0.2 0.3 0.4]"\n'
        )
    )
    assert [row.pixels for row in read.rows] == [(10, 20, 30.5, 40), None, None]
    assert [row.box for row in read.rows] == [None, None, Box(0.1, 0.2, 0.3, 0.4)]
    assert [row.flank for row in read.rows] == ["left", "", "right"]
    assert [row.timestamp for row in read.rows] == [datetime(2019, 5, 2), None, None]  # noqa: DTZ001


def test_rows_that_say_nothing_are_named_and_left_out(table: Table) -> None:
    read = read_labelled_table(table("path,identity\na.jpg,A\nb.jpg,unknown\nc.jpg,\n,B\na.jpg,A\na.jpg,B\n"))
    assert [(row.file, row.identity) for row in read.rows] == [("a.jpg", "A"), ("a.jpg", "B")]
    assert [line.split(":")[0] for line in read.skipped] == ["row 3", "row 4", "row 5", "row 6"]
    assert "says the same as row 2" in read.skipped[3]


def test_boxes_in_columns_of_their_own(table: Table) -> None:
    read = read_labelled_table(
        table("file,identity,x,y,width,height\na.jpg,A,0.1,0.2,0.3,0.4\nb.jpg,B,,,,\n")
    )
    assert [row.box for row in read.rows] == [Box(0.1, 0.2, 0.3, 0.4), None]


@pytest.mark.parametrize(
    ("header", "missing"),
    [
        ("photo,identity", "file (or path) is missing"),
        ("file,name", "identity is missing"),
        ("a,b", "file (or path) and identity are missing"),
    ],
)
def test_missing_columns_are_named(table: Table, header: str, missing: str) -> None:
    with pytest.raises(InputError) as caught:
        read_labelled_table(table(f"{header}\n1.jpg,A\n"))
    assert missing in caught.value.message
    assert "file,identity,encounter" in caught.value.hint


def test_a_table_without_one_usable_row_is_an_error(table: Table) -> None:
    with pytest.raises(InputError, match="no row names a photo and an animal"):
        read_labelled_table(table("file,identity\n1.jpg,nan\n"))


def test_folders_are_identities_and_may_tell_flanks() -> None:
    read = folder_rows(iter(["Ada/1.jpg", "Ada/Left/2.jpg", "Bo/visit 3/right/1.jpg", "stray.jpg"]))
    assert [(row.identity, row.flank) for row in read.rows] == [("Ada", ""), ("Ada", "left"), ("Bo", "right")]
    assert read.skipped == ("stray.jpg: lies in no animal's folder",)
