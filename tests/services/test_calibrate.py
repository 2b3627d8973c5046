"""Fitting what similarities mean in this catalogue: what is kept, what is said, and when it is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from deertrack.domain.calibration import Calibration
from deertrack.domain.errors import InputError, NotFoundError, PackError
from deertrack.domain.records import Box
from deertrack.entry.cli.calibrate import calibrate_command
from deertrack.formats.calibration import CalibrationFile, Curve, read_calibration
from deertrack.formats.truth import TruthRow
from deertrack.services.calibrate import Calibrated, calibrate
from deertrack.services.identify import Matcher, alone, identify
from deertrack.services.naming import import_names
from deertrack.services.review import assign_new
from deertrack.services.versions import active_calibration, keep_curves
from deertrack.storage import catalogue, embeddings
from deertrack.storage.db import Database
from deertrack.vision.model_packs import builtin_pack

ANIMALS, TIMES, LIKENESS = 10, 7, 0.3
# Of these animals, which are all met at once: a curve that says nothing, and one that says more than a fit can.
FLAT = Calibration((0.0, 1.0), (0.0, 0.0))
SHARP = Calibration((0.0, 0.3), (0.0, 12.0))
HOUR = 3600


@pytest.fixture
def herd(db: Database, stage: Any, seen: Any, matcher: Matcher) -> list[TruthRow]:
    """Ten animals side by side in each of seven encounters, and who they are. They look a bit like themselves."""
    boxes = [Box(n / ANIMALS, 0.2, 0.08, 0.5) for n in range(ANIMALS)]
    truth = []
    for visit in range(TIMES):
        stage.photo("Creek", visit * HOUR, *(seen(n, box, likeness=LIKENESS) for n, box in enumerate(boxes)))
        file = f"Creek/IMG_{visit + 1:04}.JPG"
        truth += [TruthRow(file, f"Doe {n}", box=box) for n, box in enumerate(boxes)]
        identify(db, alone(matcher))
    with db.transaction() as connection:
        catalogue.put_setting(connection, catalogue.ACTIVE_VERSION, matcher.registered.version.name)
    return truth


def nobody_measured(_: object) -> None:
    """No curve in use."""


def test_the_first_curve_is_kept_with_its_origin(
    db: Database, herd: list[TruthRow], matcher: Matcher, rows: Callable[..., Any]
) -> None:
    with db.transaction() as connection:
        unused = [embeddings.register_version(connection, v).version.name for v in builtin_pack().versions]
    done = calibrate(db, nobody_measured, truth=herd, truth_name="who.csv", actor="warden")
    assert done.kept == tuple(done.trials) == ("v3_stage",)
    assert {name: f"no vectors of {name!r}" in why for name, why in done.skipped.items()} == dict.fromkeys(
        unused, True
    )
    trial = done.trials["v3_stage"]
    assert (trial.same, trial.before) == (ANIMALS * (TIMES - 1), None)
    (event,) = rows("SELECT actor, subject, detail FROM events WHERE kind = 'calibrate'")
    assert (event["actor"], event["subject"]) == ("warden", "catalogue")
    assert event["detail"]["fitted_on"] == "70 sightings of 10 animals named by who.csv"
    assert event["detail"]["held_out"]["v3_stage"]["brier"] == pytest.approx(trial.after.brier)
    kept = active_calibration(db, matcher.registered.version, builtin_pack())
    assert kept.log_ratios == pytest.approx(trial.curve.log_ratios, abs=1e-4)


def test_a_curve_is_replaced_only_by_one_that_is_truer(
    db: Database, herd: list[TruthRow], rows: Callable[..., Any]
) -> None:
    def again(curve: Calibration) -> Calibrated:
        return calibrate(db, lambda _: curve, truth=herd, truth_name="who.csv", actor="warden")

    first = again(FLAT)
    assert first.kept == ("v3_stage",)
    setting = rows("SELECT value FROM settings WHERE key = 'calibration'")
    second = again(SHARP)
    assert second.kept == ()
    assert rows("SELECT value FROM settings WHERE key = 'calibration'") == setting
    assert len(rows("SELECT 1 FROM events WHERE kind = 'calibrate'")) == 1


def test_what_a_person_confirmed_is_enough_and_the_machines_word_is_not(
    db: Database, herd: list[TruthRow], rows: Callable[..., Any]
) -> None:
    with pytest.raises(InputError, match="no sighting of this catalogue was confirmed") as caught:
        calibrate(db, nobody_measured, actor="warden")
    assert "deertrack review" in caught.value.hint
    import_names(db, herd[:-ANIMALS], actor="warden")
    done = calibrate(db, nobody_measured, actor="warden")
    assert done.fitted_on == "60 sightings of 10 animals that a person confirmed"
    assert done.trials["v3_stage"].same == ANIMALS * (TIMES - 2)


def test_too_little_to_go_by_is_an_error(db: Database, herd: list[TruthRow]) -> None:
    assign_new(db, 1, actor="warden")
    with pytest.raises(InputError, match="v3_stage: expected 40 or more pairs") as caught:
        calibrate(db, nobody_measured, actor="warden")
    assert "--truth FILE" in caught.value.hint
    just_forty = herd[: 5 * ANIMALS]  # and too few without a fifth of the animals
    with pytest.raises(InputError, match="v3_stage: expected 40 or more pairs"):
        calibrate(db, nobody_measured, truth=just_forty, truth_name="who.csv", actor="warden")
    strangers = [replace(row, file=row.file.replace("Creek", "Pond")) for row in herd]
    with pytest.raises(InputError, match=r"who\.csv names no photo"):
        calibrate(db, nobody_measured, truth=strangers, truth_name="who.csv", actor="warden")
    with pytest.raises(NotFoundError, match="'v9_none'"):
        calibrate(db, nobody_measured, truth=herd, version="v9_none", actor="warden")


# -- as a user sees it ----------------------------------------------------------------------------------------


@pytest.fixture
def command(url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """``deertrack reid calibrate`` on this catalogue: its exit code and what it printed."""
    monkeypatch.setenv("DATABASE_URL", url)

    def run(**options: Any) -> tuple[int, str]:
        given = {"version": None, "truth": None, "file": None, "dry_run": False, "json": False, "home": None}
        with pytest.raises(typer.Exit) as caught:
            calibrate_command(**{**given, **options})
        return caught.value.exit_code, capsys.readouterr().out

    return run


@pytest.fixture
def who(herd: list[TruthRow], tmp_path: Path) -> Path:
    """The truth as a file."""
    path = tmp_path / "who.csv"
    lines = ["file,identity,x,y,width,height"]
    for row in herd:
        assert row.box is not None
        box = row.box
        lines.append(f"{row.file},{row.identity},{box.x},{box.y},{box.width},{box.height}")
    path.write_text("\n".join(lines))
    return path


def test_the_command_shows_before_and_after_and_writes_a_file(
    db: Database, who: Path, tmp_path: Path, command: Any, matcher: Matcher
) -> None:
    version, pack = matcher.registered.version, builtin_pack()
    code, shown = command(truth=who, dry_run=True, file=tmp_path / "herd.json")
    assert code == 0
    for words in ("60 pairs of one animal", "Brier score", "Would be kept", "Promised: at most 5 in 100"):
        assert words in shown
    with pytest.raises(PackError):
        active_calibration(db, version, replace(pack, directory=tmp_path))
    written = read_calibration(tmp_path / "herd.json").curve_for(version)

    code, shown = command(truth=who)
    assert code == 0
    assert "Decisions go by it from now on." in shown
    assert active_calibration(db, version, pack) == written

    curve = Curve(SHARP, tuple(version.fingerprints[o] for o in version.search_outputs))
    keep_curves(
        db, CalibrationFile("somebody's herd", {version.name: curve}), "catalogue", {}, actor="warden"
    )
    code, shown = command(truth=who)
    assert code == 1
    assert "v3_stage keeps its old one" in shown

    code, shown = command(truth=who, json=True)
    document = json.loads(shown)
    assert (code, document["kept"]) == (1, [])
    assert document["policy"]["wrong_at_most"] == 5
    trial = document["versions"]["v3_stage"]
    assert trial["gain"]["value"] == pytest.approx(trial["before"]["brier"] - trial["after"]["brier"])
    assert set(trial["after"]) == {"queries", "brier", "error", "automatic", "rightly", "curve"}
    assert list(document["calibration"]["curves"]) == ["v3_stage"]

    with pytest.raises(InputError, match="cannot be written"):
        command(truth=who, file=tmp_path / "none" / "herd.json")
