"""The sample herd: the same plan gives the same bytes, files agree with each other, everything says it is drawn."""

import csv
import hashlib
import json
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from deertrack.domain.errors import InputError
from deertrack.vision.herd_drawing import Looks, Pose, blob, draw_animal
from deertrack.vision.herd_scenes import HEIGHT, STRIP, WIDTH, Scene, draw_photo, draw_scene, is_night
from deertrack.vision.sample_herd import HerdPlan, HerdSummary, draw_herd

SMALL = HerdPlan(seed=3, individuals=6, stations=2, days=5, visits=9)
TINY = HerdPlan(seed=3, individuals=2, stations=1, days=2, visits=1)


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[HerdSummary, list[tuple[int, int]]]:
    calls: list[tuple[int, int]] = []
    folder = tmp_path_factory.mktemp("herd")
    return draw_herd(folder, SMALL, progress=lambda done, total: calls.append((done, total))), calls


@pytest.fixture(scope="module")
def herd(drawn: tuple[HerdSummary, list[tuple[int, int]]]) -> HerdSummary:
    return drawn[0]


@pytest.fixture(scope="module")
def truth(herd: HerdSummary) -> list[dict[str, str]]:
    with herd.truth.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def images(herd: HerdSummary) -> dict[str, list[dict[str, object]]]:
    document = json.loads(herd.detections.read_text("utf-8"))
    assert document["info"]["format_version"] == "1.4"
    assert document["classification_categories"] == {"1": "buck", "2": "doe", "3": "fawn"}
    return {image["file"]: image["detections"] for image in document["images"]}


def test_same_plan_gives_the_same_bytes_in_another_folder(herd: HerdSummary, tmp_path: Path) -> None:
    draw_herd(tmp_path / "again", SMALL)
    assert _digests(tmp_path / "again") == _digests(herd.truth.parent)


def test_another_seed_gives_other_photos(tmp_path: Path) -> None:
    one = draw_herd(tmp_path / "one", TINY)
    two = draw_herd(tmp_path / "two", HerdPlan(**{**vars(TINY), "seed": 4}))
    assert one.truth.read_bytes() != two.truth.read_bytes()
    assert {*_digests(one.cards).values()}.isdisjoint(_digests(two.cards).values())


def test_summary_progress_and_files_agree(
    drawn: tuple[HerdSummary, list[tuple[int, int]]],
    truth: list[dict[str, str]],
    images: dict[str, list[dict[str, object]]],
) -> None:
    summary, calls = drawn
    on_disk = {path.relative_to(summary.cards).as_posix() for path in summary.cards.rglob("*.JPG")}
    assert on_disk == set(images)
    assert calls == [(done, summary.photos) for done in range(1, summary.photos + 1)]
    assert summary.photos == len(images)
    assert summary.animals == len(truth) == sum(len(found) for found in images.values())
    assert summary.empty == sum(1 for found in images.values() if not found) > 0
    assert summary.encounters == len({row["encounter"] for row in truth}) == SMALL.visits
    assert summary.individuals == len({row["identity"] for row in truth}) == SMALL.individuals


def test_truth_and_detections_name_the_same_boxes_inside_the_frame(
    truth: list[dict[str, str]], images: dict[str, list[dict[str, object]]]
) -> None:
    assert {row["file"] for row in truth} == {file for file, found in images.items() if found}
    for row in truth:
        found = images[row["file"]][int(row["detection"])]
        x, y, width, height = (float(row[name]) for name in ("x", "y", "width", "height"))
        assert found["bbox"] == [x, y, width, height]
        assert found["category"] == "1"
        assert 0.2 < found["conf"] < 1.0  # type: ignore[operator]
        assert 0 <= x < x + width <= 1.0 + 1e-9
        assert 0 <= y < y + height <= (HEIGHT - STRIP) / HEIGHT + 1e-4
        assert width * WIDTH > 60
        assert height * HEIGHT > 60


