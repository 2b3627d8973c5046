"""Validation of an embedding change, on herds whose similarities are known because they are made up."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from deertrack.domain.embedding import DIMENSIONS, EmbeddingVersion, Output, Vectors, normalise, pool
from deertrack.domain.errors import InputError, NotFoundError
from deertrack.domain.verdict import Outcome
from deertrack.entry.cli.main import app
from deertrack.formats.truth import TruthRow
from deertrack.services.lifecycle import evidence
from deertrack.services.lifecycle.validate import ValidationReport, ValidationRequest, as_json, validate
from deertrack.services.lifecycle.validation_page import validation_page
from deertrack.services.progress import SILENT
from deertrack.storage import catalogue, embeddings, validations
from deertrack.storage.db import Connection, Database

START = datetime(2025, 10, 1, 6, tzinfo=UTC)


@dataclass(frozen=True)
class Look:
    """How a version sees animals: what all have in common, what is an animal's own, and what is noise."""

    common: float
    own: float
    noise: float = 1.0


# Same-deer cosine about (common² + own²) / (common² + own² + noise²), different-deer common² / (…).
PLAIN = Look(common=1.0, own=1.0)  # 0.67 and 0.33
SHIFTED = Look(common=3.0, own=0.5)  # 0.90 and 0.88: all alike, and harder to tell apart
SHARP = Look(common=0.0, own=1.1)  # 0.55 and 0.00: lower, and told apart without fail
DULL = Look(common=0.7, own=0.25)  # told apart, but not without fail


