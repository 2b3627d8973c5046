"""Who is it: encounters, tracks and decisions of animals whose looks are known, through the real database."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from deertrack.domain.decision import Policy
from deertrack.domain.encounters import Grouping
from deertrack.domain.names import friendly_name
from deertrack.domain.records import Box, Sex
from deertrack.services.identify import Identified, Matcher, alone, identify
from deertrack.services.individuals import rename
from deertrack.services.stations import shift_clock
from deertrack.storage import catalogue
from deertrack.storage.db import Database

LEFT, MIDDLE, RIGHT = Box(0.02, 0.2, 0.25, 0.5), Box(0.35, 0.2, 0.25, 0.5), Box(0.7, 0.2, 0.25, 0.5)
MINUTE, HOUR = 60, 3600
Ask = Callable[..., Any]


def test_one_animal_again_and_again(
    db: Database, stage: Any, seen: Any, matcher: Matcher, groups: Ask
) -> None:
    for visit in range(4):
        stage.burst("Creek", visit * HOUR, seen(1), photos=3)
    assert identify(db, alone(matcher)) == Identified(encounters=4, tracks=4, matched=3, new=1)
    assert list(groups().values()) == [[1]] * 12
    assert identify(db, alone(matcher)) == Identified()


def test_different_animals_stay_apart(
    db: Database, stage: Any, seen: Any, matcher: Matcher, groups: Ask
) -> None:
    for animal in range(6):
        stage.burst("Creek", animal * HOUR, seen(animal))
        stage.burst("Pond", animal * HOUR + HOUR / 2, seen(animal))
    assert identify(db, alone(matcher)) == Identified(encounters=12, tracks=12, matched=6, new=6)
    assert [numbers[0] for numbers in groups().values()] == [n for n in range(1, 7) for _ in range(4)]


def test_unsure_waits_for_a_person_and_makes_nobody(
    db: Database, stage: Any, seen: Any, matcher: Matcher, one: Ask, groups: Ask
) -> None:
    stage.photo("Creek", 0, seen(1, likeness=1))
    stage.photo("Creek", HOUR, seen(1, likeness=0.74))
    assert identify(db, alone(matcher)) == Identified(encounters=2, tracks=2, new=1, review=1)
    assert list(groups().values()) == [[1], [None]]
    assert one("SELECT count(*) FROM deer") == 1
    assert identify(db, alone(matcher)) == Identified()  # it is not asked again


# -- encounters and tracks ----------------------------------------------------------------------------------


def test_a_pause_or_another_station_ends_an_encounter(
    db: Database, stage: Any, seen: Any, matcher: Matcher, rows: Ask
) -> None:
    for seconds in (0, 59, 118, 178):  # the last pause is a full minute
        stage.photo("Creek", seconds, seen(1))
    stage.photo("Pond", 30, seen(1))
    identify(db, alone(matcher))
    spans = rows("SELECT extract(epoch FROM ended_at - started_at)::int AS s FROM encounters ORDER BY id")
    assert sorted(row["s"] for row in spans) == [0, 0, 118]


def test_two_in_one_photo_are_never_one_even_if_they_look_alike(
    db: Database, stage: Any, seen: Any, matcher: Matcher, groups: Ask
) -> None:
    stage.burst("Creek", 0, seen(1, LEFT, likeness=0.999))
    likely = [seen(1, LEFT, likeness=0.999), seen(1, RIGHT, likeness=0.5)]
    stage.burst("Creek", HOUR, *likely, photos=3)
    outcome = identify(db, alone(matcher))
    assert (outcome.tracks, outcome.matched, outcome.new) == (3, 1, 2)
    for numbers in groups().values():
        assert len(set(numbers)) == len(numbers)


def test_of_two_that_look_just_as_like_one_animal_neither_is_called_it(
    db: Database, stage: Any, seen: Any, matcher: Matcher
) -> None:
    """One by one each is surely the known one; together it is a toss, which is a person's to decide."""
    stage.burst("Creek", 0, seen(1, LEFT, likeness=0.999))
    twins = [seen(1, LEFT, likeness=0.999), seen(1, RIGHT, likeness=0.999)]
    stage.burst("Creek", HOUR, *twins, photos=3)
    outcome = identify(db, alone(replace(matcher, policy=Policy(new_at=0.6))))
    # The two are surely two animals, and have more photos: they are new, and the third could be either.
    assert (outcome.tracks, outcome.matched, outcome.new, outcome.review) == (3, 0, 2, 1)