def test_exif_tells_the_time_of_the_truth_and_that_the_photo_is_drawn(
    herd: HerdSummary, truth: list[dict[str, str]], images: dict[str, list[dict[str, object]]]
) -> None:
    times = {row["file"]: row["timestamp"] for row in truth}
    for file in images:
        with Image.open(herd.cards / file) as photo:
            assert photo.size == (WIDTH, HEIGHT)
            exif = photo.getexif()
            assert "drawn sample, not a photograph" in exif[ExifTags.Base.ImageDescription]
            assert "drawn" in exif[ExifTags.Base.Model]
            taken = exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal]
        when = datetime.strptime(taken, "%Y:%m:%d %H:%M:%S")  # noqa: DTZ007
        assert file not in times or when.isoformat() == times[file]


def test_every_photo_carries_the_drawn_sample_label(
    herd: HerdSummary, images: dict[str, list[dict[str, object]]]
) -> None:
    for file in images:
        with Image.open(herd.cards / file) as photo:
            label = np.asarray(photo.crop((16, HEIGHT - STRIP + 10, 222, HEIGHT - 10)).convert("RGB"), float)
        amber = np.abs(label - (232, 172, 48)).max(axis=2) < 40
        written = label.max(axis=2) < 110
        assert amber.mean() > 0.4
        assert written.mean() > 0.1
    text = (herd.truth.parent / "README.txt").read_text("utf-8")
    assert "nothing in this folder is a photograph" in text
    assert "NO ACCURACY CLAIM" in text


def test_day_is_coloured_and_night_is_grey(herd: HerdSummary, truth: list[dict[str, str]]) -> None:
    seen = set()
    for row in truth:
        night = is_night(datetime.fromisoformat(row["timestamp"]))
        if night in seen:
            continue
        seen.add(night)
        with Image.open(herd.cards / row["file"]) as photo:
            view = np.asarray(photo.crop((0, 0, WIDTH, HEIGHT - STRIP - 16)).convert("RGB"), float)
        spread = float((view.max(axis=2) - view.min(axis=2)).mean())
        assert spread < 1 if night else spread > 20
    assert seen == {True, False}


def test_some_frames_show_several_different_animals(truth: list[dict[str, str]]) -> None:
    frames: dict[str, list[str]] = {}
    for row in truth:
        frames.setdefault(row["file"], []).append(row["identity"])
    assert any(len(names) > 1 for names in frames.values())
    assert all(len(names) == len(set(names)) for names in frames.values())


def test_visits_are_apart_and_bursts_are_short(truth: list[dict[str, str]]) -> None:
    visits: dict[str, list[tuple[datetime, str, str]]] = {}
    for row in truth:
        when = datetime.fromisoformat(row["timestamp"])
        visits.setdefault(row["encounter"], []).append((when, row["station"], row["identity"]))
    for rows in visits.values():
        assert len({station for _, station, _ in rows}) == 1
        moments = sorted({when for when, _, _ in rows})
        assert 2 <= len(moments) <= 4
        assert all(timedelta(seconds=1) < b - a < timedelta(seconds=11) for a, b in pairwise(moments))
    for key in (1, 2):  # by station, by individual
        for name in {row[key] for rows in visits.values() for row in rows}:
            spans = sorted(
                (min(rows)[0], max(rows)[0])
                for rows in visits.values()
                if any(row[key] == name for row in rows)
            )
            assert all(later[0] - earlier[1] >= timedelta(minutes=10) for earlier, later in pairwise(spans))


def test_drawing_again_repairs_and_changes_nothing(tmp_path: Path) -> None:
    summary = draw_herd(tmp_path, TINY)
    before = _digests(tmp_path)
    first, second, *_ = sorted(summary.cards.rglob("*.JPG"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:1000])
    summary.truth.unlink()
    assert draw_herd(tmp_path, TINY) == summary
    assert _digests(tmp_path) == before


def test_refuses_a_folder_that_holds_something_else(tmp_path: Path) -> None:
    precious = tmp_path / "README.txt"
    precious.write_text("my own notes")
    with pytest.raises(InputError, match="other files") as caught:
        draw_herd(tmp_path, TINY)
    assert caught.value.hint
    assert _digests(tmp_path).keys() == {"README.txt"}
    assert precious.read_text() == "my own notes"


