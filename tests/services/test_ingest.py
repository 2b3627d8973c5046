"""Folders as they come off real cards: which photos, which station, what time, and what is known already."""

import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from deertrack.domain.errors import InputError
from deertrack.formats.stations import read_stations
from deertrack.services.ingest import FoundPhoto, Ingested, StationFrom, StationRules, find_photos, ingest
from deertrack.services.ingest import station_folder as folder_of
from deertrack.storage.db import Database

WHEN = datetime(2025, 11, 2, 6, 30, 15)  # noqa: DTZ001 - a camera's own clock has no zone
MakePhoto = Callable[..., Path]
Rows = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def cards(tmp_path: Path) -> Path:
    folder = tmp_path / "cards"
    folder.mkdir()
    return folder


@pytest.fixture
def take_in(db: Database) -> Callable[..., Ingested]:
    def run(*roots: Path, **rules: Any) -> Ingested:
        return ingest(db, find_photos(roots), StationRules(**rules))

    return run


@pytest.fixture
def stations_of(rows: Rows) -> Callable[[], dict[str, str]]:
    """Station by file name."""

    def ask() -> dict[str, str]:
        found = rows(
            "SELECT f.path, s.name FROM files f JOIN images i ON i.id = f.image_id "
            "JOIN stations s ON s.id = i.station_id"
        )
        return {Path(row["path"]).name: row["name"] for row in found}

    return ask


def times_of(rows: Rows) -> dict[str, datetime | None]:
    found = rows("SELECT f.path, i.taken_at FROM files f JOIN images i ON i.id = f.image_id")
    return {Path(row["path"]).name: row["taken_at"] for row in found}


# -- which files --------------------------------------------------------------------------------------------


def test_finds_photos_in_all_subfolders_whatever_the_case(cards: Path, make_photo: MakePhoto) -> None:
    wanted = ["a.jpg", "B/c.JPEG", "B/DCIM/d.Png", "B/e.webp", "B/f.HEIC"]
    other = ["notes.txt", ".hidden.jpg", ".Trash/x.jpg", "@eaDir/x.jpg", "$RECYCLE.BIN/x.jpg", "movie.mp4"]
    for name in wanted + other:
        path = cards / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = find_photos([cards, cards / "B"])  # a folder inside another one counts once
    assert [photo.relative.as_posix() for photo in found] == sorted(wanted)
    assert {photo.root for photo in found} == {cards}


def test_a_single_photo_may_be_given(cards: Path, make_photo: MakePhoto) -> None:
    path = make_photo(cards / "Creek" / "a.jpg")
    assert find_photos([path]) == [FoundPhoto(path, path.parent)]
    assert folder_of(find_photos([path])[0]) == "Creek"


def test_a_missing_folder_and_an_empty_one_are_errors(cards: Path) -> None:
    with pytest.raises(InputError, match="there is no such file or folder"):
        find_photos([cards / "nowhere"])
    with pytest.raises(InputError, match="no photos in") as caught:
        find_photos([cards])
    assert ".jpg" in caught.value.hint


# -- which station ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("root", "photo", "station"),
    [
        ("cards", "Creek/IMG_1.JPG", "Creek"),
        ("cards", "Creek/DCIM/100MEDIA/IMG_1.JPG", "Creek"),
        ("cards", "DCIM/100RECNX/IMG_1.JPG", "cards"),
        ("cards", "IMG_1.JPG", "cards"),
        ("cards/Creek/DCIM/100MEDIA", "IMG_1.JPG", "Creek"),  # the card's own folder was given
        ("cards/Creek/DCIM", "101_BTCF/IMG_1.JPG", "Creek"),
        ("cards", "dcim/North gate/2025-10/IMG_1.JPG", "North gate"),
        ("cards", "100 acres/IMG_1.JPG", "100 acres"),  # three digits, but no camera's folder
    ],
)
def test_station_from_folders_that_no_camera_made(
    tmp_path: Path, root: str, photo: str, station: str
) -> None:
    folder = tmp_path / root
    assert folder_of(FoundPhoto(folder / photo, folder)) == station


