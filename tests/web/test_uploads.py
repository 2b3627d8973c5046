"""Cards sent in pieces: broken off, begun again, forged, too large; and read by a real worker."""

import io
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from deertrack.entry.web.app import make_app
from deertrack.services import archives, uploads
from deertrack.services.progress import SILENT
from deertrack.settings import Settings
from deertrack.storage.db import Database
from deertrack.storage.jobs import JobQueue

TOKEN = "a-token-that-is-long-enough"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
Files = dict[str, bytes]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def client(db: Database, home: Path) -> Iterator[TestClient]:
    settings = Settings(api_token=TOKEN, hosts="testserver", home=home)
    with TestClient(make_app(settings, db, JobQueue(db.url)), headers=BEARER) as client:
        yield client


@pytest.fixture
def card(test_data: Path) -> Files:
    """A small card of real photos from two stations, one of them broken, and a text that is no photo."""
    elephants = (test_data / "bad_images" / "african_elephants.jpg").read_bytes()
    broken = (test_data / "bad_images" / "african_elephants_truncated_file.jpg").read_bytes()
    upright = (test_data / "bad_images" / "african_elephants_with_exif_orientation.jpg").read_bytes()
    return {
        "card/Creek/DCIM/100RECNX/IMG_0001.JPG": elephants,
        "card/Creek/DCIM/100RECNX/IMG_0002.JPG": broken,
        "card/Ridge/IMG_0001.JPG": upright,
        "card/Ridge/IMG_0002.JPG": b"this is no photo at all",
    }


def offer(client: TestClient, files: Files, name: str = "North") -> dict[str, Any]:
    listed = [{"path": path, "size": len(data)} for path, data in files.items()]
    answer = client.post("/api/v1/uploads", json={"name": name, "files": listed})
    assert answer.status_code in (200, 201), answer.text
    return dict(answer.json())


def send(client: TestClient, upload: str, n: int, data: bytes, offset: int = 0) -> int:
    answer = client.put(
        f"/api/v1/uploads/{upload}/files/{n}?offset={offset}",
        content=data,
        headers={"Content-Type": "application/octet-stream"},
    )
    return int(answer.json()["received"]) if answer.status_code == 200 else -answer.status_code


def send_all(client: TestClient, files: Files, **options: Any) -> str:
    begun = offer(client, files, **options)
    for file, data in zip(begun["files"], files.values(), strict=True):
        assert send(client, begun["id"], file["n"], data) == len(data)
    return str(begun["id"])


def finish(client: TestClient, upload: str, **body: Any) -> Any:
    return client.post(f"/api/v1/uploads/{upload}/done", json={"whole_photo": True, **body})