def test_two_animals_through_a_burst(
    db: Database, stage: Any, seen: Any, matcher: Matcher, groups: Ask
) -> None:
    """They change places: looks, not the order of boxes, tell who is who."""
    stage.photo("Creek", 0, seen(1, LEFT), seen(2, RIGHT))
    stage.photo("Creek", 3, seen(2, LEFT), seen(1, RIGHT))
    stage.photo("Creek", 6, seen(2, MIDDLE))
    assert identify(db, alone(matcher)) == Identified(encounters=1, tracks=2, new=2)
    numbers = list(groups().values())
    assert numbers[0] == numbers[1][::-1]
    assert numbers[2] == [numbers[0][1]]


def test_sexes_that_contradict_each_other_never_join(
    db: Database, stage: Any, seen: Any, matcher: Matcher, rows: Ask
) -> None:
    stage.photo("Creek", 0, seen(1, sex=Sex.MALE, likeness=0.999))
    stage.photo("Creek", HOUR, seen(1, sex=Sex.FEMALE, likeness=0.999))
    assert identify(db, alone(matcher)).new == 2
    assert [row["sex"] for row in rows("SELECT sex FROM deer ORDER BY number")] == ["male", "female"]


def test_unknown_sex_matches_and_is_learned(
    db: Database, stage: Any, seen: Any, matcher: Matcher, one: Ask
) -> None:
    stage.photo("Creek", 0, seen(1))
    stage.photo("Creek", HOUR, seen(1, sex=Sex.FEMALE))
    stage.photo("Creek", 2 * HOUR, seen(1))
    outcome = identify(db, alone(matcher))
    assert (outcome.matched, outcome.new) == (2, 1)
    assert one("SELECT sex FROM deer") == "female"


def test_photos_without_a_time_are_identified_too(
    db: Database, stage: Any, seen: Any, matcher: Matcher, groups: Ask, rows: Ask
) -> None:
    stage.photo("Creek", None, seen(1))
    stage.photo("Creek", None, seen(1, LEFT), seen(2, RIGHT))
    stage.photo("Creek", 0, seen(2))
    assert identify(db, alone(matcher)) == Identified(encounters=3, tracks=4, matched=2, new=2)
    assert list(groups().values()) == [[2], [2, 1], [1]]  # what has a time is decided first
    assert rows("SELECT started_at FROM encounters WHERE started_at IS NOT NULL") != []
    assert len(rows("SELECT 1 FROM encounters WHERE started_at IS NULL AND ended_at IS NULL")) == 2


def test_detections_without_vectors_wait(
    db: Database, stage: Any, seen: Any, matcher: Matcher, one: Ask
) -> None:
    stage.photo("Creek", 0, seen(1))
    image = stage.photo("Creek", HOUR, seen(2))
    with db.transaction() as connection:
        connection.execute(
            "DELETE FROM detection_embeddings e USING detections d, models m WHERE d.id = e.detection_id "
            "AND m.id = e.model_id AND d.image_id = %s AND m.output = 'feature_vector'",
            [image],
        )
    assert identify(db, alone(matcher)).tracks == 1
    assert one("SELECT sighting_id FROM detections WHERE image_id = %s", image) is None


# -- late photos --------------------------------------------------------------------------------------------