def test_station_from_exif_falls_back_to_the_folder(
    cards: Path, make_photo: MakePhoto, take_in: Callable[..., Ingested], stations_of: Callable[..., Any]
) -> None:
    make_photo(cards / "Box 7" / "a.jpg", owner="Old oak", seed=1)
    make_photo(cards / "Box 7" / "b.jpg", seed=2)
    take_in(cards, source=StationFrom.EXIF)
    assert stations_of() == {"a.jpg": "Old oak", "b.jpg": "Box 7"}


def test_station_patterns_of_a_stations_file(
    cards: Path,
    make_photo: MakePhoto,
    take_in: Callable[..., Ingested],
    stations_of: Callable[..., Any],
    tmp_path: Path,
) -> None:
    for seed, name in enumerate(
        ("card1/DCIM/a.jpg", "card2/week1/b.jpg", "card2/week2/c.jpg", "Pond/d.jpg", "x/e.jpg")
    ):
        make_photo(cards / name, seed=seed)
    table = tmp_path / "stations.csv"
    table.write_text("station,folder\nCreek,card1\nSüdhang,card?/week*\nPond,\n", encoding="utf-8")
    take_in(cards, folders=[(row.folder, row.station) for row in read_stations(table)])
    assert stations_of() == {
        "a.jpg": "Creek",
        "b.jpg": "Südhang",
        "c.jpg": "Südhang",
        "d.jpg": "Pond",
        "e.jpg": "x",  # in no row: named by its folder
    }


# -- what time ----------------------------------------------------------------------------------------------


def test_time_comes_from_exif_in_the_stations_zone_and_never_from_the_file(
    cards: Path, make_photo: MakePhoto, take_in: Callable[..., Ingested], rows: Rows
) -> None:
    make_photo(cards / "Creek" / "zone.jpg", when=WHEN, seed=1)
    make_photo(cards / "Creek" / "offset.jpg", when=WHEN, offset="+02:00", seed=2)
    untimed = make_photo(cards / "Creek" / "untimed.jpg", seed=3)
    os.utime(untimed, (1_600_000_000, 1_600_000_000))
    result = take_in(cards, timezone="America/Chicago")
    assert result.problems == []
    assert times_of(rows) == {
        "zone.jpg": datetime(2025, 11, 2, 12, 30, 15, tzinfo=UTC),  # the day on which summer time ended
        "offset.jpg": datetime(2025, 11, 2, 4, 30, 15, tzinfo=UTC),
        "untimed.jpg": None,
    }


def test_the_zone_of_a_known_station_stays(
    cards: Path, make_photo: MakePhoto, take_in: Callable[..., Ingested], rows: Rows
) -> None:
    make_photo(cards / "Creek" / "a.jpg", when=WHEN, seed=1)
    take_in(cards, timezone="America/Chicago")
    make_photo(cards / "Creek" / "b.jpg", when=WHEN, seed=2)
    take_in(cards, timezone="Asia/Tokyo")
    assert len(set(times_of(rows).values())) == 1


def test_an_unknown_zone_is_an_error_and_nothing_is_stored(
    cards: Path, make_photo: MakePhoto, take_in: Callable[..., Ingested], one: Callable[..., Any]
) -> None:
    make_photo(cards / "Creek" / "a.jpg", when=WHEN)
    with pytest.raises(InputError, match="'Mars/Olympus' is not a time zone"):
        take_in(cards, timezone="Mars/Olympus")
    assert one("SELECT count(*) FROM images") == one("SELECT count(*) FROM stations") == 0


