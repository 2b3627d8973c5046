"""A detector's file meets the catalogue, though it may have run elsewhere; and MegaDetector run from here."""

import json
import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deertrack.domain.errors import InputError
from deertrack.formats.megadetector import DetectionsFile, read_detections
from deertrack.services.detections import (
    PhotoIndex,
    apply_detections,
    megadetector_installed,
    run_megadetector,
    take_whole_photos,
)
from deertrack.services.ingest import FoundPhoto, Ingested, StationRules, find_photos, ingest
from deertrack.storage.db import Database

MakePhoto = Callable[..., Path]
BOX = [0.1, 0.2, 0.3, 0.4]


def photos(root: str, *names: str) -> list[FoundPhoto]:
    return [FoundPhoto(Path(root, name), Path(root)) for name in names]


# -- which photo a name means -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "Creek/DCIM/IMG_1.JPG",  # relative to the folder given
        "cards/Creek/DCIM/IMG_1.JPG",  # relative to the folder above it
        "DCIM/IMG_1.JPG",  # relative to a folder inside it
        "/media/season/cards/Creek/DCIM/IMG_1.JPG",  # here
        "D:/cards/Creek/DCIM/IMG_1.JPG",  # on another machine
        "/mnt/elsewhere/cards/Creek/DCIM/IMG_1.JPG",
        "E:/Creek/DCIM/IMG_1.JPG",
        "season/cards/Creek/DCIM/IMG_1.JPG",
    ],
)
def test_a_photo_is_found_by_every_name_that_means_it(name: str) -> None:
    given = photos("/media/season/cards", "Creek/DCIM/IMG_1.JPG", "Pond/DCIM/IMG_2.JPG")
    assert PhotoIndex(given).find(name) == given[0].path


def test_an_end_that_fits_several_photos_means_none() -> None:
    index = PhotoIndex(photos("/cards", "Creek/DCIM/IMG_1.JPG", "Pond/DCIM/IMG_1.JPG"))
    for name in ("IMG_1.JPG", "DCIM/IMG_1.JPG"):
        reason = index.find(name)
        assert isinstance(reason, str)
        assert "fits 2 photos" in reason
    assert index.find("Pond/DCIM/IMG_1.JPG") == Path("/cards/Pond/DCIM/IMG_1.JPG")


def test_two_roots_with_the_same_names() -> None:
    index = PhotoIndex([*photos("/a/north", "IMG_1.JPG"), *photos("/a/south", "IMG_1.JPG")])
    assert isinstance(index.find("IMG_1.JPG"), str)
    assert index.find("north/IMG_1.JPG") == Path("/a/north/IMG_1.JPG")
    assert index.find("/a/south/IMG_1.JPG") == Path("/a/south/IMG_1.JPG")


@pytest.mark.parametrize("name", ["Creek/IMG_9.JPG", "D:/other/IMG_1.JPG", "IMG_1.JPG.bak", "Reek/IMG_1.JPG"])
def test_a_name_that_means_no_photo_finds_none(name: str) -> None:
    assert PhotoIndex(photos("/cards", "Creek/IMG_1.JPG", "Pond/IMG_2.JPG")).find(name) is None


def test_a_bare_name_is_never_guessed_from_a_longer_one() -> None:
    """A file of another folder altogether must not lend its boxes to a photo that happens to be called alike."""
    index = PhotoIndex(photos("/cards", "Creek/IMG_1.JPG"))
    assert index.find("D:/holiday/IMG_1.JPG") is None


# -- what is stored -----------------------------------------------------------------------------------------


@pytest.fixture
def cards(tmp_path: Path, make_photo: MakePhoto) -> Path:
    for n in range(4):
        make_photo(tmp_path / "cards" / "Creek" / f"{n}.jpg", seed=n)
    return tmp_path / "cards"


def results_file(folder: Path, images: list[dict[str, Any]], detector: str = "MDV5A") -> DetectionsFile:
    path = folder / "md.json"
    document = {
        "info": {"format_version": "1.4", "detector": detector},
        "detection_categories": {"1": "animal", "2": "person"},
        "images": images,
    }
    path.write_text(json.dumps(document))
    return read_detections(path)