@dataclass
class Herd:
    """Made-up deer in a real catalogue: ``deer`` animals, each in ``visits`` encounters, a few photos each."""

    db: Database
    folder: Path
    deer: int = 24
    visits: int = 6
    photos: int = 2
    names: list[str] = field(default_factory=list)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(3))
    identity: dict[int, int] = field(default_factory=dict)  # of each detection

    def settle(self, *, one_encounter: bool = False, sex: str = "female", real: bool = False) -> "Herd":
        """Put the herd into the catalogue, named by a person, visits in turn. ``real``: with photo files."""
        self.names = self.names or [f"D{i:03}" for i in range(self.deer)]
        with self.db.transaction() as connection:
            self._version(connection, "v1_made", 1)
            self._version(connection, "v3_made", 3)
            connection.execute("INSERT INTO stations (name) VALUES ('Oak')")
            for i, name in enumerate(self.names):
                connection.execute(
                    "INSERT INTO deer (number, name, sex) VALUES (%s, %s, %s)", [i + 1, name, sex]
                )
            encounter: dict[int, int] = {}
            for visit in range(self.visits):
                for animal in range(self.deer):
                    if not (one_encounter and visit):
                        encounter[animal] = self._encounter(connection, visit * self.deer + animal)
                    self._sighting(connection, encounter[animal], animal, sex, real)
        return self

    def _encounter(self, connection: Connection, number: int) -> int:
        when = START + timedelta(hours=number)
        return self._id(
            connection,
            "INSERT INTO encounters (station_id, started_at, ended_at) "
            "SELECT id, %s, %s FROM stations RETURNING id",
            when,
            when,
        )

    def _sighting(self, connection: Connection, encounter: int, animal: int, sex: str, real: bool) -> None:
        deer = "(SELECT id FROM deer WHERE number = %s)"
        sighting = self._id(
            connection,
            "INSERT INTO sightings (encounter_id, deer_id, state, sex) "
            f"VALUES (%s, {deer}, 'assigned', %s) RETURNING id",
            encounter,
            animal + 1,
            sex,
        )
        connection.execute(
            "INSERT INTO decisions (sighting_id, outcome, deer_id, version, actor, fingerprints, policy, "
            f"candidates) VALUES (%s, 'assign', {deer}, 'v1_made', 'anna', '{{}}', '{{}}', '[]')",
            [sighting, animal + 1],
        )
        for _ in range(self.photos):
            number = len(self.identity)
            path = self.folder / f"IMG_{number:05}.jpg"
            if real:
                Image.new("RGB", (64, 48), (animal * 9 % 256, 90, 60)).save(path)
            image = self._id(
                connection,
                "INSERT INTO images (station_id, sha256, width, height) "
                "SELECT id, %s, 64, 48 FROM stations RETURNING id",
                hashlib.sha256(str(number).encode()).digest(),
            )
            connection.execute(
                "INSERT INTO files (path, size, mtime_ns, image_id) VALUES (%s, 1000, 1, %s)",
                [str(path), image],
            )
            detection = self._id(
                connection,
                "INSERT INTO detections (image_id, sighting_id, confidence, bbox_x, bbox_y, bbox_width, "
                "bbox_height) VALUES (%s, %s, 0.9, 0.1, 0.1, 0.8, 0.8) RETURNING id",
                image,
                sighting,
            )
            self.identity[detection] = animal

    @staticmethod
    def _id(connection: Connection, statement: str, *parameters: Any) -> int:
        row = connection.execute(statement, parameters).fetchone()
        assert row is not None
        return int(row["id"])

    @staticmethod
    def _version(connection: Connection, name: str, stage: int) -> embeddings.RegisteredVersion:
        outputs = (Output.SINGLE,) if stage == 1 else (Output.MULTISCALE, Output.PARTNER)
        prints = {o: hashlib.sha256(f"{name}{o}".encode()).hexdigest() for o in outputs}
        return embeddings.register_version(connection, EmbeddingVersion(name, stage, "made", prints))

    def see(self, name: str, stage: int, *looks: Look | Vectors, only: int | None = None) -> None:
        """Store a version's vectors (one look for each output) of all detections, or of the first so many."""
        ids = list(self.identity)[:only]
        rows = [
            look[: len(ids)] if isinstance(look, np.ndarray) else self.draw(look)[: len(ids)]
            for look in looks
        ]
        with self.db.transaction() as connection:
            registered = self._version(connection, name, stage)
            embeddings.store_vectors(
                connection, registered, ids, dict(zip(registered.models, rows, strict=True))
            )

    def draw(self, look: Look) -> Vectors:
        """Unit vectors of all detections, (n, 512)."""
        animal = np.array(list(self.identity.values()))
        own, common = self.rng.normal(size=(self.deer, DIMENSIONS)), self.rng.normal(size=DIMENSIONS)
        noise = self.rng.normal(size=(len(animal), DIMENSIONS))
        # Few directions carry the noise, as in real embeddings; else 512 of them would average it away.
        noise[:, 12:] = 0
        own[:, 12:] = 0
        common[12:] = 0
        return normalise(look.common * common + look.own * own[animal] + look.noise * noise)


@pytest.fixture
def herd(db: Database, tmp_path: Path) -> Callable[..., Herd]:
    def make(**size: Any) -> Herd:
        return Herd(db, tmp_path, **size)

    return make


def judge(db: Database, **request: Any) -> ValidationReport:
    return validate(db, ValidationRequest(**{"bootstrap": 120, **request}))


def outcomes(report: ValidationReport) -> list[Outcome]:
    return [criterion.outcome for criterion in report.criteria]


def test_higher_similarity_with_worse_separation_fails_and_says_why(
    db: Database, herd: Callable[..., Herd]
) -> None:
    h = herd().settle()
    h.see("v1_made", 1, PLAIN)
    h.see("v3_made", 3, SHIFTED, SHIFTED)
    report = judge(db)
    assert (report.old, report.new) == ("v1_made", "v3_made")
    assert report.outcome is Outcome.FAILED
    assert "Higher similarity is not better recognition" in report.verdict.sentence
    assert "of the rise is mere shift" in report.verdict.sentence
    assert report.findings is not None
    shift, auc = report.findings.shift, report.findings.measures["auc"]
    assert shift.same_rise > 0.1
    assert shift.different_rise > shift.same_rise
    assert auc.difference.high is not None
    assert auc.difference.high < 0
    # The specification's first criterion alone would have let it through.
    assert outcomes(report)[0] is Outcome.PASSED
    assert outcomes(report)[3] is Outcome.FAILED
    assert report.findings.false_accepts_at_old_threshold > 0.5


