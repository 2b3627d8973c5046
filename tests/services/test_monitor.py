"""Monitoring, alerts, A/B arms compared: on catalogues made by the pipeline, and on long made-up logs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from psycopg.types.json import Jsonb

from deertrack.domain.embedding import EmbeddingVersion, Output
from deertrack.domain.errors import InputError
from deertrack.domain.records import Sex
from deertrack.domain.trial import Arm
from deertrack.services.identify import Deciders, Matcher, alone, identify
from deertrack.services.lifecycle.ab import compare_arms
from deertrack.services.lifecycle.alerts import RECENT, REFERENCE, Alert, Kind, Level, alerts
from deertrack.services.lifecycle.cutover import cut_over, roll_back
from deertrack.services.lifecycle.monitor import By, monitor
from deertrack.services.policy import change_policy
from deertrack.services.review import assign, assign_new
from deertrack.services.versions import Tuning, choose
from deertrack.storage import catalogue, embeddings, gallery
from deertrack.storage.db import Database
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.storage.monitor import Line

Ask = Callable[..., Any]
HOUR = 3600
NOW = datetime.now(UTC)
DAY = timedelta(days=1)
STAGE = Line("v3_stage")


@pytest.fixture
def meet(db: Database, matcher: Matcher) -> Callable[[], None]:
    """Let the machine decide about what the cameras saw."""
    with db.transaction() as connection:
        catalogue.put_setting(connection, catalogue.ACTIVE_VERSION, matcher.registered.version.name)
    return lambda: identify(db, alone(matcher)) and None


class Past:
    """A decision log of any length, without photos. All sightings are of one individual, if of any."""

    def __init__(self, db: Database, registered: RegisteredVersion) -> None:
        self.db = db
        with db.transaction() as connection:
            catalogue.put_setting(connection, catalogue.ACTIVE_VERSION, registered.version.name)
            connection.execute("INSERT INTO stations (name) VALUES ('Past')")
            photo = connection.execute(
                "INSERT INTO images (sha256, station_id, width, height) SELECT sha256('x'), id, 9, 9 FROM stations "
                "RETURNING id"
            ).fetchone()
            assert photo
            detection = connection.execute(
                "INSERT INTO detections (image_id, confidence, bbox_x, bbox_y, bbox_width, bbox_height) "
                "VALUES (%s, 1, 0, 0, 1, 1) RETURNING id",
                [photo["id"]],
            ).fetchone()
            assert detection
            looks = np.eye(1, 512, dtype=np.float32)[0]
            self.deer = gallery.add_deer(
                connection,
                registered,
                sex=Sex.UNKNOWN,
                profile_detection_id=detection["id"],
                vectors=dict.fromkeys(Output, looks),
            )

    def decide(
        self,
        outcomes: Sequence[str],
        *,
        at: datetime,
        line: Line = STAGE,
        similarities: Sequence[float] | None = None,
        milliseconds: Sequence[float] | None = None,
        in_encounter: int = 1,
    ) -> list[int]:
        """Decisions a second apart from ``at`` on; returns their sightings."""
        count = len(outcomes)
        with self.db.transaction() as connection:
            encounters = [
                row["id"]
                for row in connection.execute(
                    "INSERT INTO encounters (station_id) SELECT s.id FROM stations s, generate_series(1, %s) "
                    "WHERE s.name = 'Past' RETURNING id",
                    [-(-count // in_encounter)],
                )
            ]
            deer = [None if outcome == "review" else self.deer for outcome in outcomes]
            ids = [
                row["id"]
                for row in connection.execute(
                    "INSERT INTO sightings (encounter_id, deer_id, state) "
                    "SELECT e, d, CASE WHEN d IS NULL THEN 'review' ELSE 'assigned' END "
                    "FROM unnest(%s::bigint[], %s::bigint[]) u (e, d) RETURNING id",
                    [[encounters[n // in_encounter] for n in range(count)], deer],
                )
            ]
            candidates = [
                Jsonb([] if similarities is None else [{"deer_id": self.deer, "similarity": similarities[n]}])
                for n in range(count)
            ]
            connection.execute(
                "INSERT INTO decisions (sighting_id, outcome, deer_id, version, arm, candidates, decided_at, "
                "milliseconds, fingerprints, policy) SELECT s, o, d, %s, %s, c, at, ms, '{}', '{}' "
                "FROM unnest(%s::bigint[], %s::text[], %s::bigint[], %s::jsonb[], %s::timestamptz[], %s::real[]) "
                "u (s, o, d, c, at, ms)",
                [
                    line.version,
                    line.arm,
                    ids,
                    list(outcomes),
                    deer,
                    candidates,
                    [at + timedelta(seconds=n) for n in range(count)],
                    [None] * count if milliseconds is None else list(milliseconds),
                ],
            )
        return ids

    def review(self, sightings: Sequence[int], *, right: int) -> None:
        """A person agrees with so many of the matches, and says that the rest is somebody else."""
        other = 0
        with self.db.transaction() as connection:
            row = connection.execute(
                "INSERT INTO deer (number, name, status) "
                "SELECT max(number) + 1, 'Other ' || max(number), 'retired' FROM deer RETURNING id"
            ).fetchone()
            assert row
            other = row["id"]
            for n, sighting in enumerate(sightings):
                connection.execute(
                    "WITH s AS (UPDATE sightings SET state = 'assigned', deer_id = %s WHERE id = %s "
                    "RETURNING id, deer_id) "
                    "INSERT INTO decisions (sighting_id, outcome, deer_id, version, candidates, fingerprints, "
                    "policy, actor) SELECT id, 'assign', deer_id, 'v3_stage', '[]', '{}', '{}', 'ranger' FROM s",
                    [self.deer if n < right else other, sighting],
                )

    def change(self, kind: str, at: datetime, **detail: object) -> None:
        with self.db.transaction() as connection:
            connection.execute(
                "INSERT INTO events (at, actor, kind, subject, detail) "
                "VALUES (%s, 'me', %s, 'version:v3_stage', %s)",
                [at, kind, Jsonb({"from": "v1_old", **detail})],
            )


@pytest.fixture
def past(db: Database, matcher: Matcher) -> Past:
    return Past(db, matcher.registered)


def dealt(**shares: float) -> list[str]:
    """Outcomes in these numbers, evenly mixed."""
    outcomes = [outcome for outcome, count in shares.items() for _ in range(int(count))]
    return np.random.default_rng(1).permutation(outcomes).tolist()  # type: ignore[no-any-return]


def one_alert(db: Database, kind: Kind) -> Alert:
    (found,) = [alert for alert in alerts(db) if alert.name is kind]
    return found


def raised(db: Database) -> set[Kind]:
    return {alert.name for alert in alerts(db)}


# -- monitor ------------------------------------------------------------------------------------------------


def test_a_catalogue_that_never_ran(db: Database) -> None:
    found = monitor(db)
    assert (found.periods, found.around, found.last_change, found.alerts) == ((), None, None, ())
    assert (found.similarities, found.reviews, found.times, found.speeds) == ((), (), (), ())
    assert alerts(db) == []


def test_what_the_pipeline_decided_is_counted(
    db: Database, stage: Any, seen: Any, meet: Ask, rows: Ask
) -> None:
    for n in range(3):
        stage.photo("Creek", n * HOUR, seen(n, likeness=1))
    for n in range(3, 8):
        stage.photo("Creek", n * HOUR, seen(n % 3, likeness=0.99))
    stage.photo("Creek", 9 * HOUR, seen(1, likeness=0.74))
    meet()
    found = monitor(db, by=By.DAY)
    (period,) = found.periods
    assert (period.line, period.start.date()) == (STAGE, datetime.now(UTC).date())
    assert (period.outcomes.sightings, period.outcomes.matched, period.outcomes.new) == (9, 5, 3)
    assert period.outcomes.review == 1
    assert period.outcomes.rate
    assert period.outcomes.rate.value == pytest.approx(5 / 9)
    by_outcome = {row.outcome: row for row in found.similarities}
    logged = [
        (r["outcome"], r["s"])
        for r in rows("SELECT outcome, (candidates->0->>'similarity')::float8 AS s FROM decisions")
    ]
    for outcome in ("assign", "review"):
        values = [s for o, s in logged if o == outcome]
        assert by_outcome[outcome].items == len(values)
        assert by_outcome[outcome].mean == pytest.approx(np.mean(values))
        assert by_outcome[outcome].percentiles["p50"] == pytest.approx(np.median(values))
        assert list(by_outcome[outcome].histogram) == [0, *np.histogram(values, 20, (0, 1))[0]]
    assert (
        sum(by_outcome[None].histogram) == by_outcome[None].items == 8
    )  # the very first met an empty gallery
    (times,) = found.times
    assert times.decisions == 9
    assert 0 < times.percentiles["p50"] <= times.percentiles["p95"] <= times.percentiles["p99"]
    assert found.alerts == ()


def test_what_a_person_corrected_is_a_false_positive(
    db: Database, stage: Any, seen: Any, meet: Ask, rows: Ask
) -> None:
    for n in range(2):
        stage.photo("Creek", n * HOUR, seen(n, likeness=1))
    meet()
    for n in range(2, 6):
        stage.photo("Creek", n * HOUR, seen(0, likeness=0.99))
    stage.photo("Creek", 9 * HOUR, seen(1, likeness=0.74))
    meet()
    matches = [r["sighting_id"] for r in rows("SELECT sighting_id FROM decisions WHERE outcome = 'assign'")]
    (waiting,) = [
        r["sighting_id"] for r in rows("SELECT sighting_id FROM decisions WHERE outcome = 'review'")
    ]
    (founding, _) = [
        r["sighting_id"] for r in rows("SELECT sighting_id FROM decisions WHERE outcome = 'new'")
    ]
    assign(db, matches[0], "1", actor="ranger")
    assign(db, matches[1], "2", actor="ranger")
    assign_new(db, matches[2], actor="ranger")
    assign(db, waiting, "2", actor="ranger")
    assign_new(db, founding, actor="ranger")
    (row,) = monitor(db).reviews
    assert (row.line, row.matches, row.reviewed_matches, row.wrong_matches) == (STAGE, 4, 3, 2)
    assert (row.new, row.reviewed_new, row.wrong_new) == (2, 1, 0)
    assert row.false_positives
    assert row.false_positives.value == pytest.approx(2 / 3)
    # of the known ones that were looked at: 1, 2 and 2 again; for the second of them, 1 was the first candidate
    assert row.first_right
    assert row.first_right.value == pytest.approx(2 / 3)


def test_before_and_after_a_change(db: Database, stage: Any, seen: Any, meet: Ask, matcher: Matcher) -> None:
    for n in range(20):
        stage.photo("Creek", n * HOUR, seen(n % 2, likeness=1 if n < 2 else 0.99))
    meet()
    assert monitor(db).around is None
    strict = Tuning(threshold=0.995)
    cut_over(db, matcher.registered, tuning=strict, reason="test", actor="me")
    found = monitor(db)
    assert found.around is None  # nothing was decided since
    assert found.last_change
    for n in range(20, 30):
        stage.photo("Creek", n * HOUR, seen(n % 2, likeness=0.99))
    barred = replace(matcher, policy=replace(matcher.policy, min_similarity=0.995))
    identify(db, alone(barred))
    around = monitor(db).around
    assert around
    assert (around.before.matched, around.before.sightings) == (18, 20)
    assert (around.after.matched, around.after.review, around.after.sightings) == (0, 10, 10)
    assert around.difference
    assert around.difference.value == pytest.approx(-0.9)
    assert around.difference.high is not None
    assert around.difference.high < -0.5
    (period,) = monitor(db).periods  # one week, whatever changed in it
    assert period.outcomes.sightings == 30


def test_since_and_by_divide_time(db: Database, past: Past) -> None:
    start = datetime(2026, 1, 5, 12, tzinfo=UTC)
    for week in range(4):
        past.decide(dealt(assign=8, new=2), at=start + 7 * week * DAY)
    assert [p.start.day for p in monitor(db, by=By.WEEK).periods] == [5, 12, 19, 26]
    assert [p.outcomes.sightings for p in monitor(db, by=By.MONTH).periods] == [40]
    found = monitor(db, by=By.DAY, since=datetime(2026, 1, 13, tzinfo=UTC))
    assert [p.start.day for p in found.periods] == [19, 26]


def test_speed_comes_from_the_trail_of_runs(db: Database) -> None:
    detail = {"photos_new": 120, "embedded": 100, "seconds": {"ingest": 10.0, "embed": 5.0, "identify": 1.0}}
    with db.transaction() as connection:
        catalogue.add_event(connection, "machine", "run", "catalogue", detail)
    (speed,) = monitor(db).speeds
    assert speed.photos_per_second == pytest.approx(120 / 16)
    assert speed.ms_per_detection == pytest.approx(50)


# -- alerts -------------------------------------------------------------------------------------------------


def test_new_individuals_that_become_more_instead_of_fewer(db: Database, past: Past) -> None:
    past.decide(dealt(assign=1900, new=100), at=NOW - 30 * DAY)
    past.decide(dealt(assign=450, new=50), at=NOW - DAY)
    alert = one_alert(db, Kind.PROFILE_EXPLOSION)
    assert alert.level is Level.ALERT
    assert "10 % of the last 500 sightings became new individuals, 5 % of the 2,000 before" in alert.sentence
    assert "deertrack reid monitor" in alert.sentence


def test_a_few_more_new_individuals_are_chance(db: Database, past: Past) -> None:
    past.decide(dealt(assign=1900, new=100), at=NOW - 30 * DAY)
    past.decide(dealt(assign=470, new=30), at=NOW - DAY)
    assert alerts(db) == []


def test_a_first_import_is_no_explosion(db: Database, past: Past) -> None:
    """Its cameras met one herd after another; all of it was decided within hours."""
    past.decide(dealt(assign=1900, new=100), at=NOW - DAY / 2)
    past.decide(dealt(assign=250, new=250), at=NOW - DAY / 4)
    assert alerts(db) == []


def test_too_little_data_raise_nothing(db: Database, past: Past) -> None:
    past.decide(dealt(assign=60), at=NOW - 30 * DAY, similarities=[0.9] * 60)
    past.change("cut over", NOW - 2 * DAY)
    past.decide(dealt(new=RECENT), at=NOW - DAY, similarities=[0.1] * RECENT)
    assert alerts(db) == []


def test_a_rise_within_encounters_weighs_as_many_as_there_are(db: Database, past: Past) -> None:
    """Fifty new ones in ten large groups are ten surprises, not fifty."""
    past.decide(dealt(assign=1900, new=100), at=NOW - 30 * DAY)
    groups = [outcome for n in range(50) for outcome in (["new"] * 10 if n % 10 == 0 else ["assign"] * 10)]
    past.decide(groups, at=NOW - DAY, in_encounter=10)
    assert alerts(db) == []


def test_both_sexes_in_one_individual_are_named(
    db: Database, stage: Any, seen: Any, meet: Ask, one: Ask
) -> None:
    stage.photo("Creek", 0, seen(1, likeness=1))
    for n, sex in enumerate((Sex.MALE, Sex.FEMALE, Sex.MALE), start=1):
        stage.photo("Creek", n * HOUR, seen(1, likeness=0.99, sex=sex))
    stage.photo("Creek", 9 * HOUR, seen(2, likeness=1, sex=Sex.FEMALE))
    meet()
    with db.transaction() as connection:  # the search minds sex, so only a person or a bad photo mixes them
        connection.execute("UPDATE sightings SET deer_id = 1, state = 'assigned' WHERE sex <> 'unknown'")
    alert = one_alert(db, Kind.MIXED_SEX)
    name = one("SELECT name FROM deer WHERE id = 1")
    assert f"{name} (2 male, 2 female)" in alert.sentence


def test_individuals_that_searches_pass_over(
    db: Database, stage: Any, seen: Any, meet: Ask, matcher: Matcher
) -> None:
    stage.photo("Creek", 0, seen(1, likeness=1))
    stage.photo("Creek", HOUR, seen(2, likeness=1))
    meet()
    assert alerts(db) == []
    with db.transaction() as connection:
        connection.execute(
            "UPDATE deer SET multiscale_model_id = NULL, feature_vector_multiscale = NULL WHERE id = 1"
        )
    alert = one_alert(db, Kind.MISSING_VECTORS)
    assert "v3_stage" in alert.sentence
    assert "vectors: 1." in alert.sentence
    assert "deertrack reid reembed v3_stage" in alert.sentence


@pytest.mark.parametrize(
    ("spread", "level", "manner"),
    [((0.50, 0.90), None, ""), ((0.47, 0.87), Level.NOTICE, "less"), ((0.60, 1.0), Level.ALERT, "more")],
)
def test_drift_of_the_scores(
    db: Database, past: Past, spread: tuple[float, float], level: Level | None, manner: str
) -> None:
    past.decide(
        ["assign"] * 50, at=NOW - 60 * DAY, similarities=[0.1] * 50
    )  # first import: nobody to resemble
    past.decide(
        ["assign"] * REFERENCE, at=NOW - 30 * DAY, similarities=np.linspace(0.5, 0.9, REFERENCE).tolist()
    )
    past.decide(["assign"] * RECENT, at=NOW - DAY, similarities=np.linspace(*spread, RECENT).tolist())
    found = alerts(db)
    if level is None:
        assert found == []
        return
    (alert,) = found
    assert (alert.name, alert.level) == (Kind.SCORE_DRIFT, level)
    assert f"{manner} like the best candidates of v3_stage than before" in alert.sentence


def test_drift_is_held_against_the_same_version_only(db: Database, past: Past) -> None:
    """After a cut-over similarities lie elsewhere; that is no drift."""
    past.decide(["assign"] * REFERENCE, at=NOW - 30 * DAY, similarities=[0.9] * REFERENCE)
    past.change("cut over", NOW - 2 * DAY)
    past.decide(["assign"] * RECENT, at=NOW - DAY, similarities=[0.4] * RECENT)
    assert alerts(db) == []


def test_an_assignment_rate_that_fell_since_the_cut_over(db: Database, past: Past) -> None:
    past.decide(dealt(assign=800, review=200), at=NOW - 30 * DAY)
    past.change("cut over", NOW - 2 * DAY)
    past.decide(dealt(assign=240, review=160), at=NOW - DAY)
    alert = one_alert(db, Kind.ASSIGNMENT_RATE)
    assert "60 % of 400 sightings" in alert.sentence
    assert "of the 1,000 before, 80 %" in alert.sentence
    assert "deertrack reid cutover v3_stage --threshold" in alert.sentence  # there is nothing to go back to
    with db.transaction() as connection:
        catalogue.put_setting(connection, catalogue.PREVIOUS_VERSION, "v1_old")
    assert "`deertrack reid rollback` goes back to v1_old" in one_alert(db, Kind.ASSIGNMENT_RATE).sentence
    past.change("roll back", NOW - timedelta(hours=1))
    past.decide(dealt(assign=400), at=NOW)
    assert raised(db) == set()  # it rose again since the last change


def test_false_positives_surely_above_five_percent(db: Database, past: Past) -> None:
    matches = past.decide(["assign"] * 200, at=NOW - 30 * DAY)
    past.review(matches[:60], right=56)  # 6.7 % wrong: may be chance
    assert alerts(db) == []
    past.review(matches[60:120], right=50)
    alert = one_alert(db, Kind.FALSE_POSITIVES)
    assert (
        "Of the 120 automatic matches of v3_stage that a person looked at, 11.7 % were wrong"
        in alert.sentence
    )
    change_policy(db, wrong_at_most=20, actor="Ann")
    assert alerts(db) == []  # who allows more is not alarmed by it
    change_policy(db, wrong_at_most=5, actor="Ann")
    past.change("cut over", NOW - DAY)
    assert raised(db) == set()  # they were the old version's
    more = past.decide(["assign"] * 40, at=NOW - timedelta(hours=2))
    past.review(more[:19], right=0)
    assert raised(db) == set()  # too few to say
    past.review(more[19:20], right=0)
    assert raised(db) == {Kind.FALSE_POSITIVES}


def test_alerts_look_at_both_versions_of_an_ab_test(db: Database, past: Past) -> None:
    old = EmbeddingVersion("v1_old", 1, "old", {Output.SINGLE: "f" * 64})
    with db.transaction() as connection:
        embeddings.register_version(connection, old)
        test = {"version": "v1_old", "share": 0.5, "since": (NOW - 2 * DAY).isoformat()}
        catalogue.put_setting(connection, catalogue.AB, test)
    past.change("ab begun", NOW - 2 * DAY, since=test["since"], share=0.5)
    matches = past.decide(["assign"] * 40, at=NOW - DAY, line=Line("v3_stage", Arm.CONTROL))
    past.review(matches, right=20)
    found = {alert.name: alert.sentence for alert in alerts(db)}
    assert set(found) == {Kind.MISSING_VECTORS, Kind.FALSE_POSITIVES}
    assert "Searches with v1_old" in found[Kind.MISSING_VECTORS]
    assert "v3_stage (control)" in found[Kind.FALSE_POSITIVES]
    assert "deertrack reid ab" in found[Kind.FALSE_POSITIVES]


# -- A/B ----------------------------------------------------------------------------------------------------


CONTROL, ENHANCED = Line("v1_old", Arm.CONTROL), Line("v3_stage", Arm.ENHANCED)


@pytest.fixture
def trial(db: Database, past: Past) -> Past:
    """An A/B test of four days, with nothing decided yet."""
    old = EmbeddingVersion("v1_old", 1, "old", {Output.SINGLE: "f" * 64})
    since = (NOW - 4 * DAY).isoformat()
    with db.transaction() as connection:
        embeddings.register_version(connection, old)
        catalogue.put_setting(connection, catalogue.ACTIVE_VERSION, "v1_old")
        catalogue.put_setting(connection, catalogue.AB, {"version": "v3_stage", "share": 0.5, "since": since})
    past.decide(["review"] * 50, at=NOW - 5 * DAY, line=CONTROL)  # of an earlier test
    past.decide(["review"] * 50, at=NOW - 4.5 * DAY, line=Line("v1_old"))
    past.change("ab begun", NOW - 4 * DAY, since=since, share=0.5)
    return past


def contrasts(db: Database) -> dict[str, Any]:
    return {contrast.measure: contrast for contrast in compare_arms(db).contrasts}


def test_without_an_ab_test_there_is_nothing_to_compare(db: Database) -> None:
    with pytest.raises(InputError, match="never was an A/B test"):
        compare_arms(db)


def test_an_ab_test_without_decisions_says_so(db: Database, trial: Past) -> None:
    found = compare_arms(db)
    assert (found.control.version, found.enhanced.version, found.under_way) == ("v1_old", "v3_stage", True)
    assert (found.control.encounters, found.enhanced.outcomes.sightings) == (0, 0)
    for contrast in found.contrasts:
        assert not contrast.enough
        assert contrast.difference is None
        assert contrast.more > 1000
        assert contrast.sentence.startswith("Not enough data: ")


def test_a_clear_difference_is_enough(db: Database, trial: Past) -> None:
    rng = np.random.default_rng(5)
    for line, assign_, slow in ((CONTROL, 120, 3.0), (ENHANCED, 170, 1.0)):
        outcomes = dealt(assign=assign_, review=200 - assign_)
        times = (slow + rng.exponential(0.5, 200)).tolist()
        trial.decide(outcomes, at=NOW - DAY, line=line, in_encounter=2, milliseconds=times)
    found = compare_arms(db)
    assert (found.control.encounters, found.enhanced.encounters) == (100, 100)
    assert found.enhanced.outcomes.rate
    assert found.enhanced.outcomes.rate.value == pytest.approx(0.85)
    rate, time = contrasts(db)["assignment rate"], contrasts(db)["time"]
    assert rate.enough
    assert rate.difference.value == pytest.approx(0.25)
    assert rate.sentence.startswith("Enough data: higher, +25.0 points with enhanced (95 % interval +")
    assert time.enough
    assert time.difference.value == pytest.approx(-2, abs=0.1)
    assert time.difference.low < -2 < time.difference.high
    assert time.sentence.startswith("Enough data: quicker, -")
    assert not contrasts(db)["review agreement"].enough


def test_a_small_difference_wants_more_encounters_and_says_how_many(db: Database, trial: Past) -> None:
    for line, matched in ((CONTROL, 70), (ENHANCED, 74)):
        trial.decide(dealt(assign=matched, review=100 - matched), at=NOW - DAY, line=line)
    rate = contrasts(db)["assignment rate"]
    assert not rate.enough
    assert rate.more == pytest.approx(200 * (2 * 0.123 / 0.05) ** 2 - 200, rel=0.05)
    assert f"{rate.more:,} more encounters" in rate.sentence
    days = int(rate.sentence.split(" days at this pace")[0].split()[-1])
    assert days == pytest.approx(4 * rate.more / 200, abs=1.5)


def test_groups_of_animals_that_fare_alike_are_no_more_data(db: Database, trial: Past) -> None:
    """Ten animals an encounter, all matched or none: the interval is that of the encounters."""
    for line, matched in ((CONTROL, 12), (ENHANCED, 18)):
        outcomes = [o for n in range(24) for o in (["assign"] if n < matched else ["review"]) * 10]
        trial.decide(outcomes, at=NOW - DAY, line=line, in_encounter=10)
    rate = contrasts(db)["assignment rate"]
    assert rate.difference.value == pytest.approx(0.25)
    assert not rate.enough


def test_no_difference_worth_five_points(db: Database, trial: Past) -> None:
    for line in (CONTROL, ENHANCED):
        trial.decide(dealt(assign=2880, review=120), at=NOW - DAY, line=line)
    rate = contrasts(db)["assignment rate"]
    assert rate.enough
    assert "no difference of 5.0 points" in rate.sentence


def test_reviews_of_both_arms_are_compared(db: Database, trial: Past) -> None:
    for line, right in ((CONTROL, 60), (ENHANCED, 90)):
        matches = trial.decide(["assign"] * 100, at=NOW - DAY, line=line, similarities=[0.9] * 100)
        trial.review(matches, right=right)
    found = compare_arms(db)
    assert (found.control.reviewed, found.enhanced.reviewed) == (100, 100)
    assert found.control.agreement
    assert found.control.agreement.value == pytest.approx(0.6)
    agreement = contrasts(db)["review agreement"]
    assert agreement.enough
    assert agreement.difference.value == pytest.approx(0.3)


def test_an_ab_test_through_the_pipeline_and_after_its_end(
    db: Database, stage: Any, seen: Any, matcher: Matcher, rows: Ask
) -> None:
    single = EmbeddingVersion("v1_old", 1, "old", {Output.SINGLE: "f" * 64})
    with db.transaction() as connection:
        old = replace(matcher, registered=embeddings.register_version(connection, single))
        catalogue.put_setting(connection, catalogue.ACTIVE_VERSION, "v1_old")

    def film(seconds: float, animal: int) -> None:
        image_id = stage.photo("Creek", seconds, seen(animal, likeness=0.99))
        with db.transaction() as connection:
            found = connection.execute("SELECT id FROM detections WHERE image_id = %s", [image_id])
            ids = [row["id"] for row in found]
            looks = {Output.SINGLE: stage.looks(animal, 0.99)[None]}
            embeddings.store_vectors(connection, old.registered, ids, looks)

    def decide_all() -> None:
        with db.transaction() as connection:
            choice = choose(connection, None)
        assert choice
        by_name = {m.registered.version.name: m for m in (old, matcher)}
        identify(db, Deciders(choice, tuple(by_name[name] for name in choice.versions)))

    for n in range(4):
        film(n * HOUR, n)
    decide_all()
    cut_over(db, matcher.registered, tuning=Tuning(), reason="test", actor="me", share=0.5)
    for n in range(4, 44):
        film(n * HOUR, n % 4)
    decide_all()
    found = compare_arms(db)
    assert found.under_way
    assert found.control.encounters + found.enhanced.encounters == 40
    assert min(found.control.encounters, found.enhanced.encounters) > 5
    assert found.control.outcomes.matched + found.enhanced.outcomes.matched == 40
    assert found.control.median_time
    assert found.control.times["p50"] > 0
    (sighting, *_) = (
        r["sighting_id"] for r in rows("SELECT sighting_id FROM decisions WHERE arm = 'enhanced'")
    )
    assign_new(db, sighting, actor="ranger")
    roll_back(db, actor="me")
    film(50 * HOUR, 1)
    decide_all()
    after = compare_arms(db)
    assert not after.under_way
    assert after.enhanced.encounters == found.enhanced.encounters
    assert (after.enhanced.reviewed, after.control.reviewed) == (1, 0)
    assert after.enhanced.agreement
    assert after.enhanced.agreement.value == 0
    lines = {str(row.line) for row in monitor(db).periods}
    assert lines == {"v1_old", "v1_old (control)", "v3_stage (enhanced)"}