def test_late_photos_extend_an_encounter_and_keep_its_decisions(
    db: Database, stage: Any, seen: Any, matcher: Matcher, groups: Ask, rows: Ask
) -> None:
    stage.photo("Creek", 0, seen(1, LEFT))
    stage.photo("Creek", 12, seen(1, LEFT))
    identify(db, alone(matcher))
    before = rows("SELECT id, deer_id, state FROM sightings ORDER BY id")
    stage.photo("Creek", -5, seen(1, LEFT))  # from a second camera, say
    stage.photo("Creek", 6, seen(1, LEFT), seen(2, RIGHT))
    stage.photo("Creek", 18, seen(1, LEFT))
    assert identify(db, alone(matcher)) == Identified(tracks=1, new=1)
    assert rows("SELECT id, deer_id, state FROM sightings ORDER BY id")[: len(before)] == before
    assert list(groups().values()) == [[1], [1], [1], [1, 2], [1]]
    (span,) = rows("SELECT extract(epoch FROM ended_at - started_at)::int AS s FROM encounters")
    assert span["s"] == 23


def test_late_photos_never_give_one_individual_two_places_in_a_photo(
    db: Database, stage: Any, seen: Any, matcher: Matcher, groups: Ask
) -> None:
    """Two tracks of one encounter were both taken for one animal; then a photo shows them side by side."""
    stage.photo("Creek", 0, seen(1, LEFT, likeness=0.999))
    identify(db, alone(matcher))
    stage.photo("Creek", HOUR, seen(1, LEFT, likeness=0.96))
    stage.photo("Creek", HOUR + 14, seen(1, RIGHT, likeness=0.96))
    matcher = replace(matcher, grouping=Grouping())  # looks alone never continue a track
    assert identify(db, alone(matcher)).matched == 2
    stage.photo("Creek", HOUR + 7, seen(1, LEFT, likeness=0.96), seen(1, RIGHT, likeness=0.96))
    before = list(groups().values())[:3]
    identify(db, alone(matcher))
    after = list(groups().values())
    assert before == after[:3] == [[1], [1], [1]]
    assert len(set(after[3])) == 2


def test_many_late_photos_in_any_order(
    db: Database, stage: Any, seen: Any, matcher: Matcher, groups: Ask
) -> None:
    """Photos arrive in random portions: no photo ever shows one individual twice, no decision ever changes."""
    rng = np.random.default_rng(3)
    shots = [
        (visit * 10 * MINUTE + step * 7, [1 + (visit + k) % 5 for k in range(rng.integers(1, 4))])
        for visit in range(8)
        for step in range(4)
    ]
    decided: dict[Any, Any] = {}
    for portion in np.array_split(rng.permutation(len(shots)), 5):
        for index in portion:
            seconds, animals = shots[index]
            boxes = [LEFT, MIDDLE, RIGHT]
            stage.photo("Creek", seconds, *(seen(a, b) for a, b in zip(animals, boxes, strict=False)))
        identify(db, alone(matcher))
        now = groups()
        assert {image: now[image] for image in decided} == decided
        decided = now
        for numbers in now.values():
            named = [n for n in numbers if n is not None]
            assert len(set(named)) == len(named)
    assert len({n for numbers in decided.values() for n in numbers}) == 5


def test_late_photos_after_a_clock_was_shifted(
    db: Database, stage: Any, seen: Any, matcher: Matcher, one: Ask
) -> None:
    stage.burst("Creek", 0, seen(1))
    identify(db, alone(matcher))
    shift_clock(db, "Creek", timedelta(hours=1))
    stage.burst("Creek", 6, seen(1))  # the same camera, the same wrong clock
    assert identify(db, alone(matcher)) == Identified()
    assert one("SELECT count(*) FROM encounters") == 1


# -- the individual and the log -----------------------------------------------------------------------------


MEAN_OF_ALL = (
    "(SELECT l2_normalize(avg(pooled)) FROM (SELECT l2_normalize(avg(e.embedding)) AS pooled "
    "FROM sightings g JOIN detections d ON d.sighting_id = g.id "
    "JOIN detection_embeddings e ON e.detection_id = d.id AND e.model_id = r.multiscale_model_id "
    "WHERE g.deer_id = r.id GROUP BY g.id) seen)"
)