def animal(*boxes: list[float], conf: float = 0.9) -> list[dict[str, Any]]:
    return [{"category": "1", "conf": conf, "bbox": box} for box in boxes]


def take_in(db: Database, folder: Path) -> tuple[list[FoundPhoto], Ingested]:
    found = find_photos([folder])
    return found, ingest(db, found, StationRules())


def test_results_failures_and_strangers(db: Database, cards: Path, one: Callable[..., Any]) -> None:
    found, ingested = take_in(db, cards)
    file = results_file(
        cards.parent,
        [
            {"file": "Creek/0.jpg", "detections": animal(BOX, [0.6, 0.2, 0.3, 0.4])},
            {"file": "Creek/1.jpg", "detections": []},
            {"file": "Creek/2.jpg", "detections": None, "failure": "Failure image access"},
            {"file": "Creek/elsewhere.jpg", "detections": animal(BOX)},
        ],
    )
    outcome = apply_detections(db, found, ingested.catalogued, [file])
    assert (outcome.detections, outcome.without_result) == (2, 2)  # 2.jpg failed, 3.jpg is not in the file
    assert [(Path(p.path).name, p.reason) for p in outcome.problems] == [
        ("2.jpg", "the detector failed: Failure image access"),
        ("elsewhere.jpg", "named in the detections file, but not among the photos"),
    ]
    assert one("SELECT count(*) FROM images WHERE detector = 'MDV5A'") == 2  # an empty photo was looked at


def test_the_first_answer_stays(db: Database, cards: Path, rows: Callable[..., Any]) -> None:
    found, ingested = take_in(db, cards)
    first = results_file(cards.parent, [{"file": "Creek/0.jpg", "detections": animal(BOX)}])
    apply_detections(db, found, ingested.catalogued, [first])
    later = results_file(
        cards.parent,
        [
            {"file": "Creek/0.jpg", "detections": animal([0.5, 0.5, 0.2, 0.2])},
            {"file": "Creek/1.jpg", "detections": animal(BOX)},
        ],
        detector="another",
    )
    found, ingested = take_in(db, cards)
    outcome = apply_detections(db, found, ingested.catalogued, [later])
    assert (outcome.detections, outcome.without_result) == (1, 2)
    assert rows(
        "SELECT detector, bbox_x FROM detections d JOIN images i ON i.id = d.image_id ORDER BY d.id"
    ) == [
        {"detector": "MDV5A", "bbox_x": 0.1},
        {"detector": "another", "bbox_x": 0.1},
    ]
    take_whole_photos(db, take_in(db, cards)[1].catalogued)
    assert [r["n"] for r in rows("SELECT count(*) AS n FROM detections GROUP BY image_id")] == [1, 1, 1, 1]


def test_two_files_of_which_the_first_failed(db: Database, cards: Path) -> None:
    found, ingested = take_in(db, cards)
    failed = results_file(cards.parent, [{"file": "Creek/0.jpg", "failure": "out of memory"}])
    good = results_file(cards.parent, [{"file": "Creek/0.jpg", "detections": animal(BOX)}])
    outcome = apply_detections(db, found, ingested.catalogued, [failed, good])
    assert (outcome.detections, len(outcome.problems)) == (1, 1)


def test_two_names_of_one_photo_get_one_answer(db: Database, cards: Path, one: Callable[..., Any]) -> None:
    (cards / "Creek" / "copy.jpg").write_bytes((cards / "Creek" / "0.jpg").read_bytes())
    found, ingested = take_in(db, cards)
    images = [{"file": f"Creek/{n}.jpg", "detections": animal(BOX)} for n in ("0", "copy")]
    outcome = apply_detections(db, found, ingested.catalogued, [results_file(cards.parent, images)])
    assert outcome.detections == one("SELECT count(*) FROM detections") == 1


