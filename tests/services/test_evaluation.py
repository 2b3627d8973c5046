"""Labelled sets made ready and measured: real photos, the real networks, a real catalogue."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deertrack.domain.embedding import DIMENSIONS, Output
from deertrack.domain.errors import InputError
from deertrack.domain.protocols import Protocol
from deertrack.domain.records import WHOLE_PHOTO, Box
from deertrack.services.evaluation.catalogue_set import confirmed_set
from deertrack.services.evaluation.evaluate import Evaluation, Request, as_json, evaluate
from deertrack.services.evaluation.labelled_set import LabelledSet, load_labelled_set
from deertrack.services.evaluation.matchers import VersionMatcher, catalogue_matchers, version_matchers
from deertrack.services.evaluation.page import evaluation_page
from deertrack.services.evaluation.vectors import VectorFiles, embed_photos
from deertrack.services.identify import Matcher, alone, identify
from deertrack.storage.db import Database
from deertrack.vision.embedder import Embedder
from deertrack.vision.model_packs import Pack, builtin_pack

NOON = datetime(2025, 10, 1, 12, tzinfo=UTC)
VERSIONS = ["v1_lite", "v2_lite", "v3_lite"]


def write_table(path: Path, *rows: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def not_needed(_: Pack) -> Embedder:
    raise AssertionError("the model was loaded again")


@pytest.fixture
def nyala_part(test_data: Path, tmp_path: Path) -> Path:
    """The rows of eight real animals that were met often, as a truth file of their own."""
    header, *rows = (test_data / "nyala" / "truth.csv").read_text().splitlines()
    by_animal: dict[str, list[str]] = {}
    for row in rows:
        by_animal.setdefault(row.split(",")[1], []).append(row)
    often = sorted(by_animal.values(), key=len, reverse=True)[4:12]
    return write_table(tmp_path / "part.csv", header, *(row for animal in often for row in animal[:8]))


def measure(
    labelled: LabelledSet, embedder: Embedder, folder: Path, *names: str, **request: Any
) -> Evaluation:
    packs = [(builtin_pack(), list(names or VERSIONS))]
    labelled, matchers = version_matchers(labelled, packs, lambda _: embedder, VectorFiles(folder))
    return evaluate(labelled, matchers, Request(bootstrap=100, **request))


def test_real_photos_are_measured_under_every_protocol(
    nyala_part: Path, test_data: Path, tmp_path: Path, embedder: Embedder
) -> None:
    folder = test_data / "nyala"
    labelled = load_labelled_set(nyala_part, images=folder / "cards", detections=folder / "detections.json")
    assert (len(labelled.photos), len(labelled.names), labelled.problems) == (64, 8, [])
    assert all(photo.box != WHOLE_PHOTO and photo.confidence < 1 for photo in labelled.photos)
    evaluation = measure(labelled, embedder, tmp_path / "kept", protocols=tuple(Protocol))
    assert [verdict.name for verdict in evaluation.verdicts] == VERSIONS
    for verdict in evaluation.verdicts:
        assert set(verdict.measured) == set(Protocol)
        for measured in verdict.measured.values():
            for name, figure in measured.figures.items():
                if np.isfinite(figure.value):
                    assert 0 <= figure.low <= figure.high <= 1, (name, figure)  # type: ignore[operator]
        honest, folds = verdict.measured[Protocol.ENCOUNTER], verdict.measured[Protocol.IDENTITY]
        # Nothing is learned, so folds ask the same questions.
        assert honest.figures["rank5"].value == folds.figures["rank5"].value
        assert honest.figures["mAP"].value == pytest.approx(folds.figures["mAP"].value)
        # Photos of one visit find each other: that is why the random split is no measure.
        assert verdict.leaky.figures["rank1"].value > honest.figures["rank1"].value
    assert evaluation.verdicts[0].gain is None
    first, last = (v.measured[evaluation.primary].figures["mAP"].value for v in evaluation.verdicts[::2])
    assert evaluation.verdicts[2].gain is not None
    assert evaluation.verdicts[2].gain["mAP"].value == pytest.approx(last - first)
    page = evaluation_page(evaluation)
    assert page.count("data:image/jpeg;base64") >= 9
    assert "Worst errors: v3_lite" in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_vectors_are_kept_for_the_next_time(
    nyala_part: Path, test_data: Path, tmp_path: Path, embedder: Embedder
) -> None:
    labelled = load_labelled_set(nyala_part, images=test_data / "nyala" / "cards")
    photos, kept, pack = labelled.photos[:6], VectorFiles(tmp_path / "kept"), builtin_pack()
    first, bad = embed_photos(photos, pack, lambda: embedder, kept)
    assert bad == {}
    again, _ = embed_photos(photos, pack, lambda: not_needed(pack), kept)
    for output in Output:
        assert np.array_equal(first[output], again[output])
    # A kill in the middle of a record costs that record, not those after it.
    for file in (tmp_path / "kept").iterdir():
        with file.open("ab") as torn:
            torn.write(b"torn")
    more, _ = embed_photos(labelled.photos[:8], pack, lambda: embedder, kept)
    again, _ = embed_photos(labelled.photos[:8], pack, lambda: not_needed(pack), kept)
    for output in Output:
        assert np.array_equal(more[output], again[output])


def test_another_box_or_another_photo_is_another_vector(
    make_photo: Callable[..., Path], tmp_path: Path, embedder: Embedder
) -> None:
    for number in (1, 2):
        make_photo(tmp_path / "images" / f"{number}.jpg", seed=number)
    table = write_table(
        tmp_path / "set.csv",
        "file,identity,x,y,width,height",
        "1.jpg,A,0,0,0.5,1",
        "1.jpg,B,0.5,0,0.5,1",
        "2.jpg,A,0,0,0.5,1",
    )
    photos = load_labelled_set(table).photos
    vectors, _ = embed_photos(photos, builtin_pack(), lambda: embedder, VectorFiles(tmp_path / "kept"))
    similar = vectors[Output.MULTISCALE] @ vectors[Output.MULTISCALE].T
    assert (similar[np.triu_indices(3, 1)] < 0.999).all()


def test_a_folder_that_cannot_be_written_costs_only_time(
    make_photo: Callable[..., Path], tmp_path: Path, embedder: Embedder
) -> None:
    make_photo(tmp_path / "set" / "A" / "1.jpg")
    (tmp_path / "file").write_text("in the way")
    photos = load_labelled_set(tmp_path / "set").photos
    vectors, _ = embed_photos(
        photos, builtin_pack(), lambda: embedder, VectorFiles(tmp_path / "file" / "kept")
    )
    assert vectors[Output.SINGLE].shape == (1, DIMENSIONS)


def test_photos_that_are_missing_or_damaged_are_named_and_left_out(
    make_photo: Callable[..., Path], tmp_path: Path, embedder: Embedder
) -> None:
    images = tmp_path / "images"
    for number in range(1, 6):
        make_photo(images / f"{number}.jpg", seed=number, size=(320, 240))
    whole = (images / "5.jpg").read_bytes()
    (images / "5.jpg").write_bytes(whole[: len(whole) // 2])  # its header is fine, its pixels are not
    (images / "text.jpg").write_text("no photo")
    rows = [f"{n}.jpg,{'AB'[n % 2]},{n}" for n in range(1, 6)]
    table = write_table(
        tmp_path / "t.csv", "file,identity,encounter", *rows, "gone.jpg,A,7", "text.jpg,A,8", "1.jpg,,9"
    )
    labelled = load_labelled_set(table)
    assert {Path(p.path).name: p.reason for p in labelled.problems} == {
        "gone.jpg": "there is no such photo",
        "text.jpg": "not a JPEG, PNG, WebP or HEIC photo, or damaged from its start",
        "t.csv": "row 9: no identity is given",
    }
    evaluation = measure(labelled, embedder, tmp_path / "kept", "v1_lite")
    assert evaluation.counts["photos"] == 4
    assert [Path(p.path).name for p in evaluation.labelled.problems][-1] == "5.jpg"
    assert evaluation.counts["left_out"] == 4


def test_identity_folders_take_encounters_from_the_cameras_clock(
    make_photo: Callable[..., Path], tmp_path: Path
) -> None:
    seconds = {"Ada": (0, 40, 80, 500), "Bo": (20, 600)}
    for animal, times in seconds.items():
        for number, second in enumerate(times):
            when = NOON + timedelta(seconds=second)
            make_photo(tmp_path / "herd" / animal / f"{number}.jpg", when=when, seed=second)
    make_photo(tmp_path / "herd" / "Bo" / "undated.jpg", seed=1)
    labelled = load_labelled_set(tmp_path / "herd")
    encounters: dict[str, list[int]] = {}
    for photo, code in zip(labelled.photos, labelled.codes().encounter.tolist(), strict=True):
        encounters.setdefault(photo.identity, []).append(code)
    assert [len(set(codes)) for _, codes in sorted(encounters.items())] == [2, 3]
    assert any("1 photos were taken in one encounter" in note for note in labelled.notes)
    assert any("pauses of 60 s" in note for note in labelled.notes)


def test_times_at_a_station_make_encounters_and_a_set_may_name_them(
    make_photo: Callable[..., Path], tmp_path: Path
) -> None:
    """At one station another animal's photo bridges a pause, as it does in a run."""
    for number in range(5):
        make_photo(tmp_path / f"{number}.jpg", seed=number)
    rows = [
        "0.jpg,A,Creek,2025-10-01T12:00:00,",
        "1.jpg,B,Creek,2025-10-01T12:00:50,",
        "2.jpg,A,Creek,2025-10-01T12:01:40,",
        "3.jpg,A,Pond,2025-10-01T12:01:45,",
        "4.jpg,A,Pond,2025-10-01T12:01:46,E9",
    ]
    labelled = load_labelled_set(
        write_table(tmp_path / "t.csv", "file,identity,station,timestamp,encounter", *rows)
    )
    code = dict(zip((p.path.stem for p in labelled.photos), labelled.codes().encounter.tolist(), strict=True))
    assert code["0"] == code["2"]
    assert len({code["0"], code["1"], code["3"], code["4"]}) == 4