def test_refuses_to_mix_two_herds(tmp_path: Path) -> None:
    draw_herd(tmp_path, TINY)
    before = _digests(tmp_path)
    with pytest.raises(InputError, match="another plan"):
        draw_herd(tmp_path, HerdPlan(**{**vars(TINY), "seed": 4}))
    assert _digests(tmp_path) == before


def test_a_file_in_the_way_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "herd").write_text("a file")
    with pytest.raises(InputError, match="cannot write the sample herd"):
        draw_herd(tmp_path / "herd", TINY)


@pytest.mark.parametrize(
    "numbers", [{"seed": -1}, {"individuals": 0}, {"stations": 13}, {"days": 0}, {"visits": 2001}]
)
def test_a_plan_outside_its_range_is_refused(numbers: dict[str, int]) -> None:
    with pytest.raises(InputError, match=next(iter(numbers))):
        HerdPlan(**numbers)


def test_a_plan_too_dense_for_its_days_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="do not fit") as caught:
        draw_herd(tmp_path / "herd", HerdPlan(individuals=3, stations=1, days=1, visits=60))
    assert "fewer visits" in caught.value.hint
    assert not (tmp_path / "herd").exists()


MAGENTA = (255, 0, 255)


def _plain_doe(**changes: object) -> Looks:
    looks: dict[str, object] = {
        "kind": "doe",
        "coat": (120, 110, 100),
        "size": 1.0,
        "girth": 1.0,
        "leg": 1.0,
        "neck": 0.9,
        "tail": 0.2,
        "face": "plain",
        "marks": {"left": [], "right": []},
        "antlers": {"left": [], "right": []},
        "notches": {"left": None, "right": None},
    }
    return Looks(**{**looks, **changes})  # type: ignore[arg-type]


def _pose(flank: str, x: float = 640.0) -> Pose:
    return Pose(flank=flank, x=x, y=800.0, scale=300.0, head=0.9, stride=None)  # type: ignore[arg-type]


def test_a_marking_shows_on_its_own_flank_only() -> None:
    mark = blob(-0.1, 0.75, 0.1, np.random.default_rng(1))
    doe = _plain_doe(marks={"left": [(mark, MAGENTA)], "right": []})
    seen = {}
    for flank in ("left", "right"):
        picture = np.asarray(draw_animal(doe, _pose(flank)).picture, dtype=int)
        seen[flank] = int(((picture[..., 0] > 180) & (picture[..., 1] < 60)).sum())
    assert seen["left"] > 1000
    assert seen["right"] == 0


def test_facing_the_other_way_mirrors_the_silhouette() -> None:
    left, right = (np.asarray(draw_animal(_plain_doe(), _pose(flank)).mask) for flank in ("left", "right"))
    width = min(left.shape[1], right.shape[1])
    difference = min(
        float((np.roll(left[:, ::-1][:, :width], shift, axis=1) != right[:, :width]).mean())
        for shift in (-2, -1, 0, 1, 2)
    )
    assert difference < 0.05


@pytest.fixture(scope="module")
def meadow() -> Scene:
    return draw_scene("Meadow", np.random.default_rng(1))


@pytest.mark.parametrize("x", [640.0, 1150.0])
def test_the_box_fits_what_was_drawn(meadow: Scene, x: float) -> None:
    when = datetime(2025, 10, 1, 12)  # noqa: DTZ001
    pictures = []
    for animals in ([], [(_plain_doe(), _pose("right", x))]):
        photo, boxes = draw_photo(
            meadow, animals, when=when, station="Meadow", celsius=10, rng=np.random.default_rng(2)
        )
        pictures.append(np.asarray(photo, dtype=int))
    (box,) = boxes
    # Above the ground, where neither shadow nor grass changes anything, only the animal differs.
    rows, columns = np.nonzero(np.abs(pictures[0] - pictures[1]).max(axis=2)[:700] > 24)
    assert abs(box.y * HEIGHT - rows.min()) < 6
    assert abs(box.x * WIDTH - columns.min()) < 6
    assert abs((box.x + box.width) * WIDTH - (columns.max() + 1)) < 6
    assert abs((box.y + box.height) * HEIGHT - 800) < 12
