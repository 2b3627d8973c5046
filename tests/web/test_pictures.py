"""Pictures by id: real photos through the real application."""

import os
import shutil
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from deertrack.entry.web.app import make_app
from deertrack.services.detections import take_whole_photos
from deertrack.services.ingest import StationRules, find_photos, ingest
from deertrack.services.pictures import Pictures
from deertrack.settings import Settings
from deertrack.storage.db import Database
from deertrack.storage.jobs import JobQueue

TURNED = "african_elephants_with_exif_orientation.jpg"


@pytest.fixture
def client(db: Database, tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(home=tmp_path / "home", hosts="testserver")
    with TestClient(make_app(settings, db, JobQueue(db.url))) as client:
        yield client


@pytest.fixture
def cards(test_data: Path, tmp_path: Path) -> Path:
    """Two nyala, one photo that lies on its side, one that is cut short."""
    folder = tmp_path / "cards" / "Camp"
    folder.mkdir(parents=True)
    for n in (1, 3):
        shutil.copy(test_data / "nyala/cards/Camp/100MEDIA" / f"IMG_000{n}.JPG", folder)
    for name in (TURNED, "african_elephants_truncated_file.jpg"):
        shutil.copy(test_data / "bad_images" / name, folder)
    return folder


@pytest.fixture
def ids(db: Database, cards: Path) -> dict[str, tuple[int, int]]:
    """Ids of photo and detection by file name."""
    found = find_photos([cards.parent])
    take_whole_photos(db, ingest(db, found, StationRules()).catalogued)
    with db.transaction() as connection:
        return {
            Path(row["path"]).name: (row["image_id"], row["id"])
            for row in connection.execute(
                "SELECT f.path, d.image_id, d.id FROM files f JOIN detections d USING (image_id)"
            )
        }


def picture(content: bytes) -> Image.Image:
    image = Image.open(BytesIO(content))
    image.load()
    return image


def test_a_crop_is_the_animal_at_the_size_asked_for(
    client: TestClient, db: Database, ids: dict[str, tuple[int, int]]
) -> None:
    image_id, _ = ids["IMG_0001.JPG"]
    with db.transaction() as connection:
        box = connection.execute(
            "INSERT INTO detections (image_id, confidence, bbox_x, bbox_y, bbox_width, bbox_height) "
            "VALUES (%s, 1, 0.25, 0.5, 0.5, 0.25) RETURNING id",
            [image_id],
        ).fetchone()
    assert box
    whole = picture(client.get(f"/api/v1/photos/{image_id}").content)
    answer = client.get(f"/api/v1/detections/{box['id']}/crop?side=64")
    assert answer.headers["content-type"] == "image/jpeg"
    small = picture(answer.content)
    assert max(small.size) == 64
    with_margin = (0.5 * 1.16 * whole.width) / (0.25 * 1.16 * whole.height)
    assert small.width / small.height == pytest.approx(with_margin, rel=0.05)
    left, top = 0.25 - 0.04, 0.5 - 0.02
    cut = whole.crop(
        (
            round(left * whole.width),
            round(top * whole.height),
            round((left + 0.58) * whole.width),
            round((top + 0.29) * whole.height),
        )
    ).resize(small.size)
    pairs = zip(small.convert("L").tobytes(), cut.convert("L").tobytes(), strict=True)
    assert sum(abs(a - b) for a, b in pairs) / (small.width * small.height) < 6


def test_a_photo_comes_whole_and_upright(
    client: TestClient, cards: Path, ids: dict[str, tuple[int, int]]
) -> None:
    straight, turned = ids["IMG_0001.JPG"][0], ids[TURNED][0]
    assert client.get(f"/api/v1/photos/{straight}").content == (cards / "IMG_0001.JPG").read_bytes()
    stored = picture((cards / TURNED).read_bytes())
    for query in ("", "?side=200"):
        upright = picture(client.get(f"/api/v1/photos/{turned}{query}").content)
        assert upright.getexif().get(0x0112, 1) == 1
        assert (upright.height > upright.width) != (stored.height > stored.width)
    assert max(upright.size) == 200


def test_pictures_are_kept_by_browsers_and_asked_about_by_tag(
    client: TestClient, ids: dict[str, tuple[int, int]]
) -> None:
    image, detection = ids["IMG_0001.JPG"]
    for address in (f"/api/v1/detections/{detection}/crop?side=100", f"/api/v1/photos/{image}"):
        first = client.get(address)
        tag = first.headers["etag"]
        assert first.headers["cache-control"] == "private, max-age=3600, immutable"
        for said in (tag, f'W/{tag}, "x"', "*"):
            again = client.get(address, headers={"If-None-Match": said})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == tag
        assert client.get(address, headers={"If-None-Match": '"x"'}).status_code == 200
        head = client.head(address)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(len(first.content))
    tags = {
        client.head(f"/api/v1/detections/{number}/crop?side={side}").headers["etag"]
        for number in (detection, ids["IMG_0003.JPG"][1])
        for side in (100, 101)
    }
    assert len(tags) == 4


def test_small_pictures_outlive_their_photo_and_others_say_that_it_is_gone(
    client: TestClient, cards: Path, ids: dict[str, tuple[int, int]]
) -> None:
    image, detection = ids["IMG_0001.JPG"]
    small = client.get(f"/api/v1/detections/{detection}/crop").content
    (cards / "IMG_0001.JPG").unlink()
    assert client.get(f"/api/v1/detections/{detection}/crop").content == small
    for address in (f"/api/v1/photos/{image}", f"/api/v1/detections/{detection}/crop?side=90"):
        answer = client.get(address)
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["title"] == "IMG_0001.JPG: the photo's file is gone"
        assert str(cards) not in answer.text


def test_another_photo_under_the_same_name_is_never_shown(
    client: TestClient, cards: Path, ids: dict[str, tuple[int, int]]
) -> None:
    shutil.copy(cards / "IMG_0003.JPG", cards / "IMG_0001.JPG")
    answer = client.get(f"/api/v1/photos/{ids['IMG_0001.JPG'][0]}")
    assert answer.status_code == 404
    assert answer.json()["title"] == "IMG_0001.JPG: the photo's file holds another photo by now"


def test_a_second_file_of_the_photo_stands_in(
    client: TestClient, db: Database, cards: Path, ids: dict[str, tuple[int, int]]
) -> None:
    copy = shutil.copy(cards / "IMG_0001.JPG", cards / "copy.jpg")
    ingest(db, find_photos([cards.parent]), StationRules())
    (cards / "IMG_0001.JPG").unlink()
    assert client.get(f"/api/v1/photos/{ids['IMG_0001.JPG'][0]}").content == copy.read_bytes()


def test_what_cannot_be_had_is_said_so(
    client: TestClient, cards: Path, ids: dict[str, tuple[int, int]]
) -> None:
    image, detection = ids["african_elephants_truncated_file.jpg"]
    answer = client.get(f"/api/v1/detections/{detection}/crop")
    assert answer.status_code == 422
    assert answer.json()["title"].startswith("african_elephants_truncated_file.jpg: truncated photo")
    assert client.get(f"/api/v1/detections/{detection + 1000}/crop").status_code == 404
    assert client.get(f"/api/v1/photos/{image + 1000}").status_code == 404
    for wrong in ("31", "2049", "x", "1e3"):
        assert client.get(f"/api/v1/detections/{detection}/crop?side={wrong}").status_code == 422
    for wrong in ("0", "-1", "9223372036854775808", "..%2F..%2Fetc%2Fpasswd"):
        assert client.get(f"/api/v1/photos/{wrong}").status_code in (404, 422)


def test_the_folder_of_small_pictures_stays_bounded(
    db: Database, tmp_path: Path, ids: dict[str, tuple[int, int]]
) -> None:
    folder = tmp_path / "small"
    pictures = Pictures(db, folder, most_bytes=60_000)
    detection = ids["IMG_0001.JPG"][1]
    for n, side in enumerate(range(100, 200, 2)):
        pictures.make(pictures.crop(detection, side=side))
        newest = folder / (tag := pictures.crop(detection, side=side).tag)[:2] / f"{tag}.jpg"
        os.utime(newest, (n, n))
        held = [file.stat().st_size for file in folder.rglob("*.jpg")]
        assert sum(held) <= 60_000 * (1 + 1 / 32) + max(held)
    assert newest.exists()
    assert len(held) > 3
    oldest = pictures.crop(detection, side=100).tag
    assert not (folder / oldest[:2] / f"{oldest}.jpg").exists()


def test_a_kept_picture_that_a_power_cut_halved_is_made_anew(
    db: Database, tmp_path: Path, ids: dict[str, tuple[int, int]]
) -> None:
    pictures = Pictures(db, tmp_path / "small")
    order = pictures.crop(ids["IMG_0001.JPG"][1], side=100)
    made = pictures.make(order)
    (kept,) = (tmp_path / "small").rglob("*.jpg")
    kept.write_bytes(made[: len(made) // 2])
    assert pictures.make(order) == made
    assert kept.read_bytes() == made


def test_many_ask_at_once(db: Database, tmp_path: Path, ids: dict[str, tuple[int, int]]) -> None:
    """Two processes' worth of askers on one folder that is always too small: everybody gets every picture."""
    both = [Pictures(db, tmp_path / "small", most_bytes=5_000, at_once=1) for _ in range(2)]
    detection, failures = ids["IMG_0001.JPG"][1], []

    def ask(pictures: Pictures) -> None:
        try:
            for side in range(40, 60):
                assert max(picture(pictures.make(pictures.crop(detection, side=side))).size) == side
        except BaseException as error:  # noqa: BLE001 (told below)
            failures.append(error)

    threads = [threading.Thread(target=ask, args=[pictures]) for pictures in both * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert not [file for file in (tmp_path / "small").rglob("*") if file.is_file() and file.suffix != ".jpg"]


def test_matches_lie_on_the_crops_that_are_shown(client: TestClient, ids: dict[str, tuple[int, int]]) -> None:
    one, other = ids["IMG_0001.JPG"][1], ids["IMG_0003.JPG"][1]
    itself = client.get(f"/api/v1/detections/{one}/matches/{one}").json()
    shown = picture(client.get(f"/api/v1/detections/{one}/crop?side=640").content)
    assert (itself["a"]["width"], itself["a"]["height"]) == shown.size
    assert itself["a"] == itself["b"]
    assert itself["inliers"] == len(itself["pairs"]) > 300
    assert all(pair["a"] == pytest.approx(pair["b"]) for pair in itself["pairs"])
    assert all(0 <= at <= 1 for pair in itself["pairs"] for at in pair["a"])
    different = client.get(f"/api/v1/detections/{one}/matches/{other}").json()
    assert different["inliers"] < 15
    assert client.get(f"/api/v1/detections/{one}/matches/999999").status_code == 404
