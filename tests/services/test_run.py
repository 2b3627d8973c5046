"""The main job as a service: ingest, detect, embed, identify, on photos made here."""

import json
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deertrack.domain.errors import InputError
from deertrack.services import detections as detecting
from deertrack.services.identify import alone
from deertrack.services.ingest import StationRules
from deertrack.services.run import RunPlan, RunReport, RunRequest, plan, run
from deertrack.storage.db import Database
from deertrack.vision.embedder import Embedder
from deertrack.vision.model_packs import builtin_pack
from deertrack.wiring import make_matcher

MakePhoto = Callable[..., Path]
Ask = Callable[..., Any]
DAWN = datetime(2025, 11, 2, 6, 30)  # noqa: DTZ001 - a camera's own clock has no zone


@pytest.fixture
def cards(tmp_path: Path, make_photo: MakePhoto) -> Path:
    """Three bursts of two photos at two stations."""
    for visit in range(3):
        for shot in range(2):
            when = DAWN + timedelta(hours=visit, seconds=3 * shot)
            path = tmp_path / "cards" / ("Creek", "Pond")[visit % 2] / f"IMG_{visit}{shot}.JPG"
            make_photo(path, when=when, seed=10 * visit + shot)
    return tmp_path / "cards"


@pytest.fixture
def md(cards: Path) -> Path:
    """A detector's file: an animal in each photo, but none in the last."""
    names = sorted(path.relative_to(cards).as_posix() for path in cards.rglob("*.JPG"))
    animal = {"category": "1", "conf": 0.9, "bbox": [0.1, 0.1, 0.6, 0.7]}
    images = [{"file": name, "detections": [animal]} for name in names[:-1]]
    path = cards.parent / "md.json"
    path.write_text(json.dumps({"images": [*images, {"file": names[-1], "detections": []}]}))
    return path


@pytest.fixture
def do_run(db: Database, embedder: Embedder) -> Callable[..., RunReport]:
    def do(*roots: Path, **options: Any) -> RunReport:
        request = RunRequest(roots, **options)
        return run(db, request, lambda _: embedder, lambda own: alone(make_matcher(own, builtin_pack())))

    return do


def test_counts_of_a_first_run(cards: Path, md: Path, do_run: Callable[..., RunReport]) -> None:
    report = do_run(cards, detections=md)
    assert (report.photos_found, report.photos_new, report.photos_known) == (6, 6, 0)
    assert (report.detections, report.embedded, report.without_detections) == (5, 5, 0)
    assert report.encounters == 3
    assert report.matched + report.new + report.review == report.tracks >= 3
    assert (report.problems, report.unreadable, report.duplicates) == ([], 0, 0)
    assert report.catalogue["tracks"] == report.tracks
    assert set(report.seconds) == {"detections", "ingest", "embed", "identify"}
    assert not report.nothing_new


def test_a_second_run_does_nothing_new_and_new_photos_alone_are_done(
    cards: Path, md: Path, do_run: Callable[..., RunReport], make_photo: MakePhoto
) -> None:
    first = do_run(cards, detections=md)
    again = do_run(cards, detections=md)
    assert again.nothing_new
    assert (again.photos_known, again.detections, again.embedded, again.tracks) == (6, 0, 0, 0)
    assert again.catalogue == first.catalogue
    assert do_run(cards).nothing_new  # and without the file: every photo has been looked at
    make_photo(cards / "Hill" / "new.jpg", when=DAWN, seed=77)
    late = do_run(cards, detections=md)
    assert (late.photos_new, late.photos_known, late.without_detections) == (1, 6, 1)
    assert (late.detections, late.embedded) == (0, 0)  # no detector has looked at it
    assert do_run(cards / "Hill", whole_photo=True).embedded == 1


def test_without_detections_nothing_is_stored_and_the_ways_out_are_named(
    cards: Path, do_run: Callable[..., RunReport], one: Ask
) -> None:
    if detecting.megadetector_installed():
        pytest.skip("MegaDetector is installed here, and would be run")
    with pytest.raises(InputError, match="nobody has said yet where the animals are") as caught:
        do_run(cards)
    for way in ("--detections", "--whole-photo", "pip install"):
        assert way in caught.value.hint
    assert one("SELECT count(*) FROM images") == 0


