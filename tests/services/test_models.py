"""Installing, importing, checking and fitting packs: all or nothing, and nothing outside HOME/packs."""

import io
import json
import os
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deertrack.domain.embedding import Output
from deertrack.domain.errors import InputError, PackError
from deertrack.domain.records import Box, DetectedAnimal
from deertrack.services import models
from deertrack.services.ingest import StationRules, find_photos, ingest
from deertrack.services.versions import active_calibration
from deertrack.storage import images
from deertrack.storage.db import Database
from deertrack.vision.crops import CropRule
from deertrack.vision.model_packs import Pack, builtin_pack, load_pack
from deertrack.vision.pack_building import IMAGENET, import_graph


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def make_pack(directory: Path, name: str = "tiny", version: str = "v1_tiny", **changes: Any) -> Path:
    """A pack of one small graph, out of the shipped one."""
    directory.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"crop": CropRule.STRETCH, "licence": "MIT", "provenance": "a test"} | changes
    import_graph(
        builtin_pack().directory / "mobilenet_v2.onnx",
        directory,
        name=name,
        version=version,
        stage=1,
        input_hw=(192, 256),
        normalisation=IMAGENET,
        output=None,
        **options,
    )
    return directory


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A pack's folder, as on a USB stick."""
    return make_pack(tmp_path / "stick" / "tiny")


def nothing_left(home: Path) -> bool:
    return not (home / "packs").exists() or not list((home / "packs").iterdir())