def test_whole_photos(db: Database, cards: Path, rows: Callable[..., Any]) -> None:
    _, ingested = take_in(db, cards)
    assert take_whole_photos(db, ingested.catalogued).detections == 4
    assert take_whole_photos(db, take_in(db, cards)[1].catalogued).detections == 0
    stored = rows("SELECT DISTINCT bbox_x, bbox_y, bbox_width, bbox_height, confidence FROM detections")
    assert [list(row.values()) for row in stored] == [[0, 0, 1, 1, 1]]


def test_what_a_box_says_reaches_the_database(db: Database, cards: Path, rows: Callable[..., Any]) -> None:
    found, ingested = take_in(db, cards)
    document = {
        "images": [
            {
                "file": "Creek/0.jpg",
                "detections": [
                    {"category": "1", "conf": 0.75, "bbox": BOX, "classifications": [["7", 0.98]]},
                ],
            }
        ],
        "detection_categories": {"1": "animal"},
        "classification_categories": {"7": "buck"},
    }
    path = cards.parent / "md.json"
    path.write_text(json.dumps(document))
    file = read_detections(path)
    apply_detections(db, found, ingested.catalogued, [file])
    (row,) = rows("SELECT confidence, label, sex, age_class, bbox_width FROM detections")
    assert row == {
        "confidence": pytest.approx(0.75),
        "label": "buck",
        "sex": "male",
        "age_class": "adult",
        "bbox_width": pytest.approx(0.3),
    }


# -- MegaDetector, run from here ----------------------------------------------------------------------------

STAND_IN = """
    '''Takes the arguments of MegaDetector's batch script and writes the same kind of file.'''
    import json, os, sys

    model, source, target, *flags = sys.argv[1:]
    if os.environ.get("STAND_IN_FAILS"):
        print("loading the model")
        sys.exit("no space left on device")
    with open(source) as file:
        photos = json.load(file)
    animal = {"category": "1", "conf": 0.8, "bbox": [0.1, 0.1, 0.5, 0.5]}
    images = [{"file": photo, "detections": [animal]} for photo in photos]
    with open(target, "w") as file:
        json.dump({"info": {"detector": model, "format_version": "1.4"},
                   "detection_categories": {"1": "animal"}, "images": images}, file)
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package in MegaDetector's place: the real one needs torch and fetches its model from the network."""
    package = tmp_path / "site" / "megadetector" / "detection"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package / "run_detector_batch.py").write_text(textwrap.dedent(STAND_IN))
    site = str(tmp_path / "site")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [site, os.environ.get("PYTHONPATH")])))
    return package


@pytest.mark.skipif("megadetector" in sys.modules, reason="MegaDetector itself is loaded here")
def test_megadetector_is_seen_only_where_it_is_installed(stand_in: Path) -> None:
    assert megadetector_installed()


def test_megadetector_looks_at_just_these_photos(db: Database, cards: Path, stand_in: Path) -> None:
    found, ingested = take_in(db, cards)
    file = run_megadetector([photo.path for photo in found[:3]])
    assert file.detector == "MDV5A"
    outcome = apply_detections(db, found, ingested.catalogued, [file])
    assert (outcome.detections, outcome.without_result, outcome.problems) == (3, 1, [])


def test_two_cards_with_the_same_names(
    db: Database, tmp_path: Path, stand_in: Path, make_photo: MakePhoto
) -> None:
    cards = [tmp_path / "monday", tmp_path / "friday"]
    for seed, card in enumerate(cards):
        make_photo(card / "DCIM" / "IMG_0001.JPG", seed=seed)
    found = find_photos(cards)
    ingested = ingest(db, found, StationRules())
    outcome = apply_detections(
        db, found, ingested.catalogued, [run_megadetector([photo.path for photo in found])]
    )
    assert (outcome.detections, outcome.problems) == (2, [])


def test_megadetectors_failure_is_an_error_with_its_last_words(
    cards: Path, stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_FAILS", "1")
    with pytest.raises(InputError, match="no space left on device") as caught:
        run_megadetector([cards / "Creek" / "0.jpg"])
    assert "--detections" in caught.value.hint