def test_better_separation_with_lower_similarity_passes_and_explains(
    db: Database, herd: Callable[..., Herd]
) -> None:
    h = herd().settle()
    h.see("v1_made", 1, PLAIN)
    h.see("v3_made", 3, SHARP, SHARP)
    report = judge(db)
    assert report.outcome is Outcome.PASSED
    assert "not up as the specification expects" in report.verdict.sentence
    assert report.verdict.confidence is not None
    assert report.verdict.confidence > 0.99
    assert outcomes(report)[0] is Outcome.FAILED
    assert outcomes(report)[3] is Outcome.PASSED
    assert report.findings is not None
    assert report.findings.shift.same_rise < 0
    rank = report.findings.measures["rank_1"]
    assert rank.new.value > rank.old.value


def test_identical_versions_show_no_improvement(db: Database, herd: Callable[..., Herd]) -> None:
    h = herd().settle()
    rows = h.draw(PLAIN)
    h.see("v1_made", 1, rows)
    h.see("v3_made", 3, rows, rows)
    report = judge(db)
    assert report.outcome is Outcome.FAILED
    assert "no better" in report.verdict.sentence
    assert report.findings is not None
    for name, figure in report.findings.measures.items():
        assert figure.difference.value == pytest.approx(0, abs=1e-6), name
        assert figure.better <= 0.6
    failures = report.findings.failures
    assert failures.now == failures.gone == 0


def test_a_version_against_itself_fails(db: Database, herd: Callable[..., Herd]) -> None:
    h = herd().settle()
    h.see("v1_made", 1, PLAIN)
    report = judge(db, new="v1_made", old="v1_made")
    assert report.outcome is Outcome.FAILED
    assert report.findings is not None
    assert report.findings.weights is None  # one vector has no weights


def test_too_few_animals_are_not_enough(db: Database, herd: Callable[..., Herd]) -> None:
    h = herd(deer=6, visits=8).settle()
    h.see("v1_made", 1, PLAIN)
    h.see("v3_made", 3, SHARP, SHARP)
    report = judge(db)
    assert report.outcome is Outcome.UNKNOWN
    assert set(outcomes(report)) == {Outcome.UNKNOWN}
    assert "10 animals seen in two or more encounters (6 there are)" in report.verdict.sentence
    assert report.findings is None


def test_photos_of_one_visit_are_no_pairs(db: Database, herd: Callable[..., Herd]) -> None:
    h = herd().settle(one_encounter=True)
    h.see("v1_made", 1, PLAIN)
    h.see("v3_made", 3, SHARP, SHARP)
    report = judge(db)
    assert report.outcome is Outcome.UNKNOWN
    assert report.data["same_pairs_in_all"] == 0


def test_an_empty_catalogue_has_not_enough_data(db: Database, herd: Callable[..., Herd]) -> None:
    herd(deer=0).settle()
    assert judge(db).outcome is Outcome.UNKNOWN


def test_names_that_the_new_version_gave_itself_prove_nothing(
    db: Database, herd: Callable[..., Herd]
) -> None:
    h = herd().settle()
    h.see("v1_made", 1, PLAIN)
    h.see("v3_made", 3, SHARP, SHARP)
    with db.transaction() as connection:
        connection.execute(
            "INSERT INTO decisions (sighting_id, outcome, deer_id, version, fingerprints, policy, "
            "candidates) SELECT id, 'assign', deer_id, 'v3_made', '{}', '{}', '[]' FROM sightings"
        )
    report = judge(db)
    assert report.outcome is Outcome.UNKNOWN
    assert "named by v3_made itself" in report.verdict.sentence
    assert report.data["left_out_as_its_own"] == 24 * 6
    # For the other version they are a witness, if not an unbiased one.
    other = judge(db, new="v1_made", old="v3_made")
    assert other.findings is not None
    assert any("named by the machine" in caution for caution in other.cautions)


