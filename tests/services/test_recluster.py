"""`deertrack reid recluster`: what the machine decided one by one, grouped anew around what people said."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from deertrack.domain.calibration import Calibration
from deertrack.domain.errors import InputError
from deertrack.domain.records import Box, Sex
from deertrack.services import review
from deertrack.services.checks import examine
from deertrack.services.identify import Deciders, Matcher, alone, identify
from deertrack.services.individuals import rename
from deertrack.services.recluster import Move, Reclustered, recluster
from deertrack.services.versions import Choice
from deertrack.storage import catalogue
from deertrack.storage.db import Database

LEFT, RIGHT = Box(0.02, 0.2, 0.25, 0.5), Box(0.7, 0.2, 0.25, 0.5)
HOUR = 3600
Ask = Callable[..., Any]

TIMID = Calibration(
    (0.0, 1.0), (-3.0, 0.1)
)  # matches nobody, and finds everybody new as long as there are few
BOLD = Calibration((-1.0, -0.9), (0.0, 12.0))  # matches anybody


@pytest.fixture
def one_by_one(db: Database, stage: Any, matcher: Matcher) -> Callable[..., None]:
    """Photos decided about one after another, by another calibration than the one that groups them anew."""
    with db.transaction() as connection:
        catalogue.put_setting(connection, catalogue.ACTIVE_VERSION, matcher.registered.version.name)

    def see(curve: Calibration, *seen: Any) -> None:
        for visit, animals in enumerate(seen):
            stage.photo("Creek", visit * HOUR, *(animals if isinstance(animals, tuple) else (animals,)))
            identify(db, alone(replace(matcher, calibration=curve)))

    return see


@pytest.fixture
def deer_of(rows: Ask) -> Callable[[], list[int | None]]:
    """The number of the individual of each sighting, in the order in which they were made."""

    def ask() -> list[int | None]:
        found = rows("SELECT r.number FROM sightings g LEFT JOIN deer r ON r.id = g.deer_id ORDER BY g.id")
        return [row["number"] for row in found]

    return ask


@pytest.fixture
def content(rows: Ask) -> Callable[[], str]:
    """All that the machine could have changed."""

    def ask() -> str:
        tables = ("deer", "sightings", "decisions", "events", "settings", "rejections")
        return repr([rows(f"SELECT * FROM {table} ORDER BY 1") for table in tables])

    return ask


def names(db: Database) -> list[str]:
    with db.transaction() as connection:
        return [individual.name for individual in catalogue.list_individuals(connection, status="all")]


def test_records_of_one_animal_become_one(
    db: Database, one_by_one: Ask, seen: Any, matcher: Matcher, deer_of: Ask, content: Ask, rows: Ask
) -> None:
    one_by_one(TIMID, seen(1), seen(2), seen(1), seen(1), seen(2))
    assert deer_of() == [1, 2, 3, 4, 5]
    called = names(db)
    before = content()
    planned = recluster(db, alone(matcher), dry_run=True)
    assert content() == before

    done = recluster(db, alone(matcher))
    assert done == planned
    assert done == Reclustered(
        sightings=5,
        moves=[Move(3, called[2], called[0]), Move(4, called[3], called[0]), Move(5, called[4], called[1])],
        united=[(called[2], called[0]), (called[3], called[0]), (called[4], called[1])],
    )
    assert deer_of() == [1, 2, 1, 1, 2]
    status = [row["status"] for row in rows("SELECT status FROM deer ORDER BY number")]
    assert status == ["active", "active", "merged", "merged", "merged"]
    log = rows("SELECT * FROM decisions WHERE policy ->> 'reason' = 'recluster' ORDER BY sighting_id")
    assert [(d["sighting_id"], d["outcome"], d["actor"]) for d in log] == [
        (sighting, "assign", "machine") for sighting in (3, 4, 5)
    ]
    assert all(d["probability"] >= 0.95 and d["candidates"][0]["similarity"] > 0.9 for d in log)
    trail = rows("SELECT * FROM events WHERE kind = 'recluster' AND subject LIKE 'sighting:%%' ORDER BY id")
    assert [(e["subject"], e["detail"]["from_name"], e["detail"]["to_name"]) for e in trail] == [
        ("sighting:3", called[2], called[0]),
        ("sighting:4", called[3], called[0]),
        ("sighting:5", called[4], called[1]),
    ]
    into = rows("SELECT subject, detail FROM events WHERE kind = 'status' ORDER BY id")
    assert [(e["subject"], e["detail"]["to"], e["detail"]["into"]) for e in into] == [
        ("deer:3", "merged", 1),
        ("deer:4", "merged", 1),
        ("deer:5", "merged", 2),
    ]
    found = examine(db)
    assert found.passed, [result for result in found.results if not result.passed]

    after = content()
    assert recluster(db, alone(matcher)) == Reclustered(sightings=5)
    assert content() == after


def test_what_was_wrongly_joined_falls_apart(
    db: Database, one_by_one: Ask, seen: Any, matcher: Matcher, deer_of: Ask, content: Ask
) -> None:
    one_by_one(BOLD, seen(1), seen(1, likeness=0.98), seen(2), seen(2, likeness=0.98))
    assert deer_of() == [1, 1, 1, 1]
    (name,) = names(db)
    done = recluster(db, alone(matcher))
    assert deer_of() == [1, 1, 2, 2]
    assert done.split == [(name, tuple(done.made))]
    assert (len(done.made), done.united, done.retired) == (1, [], [])
    assert examine(db).passed
    after = content()
    assert recluster(db, alone(matcher)).moves == []
    assert content() == after


def test_waiting_sightings_join_and_what_is_unsure_waits_again(
    db: Database, one_by_one: Ask, seen: Any, matcher: Matcher, deer_of: Ask
) -> None:
    unsure = Calibration((0.0, 1.0), (0.0, 4.0))
    one_by_one(unsure, seen(1), seen(1), seen(1))
    assert deer_of() == [1, None, None]
    assert recluster(db, alone(matcher), dry_run=True).moves == [
        Move(2, None, names(db)[0]),
        Move(3, None, names(db)[0]),
    ]
    recluster(db, alone(matcher))
    assert deer_of() == [1, 1, 1]


def test_what_a_person_confirmed_stays(
    db: Database, one_by_one: Ask, seen: Any, matcher: Matcher, deer_of: Ask, rows: Ask
) -> None:
    """Two individuals that look alike: a person said of a sighting of each who it is. They stay two."""
    one_by_one(TIMID, seen(1), seen(1), seen(1), seen(1))
    review.assign(db, 3, "1", actor="Ann")
    review.assign(db, 2, "2", actor="Ann")
    assert deer_of() == [1, 2, 1, 4]
    before = rows("SELECT * FROM decisions WHERE sighting_id < 4 ORDER BY id")
    done = recluster(db, alone(matcher))
    assert deer_of()[:3] == [1, 2, 1]
    assert (done.confirmed, rows("SELECT * FROM decisions WHERE sighting_id < 4 ORDER BY id")) == (2, before)


def test_who_was_named_keeps_record_and_name(
    db: Database, one_by_one: Ask, seen: Any, matcher: Matcher, deer_of: Ask, rows: Ask
) -> None:
    one_by_one(TIMID, seen(1), seen(1), seen(1), seen(2))
    rename(db, "2", "Limpy", actor="Ann")
    recluster(db, alone(matcher))
    assert deer_of() == [2, 2, 2, 4]
    status = rows("SELECT name, status FROM deer WHERE number < 4 ORDER BY number")
    assert [row["status"] for row in status] == ["merged", "active", "merged"]
    assert status[1]["name"] == "Limpy"

    rename(db, "4", "Scar", actor="Ann")  # two named ones are two animals, whatever they look like
    recluster(db, alone(replace(matcher, calibration=BOLD)))
    assert {row["status"] for row in rows("SELECT status FROM deer WHERE number IN (2, 4)")} == {"active"}


def test_a_rejection_holds(
    db: Database, one_by_one: Ask, seen: Any, matcher: Matcher, deer_of: Ask, content: Ask
) -> None:
    """Who was told from an individual is not whoever its sightings turn out to be either."""
    one_by_one(TIMID, seen(1), seen(1), seen(1))
    review.assign(db, 2, "1", actor="Ann")
    assert [move.sighting_id for move in recluster(db, alone(matcher), dry_run=True).moves] == [3]
    review.reject(db, 3, "2", actor="Ann")
    recluster(db, alone(matcher))
    assert deer_of() == [1, 1, 3]
    after = content()
    assert recluster(db, alone(matcher)).moves == []
    assert content() == after


def test_two_in_one_photo_and_two_sexes_stay_two(
    db: Database, one_by_one: Ask, seen: Any, matcher: Matcher, rows: Ask
) -> None:
    one_by_one(
        TIMID,
        (seen(1, LEFT), seen(1, RIGHT)),
        seen(1, sex=Sex.MALE),
        seen(1, sex=Sex.FEMALE),
        (seen(1, LEFT), seen(1, RIGHT)),
    )
    recluster(db, alone(matcher))
    twice = "SELECT d.image_id, g.deer_id FROM detections d JOIN sightings g ON g.id = d.sighting_id "
    assert rows(twice + "WHERE g.deer_id IS NOT NULL GROUP BY 1, 2 HAVING count(*) > 1") == []
    assert (
        rows(
            "SELECT a.deer_id FROM sightings a JOIN sightings b USING (deer_id) "
            "WHERE a.sex = 'male' AND b.sex = 'female'"
        )
        == []
    )


def test_nobody_joins_who_stands_beside_it_without_vectors(
    db: Database, one_by_one: Ask, seen: Any, matcher: Matcher, deer_of: Ask
) -> None:
    one_by_one(TIMID, seen(1), (seen(1, LEFT), seen(1, RIGHT)))
    with db.transaction() as connection:
        connection.execute("UPDATE sightings SET deer_id = 1 WHERE id = 3")
        connection.execute(
            "DELETE FROM detection_embeddings WHERE detection_id IN "
            "(SELECT id FROM detections WHERE sighting_id = 3)"
        )
    assert recluster(db, alone(matcher)).sightings == 2
    assert deer_of()[1] not in (1, None)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_after_an_import_there_is_nothing_to_change(
    db: Database, stage: Any, seen: Any, matcher: Matcher, content: Ask, seed: int
) -> None:
    """What was grouped jointly stays; and if anything moves, it does so once."""
    stage.rng.bit_generator.state = type(stage.rng.bit_generator)(seed).state
    for visit in range(24):
        animals = [seen(int(visit * 7 % 5), LEFT, likeness=(0.99, 0.93, 0.9, 0.75)[visit % 4])]
        if visit % 3 == 0:
            animals.append(seen(int((visit * 7 + 2) % 5), RIGHT, likeness=0.95))
        stage.photo(f"S{visit % 3}", visit * HOUR, *animals)
    outcome = identify(db, alone(matcher))
    assert outcome.matched > 10
    assert recluster(db, alone(matcher)).moves == []


def test_a_catalogue_without_sightings_and_an_ab_test(db: Database, matcher: Matcher) -> None:
    assert recluster(db, alone(matcher)) == Reclustered()
    both = Deciders(Choice("v1", "v2", 0.5, "2025-11-14"), (matcher, matcher))
    with pytest.raises(InputError, match="A/B test is under way"):
        recluster(db, both)
