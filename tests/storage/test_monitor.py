"""The decision log counted in the database, held against counting by hand."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from psycopg.types.json import Jsonb

from deertrack.domain.embedding import EmbeddingVersion, Output
from deertrack.domain.monitoring import Tally
from deertrack.storage import catalogue, embeddings, monitor
from deertrack.storage.db import Connection, Database
from deertrack.storage.jobs import JobQueue
from deertrack.storage.monitor import (
    AGREEMENT,
    FIRST_RIGHT,
    WRONG_MATCH,
    WRONG_NEW,
    DecisionCount,
    DecisionKind,
    FirstDecisions,
    Line,
    Window,
)

MONDAY = datetime(2026, 3, 2, 12, tzinfo=UTC)
DAY = timedelta(days=1)
V1, V3 = Line("v1_x"), Line("v3_x")


class Log:
    """Sightings and decisions about them, made up."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        for name, stage in (("v1_x", 1), ("v3_x", 3)):
            fingerprints = {output: f"{10 * stage + n:064x}" for n, output in enumerate(Output)}
            embeddings.register_version(connection, EmbeddingVersion(name, stage, "x", fingerprints))
        self.one("INSERT INTO stations (name) VALUES ('Creek') RETURNING id")

    def one(self, query: str, *parameters: object) -> Any:
        row = self.connection.execute(query, parameters).fetchone()
        assert row
        return next(iter(row.values()))

    def deer(self) -> int:
        number = self.one("SELECT count(*) + 1 FROM deer")
        return int(
            self.one(
                "INSERT INTO deer (number, name, created_at) VALUES (%s, %s, %s) RETURNING id",
                number,
                f"Deer {number}",
                MONDAY + timedelta(days=1000),  # later than any decision: the log alone tells who was known
            )
        )

    def encounter(self) -> int:
        return int(self.one("INSERT INTO encounters (station_id) SELECT id FROM stations RETURNING id"))

    def sighting(self, encounter: int | None = None, sex: str = "unknown") -> int:
        return int(
            self.one(
                "INSERT INTO sightings (encounter_id, sex) VALUES (%s, %s) RETURNING id",
                self.encounter() if encounter is None else encounter,
                sex,
            )
        )

    def decide(
        self,
        sighting: int,
        outcome: str,
        deer: int | None = None,
        *,
        line: Line = V3,
        at: datetime = MONDAY,
        candidates: Sequence[tuple[int, float]] = (),
        milliseconds: float | None = None,
        actor: str = "machine",
    ) -> int:
        """Log it, and let it take effect."""
        found = [{"deer_id": d, "similarity": s, "probability": 0.5} for d, s in candidates]
        state = "assigned" if deer else "review"
        self.connection.execute(
            "UPDATE sightings SET state = %s, deer_id = %s WHERE id = %s", [state, deer, sighting]
        )
        return int(
            self.one(
                "INSERT INTO decisions (sighting_id, outcome, deer_id, version, arm, candidates, actor, "
                "decided_at, milliseconds, fingerprints, policy) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, '{}', '{}') RETURNING id",
                sighting,
                outcome,
                deer,
                line.version,
                line.arm,
                Jsonb(found),
                actor,
                at,
                milliseconds,
            )
        )

    def person(self, sighting: int, deer: int, outcome: str = "assign") -> None:
        self.decide(sighting, outcome, deer, actor="ranger", at=MONDAY + 30 * DAY)


@pytest.fixture
def log(db: Database) -> Any:
    with db.transaction() as connection:
        yield Log(connection)


# -- rates --------------------------------------------------------------------------------------------------