def test_a_truth_file_tells_who_is_who(db: Database, herd: Callable[..., Herd]) -> None:
    h = herd().settle()
    h.see("v1_made", 1, PLAIN)
    h.see("v3_made", 3, SHARP, SHARP)
    with db.transaction() as connection:
        connection.execute("UPDATE sightings SET state = 'review', deer_id = NULL")
    assert judge(db).outcome is Outcome.UNKNOWN
    truth = [TruthRow(f"IMG_{i:05}.jpg", f"T{animal}") for i, animal in enumerate(h.identity.values())]
    report = judge(db, truth=truth)
    assert report.outcome is Outcome.PASSED
    assert report.findings is not None
    assert {k.deer for k in report.findings.known} <= {f"T{i}" for i in range(24)}


def test_what_lacks_vectors_is_counted_and_left_out(db: Database, herd: Callable[..., Herd]) -> None:
    h = herd().settle()
    h.see("v1_made", 1, PLAIN)
    h.see("v3_made", 3, SHARP, SHARP, only=200)
    report = judge(db)
    assert report.data["detections"] == 200
    assert report.data["detections_without_vectors"] == 88
    assert any("reid reembed --all-detections" in caution for caution in report.cautions)
    assert report.outcome is Outcome.PASSED


def test_without_any_vector_it_says_how_to_bring_them(db: Database, herd: Callable[..., Herd]) -> None:
    herd().settle().see("v1_made", 1, PLAIN)
    report = judge(db)
    assert report.outcome is Outcome.UNKNOWN
    assert "reid reembed --all-detections" in report.verdict.sentence


def test_weights_are_searched(db: Database, herd: Callable[..., Herd]) -> None:
    h = herd().settle()
    h.see("v1_made", 1, DULL)
    h.see("v3_made", 3, Look(0.0, 0.0), SHARP)  # the multi-scale vector knows nothing, its partner all
    report = judge(db)
    assert report.findings is not None
    search = report.findings.weights
    assert search is not None
    assert [row.multiscale for row in search.rows] == [i / 10 for i in range(11)]
    assert search.used == 0.6
    assert search.best <= 0.2
    assert search.rows[10].auc == pytest.approx(0.5, abs=0.1)
    assert search.gain.low is not None
    assert search.gain.low > 0
    assert any("separate better" in caution for caution in report.cautions)


def test_confusions_name_deer_and_images(db: Database, herd: Callable[..., Herd]) -> None:
    h = herd().settle()
    h.see("v1_made", 1, PLAIN)
    h.see("v3_made", 3, DULL, DULL)
    report = judge(db)
    assert report.findings is not None
    failures = report.findings.failures
    assert failures.now > failures.gone
    assert failures.new_confusions
    for case in failures.new_confusions:
        assert case.asked.deer == case.right.deer != case.wrong.deer
        assert case.new_wrong >= case.new_right
        assert case.old_right > case.old_wrong
        for shown in (case.asked, case.wrong, case.right):
            assert h.names[h.identity[shown.detection_id]] == shown.deer
            assert Path(shown.photo).name == f"IMG_{list(h.identity).index(shown.detection_id):05}.jpg"
    assert failures.lost[0].new < failures.lost[0].old