def test_boxes_come_from_the_detector_then_the_rows_then_the_whole_photo(
    make_photo: Callable[..., Path], tmp_path: Path
) -> None:
    for number in range(1, 6):
        make_photo(tmp_path / "cards" / "Creek" / f"{number}.jpg", seed=number, size=(200, 100))
    near, far = [0.1, 0.1, 0.4, 0.4], [0.6, 0.5, 0.3, 0.4]
    found = {1: [(near, 0.8)], 2: [(near, 0.6), (far, 0.9)], 3: [(near, 0.9), (far, 0.9)], 4: [], 5: []}
    images = [
        {"file": f"Creek/{n}.jpg", "detections": [{"category": "1", "conf": c, "bbox": b} for b, c in boxes]}
        for n, boxes in found.items()
    ]
    (tmp_path / "detections.json").write_text(
        json.dumps({"images": images, "detection_categories": {"1": "animal"}})
    )
    rows = [
        "Creek/1.jpg,A,",
        "Creek/2.jpg,A,",
        'Creek/3.jpg,B,"[24, 12, 80, 40]"',
        'Creek/3.jpg,A,"[120, 50, 62, 40]"',
        'Creek/4.jpg,A,"[20, 10, 100, 50]"',
        "Creek/5.jpg,A,",
    ]
    labelled = load_labelled_set(write_table(tmp_path / "t.csv", "path,identity,bbox", *rows))
    boxes = {(photo.path.stem, photo.identity): (photo.box, photo.confidence) for photo in labelled.photos}
    assert boxes == {
        ("1", "A"): (Box(*near), 0.8),
        ("2", "A"): (Box(*far), 0.9),
        ("3", "B"): (Box(*near), 0.9),
        ("3", "A"): (Box(*far), 0.9),
        ("4", "A"): (Box(0.1, 0.1, 0.5, 0.5), 1.0),
        ("5", "A"): (WHOLE_PHOTO, 1.0),
    }
    codes = labelled.codes()
    assert len(set(codes.image.tolist())) == 5  # one photo shows two animals
    assert any("1 photos of several animals" in note for note in labelled.notes)
    assert any("1 photos are taken as a whole" in note for note in labelled.notes)