def test_the_profile_is_the_mean_of_all_photos_and_shows_the_best(
    db: Database, stage: Any, seen: Any, matcher: Matcher, rows: Ask
) -> None:
    """The best: highest confidence, then the largest box."""
    small, large = Box(0.1, 0.1, 0.2, 0.2), Box(0.1, 0.1, 0.6, 0.6)
    stage.photo("Creek", 0, seen(1, large, confidence=0.8))
    stage.photo("Creek", 2, seen(1, small, confidence=0.95))
    best = stage.photo("Creek", 4, seen(1, large, confidence=0.95))
    stage.photo("Creek", 6, seen(1, small, confidence=0.95))
    assert identify(db, alone(matcher)).new == 1
    (row,) = rows(
        f"SELECT d.image_id, r.embedding_version, r.feature_vector_multiscale <=> {MEAN_OF_ALL} AS off, "
        "m.output FROM deer r JOIN detections d ON d.id = r.profile_detection_id "
        "JOIN models m ON m.id = r.multiscale_model_id"
    )
    assert row == {
        "image_id": best,
        "embedding_version": "v3_stage",
        "off": pytest.approx(0, abs=1e-6),
        "output": "feature_vector_multiscale",
    }


def test_a_profile_learns_from_every_sighting_that_is_its_own(
    db: Database, stage: Any, seen: Any, matcher: Matcher, rows: Ask
) -> None:
    """However many photos a sighting has, it counts once."""
    stage.photo("Creek", 0, seen(1))
    first = identify(db, alone(matcher))
    before = rows("SELECT feature_vector_multiscale::text AS v FROM deer")
    for second in (9000, 9002, 9004):
        stage.photo("Creek", second, seen(1))
    again = identify(db, alone(matcher))
    assert (first.new, again.matched) == (1, 1)
    (row,) = rows(
        f"SELECT r.feature_vector_multiscale <=> {MEAN_OF_ALL} AS off, r.feature_vector_multiscale::text AS v "
        "FROM deer r"
    )
    assert row["off"] == pytest.approx(0, abs=1e-6)
    assert row["v"] != before[0]["v"]


def test_every_decision_is_logged_with_all_that_led_to_it(
    db: Database, stage: Any, seen: Any, matcher: Matcher, rows: Ask
) -> None:
    for seconds, animal, likeness in ((0, 1, 1), (HOUR, 2, 1), (2 * HOUR, 1, 0.98), (3 * HOUR, 1, 0.74)):
        stage.photo("Creek", seconds, seen(animal, likeness=likeness))
        identify(db, alone(matcher))
    log = rows("SELECT c.*, r.number FROM decisions c LEFT JOIN deer r ON r.id = c.deer_id ORDER BY c.id")
    assert [(d["outcome"], d["number"]) for d in log] == [
        ("new", 1),
        ("new", 2),
        ("assign", 1),
        ("review", None),
    ]
    ids = {row["number"]: row["id"] for row in rows("SELECT number, id FROM deer")}
    version = matcher.registered.version
    for decision in log:
        assert decision["version"] == version.name
        assert decision["fingerprints"] == {o: version.fingerprints[o] for o in version.search_outputs}
        assert decision["policy"] == asdict(Policy())
        assert decision["actor"] == "machine"
        assert decision["decided_at"] is not None
        shares = [c["probability"] for c in decision["candidates"]]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) + decision["new_probability"] <= 1 + 1e-9
    assert (log[0]["candidates"], log[0]["probability"], log[0]["new_probability"]) == ([], None, 1)
    best, other = log[2]["candidates"]
    assert (best["deer_id"], other["deer_id"]) == (ids[1], ids[2])
    assert best["similarity"] == pytest.approx(0.98, abs=1e-3)
    assert best["probability"] == log[2]["probability"] >= 0.95
    assert log[3]["candidates"][0]["similarity"] == pytest.approx(0.74, abs=1e-3)
    assert log[3]["probability"] < 0.95
    assert log[3]["new_probability"] < 0.5