def test_deer_of_one_sex_are_compared(db: Database, herd: Callable[..., Herd]) -> None:
    h = herd().settle()
    h.see("v1_made", 1, PLAIN)
    h.see("v3_made", 3, SHARP, SHARP)
    with db.transaction() as connection:
        connection.execute("UPDATE deer SET sex = 'male' WHERE number > 20")
    report = judge(db, pairs=400)
    assert report.findings is not None
    sex = {name: "male" if i >= 20 else "female" for i, name in enumerate(h.names)}
    assert {(sex[p.first], sex[p.second]) for p in report.findings.deer_pairs} == {
        ("male",) * 2,
        ("female",) * 2,
    }
    assert len(report.findings.deer_pairs) == 20 * 19 // 2 + 4 * 3 // 2
    assert outcomes(report)[1] is Outcome.UNKNOWN  # 400 were asked for


def test_the_same_seed_finds_the_same(db: Database, herd: Callable[..., Herd]) -> None:
    h = herd().settle()
    h.see("v1_made", 1, PLAIN)
    h.see("v3_made", 3, DULL, SHARP)
    first, again, other = judge(db), judge(db), judge(db, seed=5)
    assert {**as_json(first), "id": 0} == {**as_json(again), "id": 0}
    assert as_json(first)["findings"] != as_json(other)["findings"]


def test_a_huge_herd_is_sampled_by_whole_animals(
    db: Database, herd: Callable[..., Herd], monkeypatch: pytest.MonkeyPatch
) -> None:
    h = herd().settle()
    h.see("v1_made", 1, PLAIN)
    h.see("v3_made", 3, SHARP, SHARP)
    monkeypatch.setattr(evidence, "MOST_SIGHTINGS", 100)
    report = judge(db)
    assert (report.data["deer"], report.data["sightings"]) == (16, 96)
    assert any("8 animals were left out" in caution for caution in report.cautions)


def test_it_is_kept_as_evidence(db: Database, herd: Callable[..., Herd]) -> None:
    h = herd().settle()
    h.see("v1_made", 1, PLAIN)
    h.see("v3_made", 3, SHARP, SHARP)
    report = judge(db)
    with db.transaction() as connection:
        kept = validations.latest_validation(connection, "v3_made", "v1_made")
    assert kept is not None
    assert (kept.id, kept.outcome) == (report.id, "pass")
    assert {**kept.report, "id": report.id} == as_json(report)
    json.dumps(kept.report, allow_nan=False)


def test_versions_that_nobody_knows(db: Database, herd: Callable[..., Herd]) -> None:
    with pytest.raises(NotFoundError, match="0 is registered"):
        judge(db)
    herd(deer=1).settle()
    with pytest.raises(NotFoundError, match="'v9'"):
        judge(db, new="v9")


@pytest.mark.parametrize("wrong", [{"far": 0.0}, {"far": 1.0}, {"known": 0}, {"pairs": 0}, {"bootstrap": 5}])
def test_numbers_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        ValidationRequest(**wrong)


def test_the_page_is_one_file_with_photos_and_escaped_names(db: Database, herd: Callable[..., Herd]) -> None:
    h = herd(names=[f"<b>Deer & {i}</b>" for i in range(24)]).settle(real=True)
    h.see("v1_made", 1, PLAIN)
    h.see("v3_made", 3, DULL, DULL)
    report = judge(db)
    page = validation_page(db, report)
    assert page.count("data:image/jpeg;base64,") > 6
    assert "&lt;b&gt;Deer &amp; 3&lt;/b&gt;" in page
    assert "<b>Deer" not in page
    assert not re.search(r"https?://|<link|src=\"(?!data:)|@import|url\(", page)
    assert report.verdict.sentence.split(":")[0] in page
    assert page.count("<svg") >= 5 + 7  # histograms, two ROC, weights, and an interval for each measure


def test_the_page_without_findings_says_so(db: Database, herd: Callable[..., Herd]) -> None:
    herd(deer=2).settle()
    page = validation_page(db, judge(db))
    assert "Not enough data to say" in page
    assert "<svg" not in page