def test_two_animals_in_a_photo_without_boxes_are_left_out(
    make_photo: Callable[..., Path], tmp_path: Path
) -> None:
    make_photo(tmp_path / "1.jpg")
    make_photo(tmp_path / "2.jpg", seed=2)
    table = write_table(tmp_path / "t.csv", "file,identity", "1.jpg,A", "1.jpg,B", "2.jpg,A")
    labelled = load_labelled_set(table)
    assert [photo.path.name for photo in labelled.photos] == ["2.jpg"]
    assert [p.reason for p in labelled.problems] == [
        f"shows several animals; no box says which is {name}" for name in "AB"
    ]


def test_copies_of_a_photo_are_left_out(make_photo: Callable[..., Path], tmp_path: Path) -> None:
    """In another encounter, a copy would be found by its original."""
    for name in ("1.jpg", "copy.jpg"):
        make_photo(tmp_path / name, seed=4)
    table = write_table(tmp_path / "t.csv", "file,identity,encounter", "1.jpg,A,1", "copy.jpg,A,2")
    labelled = load_labelled_set(table)
    assert [photo.path.name for photo in labelled.photos] == ["1.jpg"]
    assert [problem.reason for problem in labelled.problems] == [f"is a copy of {tmp_path / '1.jpg'}"]


