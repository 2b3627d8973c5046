"""Which embedding version a catalogue works with, and what its similarities mean."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deertrack.domain.errors import FingerprintMismatchError, InputError, PackError
from deertrack.services.versions import active_calibration, active_version, keep_calibration
from deertrack.storage import catalogue
from deertrack.storage.db import Database
from deertrack.vision.model_packs import Pack, builtin_pack


@pytest.fixture
def pack() -> Pack:
    return builtin_pack()


def test_a_fresh_catalogue_takes_the_highest_stage_and_keeps_it(
    db: Database, pack: Pack, rows: Callable[..., Any]
) -> None:
    version = active_version(db, pack)
    assert version.version.stage == max(v.stage for v in pack.versions)
    assert active_version(db, pack) == version
    known = rows("SELECT name, stage FROM embedding_versions ORDER BY stage")
    assert [(row["name"], row["stage"]) for row in known] == [(v.name, v.stage) for v in pack.versions]
    with db.transaction() as connection:
        catalogue.put_setting(connection, catalogue.ACTIVE_VERSION, pack.versions[0].name)
    assert active_version(db, pack).version == pack.versions[0]


def test_a_changed_pack_under_the_same_names_is_an_error(db: Database, pack: Pack) -> None:
    active_version(db, pack)
    graph = replace(pack.card.graphs[0], sha256="0" * 64)
    changed = Pack(replace(pack.card, graphs=(graph, *pack.card.graphs[1:])), pack.directory)
    with pytest.raises(FingerprintMismatchError, match="stands for another model"):
        active_version(db, changed)


def test_a_pack_without_the_catalogues_version_is_an_error(db: Database, pack: Pack) -> None:
    active_version(db, pack)
    other = Pack(replace(pack.card, name="other", versions={"v3_other": 3}), pack.directory)
    with pytest.raises(PackError, match="pack 'other' has no embedding version 'v3_lite'") as caught:
        active_version(db, other)
    assert "v3_other" in caught.value.hint


@pytest.fixture
def herds_own(pack: Pack, tmp_path: Path) -> Path:
    """A calibration fitted on this user's herd."""
    curves = {
        version.name: {
            "similarities": [0.25, 0.75],
            "log_ratios": [-2.0, 4.0],
            "fingerprints": [version.fingerprints[o] for o in version.search_outputs],
        }
        for version in pack.versions
    }
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps({"fitted_on": "12 bucks", "curves": curves}))
    return path


def test_a_calibration_that_was_given_is_kept(
    db: Database, pack: Pack, herds_own: Path, rows: Callable[..., Any]
) -> None:
    version = active_version(db, pack).version
    shipped = active_calibration(db, version, pack)
    for _ in range(2):
        keep_calibration(db, herds_own, [version])
    given = active_calibration(db, version, pack)
    assert (given.similarities, given.log_ratios) == ((0.25, 0.75), (-2.0, 4.0))
    herds_own.unlink()
    assert active_calibration(db, version, pack) == given != shipped
    (event,) = rows("SELECT kind, subject, detail FROM events")  # the same file again is no news
    assert (event["kind"], event["subject"]) == ("calibrate", f"version:{version.name}")
    assert event["detail"]["fitted_on"] == "12 bucks"


def test_a_calibration_of_other_models_is_an_error_and_not_kept(
    db: Database, pack: Pack, herds_own: Path
) -> None:
    version = active_version(db, pack).version
    shipped = active_calibration(db, version, pack)
    document = json.loads(herds_own.read_text())
    document["curves"][version.name]["fingerprints"][0] = "f" * 64
    herds_own.write_text(json.dumps(document))
    with pytest.raises(FingerprintMismatchError, match="belongs to other models"):
        keep_calibration(db, herds_own, [version])
    del document["curves"][version.name]
    herds_own.write_text(json.dumps(document))
    with pytest.raises(InputError, match="no calibration for embedding version"):
        keep_calibration(db, herds_own, [version])
    assert active_calibration(db, version, pack) == shipped


def test_a_file_for_one_version_leaves_what_was_kept_of_another(
    db: Database, pack: Pack, herds_own: Path, rows: Callable[..., Any]
) -> None:
    version = active_version(db, pack).version
    other = next(v for v in pack.versions if v.name != version.name)
    keep_calibration(db, herds_own, [version])
    given = active_calibration(db, version, pack)
    document = json.loads(herds_own.read_text())
    document["curves"] = {other.name: {**document["curves"][other.name], "log_ratios": [-1.0, 1.0]}}
    herds_own.write_text(json.dumps(document))
    keep_calibration(db, herds_own, [version, other])  # the two arms of an A/B test
    assert active_calibration(db, version, pack) == given
    assert active_calibration(db, other, pack).log_ratios == (-1.0, 1.0)