def test_the_page_does_without_photos_that_are_gone(db: Database, herd: Callable[..., Herd]) -> None:
    h = herd().settle()
    h.see("v1_made", 1, PLAIN)
    h.see("v3_made", 3, DULL, DULL)
    page = validation_page(db, judge(db))
    assert "the photo&#39;s file is gone" in page
    assert "data:image" not in page


def test_the_command_prints_tables_json_and_a_page(
    db: Database, herd: Callable[..., Herd], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    h = herd().settle()
    h.see("v1_made", 1, PLAIN)
    h.see("v3_made", 3, SHIFTED, SHIFTED)
    monkeypatch.setenv("DATABASE_URL", db.url)
    monkeypatch.setenv("COLUMNS", "200")
    options = [
        "reid",
        "validate",
        "v3_made",
        "--old",
        "v1_made",
        "--bootstrap",
        "100",
        "--home",
        str(tmp_path),
    ]
    text = CliRunner().invoke(
        app, [*options, "--html", str(tmp_path / "new" / "page.html")], catch_exceptions=False
    )
    assert text.exit_code == 0
    assert "Outcome: fail" in text.output
    assert "mere shift" in text.output
    assert (tmp_path / "new" / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    printed = CliRunner().invoke(app, [*options, "--json"], catch_exceptions=False)
    found = json.loads(printed.stdout)
    assert (found["outcome"], found["new"], found["old"]) == ("fail", "v3_made", "v1_made")
    assert found["findings"]["shift"]["mere_shift"] == 1
    with pytest.raises(InputError, match="two weights"):
        CliRunner().invoke(app, [*options, "--weights", "half"], catch_exceptions=False)


def test_a_query_is_the_pooled_sighting_and_a_profile_its_best_detection(
    db: Database, herd: Callable[..., Herd]
) -> None:
    h = herd(deer=3, visits=2, photos=3).settle()
    rows = h.draw(PLAIN)
    h.see("v1_made", 1, rows)
    h.see("v3_made", 3, rows, rows)
    best = list(h.identity)[4]  # the second of the second sighting's three
    with db.transaction() as connection:
        connection.execute("UPDATE detections SET confidence = 0.95 WHERE id = %s", [best])
    new, old = evidence.choose_versions(db, "v1_made", "v3_made")
    labels = evidence.catalogue_labels(db, "none")
    found = evidence.gather(db, labels, old, new, rng=np.random.default_rng(0), progress=SILENT)
    assert found.best[1] == best
    side = found.new
    assert np.allclose(
        side.asking[Output.SINGLE], [pool(rows[i : i + 3]) for i in range(0, 18, 3)], atol=1e-6
    )
    assert np.array_equal(side.answering[Output.SINGLE][1], rows[4])
    assert np.array_equal(side.answering[Output.SINGLE][0], rows[0])


def test_unnamed_versions_are_the_highest_stage_against_the_active_or_the_lowest(
    db: Database, herd: Callable[..., Herd]
) -> None:
    h = herd(deer=1)
    for name, stage in (("v3_made", 3), ("v1_made", 1), ("v1_later", 1)):
        with db.transaction() as connection:  # one each: they come one after another
            h._version(connection, name, stage)

    def chosen(**named: str) -> tuple[str, str]:
        new, old = evidence.choose_versions(db, named.get("new"), named.get("old"))
        return new.version.name, old.version.name

    assert chosen() == ("v3_made", "v1_made")
    assert chosen(new="v1_later") == ("v1_later", "v1_made")
    assert chosen(old="v3_made") == ("v1_later", "v3_made")
    with db.transaction() as connection:
        catalogue.put_setting(connection, catalogue.ACTIVE_VERSION, "v1_later")
    assert chosen() == ("v3_made", "v1_later")
    assert chosen(old="v1_made") == ("v3_made", "v1_made")
    with db.transaction() as connection:
        catalogue.put_setting(connection, catalogue.ACTIVE_VERSION, "v3_made")
        h._version(connection, "v3_other", 3)
    assert chosen() == ("v3_other", "v3_made")  # of two third stages the one that is not in use