def test_real_camera_folders(
    test_data: Path, take_in: Callable[..., Ingested], rows: Rows, tmp_path: Path
) -> None:
    """camtrapR's own sample: every station and time as another EXIF reader tells them."""
    source = test_data / "camtrapr" / "raw_images"
    if not source.is_dir():
        pytest.skip(f"no {source}")
    result = take_in(source)
    assert (result.found, result.new, result.problems) == (6, 6, [])
    found = rows(
        "SELECT f.path, s.name, i.taken_at FROM files f JOIN images i ON i.id = f.image_id "
        "JOIN stations s ON s.id = i.station_id ORDER BY f.path"
    )
    expected = []
    for path in sorted(source.rglob("*.JPG")):
        with Image.open(path) as image:
            text = image.getexif().get_ifd(0x8769)[0x9003]
        taken_at = datetime.strptime(text, "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
        expected.append({"path": str(path), "name": path.parent.name, "taken_at": taken_at})
    assert found == expected
    assert {row["name"] for row in found} == {"StationA", "StationB"}


# -- what is known already ----------------------------------------------------------------------------------


def test_a_second_run_opens_no_file(
    cards: Path, make_photo: MakePhoto, take_in: Callable[..., Ingested]
) -> None:
    paths = [make_photo(cards / "Creek" / f"{n}.jpg", seed=n) for n in range(5)]
    assert (take_in(cards).new, take_in(cards).new) == (5, 0)
    for path in paths:  # same size and date, other bytes: only who opens the file could tell
        before = path.stat()
        path.write_bytes(b"x" * before.st_size)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    again = take_in(cards)
    assert (again.found, again.known, again.new, again.problems) == (5, 5, 0, [])
    assert len(again.catalogued) == 5


def test_adding_photos_reads_only_those(
    cards: Path, make_photo: MakePhoto, take_in: Callable[..., Ingested]
) -> None:
    for n in range(3):
        make_photo(cards / "Creek" / f"{n}.jpg", seed=n)
    take_in(cards)
    make_photo(cards / "Creek" / "late.jpg", seed=9)
    result = take_in(cards)
    assert (result.found, result.known, result.new) == (4, 3, 1)


def test_two_names_of_one_photo_are_one_photo(
    cards: Path, make_photo: MakePhoto, take_in: Callable[..., Ingested], one: Callable[..., Any]
) -> None:
    original = make_photo(cards / "Creek" / "a.jpg")
    shutil.copyfile(original, original.with_name("copy of a.jpg"))
    for _ in range(2):
        result = take_in(cards)
        assert [file.path for file in result.duplicates] == [str(original.with_name("copy of a.jpg"))]
        assert result.duplicates[0].first_path == str(original)
    assert (one("SELECT count(*) FROM images"), one("SELECT count(*) FROM files")) == (1, 2)


def test_a_folder_that_moved_brings_no_new_photos(
    cards: Path, make_photo: MakePhoto, take_in: Callable[..., Ingested], one: Callable[..., Any]
) -> None:
    for n in range(3):
        make_photo(cards / "Creek" / f"{n}.jpg", seed=n)
    first = take_in(cards)
    moved = cards.rename(cards.with_name("archive"))
    result = take_in(moved)
    assert (result.found, result.new, result.problems) == (3, 0, [])
    ids = {file.image_id for file in first.catalogued.values()}
    assert {file.image_id for file in result.catalogued.values()} == ids
    assert one("SELECT count(*) FROM images") == 3


def test_a_changed_file_is_read_again(
    cards: Path, make_photo: MakePhoto, take_in: Callable[..., Ingested], one: Callable[..., Any]
) -> None:
    path = make_photo(cards / "Creek" / "a.jpg", seed=1, when=WHEN)
    before = take_in(cards).catalogued[str(path)]
    make_photo(path, seed=2, when=WHEN)
    result = take_in(cards)
    assert (result.known, result.new) == (0, 1)
    assert result.catalogued[str(path)].image_id != before.image_id
    assert one("SELECT count(*) FROM images") == 2  # what was seen once is never forgotten
    path.write_bytes(b"overwritten")
    broken = take_in(cards)
    assert [problem.path for problem in broken.problems] == [str(path)]
    assert broken.catalogued == {}
    make_photo(path, seed=2, when=WHEN)
    assert take_in(cards).problems == []


# -- what cannot be used ------------------------------------------------------------------------------------


def test_bad_files_are_listed_with_reasons_and_stop_no_other(
    cards: Path, make_photo: MakePhoto, take_in: Callable[..., Ingested]
) -> None:
    make_photo(cards / "Creek" / "good.jpg")
    creek = cards / "Creek"
    (creek / "empty.jpg").touch()
    (creek / "text.jpg").write_text("not a photo")
    (creek / "dangling.jpg").symlink_to(creek / "gone.jpg")
    (creek / "folder.jpg").mkdir()
    make_photo(creek / "folder.jpg" / "inside.jpg", seed=3)
    os.mkfifo(creek / "pipe.jpg")  # reading it would wait for ever
    for again in (False, True):
        result = take_in(cards)
        assert {Path(p.path).name: p.reason for p in result.problems} == {
            "empty.jpg": "the file is empty",
            "text.jpg": "not a JPEG, PNG, WebP or HEIC photo, or damaged from its start",
            "dangling.jpg": "cannot be opened: No such file or directory",
            "pipe.jpg": "not a regular file",
        }
        assert (result.found, result.new) == (6, 0 if again else 2)
        assert len(result.catalogued) == 2


def test_a_file_that_cannot_be_opened_is_tried_again(
    cards: Path, make_photo: MakePhoto, take_in: Callable[..., Ingested]
) -> None:
    target = cards.parent / "on another drive.jpg"
    link = cards / "Creek" / "a.jpg"
    link.parent.mkdir()
    link.symlink_to(target)
    assert len(take_in(cards).problems) == 1
    make_photo(target)
    result = take_in(cards)
    assert (result.new, result.problems) == (1, [])


@pytest.mark.parametrize(
    "name",
    [
        "with space.jpg",
        "quo'te\".jpg",
        "Rehbock äöü 鹿 🦌.jpg",
        "new\nline.jpg",
        "-rf.jpg",
        "%s {0} $HOME.jpg",
    ],
)
def test_odd_names_are_kept_as_they_are(
    cards: Path, make_photo: MakePhoto, take_in: Callable[..., Ingested], rows: Rows, name: str
) -> None:
    path = make_photo(cards / "Wald & Wiese's" / name, when=WHEN)
    assert take_in(cards).problems == []
    assert [row["path"] for row in rows("SELECT path FROM files")] == [str(path)]
    assert [row["name"] for row in rows("SELECT name FROM stations")] == ["Wald & Wiese's"]
    assert (take_in(cards).known, take_in(cards).new) == (1, 0)


def test_a_name_that_is_not_utf8_is_listed(
    cards: Path, make_photo: MakePhoto, take_in: Callable[..., Ingested]
) -> None:
    make_photo(cards / "good.jpg", seed=1)
    odd = os.fsencode(cards) + b"/sch\xf6n.jpg"  # "schön" as an old camera wrote it
    with open(odd, "wb") as file:  # noqa: PTH123 - pathlib takes no bytes
        file.write(make_photo(cards / "good.jpg", seed=1).read_bytes())
    result = take_in(cards)
    assert result.new == 1
    problem = result.problems[0]
    assert problem.path.endswith("sch\\xf6n.jpg")
    assert "not valid UTF-8" in problem.reason
    problem.path.encode()  # can be printed and stored


def test_more_photos_than_a_batch_holds(
    cards: Path, make_photo: MakePhoto, take_in: Callable[..., Ingested]
) -> None:
    for n in range(300):
        make_photo(cards / f"S{n % 3}" / f"{n:03}.jpg", seed=n, size=(16, 12))
    result = take_in(cards)
    assert (result.found, result.new, len(result.catalogued)) == (300, 300, 300)
    assert (take_in(cards).known, result.problems) == (300, [])