def test_names_and_numbers_stay(db: Database, stage: Any, seen: Any, matcher: Matcher, rows: Ask) -> None:
    with db.transaction() as connection:
        catalogue.put_setting(connection, catalogue.ACTIVE_VERSION, matcher.registered.version.name)
    for animal in range(3):
        stage.photo("Creek", animal * HOUR, seen(animal))
    identify(db, alone(matcher))
    named = rows("SELECT number, name FROM deer ORDER BY number")
    assert named == [{"number": n, "name": friendly_name(n)} for n in (1, 2, 3)]
    rename(db, "2", "Limpy", actor="test")
    rename(db, "3", friendly_name(4), actor="test")  # the very name that the next one would get
    stage.photo("Creek", 5 * HOUR, seen(1))
    stage.photo("Creek", 6 * HOUR, seen(9))
    identify(db, alone(matcher))
    names = [row["name"] for row in rows("SELECT name FROM deer ORDER BY number")]
    assert names[:3] == [friendly_name(1), "Limpy", friendly_name(4)]
    assert len(set(map(str.lower, names))) == 4
    counts = rows("SELECT sighting_count FROM deer ORDER BY number")
    assert [row["sighting_count"] for row in counts] == [1, 2, 1, 1]


def test_a_stricter_policy_assigns_less(db: Database, stage: Any, seen: Any, matcher: Matcher) -> None:
    stage.photo("Creek", 0, seen(1, likeness=1))
    stage.photo("Creek", HOUR, seen(1, likeness=0.86))
    strict = replace(matcher, policy=Policy(assign_at=0.9999))
    assert identify(db, alone(strict)) == Identified(encounters=2, tracks=2, new=1, review=1)


def test_individuals_that_cannot_be_compared_are_counted_and_weigh_in(
    db: Database, stage: Any, seen: Any, matcher: Matcher, rows: Ask
) -> None:
    """The machine says how many it does not see, and the more they are the less it believes in a new animal."""
    for n in range(40):
        stage.photo("Creek", 1000 * n, seen(n))
    identify(db, alone(matcher))
    with db.transaction() as connection:
        connection.execute("UPDATE deer SET partner_model_id = NULL WHERE number <= 30")
        connection.execute(
            "DELETE FROM detection_embeddings WHERE detection_id IN "
            "(SELECT profile_detection_id FROM deer WHERE number <= 30)"
        )
    stage.photo("Ridge", 0, seen(100))
    stage.photo("Ridge", HOUR, seen(35))
    assert identify(db, alone(matcher)) == Identified(encounters=2, tracks=2, matched=1, review=1, unseen=30)
    assert len(rows("SELECT id FROM deer")) == 40


def test_an_individual_of_another_model_is_never_made_anew(
    db: Database, stage: Any, seen: Any, matcher: Matcher, one: Ask
) -> None:
    stage.photo("Creek", 0, seen(1))
    identify(db, alone(matcher))
    with db.transaction() as connection:
        connection.execute("UPDATE deer SET partner_model_id = NULL")
        connection.execute("DELETE FROM detection_embeddings")
    stage.photo("Creek", HOUR, seen(1))
    found = identify(db, alone(replace(matcher, policy=Policy(unmet=0.5))))
    assert (found.unseen, found.new, found.review) == (1, 0, 1)
    assert one("SELECT count(*) FROM deer") == 1


def test_empty_profiles_are_filled_again_from_their_detections(
    db: Database, stage: Any, seen: Any, matcher: Matcher, rows: Ask
) -> None:
    """As after `db rollback --to 010` and `db migrate`: the columns are new, their source is not."""
    stage.photo("Creek", 0, seen(1))
    identify(db, alone(matcher))
    columns = "feature_vector_multiscale, feature_vector_efficientnet, multiscale_model_id, partner_model_id"
    before = rows(f"SELECT {columns} FROM deer")
    with db.transaction() as connection:
        connection.execute("UPDATE deer SET " + ", ".join(f"{c} = NULL" for c in columns.split(", ")))
    identify(db, alone(matcher))
    assert repr(rows(f"SELECT {columns} FROM deer")) == repr(before)