def test_rates_by_week_line_and_phase_as_counted_by_hand(log: Log) -> None:
    rng = np.random.default_rng(2)
    deer = log.deer()
    cut_over = MONDAY + 9 * DAY
    expected: dict[tuple[int, datetime, Line], list[tuple[int, int, int]]] = {}
    for n in range(60):
        at = MONDAY + n * timedelta(hours=8)
        line = Line("v3_x", ("control", "enhanced")[n % 2]) if at >= cut_over else V1
        encounter, outcomes = log.encounter(), rng.choice(["assign", "new", "review"], rng.integers(1, 5))
        for outcome in outcomes:
            log.decide(
                log.sighting(encounter), outcome, None if outcome == "review" else deer, line=line, at=at
            )
        week = datetime(2026, 3, 2, tzinfo=UTC) + 7 * DAY * ((at - MONDAY + timedelta(hours=12)) // (7 * DAY))
        counts = Counter(outcomes)
        expected.setdefault((int(at >= cut_over), week, line), []).append(
            (len(outcomes), counts["assign"], counts["new"])
        )
    found = FirstDecisions(log.connection, None).rates(by="week", changes=[cut_over])
    assert {(r.phase, r.period, r.line) for r in found} == set(expected)
    for row in found:
        clusters = expected[row.phase, row.period, row.line]  # type: ignore[index]
        assert row.matched == tally([(n, x) for n, x, _ in clusters])
        assert row.new == tally([(n, x) for n, _, x in clusters])
        assert row.review == sum(n - x - y for n, x, y in clusters)
    assert [r.period for r in found] == sorted(r.period for r in found if r.period)


def tally(found: list[tuple[int, int]]) -> Tally:
    return Tally(
        len(found),
        sum(n for n, _ in found),
        sum(x for _, x in found),
        sum(n * n for n, _ in found),
        sum(x * x for _, x in found),
        sum(n * x for n, x in found),
    )


def test_only_the_machines_first_word_on_a_sighting_counts(log: Log) -> None:
    deer, sighting = log.deer(), log.sighting()
    log.decide(sighting, "review", line=V1)
    log.decide(sighting, "assign", deer, line=V3, at=MONDAY + DAY)
    log.person(sighting, deer)
    for rows in (
        FirstDecisions(log.connection, None).rates(by=None, changes=[]),
        monitor.latest_rates(log.connection, Window(10)),
    ):
        (row,) = rows
        assert (row.line, row.period, row.phase, row.matched.items, row.review) == (V1, None, 0, 1, 1)


def test_since_leaves_out_what_came_before_even_if_it_was_decided_again(log: Log) -> None:
    deer, old, new = log.deer(), log.sighting(), log.sighting()
    log.decide(old, "new", deer)
    log.decide(old, "assign", deer, at=MONDAY + 2 * DAY)
    log.decide(new, "assign", deer, at=MONDAY + 2 * DAY)
    (row,) = FirstDecisions(log.connection, MONDAY + DAY).rates(by="day", changes=[])
    assert (row.matched.items, row.matched.hits) == (1, 1)


def test_an_empty_log_is_no_error(log: Log) -> None:
    first = FirstDecisions(log.connection, None)
    assert first.rates(by="month", changes=[MONDAY]) == []
    assert first.scores(similarity_shares=[0.5], time_shares=[0.5]) == []
    assert first.histograms(bins=20) == {}
    assert first.reviews() == {}
    assert first.encounter_times() == {}
    window = Window(10)
    assert monitor.latest_rates(log.connection, window) == []
    assert monitor.latest_reviews(log.connection, window) == {}
    assert monitor.similarity_shift(log.connection, window, window, bins=4) == ([0] * 4, [0] * 4)
    assert monitor.first_decision(log.connection) is None
    assert monitor.newest_decision(log.connection) == 0


def test_windows_hold_the_latest(log: Log) -> None:
    deer = log.deer()
    for n in range(30):
        log.decide(
            log.sighting(),
            "new" if n < 10 else "assign",
            deer,
            line=V1 if n % 3 else V3,
            at=MONDAY + n * DAY,
            candidates=[(deer, n / 100)],
        )

    def seen(window: Window) -> tuple[int, int, datetime]:
        rows = monitor.latest_rates(log.connection, window)
        return sum(r.new.items for r in rows), sum(r.new.hits for r in rows), min(r.began for r in rows)

    assert seen(Window(5)) == (5, 0, MONDAY + 25 * DAY)
    assert seen(Window(5, skip=18)) == (5, 3, MONDAY + 7 * DAY)
    assert seen(Window(50, since=MONDAY + 8 * DAY)) == (22, 2, MONDAY + 8 * DAY)
    assert seen(Window(4, until=MONDAY + 12 * DAY)) == (4, 2, MONDAY + 8 * DAY)
    assert seen(Window(4, version="v3_x")) == (4, 0, MONDAY + 18 * DAY)
    assert monitor.first_decision(log.connection) == MONDAY


# -- similarities and times ---------------------------------------------------------------------------------


def test_scores_and_histograms_as_numpy_has_them(log: Log) -> None:
    rng = np.random.default_rng(4)
    deer = log.deer()
    values, times = rng.uniform(0.2, 0.95, 80), rng.lognormal(2, 0.5, 80)
    for n, (similarity, ms) in enumerate(zip(values, times, strict=True)):
        outcome = "assign" if n < 50 else "review"
        log.decide(
            log.sighting(),
            outcome,
            deer if n < 50 else None,
            candidates=[(deer, similarity), (deer, 0.1)],
            milliseconds=ms,
        )
    log.decide(log.sighting(), "new", deer)  # an empty gallery: no candidate; and nobody took the time
    first = FirstDecisions(log.connection, None)
    found = {s.outcome: s for s in first.scores(similarity_shares=[0.05, 0.5], time_shares=[0.5, 0.99])}
    assert set(found) == {None, "assign", "new", "review"}
    for outcome, part in ((None, slice(None)), ("assign", slice(50)), ("review", slice(50, None))):
        row = found[outcome]
        assert row.items == row.timed == len(values[part])
        assert row.mean == pytest.approx(values[part].mean())
        assert row.similarities == pytest.approx(np.quantile(values[part], [0.05, 0.5]))
        assert row.times == pytest.approx(np.quantile(times[part], [0.5, 0.99]), rel=1e-5)
    nothing = found["new"]
    assert (nothing.items, nothing.mean, nothing.similarities, nothing.timed, nothing.times) == (
        0, None, None, 0, None,
    )  # fmt: skip
    bins = first.histograms(bins=10)
    assert bins[V3, "assign"] == [0, *np.histogram(values[:50], 10, (0, 1))[0]]
    assert (V3, "new") not in bins


def test_similarities_outside_0_to_1_find_a_bin(log: Log) -> None:
    deer = log.deer()
    for similarity in (-0.3, 0.0, 1.0, 1.0000001):
        log.decide(log.sighting(), "assign", deer, candidates=[(deer, similarity)])
    assert FirstDecisions(log.connection, None).histograms(bins=4) == {(V3, "assign"): [1, 1, 0, 0, 2]}


def test_a_shift_shows_in_the_references_own_bins(log: Log) -> None:
    deer = log.deer()
    for n in range(100):
        log.decide(
            log.sighting(), "assign", deer, at=MONDAY + n * DAY, candidates=[(deer, 0.5 + n % 20 / 100)]
        )
    for n in range(20):
        log.decide(log.sighting(), "assign", deer, at=MONDAY + (100 + n) * DAY, candidates=[(deer, 0.9)])
    before, recent = monitor.similarity_shift(log.connection, Window(100, skip=20), Window(20), bins=4)
    assert before == [25, 25, 25, 25]
    assert recent == [0, 0, 0, 20]


def test_times_of_encounters_by_arm(log: Log) -> None:
    for arm, times in (("control", [[2.0, 4.0], [3.0], [10.0]]), ("enhanced", [[100.0]]), (None, [[7.0]])):
        for of_encounter in times:
            encounter = log.encounter()
            for ms in of_encounter:
                log.decide(log.sighting(encounter), "review", line=Line("v3_x", arm), milliseconds=ms)
    found = FirstDecisions(log.connection, None).encounter_times()
    assert set(found) == {"control", "enhanced"}
    assert found["control"].values.tolist() == pytest.approx([3, 10])
    assert found["control"].counts.tolist() == [2, 1]
    assert found["control"].median == pytest.approx(3)


# -- reviews ------------------------------------------------------------------------------------------------


def judged(log: Log) -> dict[str, tuple[int, int]]:
    found = FirstDecisions(log.connection, None).reviews()
    assert found == monitor.latest_reviews(log.connection, Window(1000))
    return {measure: (tally.items, tally.hits) for (_, measure), tally in found.items()}


def test_a_match_is_wrong_if_a_person_says_another_individual(log: Log) -> None:
    a, b = log.deer(), log.deer()
    first_a, first_b = log.sighting(), log.sighting()
    log.decide(first_a, "new", a)
    log.decide(first_b, "new", b)
    for said in (a, a, b):
        sighting = log.sighting()
        log.decide(sighting, "assign", a, candidates=[(a, 0.9), (b, 0.5)])
        log.person(sighting, said)
    unseen = log.sighting()
    log.decide(unseen, "assign", a, candidates=[(a, 0.9)])
    assert judged(log) == {WRONG_MATCH: (3, 1), AGREEMENT: (3, 2), FIRST_RIGHT: (3, 2)}


def test_an_individual_that_was_renamed_by_moving_its_sightings_is_still_the_same_animal(log: Log) -> None:
    """A list of names gives all of A's sightings to a new individual: the matches among them were right."""
    a = log.deer()
    sightings = [log.sighting() for _ in range(4)]
    log.decide(sightings[0], "new", a)
    for sighting in sightings[1:]:
        log.decide(sighting, "assign", a, candidates=[(a, 0.9)])
    named = log.deer()
    log.person(sightings[0], named, "new")
    for sighting in sightings[1:]:
        log.person(sighting, named)
    assert judged(log) == {WRONG_MATCH: (3, 0), WRONG_NEW: (1, 0), AGREEMENT: (4, 4), FIRST_RIGHT: (3, 3)}


def test_new_is_wrong_if_the_animal_was_known_by_then(log: Log) -> None:
    a, again, other = log.deer(), log.deer(), log.deer()
    first, second, third = log.sighting(), log.sighting(), log.sighting()
    log.decide(first, "new", a)
    log.decide(second, "new", again, candidates=[(a, 0.4)])
    log.decide(third, "new", other, candidates=[(a, 0.3), (again, 0.2)])
    log.person(first, a, "new")
    log.person(second, a)
    log.person(third, other, "new")
    assert judged(log) == {WRONG_NEW: (3, 1), AGREEMENT: (3, 2), FIRST_RIGHT: (1, 1)}


def test_of_two_records_of_one_animal_the_first_was_right_whichever_a_person_keeps(log: Log) -> None:
    a, again = log.deer(), log.deer()
    first, second = log.sighting(), log.sighting()
    log.decide(first, "new", a)
    log.decide(second, "new", again, candidates=[(a, 0.4)])
    log.person(first, again)
    log.person(second, again, "new")
    assert judged(log) == {WRONG_NEW: (2, 1), AGREEMENT: (2, 1), FIRST_RIGHT: (1, 1)}


def test_what_was_left_for_review_tells_of_the_first_candidate_alone(log: Log) -> None:
    a, b = log.deer(), log.deer()
    for deer in (a, b):
        log.decide(log.sighting(), "new", deer)
    for said in (a, a, b):
        sighting = log.sighting()
        log.decide(sighting, "review", candidates=[(a, 0.6), (b, 0.5)])
        log.person(sighting, said)
    stranger, sighting = log.deer(), log.sighting()
    log.decide(sighting, "review", candidates=[(a, 0.6)])
    log.person(sighting, stranger, "new")  # nobody known: no candidate could be right
    assert judged(log) == {FIRST_RIGHT: (3, 2)}


def test_reviews_go_by_line_and_encounter(log: Log) -> None:
    a, b = log.deer(), log.deer()
    log.decide(log.sighting(), "new", a)
    log.decide(log.sighting(), "new", b)
    control, enhanced = Line("v1_x", "control"), Line("v3_x", "enhanced")
    for line, said in ((control, [a, a, b]), (enhanced, [a, a])):
        encounter = log.encounter()
        for deer in said:
            sighting = log.sighting(encounter)
            log.decide(sighting, "assign", a, line=line)
            log.person(sighting, deer)
    found = FirstDecisions(log.connection, None).reviews()
    assert found[control, WRONG_MATCH] == Tally(1, 3, 1, 9, 1, 3)
    assert found[enhanced, WRONG_MATCH] == Tally(1, 2, 0, 4, 0, 0)


def test_an_individual_without_a_founding_decision_was_known_since_it_was_made(log: Log) -> None:
    """Catalogues of the predecessor have individuals, but no log of how they came."""
    a = log.deer()
    log.connection.execute("UPDATE deer SET created_at = %s", [MONDAY - DAY])
    sighting = log.sighting()
    log.decide(sighting, "new", log.deer(), candidates=[(a, 0.4)])
    log.person(sighting, a)
    assert judged(log)[FIRST_RIGHT] == (1, 1)


# -- the rest -----------------------------------------------------------------------------------------------


def test_changes_of_version_in_order(log: Log) -> None:
    for kind in ("ab begun", "rename", "ab ended", "cut over", "roll back"):
        catalogue.add_event(log.connection, "me", kind, "version:v3_x", {"from": "v1_x"})
    found = monitor.changes(log.connection)
    assert [change.kind for change in found] == ["ab begun", "ab ended", "cut over", "roll back"]
    assert {(change.version, change.detail["from"]) for change in found} == {("v3_x", "v1_x")}


def test_speed_of_runs(log: Log) -> None:
    catalogue.add_event(
        log.connection,
        "machine",
        "run",
        "catalogue",
        {"photos_new": 30, "embedded": 40, "seconds": {"ingest": 1.5, "embed": 2, "identify": 0.5}},
    )
    # nothing new to read, so its time says nothing of reading; a detail that lacks everything
    detail = {"photos_new": 0, "embedded": 10, "seconds": {"ingest": 9, "embed": 1}}
    catalogue.add_event(log.connection, "machine", "run", "catalogue", detail)
    catalogue.add_event(log.connection, "machine", "run", "catalogue", {})
    catalogue.add_event(log.connection, "me", "rename", "catalogue", {})
    (found,) = monitor.runs(log.connection, by="month", since=None)
    assert (found.runs, found.photos, found.embedded) == (3, 30, 50)
    assert (found.seconds, found.embedding) == pytest.approx((4, 3))
    assert monitor.runs(log.connection, by="month", since=datetime.now(UTC) + DAY) == []


def test_both_sexes_in_one_individual(log: Log) -> None:
    for sexes in (["male", "female", "male"], ["female", "unknown"], ["unknown"], ["male", "male"]):
        deer = log.deer()
        for sex in sexes:
            log.decide(log.sighting(sex=sex), "assign", deer)
    log.decide(log.sighting(sex="male"), "review")
    log.decide(log.sighting(sex="female"), "review")
    assert monitor.mixed_sex(log.connection) == [("Deer 1", 2, 1)]


def test_decisions_are_counted_on_in_bins_that_hold_their_upper_edge(log: Log) -> None:
    deer = log.deer()
    similarities, times = (0.0, 0.5, 1.0), (1.0, 10.0)

    def count(after: int) -> dict[DecisionKind, DecisionCount]:
        upto = monitor.newest_decision(log.connection)
        return monitor.count_decisions(
            log.connection, after=after, upto=upto, similarities=similarities, times=times
        )

    for similarity, ms in ((-0.1, 0.5), (0.0, 1.0), (0.2, 1.5), (0.5, 10.0), (0.51, 10.5), (1.0, None)):
        log.decide(log.sighting(), "assign", deer, candidates=[(deer, similarity)], milliseconds=ms)
    log.decide(log.sighting(), "new", deer, milliseconds=2)
    log.person(log.sighting(), deer)
    found = count(0)
    by_similarity: Counter[int | None] = Counter()
    by_time: Counter[int | None] = Counter()
    for kind, number in found.items():
        assert kind.line == V3
        by_similarity[kind.similarity_bin] += number.decisions
        by_time[kind.time_bin] += number.decisions
    assert by_similarity == {0: 2, 1: 2, 2: 2, None: 1}
    assert by_time == {0: 2, 1: 3, 2: 1, None: 1}
    assert sum((c.similarity for c in found.values()), 0.0) == pytest.approx(2.11)
    assert sum((c.milliseconds for c in found.values()), 0.0) == pytest.approx(25.5)
    upto = monitor.newest_decision(log.connection)
    assert count(upto) == {}
    log.decide(log.sighting(), "assign", deer, line=V1, candidates=[(deer, 1.5)], milliseconds=3)
    assert count(upto) == {DecisionKind(V1, "assign", 3, 1): DecisionCount(1, 1.5, 3.0)}


def test_the_inventory_knows_the_queue_once_there_is_one(db: Database) -> None:
    with db.transaction() as connection:
        assert monitor.inventory(connection) == {
            "individuals": {},
            "sightings": {},
            "photos": {"all": 0},
            "jobs": {},
        }
    queue = JobQueue(db.url)
    queue.defer("anything", {})
    with db.transaction() as connection:
        log = Log(connection)
        log.decide(log.sighting(), "assign", log.deer())
        log.sighting()
        assert monitor.inventory(connection) == {
            "individuals": {"active": 1},
            "sightings": {"assigned": 1, "undecided": 1},
            "photos": {"all": 0},
            "jobs": {"todo": 1},
        }