def work(url: str, home: Path) -> None:
    command = [sys.executable, "-m", "deertrack", "worker", "--until-empty", "--home", str(home)]
    done = subprocess.run(
        command, env={**os.environ, "DATABASE_URL": url}, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


def archive(files: Files, *, links: Files | None = None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in files.items():
            packed.writestr(name, data)
        for name, target in (links or {}).items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            packed.writestr(info, target)
    return out.getvalue()


def test_a_card_arrives_is_read_and_its_bad_photos_are_told(
    client: TestClient, url: str, home: Path, card: Files
) -> None:
    begun = offer(client, card)
    assert begun["stations"] == {"Creek": 2, "Ridge": 2}
    upload = send_all(client, card)
    assert upload == begun["id"]
    job = finish(client, upload, timezone="Africa/Nairobi").json()["job"]
    assert finish(client, upload).json()["job"] == job  # asked twice, ordered once
    work(url, home)
    done = client.get(f"/api/v1/jobs/{job}").json()
    assert (done["status"], done["title"], done["by"]) == ("succeeded", "North", "token")
    assert done["report"]["photos_found"] == 4
    assert done["report"]["photos_new"] == 3
    told = client.get(f"/api/v1/jobs/{job}/problems").json()
    assert {Path(p["path"]).name for p in told["items"]} >= {"IMG_0002.JPG"}
    assert told["total"] == done["problems"] == 2
    stations = {s["name"]: s for s in client.get("/api/v1/stations").json()["items"]}
    assert set(stations) == {"Creek", "Ridge"}
    assert stations["Ridge"]["timezone"] == "Africa/Nairobi"
    assert client.delete(f"/api/v1/uploads/{upload}").status_code == 422  # its photos are in the catalogue


def test_pieces_may_come_again_but_leave_no_gap(client: TestClient, card: Files) -> None:
    (path, data), *_ = card.items()
    begun = offer(client, {path: data})
    upload, n = begun["id"], begun["files"][0]["n"]
    half = len(data) // 2
    assert send(client, upload, n, data[:half]) == half
    assert send(client, upload, n, data[half + 1 :], half + 1) == -422
    assert send(client, upload, n, data[: half // 2]) == half  # again: nothing is lost by it
    assert finish(client, upload).status_code == 422
    assert client.get(f"/api/v1/uploads/{upload}").json()["files"][0]["received"] == half
    again = offer(client, {path: data})  # after a reload
    assert (again["id"], again["files"][0]["received"]) == (upload, half)
    assert send(client, upload, n, data[half - 9 :], half - 9) == len(data)
    assert send(client, upload, n, b"more", len(data)) == -413
    assert finish(client, upload).status_code == 202


def test_a_server_killed_half_way_loses_nothing_that_arrived(url: str, home: Path, card: Files) -> None:
    (path, data), *_ = card.items()
    listed = {"files": [{"path": path, "size": len(data)}]}
    environment = {**os.environ, "DATABASE_URL": url, "DEERTRACK_API_TOKEN": TOKEN}

    def serve() -> tuple[subprocess.Popen[bytes], httpx2.Client]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "deertrack", "serve", "--no-worker", "--port", str(port)]
        server = subprocess.Popen([*command, "--home", str(home)], env=environment, stderr=subprocess.DEVNULL)
        web = httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers=BEARER)
        for _ in range(300):
            try:
                web.get("/health")
                break
            except httpx2.HTTPError:
                time.sleep(0.1)
        return server, web

    server, web = serve()
    begun = web.post("/api/v1/uploads", json=listed).json()
    half = len(data) // 2
    way = f"/api/v1/uploads/{begun['id']}/files/0"

    def slowly() -> Iterator[bytes]:
        yield data[:half]
        time.sleep(0.5)
        server.send_signal(signal.SIGKILL)  # in the midst of a piece
        server.wait()
        yield data[half:]

    web.put(way, content=data[: half - 1])
    with pytest.raises(httpx2.HTTPError):
        web.put(way, content=slowly())
    server, web = serve()
    try:
        again = web.post("/api/v1/uploads", json=listed).json()
        assert again["id"] == begun["id"]
        received = again["files"][0]["received"]
        assert half - 1 <= received <= half
        done = web.put(f"{way}?offset={received}", content=data[received:]).json()
        assert done["received"] == len(data)
        assert (home / "uploads" / begun["id"] / "card" / path).read_bytes() == data
    finally:
        server.terminate()
        server.wait()


@pytest.mark.parametrize(
    "path",
    [
        "../outside.jpg",
        "a/../../outside.jpg",
        "/etc/cron.d/x.jpg",
        "C:\\windows\\x.jpg",
        "..\\..\\outside.jpg",
        "\\\\server\\share\\x.jpg",
        "",
        "a/" * 600 + "x.jpg",
        "ü" * 200 + ".jpg",
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(client: TestClient, home: Path, path: str) -> None:
    answer = client.post("/api/v1/uploads", json={"files": [{"path": path, "size": 3}]})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert not (home / "uploads").exists()


def test_names_that_would_confuse_a_terminal_are_made_harmless(client: TestClient, home: Path) -> None:
    upload = send_all(client, {"Creek/\x1b[31mred\n.jpg": b"x"}, name="../..//.evil\\name")
    (kept,) = (home / "uploads" / upload).rglob("*.jpg")
    assert kept.relative_to(home / "uploads" / upload).as_posix() == "evil name/Creek/_[31mred_.jpg"


def test_two_files_in_one_place_are_refused(client: TestClient) -> None:
    for paths in (["a.jpg", "a.jpg"], ["a.jpg", "./a.jpg"], ["a.jpg", "a.jpg/b.jpg"], ["x\n.jpg", "x\t.jpg"]):
        listed = [{"path": path, "size": 1} for path in paths]
        assert client.post("/api/v1/uploads", json={"files": listed}).status_code == 422


def test_other_kinds_of_files_are_left_out_and_named(client: TestClient) -> None:
    begun = offer(
        client, {"Creek/a.jpg": b"1", "Creek/clip.avi": b"2", ".Trash/b.jpg": b"3", "__MACOSX/c.jpg": b"4"}
    )
    assert [file["path"] for file in begun["files"]] == ["Creek/a.jpg"]
    assert [file["path"] for file in begun["left_out"]] == [
        "Creek/clip.avi",
        ".Trash/b.jpg",
        "__MACOSX/c.jpg",
    ]
    nothing = client.post("/api/v1/uploads", json={"files": [{"path": "clip.avi", "size": 3}]})
    assert nothing.status_code == 422


def test_what_is_too_large_is_refused_before_it_is_sent(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def status(*sizes: int, suffix: str = "jpg") -> int:
        listed = [{"path": f"{n}.{suffix}", "size": size} for n, size in enumerate(sizes)]
        return client.post("/api/v1/uploads", json={"files": listed}).status_code

    assert status(archives.LARGEST_FILE + 1) == 413
    assert status(archives.LARGEST_ARCHIVE + 1, suffix="zip") == 413
    assert status(*[archives.LARGEST_FILE] * 1025) == 413
    assert status(*[0] * (archives.MOST_FILES + 1)) == 413
    monkeypatch.setattr(archives, "_SPARE", 2**60)  # no disk of any test machine is so large
    assert status(1) == 507


def test_a_piece_is_no_larger_than_it_may_be(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "LARGEST_PIECE", 1000)
    begun = offer(client, {"a.jpg": b"x" * 5000})
    assert send(client, begun["id"], 0, b"x" * 1001) == -413
    assert send(client, begun["id"], 0, b"x" * 1000) >= 1000
    assert send(client, begun["id"], 1, b"x") == -404
    assert send(client, "00000000-0000-0000-0000-000000000000", 0, b"x") == -404
    assert client.delete(f"/api/v1/uploads/{begun['id']}").status_code == 204
    assert client.get(f"/api/v1/uploads/{begun['id']}").status_code == 404
    assert client.get("/api/v1/uploads").json() == {"items": [], "total": 0}


def test_an_archive_is_unpacked_and_nothing_leaves_its_folder(
    client: TestClient, url: str, home: Path, card: Files
) -> None:
    photo = card["card/Creek/DCIM/100RECNX/IMG_0001.JPG"]
    other = card["card/Ridge/IMG_0001.JPG"]
    evil = {
        "../../../outside.jpg": photo,
        "/tmp/outside.jpg": photo,
        "..\\..\\outside.jpg": photo,
        "card/Creek/a.jpg": photo,
        "card/Ridge/b.jpg": other,
        "card/readme.exe": b"MZ",
        "card/inner.zip": b"PK",
        "__MACOSX/card/Creek/._a.jpg": b"apple",
    }
    packed = archive(evil, links={"card/Creek/link.jpg": b"/etc/passwd", "card/Creek/up": b"../../.."})
    upload = send_all(client, {"card.zip": packed}, name="Zip")
    job = finish(client, upload).json()["job"]
    work(url, home)
    done = client.get(f"/api/v1/jobs/{job}").json()
    assert done["status"] == "succeeded", done
    assert done["report"]["photos_new"] == 2
    assert {stage["stage"] for stage in done["stages"]} >= {"Unpacking", "Reading photos", "Embedding"}
    kept = sorted(p.relative_to(home).as_posix() for p in (home / "uploads").rglob("*") if p.is_file())
    assert kept == [f"uploads/{upload}/Zip/card/Creek/a.jpg", f"uploads/{upload}/Zip/card/Ridge/b.jpg"]
    assert not [p for p in (home / "uploads").rglob("*") if p.is_symlink()]
    assert not list(home.parent.glob("outside*"))
    told = client.get(f"/api/v1/jobs/{job}/problems").json()["items"]
    assert len(told) == 8
    assert {s["name"] for s in client.get("/api/v1/stations").json()["items"]} == {"Creek", "Ridge"}


def test_a_bomb_is_refused_before_it_goes_off(
    client: TestClient, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "LARGEST_FILE", 2**20)
    bomb = archive({f"{n}.jpg": bytes(2**20) for n in range(4)})
    assert len(bomb) < 2**13
    refused = finish(client, send_all(client, {"bomb.zip": bomb}))
    assert refused.status_code == 413
    assert "times its size" in refused.json()["title"]
    monkeypatch.setattr(archives, "MOST_FILES", 3)
    assert (
        finish(
            client, send_all(client, {"many.zip": archive({f"{n}.jpg": b"x" for n in range(4)})})
        ).status_code
        == 413
    )
    assert finish(client, send_all(client, {"no.zip": b"this is no archive"})).status_code == 422
    assert not list((home / "uploads").rglob("*.jpg"))


def test_an_archive_that_lies_about_its_sizes_fills_no_disk(tmp_path: Path) -> None:
    packed = bytearray(archive({"a.jpg": bytes(3 * 2**20)}))
    at = packed.rfind(b"PK\1\2")
    packed[at + 24 : at + 28] = (1000).to_bytes(4, "little")  # it says 1,000 bytes and holds 3 MiB
    (tmp_path / "lies.zip").write_bytes(packed)
    with archives.open_archive(tmp_path / "lies.zip") as lying:
        told = list(archives.unpack(lying, tmp_path / "out", SILENT))
    assert len(told) == 1
    assert sum(file.stat().st_size for file in (tmp_path / "out").rglob("*") if file.is_file()) <= 1000


@pytest.mark.parametrize(
    ("photos", "root", "stations"),
    [
        (["Creek/a.jpg", "Creek/b.jpg"], "Creek", {"Creek": 2}),
        (["DCIM/100RECNX/a.jpg"], "DCIM", {"North": 1}),
        (["a.jpg"], ".", {"North": 1}),
        (["all/cards/Creek/a.jpg", "all/cards/Ridge/DCIM/b.jpg"], "all/cards", {"Creek": 1, "Ridge": 1}),
        (["Creek/a.jpg", "Ridge/b.jpg"], ".", {"Creek": 1, "Ridge": 1}),
        (["Creek/DCIM/100A_BCD/a.jpg", "Creek/DCIM/101A_BCD/b.jpg"], "Creek/DCIM", {"Creek": 2}),
    ],
)
def test_folders_name_the_stations(
    client: TestClient, photos: list[str], root: str, stations: dict[str, int]
) -> None:
    assert uploads.station_root({Path(p).parent for p in photos}).as_posix() == root
    assert offer(client, dict.fromkeys(photos, b"x"))["stations"] == stations


def test_detections_have_to_be_among_the_files(client: TestClient, card: Files) -> None:
    photo = card["card/Ridge/IMG_0001.JPG"]
    upload = send_all(client, {"card/a.jpg": photo, "card/md.json": b"{}"})
    for wrong in ("md.json", "../md.json", "card/a.jpg"):
        assert finish(client, upload, detections=wrong, whole_photo=False).status_code == 422
    assert finish(client, upload, detections="card/md.json").status_code == 422  # and whole_photo
    assert finish(client, upload, whole_photo=False).status_code == 422  # nobody says where the animals are
    assert finish(client, upload, timezone="Mars/Olympus").status_code == 422
    assert finish(client, upload, root="elsewhere").status_code == 422
    assert finish(client, upload, detections="card/md.json", whole_photo=False).status_code == 202


def test_one_who_may_only_look_sends_nothing(client: TestClient) -> None:
    assert (
        client.post("/api/v1/uploads", json={"files": []}, headers={"Authorization": "Bearer no"}).status_code
        == 401
    )


def test_a_full_card_is_announced_at_once(client: TestClient) -> None:
    listed = [
        {"path": f"card/Station{n % 40}/100MEDIA/IMG_{n:05}.JPG", "size": 3_000_000} for n in range(20_000)
    ]
    answer = client.post("/api/v1/uploads", json={"files": listed})
    assert answer.status_code == 201
    assert len(answer.json()["files"]) == 20_000
    assert answer.json()["stations"]["Station7"] == 500
    nobody = client.post("/api/v1/uploads", json={"files": listed}, headers={"Authorization": "Bearer no"})
    assert nobody.status_code in (401, 413)