def test_paths_from_another_drive_are_found_by_their_end(
    make_photo: Callable[..., Path], tmp_path: Path
) -> None:
    make_photo(tmp_path / "photos" / "Creek" / "1.jpg")
    table = write_table(tmp_path / "t.csv", "path,identity", "D:/herd/photos/Creek/1.jpg,A")
    labelled = load_labelled_set(table, images=tmp_path / "photos")
    assert [photo.path for photo in labelled.photos] == [tmp_path / "photos" / "Creek" / "1.jpg"]


@pytest.mark.parametrize("missing", ["set.csv", "images", "detections"])
def test_what_is_not_there_is_named(missing: str, tmp_path: Path, make_photo: Callable[..., Path]) -> None:
    make_photo(tmp_path / "1.jpg")
    if missing != "set.csv":
        write_table(tmp_path / "set.csv", "file,identity", "1.jpg,A")
    options = {} if missing == "set.csv" else {missing: tmp_path / missing}
    with pytest.raises(InputError, match=f"{missing}: there is no such file or folder"):
        load_labelled_set(tmp_path / "set.csv", **options)


def test_a_set_without_a_single_photo_says_where_it_looked(tmp_path: Path) -> None:
    table = write_table(tmp_path / "set.csv", "file,identity", "1.jpg,A", "2.jpg,B")
    with pytest.raises(InputError, match="not one of its 2 photos can be read") as caught:
        load_labelled_set(table)
    assert "--images" in caught.value.hint


def test_the_same_seed_finds_the_same_and_one_version_also_stands_at_the_top(
    make_photo: Callable[..., Path], tmp_path: Path, embedder: Embedder
) -> None:
    for animal in "ABC":
        for number in range(4):
            # The same picture, but another file: a copy would be left out.
            when = NOON + timedelta(hours=number)
            make_photo(tmp_path / "herd" / animal / f"{number}.jpg", seed=ord(animal), when=when)
    labelled = load_labelled_set(tmp_path / "herd")
    one, two = (as_json(measure(labelled, embedder, tmp_path / "kept", "v1_lite", seed=3)) for _ in range(2))
    assert one == two
    assert json.loads(json.dumps(one, allow_nan=False)) == json.loads(json.dumps(two))
    assert one["protocol"] == "encounter-disjoint"
    assert one["rank1"] == one["versions"]["v1_lite"]["rank1"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert {"rank5", "rank10", "rank20", "mAP", "auc", "tar_at_far_1e-2", "tar_at_far_1e-3"} < set(one)
    assert one["random"]["inflation"] == 1.0
    assert "rank1" not in as_json(measure(labelled, embedder, tmp_path / "kept"))


def test_of_a_catalogue_only_what_a_person_said_counts(
    db: Database, stage: Any, seen: Any, matcher: Matcher, rows: Callable[..., list[dict[str, Any]]]
) -> None:
    for visit in range(4):
        stage.burst("Creek", visit * 3600, seen(1), photos=2)
        stage.burst("Pond", visit * 3600, seen(2), photos=2)
    identify(db, alone(matcher))
    with pytest.raises(InputError, match="no sighting of this catalogue was confirmed by a person"):
        confirmed_set(db)
    # A person confirms all but one sighting.
    sightings = rows("SELECT id, deer_id FROM sightings ORDER BY id")
    with db.transaction() as connection:
        for row in sightings[:-1]:
            connection.execute(
                "INSERT INTO decisions "
                "(sighting_id, outcome, deer_id, version, fingerprints, policy, candidates, actor) "
                "VALUES (%s, 'assign', %s, 'v3_stage', '{}', '{}', '[]', 'user')",
                [row["id"], row["deer_id"]],
            )
    labelled = confirmed_set(db)
    assert (len(labelled.photos), len(labelled.names)) == (14, 2)
    version = matcher.registered.version

    class StagePack:
        card = builtin_pack().card
        directory = Path("/nowhere")
        versions = (version,)

    labelled, matchers = catalogue_matchers(db, labelled, [(StagePack(), [version.name])])  # type: ignore[list-item]
    assert [type(m) for m in matchers] == [VersionMatcher]
    evaluation = evaluate(labelled, matchers, Request(bootstrap=100))
    assert evaluation.counts["sightings"] == 7
    figures = evaluation.verdicts[0].measured[Protocol.ENCOUNTER].figures
    assert figures["rank1"].value == figures["mAP"].value == 1.0
    assert evaluation.verdicts[0].pipeline is None  # nobody measured what these similarities mean