def test_a_bad_file_among_known_photos_asks_for_no_detections(
    cards: Path, md: Path, do_run: Callable[..., RunReport]
) -> None:
    (cards / "Creek" / "broken.jpg").write_text("not a photo")
    (Path(os.fsdecode(os.fsencode(cards) + b"/\xff.jpg"))).write_text("nor this")
    assert len(do_run(cards, detections=md).problems) == 2
    again = do_run(cards)
    assert (again.nothing_new, len(again.problems)) == (True, 2)


def test_problems_of_every_stage_are_listed(
    cards: Path, md: Path, do_run: Callable[..., RunReport], one: Ask
) -> None:
    document = json.loads(md.read_text())
    document["images"] += [
        {"file": "Creek/gone.jpg", "detections": []},
        {"file": "Creek/cut.jpg", "detections": document["images"][0]["detections"]},
        {"detections": []},
    ]
    md.write_text(json.dumps(document))
    cut = cards / "Creek" / "cut.jpg"
    cut.write_bytes((cards / "Creek" / "IMG_00.JPG").read_bytes()[:-300])
    (cards / "Creek" / "empty.jpg").touch()
    report = do_run(cards, detections=md)
    reasons = {Path(p.path).name: p.reason for p in report.problems}
    assert reasons.keys() == {"gone.jpg", "cut.jpg", "empty.jpg", "md.json"}
    assert "truncated" in reasons["cut.jpg"]
    assert "images[8]" in reasons["md.json"]
    assert (report.unreadable, report.catalogue["unreadable"], report.embedded) == (2, 2, 5)
    again = do_run(cards, detections=md)
    assert again.nothing_new
    assert {Path(p.path).name: p.reason for p in again.problems} == reasons


def test_megadetector_is_run_where_it_is_installed_on_new_photos_only(
    cards: Path,
    do_run: Callable[..., RunReport],
    make_photo: MakePhoto,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A package in its place: it notes what it was asked for and writes MegaDetector's format."""
    package = tmp_path / "site" / "megadetector" / "detection"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package / "run_detector_batch.py").write_text(
        "import json, sys\n"
        "model, source, target, *_ = sys.argv[1:]\n"
        "photos = json.load(open(source))\n"
        f"open({str(tmp_path / 'asked')!r}, 'a').writelines(p + '\\n' for p in photos)\n"
        "found = [{'category': '1', 'conf': c, 'bbox': [0, 0, 0.5, 0.5]} for c in (0.9, 0.3)]\n"
        "json.dump({'images': [{'file': p, 'detections': found[:1 + ('00' in p)]} for p in photos]},"
        " open(target, 'w'))\n"
    )
    site = str(tmp_path / "site")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [site, os.environ.get("PYTHONPATH")])))
    (cards / "Creek" / "broken.jpg").write_text("not a photo")
    report = do_run(cards, min_confidence=0.5)
    assert (report.detections, report.embedded, len(report.problems)) == (6, 6, 1)
    assert do_run(cards).nothing_new
    new = make_photo(cards / "Hill" / "new.jpg", seed=78)
    assert do_run(cards).detections == 1
    asked = (tmp_path / "asked").read_text().splitlines()
    assert (len(asked), asked[-1]) == (7, str(new))


def test_class_map_and_threshold_reach_the_detections(
    cards: Path, md: Path, do_run: Callable[..., RunReport], rows: Ask, tmp_path: Path
) -> None:
    document = json.loads(md.read_text())
    document["classification_categories"] = {"0": "Hirsch"}
    document["images"][0]["detections"][0]["classifications"] = [["0", 0.99]]
    document["images"][1]["detections"][0]["conf"] = 0.5
    md.write_text(json.dumps(document))
    words = tmp_path / "classes.toml"
    words.write_text('hirsch = { sex = "male", age_class = "adult" }')
    assert do_run(cards, detections=md, class_map=words, min_confidence=0.6).detections == 4
    assert [r["label"] for r in rows("SELECT label FROM detections WHERE sex = 'male'")] == ["Hirsch"]


def test_a_plan_reads_and_changes_nothing(
    db: Database, cards: Path, md: Path, do_run: Callable[..., RunReport], one: Ask
) -> None:
    request = RunRequest([cards], stations=StationRules(folders=[("Pond", "Teich")]))
    assert plan(db, request) == RunPlan(6, 0, {"Creek": 4, "Teich": 2})
    assert one("SELECT count(*) FROM files") == one("SELECT count(*) FROM stations") == 0
    do_run(cards, detections=md)
    assert plan(db, request).photos_known == 6
