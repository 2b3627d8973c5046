"""All that is wrong with photos in one folder: what is good is done, what is bad is listed with its reason."""

import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from PIL import Image

Cli = Callable[..., Any]

BOX = {"category": "1", "conf": 0.9, "bbox": [0.1, 0.1, 0.6, 0.6]}


def picture(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def bomb(side: int = 30_000) -> bytes:
    """A PNG of less than a kilobyte that claims 900 million pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.fixture
def horrors(tmp_path: Path) -> Path:
    """The folder without the real photos."""
    folder = tmp_path / "Karte 1 [Süd]"
    (folder / "DCIM" / "100MEDIA").mkdir(parents=True)
    good = folder / "DCIM" / "100MEDIA"
    for seed, name in enumerate(("with space.JPG", 'it\'s "quoted".jpg', "Größe – 鹿 🦌.jpeg")):
        picture(seed).save(good / name, "JPEG")
    picture(10).save(folder / "png.PNG")
    picture(11).convert("LA").save(folder / "grey with alpha.png")
    picture(12).save(folder / "webp.webp")
    picture(13).convert("CMYK").save(folder / "cmyk.jpg")
    shutil.copyfile(folder / "cmyk.jpg", folder / "cmyk again.jpg")
    Image.fromarray(np.full((9, 2000, 3), 90, np.uint8)).save(folder / "thin.jpg")
    Image.new("RGB", (1, 1)).save(folder / "one pixel.png")

    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("Dear diary")
    (folder / "bomb.png").write_bytes(bomb())
    (folder / "movie.jpg").write_bytes(b"\0\0\0\x18ftypmp42" + b"\0" * 500)
    (folder / "dangling.jpg").symlink_to(folder / "away.jpg")
    (folder / "a folder.jpg").mkdir()
    picture(14).save(folder / "cut.jpg")
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:-500])
    picture(15).save(folder / "cut.png")
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:-500])
    with open(os.fsencode(folder) + b"/caf\xe9.jpg", "wb") as file:  # noqa: PTH123 - pathlib takes no bytes
        picture(16).save(file, "JPEG")
    return folder


BAD = {
    "empty.jpg": "the file is empty",
    "text.jpg": "not a JPEG, PNG, WebP or HEIC photo",
    "bomb.png": "too large, 30000 × 30000 pixels",
    "movie.jpg": "",  # in the words of the HEIC library
    "dangling.jpg": "cannot be opened",
    "cut.jpg": "truncated",
    "cut.png": "truncated",
    "caf\\xe9.jpg": "not valid UTF-8",
}


def detections_file(folder: Path, *, missing: tuple[str, ...] = ()) -> Path:
    """An animal in every photo, and in some that are not there."""
    names = [p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*")) if p.is_file()]
    storable = [name for name in names if "\udce9" not in name]
    images = [{"file": name, "detections": [BOX]} for name in (*storable, *missing)]
    path = folder.parent / "md.json"
    path.write_text(json.dumps({"images": images, "detection_categories": {"1": "animal"}}))
    return path


def run(cli: Cli, url: str, folder: Path, detections: Path, *options: str) -> tuple[int, dict[str, Any]]:
    said = cli("run", folder, "--detections", detections, "--json", *options, url=url)
    report: dict[str, Any] = json.loads(said.out)
    return said.code, report


def test_what_is_good_is_done_and_what_is_bad_is_listed(cli: Cli, url: str, horrors: Path) -> None:
    missing = ("gone/IMG_1.JPG", "Straße/über.jpg")
    code, report = run(cli, url, horrors, detections_file(horrors, missing=missing))
    assert code == 0
    reasons = {Path(p["path"]).name: p["reason"] for p in report["problems"]}
    absent = dict.fromkeys(("IMG_1.JPG", "über.jpg"), "named in the detections file")
    assert reasons.keys() == {*BAD, *absent}
    for name, reason in {**BAD, **absent}.items():
        assert reason in reasons[name], name
    good = 9
    assert (report["unreadable"], report["duplicates"]) == (len(BAD), 1)
    assert report["detections"] == good + 2  # of the two truncated ones only decoding can tell
    assert report["embedded"] == good
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(DISTINCT detection_id) FROM detection_embeddings").fetchone()
        stations = connection.execute("SELECT name FROM stations").fetchall()
    assert row == (good,)
    assert stations == [("Karte 1 [Süd]",)]

    code, again = run(cli, url, horrors, detections_file(horrors, missing=missing), "--strict")
    assert code == 3
    assert again["nothing_new"]
    assert {Path(p["path"]).name: p["reason"] for p in again["problems"]} == reasons


def test_people_see_the_count_and_the_reasons(cli: Cli, url: str, horrors: Path, tmp_path: Path) -> None:
    said = cli("run", horrors, "--detections", detections_file(horrors), url=url)
    assert said.code == 0
    assert f"{len(BAD)} things could not be used" in said.err
    for name, reason in BAD.items():
        assert any(name in line and reason in line for line in said.err.splitlines()), name
    assert cli("report", tmp_path / "report.html", url=url).code == 0
    assert "30000 × 30000" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_real_photos_that_make_trouble(cli: Cli, url: str, test_data: Path, tmp_path: Path) -> None:
    """CMYK, rotated by EXIF, grey, blank and truncated, as cameras and people made them."""
    if not (test_data / "bad_images").is_dir():
        pytest.skip(f"no bad_images in {test_data}")
    folder = tmp_path / "cards"
    shutil.copytree(test_data / "bad_images", folder)
    names = sorted(path.name for path in folder.iterdir())
    code, report = run(cli, url, folder, detections_file(folder))
    assert code == 0
    bad = [name for name in names if "truncated" in name]
    assert [Path(p["path"]).name for p in report["problems"]] == bad
    assert "truncated" in report["problems"][0]["reason"]
    assert (report["photos_new"], report["embedded"]) == (len(names), len(names) - len(bad))
    with psycopg.connect(url) as connection:
        sizes = connection.execute(
            "SELECT f.path, i.width, i.height FROM files f JOIN images i ON i.id = f.image_id ORDER BY f.path"
        ).fetchall()
    turned = next(row for row in sizes if "orientation" in row[0])
    with Image.open(turned[0]) as image:
        swapped = image.getexif().get(0x0112) in (5, 6, 7, 8)
        assert turned[1:] == (image.size[::-1] if swapped else image.size)  # as the viewer sees it