# -- several workers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_at_once_never_make_one_animal_twice(
    url: str, stage: Any, seen: Any, matcher: Matcher, rows: Ask, groups: Ask, workers: int
) -> None:
    """Every animal comes by several stations at about the same time: the worst case for search-then-insert."""
    animals, stations = 8, 4
    for animal in range(animals):
        for place in range(stations):
            stage.burst(f"S{place}", animal * HOUR + place, seen(animal, LEFT), seen(animal + 50, RIGHT))
    start = threading.Barrier(workers)

    def work(_: int) -> Identified:
        with Database(url, size=1) as own:
            start.wait()
            return identify(own, alone(matcher))

    with ThreadPoolExecutor(workers) as pool:
        outcomes = list(pool.map(work, range(workers)))
    visits = animals * stations
    assert sum(o.encounters for o in outcomes) == visits
    assert sum(o.tracks for o in outcomes) == 2 * visits
    assert sum(o.new for o in outcomes) == 2 * animals
    assert sum(o.matched for o in outcomes) == 2 * (visits - animals)
    assert [row["n"] for row in rows("SELECT count(*) AS n FROM decisions GROUP BY sighting_id")] == [
        1
    ] * 2 * visits
    assert [row["number"] for row in rows("SELECT number FROM deer ORDER BY 1")] == list(
        range(1, 2 * animals + 1)
    )
    assert set(Counter(n for numbers in groups().values() for n in numbers).values()) == {2 * stations}


def test_a_worker_that_dies_while_deciding_leaves_nothing_half_done(
    url: str, db: Database, stage: Any, seen: Any, matcher: Matcher, rows: Ask
) -> None:
    for visit in range(6):
        stage.photo("Creek", visit * HOUR, seen(visit % 2))

    class Dying:
        stage = ""

        def start(self, stage: str, total: int | None) -> None:
            self.stage = stage

        def advance(self, steps: int = 1) -> None:
            if self.stage == "Identifying":
                raise SystemExit

    with pytest.raises(SystemExit):
        identify(db, alone(matcher), progress=Dying())
    assert rows("SELECT count(*) AS n FROM decisions") == [{"n": 3}]
    rest = identify(db, alone(matcher))
    assert (rest.encounters, rest.tracks, rest.matched + rest.new) == (0, 0, 3)
    assert rows("SELECT count(*) AS n FROM deer") == [{"n": 2}]


# -- what cannot be ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kilometres", "minutes", "matched"),
    [
        (0.5, 0, 1),  # two cameras on one path; clocks may disagree
        (8, 0, 1),  # 15 m/s for the ten minutes that clocks may be apart
        (11, 0, 0),
        (11, 5, 1),
        (300, 60, 0),
        (300, 60 * 30, 1),  # the next day
    ],
)
def test_nobody_is_at_two_places_at_once(
    db: Database, stage: Any, seen: Any, matcher: Matcher, kilometres: float, minutes: float, matched: int
) -> None:
    stage.photo("Creek", 0, seen(1, likeness=1))
    stage.photo("Ridge", 60 * minutes + 1, seen(1, likeness=0.99))
    with db.transaction() as connection:
        degrees = kilometres / 111.195
        connection.execute("UPDATE stations SET latitude = 45, longitude = 7 WHERE name = 'Creek'")
        connection.execute(
            "UPDATE stations SET latitude = 45 + %s, longitude = 7 WHERE name = 'Ridge'", [degrees]
        )
    assert identify(db, alone(matcher)).matched == matched


def test_without_coordinates_nothing_is_too_far(
    db: Database, stage: Any, seen: Any, matcher: Matcher
) -> None:
    stage.photo("Creek", 0, seen(1, likeness=1))
    stage.photo("Ridge", 1, seen(1, likeness=0.99))
    assert identify(db, alone(matcher)).matched == 1


def test_a_sighting_without_any_vector_stays_open_and_stops_nobody(
    db: Database, stage: Any, seen: Any, matcher: Matcher, rows: Ask
) -> None:
    """After a cut-over to another pack, photos that are gone cannot be embedded with it."""
    stage.photo("Creek", 0, seen(1))
    stage.burst("Creek", HOUR, seen(2))
    identify(db, alone(matcher))
    with db.transaction() as connection:
        connection.execute("UPDATE sightings SET state = 'undecided', deer_id = NULL")
        connection.execute("DELETE FROM detection_embeddings WHERE detection_id IN (1, 2)")
    assert identify(db, alone(matcher)).matched == 1
    states = rows("SELECT state FROM sightings ORDER BY id")
    assert [row["state"] for row in states] == ["undecided", "assigned"]