def zipped(files: dict[str, bytes], path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(files: dict[str, bytes], path: Path) -> Path:
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def files_of(folder: Path, prefix: str = "") -> dict[str, bytes]:
    return {prefix + file.name: file.read_bytes() for file in folder.iterdir()}


# Installing -------------------------------------------------------------------------------------------


def test_only_the_shipped_packs_at_first(home: Path) -> None:
    found = models.installed_packs(home)
    assert [(f.name, f.built_in, f.problem) for f in found] == [("lite", True, ""), ("nyala", True, "")]
    assert not home.exists()


def test_a_folder_is_installed(home: Path, tiny: Path) -> None:
    pack = models.install(home, tiny)
    assert pack.directory == home / "packs" / "tiny"
    assert pack.fingerprints == load_pack(tiny).fingerprints
    assert models.find_pack(home, "tiny").fingerprints == pack.fingerprints
    assert [found.name for found in models.installed_packs(home)] == ["lite", "nyala", "tiny"]
    assert all(finding.ok for finding in models.check(home, "tiny"))
    assert [file.name for file in (home / "packs").iterdir()] == ["tiny"]
    assert models.install(home, tiny) == pack  # again is harmless


@pytest.mark.parametrize(
    ("pack_it", "prefix"), [(zipped, ""), (zipped, "a/b/"), (tarred, "./"), (tarred, "tiny/")]
)
def test_archives_are_installed(
    home: Path, tiny: Path, tmp_path: Path, pack_it: Callable[..., Path], prefix: str
) -> None:
    junk = {"__MACOSX/tiny/pack.json": b"resource fork", f"{prefix}sub/other.txt": b"not the pack's"}
    pack = models.install(home, pack_it(files_of(tiny, prefix) | junk, tmp_path / "archive"))
    assert sorted(file.name for file in pack.directory.iterdir()) == ["pack.json", "tiny.onnx"]


@pytest.mark.parametrize("pack_it", [zipped, tarred])
@pytest.mark.parametrize(
    "name", ["../evil.txt", "tiny/../../evil.txt", "/tmp/evil.txt", "..\\evil.txt", "C:\\evil.txt"]
)
def test_archives_that_point_outside_are_refused(
    home: Path, tmp_path: Path, pack_it: Callable[..., Path], name: str
) -> None:
    archive = pack_it({"tiny/pack.json": b"{}", name: b"evil"}, tmp_path / "archive")
    with pytest.raises(PackError, match="points outside the archive"):
        models.install(home, archive)
    assert nothing_left(home)
    assert not list(tmp_path.rglob("evil.txt"))


def test_links_in_archives_are_refused(home: Path, tmp_path: Path) -> None:
    path = tarred({"pack.json": b"{}"}, tmp_path / "plain.tar.gz")
    with tarfile.open(path) as plain, tarfile.open(tmp_path / "link.tar", "w") as archive:
        for member in plain.getmembers():
            archive.addfile(member, plain.extractfile(member))
        link = tarfile.TarInfo("NOTICE")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(PackError, match="'NOTICE' is no plain file"):
        models.install(home, tmp_path / "link.tar")
    assert nothing_left(home)


def test_archives_without_one_pack_are_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(PackError, match=r"expected one pack.json in it, got 0"):
        models.install(home, zipped({"readme.txt": b"x"}, tmp_path / "none.zip"))
    two = {"a/pack.json": b"{}", "b/pack.json": b"{}"}
    with pytest.raises(PackError, match=r"expected one pack.json in it, got 2"):
        models.install(home, zipped(two, tmp_path / "two.zip"))
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(PackError, match=r"text.zip: expected a pack's folder, or a .zip"):
        models.install(home, tmp_path / "text.zip")
    assert nothing_left(home)


def test_damaged_and_huge_archives_are_refused(
    home: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tarred(files_of(tiny), tmp_path / "whole.tar.gz").read_bytes()
    (tmp_path / "half.tar.gz").write_bytes(whole[: len(whole) // 2])
    flipped = bytearray(zipped(files_of(tiny), tmp_path / "whole.zip").read_bytes())
    flipped[len(flipped) // 2] ^= 1
    (tmp_path / "flipped.zip").write_bytes(flipped)
    for name in ("half.tar.gz", "flipped.zip"):
        with pytest.raises(PackError, match=f"{name}: cannot be unpacked"):
            models.install(home, tmp_path / name)
    monkeypatch.setattr(models, "_MOST_BYTES", 1_000_000)
    with pytest.raises(PackError, match="unpacks to more than"):
        models.install(home, tmp_path / "whole.zip")
    assert nothing_left(home)


def test_what_is_not_there_says_what_to_bring(home: Path) -> None:
    with pytest.raises(InputError, match="no such folder or file") as caught:
        models.install(home, Path("resnet50-b0"))
    assert "USB stick" in caught.value.hint
    assert "deertrack models build resnet50-b0" in caught.value.hint
    with pytest.raises(PackError, match="there is no pack 'resnet50-b0'") as unknown:
        models.find_pack(home, "resnet50-b0")
    assert "lite" in unknown.value.hint


def test_damaged_packs_do_not_get_in_and_are_replaced(home: Path, tiny: Path) -> None:
    models.install(home, tiny)
    installed = home / "packs" / "tiny" / "tiny.onnx"
    installed.write_bytes(installed.read_bytes()[:-1])
    damaged = models.installed_packs(home)[-1]
    assert damaged.pack is None
    assert "changed since the pack was built" in damaged.problem
    assert [finding.ok for finding in models.check(home, "tiny")] == [False]
    with pytest.raises(PackError, match="changed since"):
        models.install(home, home / "packs" / "tiny")
    models.install(home, tiny)
    assert all(finding.ok for finding in models.check(home, "tiny"))
    assert [file.name for file in (home / "packs").iterdir()] == ["tiny"]


def test_a_pack_that_gives_no_sound_vectors_does_not_get_in(home: Path, tiny: Path) -> None:
    card = json.loads((tiny / "pack.json").read_text())
    card["graphs"][0]["input"] = [64, 64]
    (tiny / "pack.json").write_text(json.dumps(card))
    with pytest.raises(PackError, match=r"tiny.onnx on openvino: cannot run"):
        models.install(home, tiny)
    assert nothing_left(home)


def test_names_are_never_taken_twice(home: Path, tiny: Path, tmp_path: Path) -> None:
    models.install(home, tiny)
    for directory, name, version, told in (
        ("a", "tiny", "v1_other", "there is a pack 'tiny' already, with other models"),
        ("b", "other", "v1_tiny", "pack 'tiny' has embedding version 'v1_tiny' already"),
        ("c", "other", "v1_lite", "pack 'lite' has embedding version 'v1_lite' already"),
    ):
        made = make_pack(tmp_path / directory, name=name, version=version, crop=CropRule.PAD)
        with pytest.raises(InputError, match=told):
            models.install(home, made)
    with pytest.raises(InputError, match="cannot be installed by the name 'lite'"):
        models.install(home, builtin_pack().directory)
    card = json.loads((tiny / "pack.json").read_text())
    (tiny / "pack.json").write_text(json.dumps(card | {"name": "../up"}))
    with pytest.raises(InputError, match=r"cannot be installed by the name '\.\./up'"):
        models.install(home, tiny)
    assert [file.name for file in (home / "packs").iterdir()] == ["tiny"]


def test_a_dry_run_leaves_nothing(home: Path, tiny: Path) -> None:
    assert models.install(home, tiny, dry_run=True).card.name == "tiny"
    (tiny / "tiny.onnx").write_bytes(b"")
    with pytest.raises(PackError, match="changed since"):
        models.install(home, tiny, dry_run=True)
    assert not home.exists()


def test_what_a_killed_build_left_is_cleared_and_a_running_one_is_not(home: Path, tiny: Path) -> None:
    for name, age in ((".partial-killed", 2 * 24 * 3600), (".partial-running", 60)):
        (home / "packs" / name / "pack").mkdir(parents=True)
        os.utime(home / "packs" / name, (time.time() - age,) * 2)
    models.install(home, tiny)
    assert sorted(file.name for file in (home / "packs").iterdir()) == [".partial-running", "tiny"]
    assert [found.name for found in models.installed_packs(home)] == ["lite", "nyala", "tiny"]


def test_a_home_that_cannot_be_written(home: Path, tiny: Path) -> None:
    home.write_text("a file")
    with pytest.raises(PackError, match="cannot be read or written"):
        models.install(home, tiny)


# Importing and building -------------------------------------------------------------------------------


def import_tiny(home: Path, **changes: Any) -> Pack:
    options: dict[str, Any] = {
        "name": "mine",
        "version": "v1_mine",
        "stage": 1,
        "input_hw": (192, 256),
        "normalisation": IMAGENET,
        "crop": CropRule.STRETCH,
        "output": None,
        "licence": "MIT",
        "provenance": "a test",
    }
    return models.import_onnx(home, builtin_pack().directory / "mobilenet_v2.onnx", **options | changes)


def test_an_import_is_installed(home: Path) -> None:
    pack = import_tiny(home)
    assert pack.directory == home / "packs" / "mine"
    assert [(v.name, v.stage) for v in pack.versions] == [("v1_mine", 1)]
    assert set(pack.fingerprints) == {Output.SINGLE}
    with pytest.raises(InputError, match="there is a pack 'mine' already"):
        import_tiny(home)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": "Mine"}, "lower-case"),
        ({"name": "../mine"}, "lower-case"),
        ({"name": ""}, "lower-case"),
        ({"name": "lite"}, "already"),
        ({"version": ""}, "1 to 20"),
        ({"version": "v1_a_name_far_too_long"}, "1 to 20"),
        ({"version": "v1_lite"}, "'v1_lite' already"),
    ],
)
def test_import_names_are_checked(home: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        import_tiny(home, **changes)
    assert nothing_left(home)


def test_a_dry_import_leaves_nothing(home: Path) -> None:
    assert import_tiny(home, dry_run=True).card.name == "mine"
    assert not home.exists()


def test_building_without_the_extra_says_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "deertrack.vision.resnet50_b0", raising=False)
    with pytest.raises(PackError, match="needs the Python package 'torch'") as caught:
        models.build_resnet50_b0(home)
    assert "pip install 'deertrack[models]'" in caught.value.hint
    assert not home.exists()


def test_random_networks_have_names_of_their_own(home: Path, tmp_path: Path) -> None:
    for module in ("torch", "transformers", "onnx"):
        pytest.importorskip(module, reason="the extra `models` is not installed")
    assert models.build_resnet50_b0(home, random_seed=7, dry_run=True) == "resnet50-b0-random"
    assert not home.exists()
    with pytest.raises(InputError, match="exclude each other"):
        models.build_resnet50_b0(home, weights=tmp_path, random_seed=7)
    with pytest.raises(InputError, match="seed of 0 to 99"):
        models.build_resnet50_b0(home, random_seed=100)
    with pytest.raises(PackError, match=r"lacks resnet-50/config.json, resnet-50/model.safetensors, eff"):
        models.build_resnet50_b0(home, weights=tmp_path)
    models.build_resnet50_b0(home, random_seed=7)
    versions = models.find_pack(home, "resnet50-b0-random").card.versions
    assert versions == {"v1_resnet50_rnd7": 1, "v2_multiscale_rnd7": 2, "v3_ensemble_rnd7": 3}


# Fitting ----------------------------------------------------------------------------------------------


@pytest.fixture
def put_herd(
    db: Database, make_photo: Callable[..., Path], tmp_path: Path
) -> Callable[[int, int], list[Path]]:
    """Put photos with so many boxes each into the catalogue."""

    def put(photos: int, boxes: int) -> list[Path]:
        rng = np.random.default_rng(3)
        paths = [
            make_photo(tmp_path / "cards" / "Creek" / f"{seed}.jpg", seed=seed, size=(320, 240))
            for seed in range(photos)
        ]
        for file in ingest(db, find_photos([tmp_path / "cards"]), StationRules()).catalogued.values():
            corners = rng.uniform(0, 0.6, (boxes, 2))
            sides = rng.uniform(0.2, 0.4, (boxes, 2))
            animals = [
                DetectedAnimal(Box(*map(float, corner), *map(float, side)), 0.9)
                for corner, side in zip(corners, sides, strict=True)
            ]
            with db.transaction() as connection:
                images.add_detections(connection, file.image_id, "test", animals)
        return paths

    return put


def test_a_projection_is_fitted_on_the_catalogues_crops(
    home: Path, db: Database, put_herd: Callable[[int, int], list[Path]]
) -> None:
    pytest.importorskip("onnx", reason="the extra `models` is not installed")
    paths = put_herd(11, 60)
    paths[4].write_text("damaged since")
    import_tiny(home)  # one graph instead of two: half the time
    planned = models.fit_projection(home, db, "mine", "my-herd", dry_run=True)
    assert (planned.crops, planned.unreadable) == (660, 0)
    paths[5].rename(paths[5].with_suffix(".away"))
    with pytest.raises(InputError, match="at least 600 crops to fit a projection, got 540"):
        models.fit_projection(home, db, "mine", "my-herd")  # one photo gone, one unreadable
    paths[5].with_suffix(".away").rename(paths[5])
    report = models.fit_projection(home, db, "mine", "my-herd")
    assert (report.crops, report.unreadable, report.versions) == (600, 60, ("v1_my-herd",))
    fitted = models.find_pack(home, "my-herd")
    assert fitted.card.versions == {"v1_my-herd": 1}
    assert fitted.fingerprints != models.find_pack(home, "mine").fingerprints
    assert "600 crops" in fitted.card.graphs[0].projection
    with pytest.raises(InputError, match="already"):
        models.fit_projection(home, db, "mine", "my-herd")


def test_too_few_crops_and_bad_names_are_told_before_any_work(
    home: Path, db: Database, put_herd: Callable[[int, int], list[Path]]
) -> None:
    put_herd(1, 3)
    with pytest.raises(InputError, match="at least 600 crops to fit a projection, got 3") as caught:
        models.fit_projection(home, db, "lite", "my-herd")
    assert "Add photos" in caught.value.hint
    with pytest.raises(PackError, match="there is no pack 'heavy'"):
        models.fit_projection(home, db, "heavy", "my-herd")
    with pytest.raises(InputError, match="1 to 17"):
        models.fit_projection(home, db, "lite", "a-name-that-is-too-long")
    with pytest.raises(InputError, match="lower-case"):
        models.fit_projection(home, db, "lite", "Herd")
    assert nothing_left(home)


def test_many_crops_are_read_evenly(
    home: Path, db: Database, put_herd: Callable[[int, int], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "MOST_CROPS", 300)
    put_herd(10, 70)
    assert models.fit_projection(home, db, "lite", "my-herd", dry_run=True).crops == 4 * 70


# Working with a pack that nobody has measured ---------------------------------------------------------


def test_a_pack_without_calibration_says_how_to_get_one(home: Path, db: Database) -> None:
    pack = import_tiny(home)
    with pytest.raises(PackError, match="what similarities of 'v1_mine' mean") as caught:
        active_calibration(db, pack.versions[0], pack)
    assert "deertrack reid calibrate" in caught.value.hint
    assert "--calibration FILE" in caught.value.hint


def test_what_a_re_embedding_brings_in_unless_told(home: Path) -> None:
    assert models.highest_version(home, but="v1_lite") == "v3_lite"
    assert models.highest_version(home, but="v2_nyala") == "v3_nyala"
    assert models.highest_version(home, but="v3_nyala") == "v3_lite"
    with pytest.raises(InputError, match=r"v3_lite, .*v3_nyala could be meant"):
        models.highest_version(home, but=None)
