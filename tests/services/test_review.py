"""A person's decisions: what they change, what they log, what follows, and what cannot be decided."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from deertrack.domain.embedding import EmbeddingVersion, Output
from deertrack.domain.errors import DatabaseError, InputError, NotFoundError
from deertrack.domain.names import friendly_name
from deertrack.domain.records import Box, Sex
from deertrack.formats.truth import TruthRow
from deertrack.services.checks import examine
from deertrack.services.identify import Matcher, alone, identify
from deertrack.services.individuals import rename
from deertrack.services.naming import Undecidable, import_names
from deertrack.services.review import assign, assign_new, reject, waiting
from deertrack.storage import catalogue, embeddings, profiles, sightings, validations
from deertrack.storage.db import Database

Ask = Callable[..., Any]
LEFT, RIGHT = Box(0.05, 0.2, 0.3, 0.5), Box(0.6, 0.2, 0.3, 0.5)
HOUR = 3600
FIRST, SECOND, THIRD = (friendly_name(n) for n in (1, 2, 3))


@pytest.fixture
def meet(db: Database, matcher: Matcher) -> Callable[[], None]:
    """Let the machine decide about what the cameras saw."""
    with db.transaction() as connection:
        catalogue.put_setting(connection, catalogue.ACTIVE_VERSION, matcher.registered.version.name)

    def run() -> None:
        identify(db, alone(matcher))

    return run


@pytest.fixture
def who(rows: Ask) -> Callable[[], dict[int, str | None]]:
    """Who each sighting is, by id."""
    query = "SELECT g.id, r.name FROM sightings g LEFT JOIN deer r ON r.id = g.deer_id ORDER BY g.id"
    return lambda: {row["id"]: row["name"] for row in rows(query)}


@pytest.fixture
def sound(db: Database, rows: Ask) -> Callable[[], None]:
    """Insist that the catalogue is what it should be, and every profile the mean of its sightings."""

    def check() -> None:
        failed = {r.name: r.findings for r in examine(db).results if not r.passed}
        assert failed == {}
        placed = "SELECT image_id FROM detections d JOIN sightings g ON g.id = sighting_id WHERE deer_id > 0"
        assert rows(f"{placed} GROUP BY image_id, deer_id HAVING count(*) > 1") == []

    return check


def last_decision(rows: Ask, sighting_id: int) -> dict[str, Any]:
    found: dict[str, Any] = rows(
        "SELECT * FROM decisions WHERE sighting_id = %s ORDER BY id DESC LIMIT 1", sighting_id
    )[0]
    return found


# -- what waits ---------------------------------------------------------------------------------------------


def test_what_waits_is_told_oldest_first_with_who_it_may_be(
    db: Database, stage: Any, seen: Any, meet: Ask
) -> None:
    stage.photo("Creek", 0, seen(1, likeness=1))
    meet()
    stage.photo("Creek", None, seen(1, likeness=0.74))
    stage.photo("Pond", 3 * HOUR, seen(1, likeness=0.74))
    early = stage.burst("Pond", 2 * HOUR, seen(1, likeness=0.62, sex=Sex.MALE), photos=2)
    meet()
    found = waiting(db)
    assert found.total == 3
    assert [s.started_at is None for s in found.sightings] == [False, False, True]
    first = found.sightings[0]
    assert (first.station, first.timezone, first.sex) == ("Pond", "UTC", Sex.MALE)
    assert [photo.image_id for photo in first.photos] == early
    assert [str(p.paths[0]) for p in first.photos] == ["/cards/Pond/IMG_0004.JPG", "/cards/Pond/IMG_0005.JPG"]
    (candidate,) = first.candidates
    assert (candidate.number, candidate.name) == (1, FIRST)
    assert first.new_probability is not None
    assert candidate.probability + first.new_probability == pytest.approx(1)
    assert waiting(db, limit=2).sightings == found.sightings[:2]
    assert waiting(db, limit=2).total == 3


def test_nothing_waits(db: Database) -> None:
    assert (waiting(db).total, waiting(db).sightings) == (0, ())


# -- this is so-and-so --------------------------------------------------------------------------------------


def test_an_answer_is_logged_beside_what_the_machine_thought(
    db: Database, stage: Any, seen: Any, meet: Ask, rows: Ask, who: Ask, sound: Ask
) -> None:
    stage.photo("Creek", 0, seen(1, likeness=1))
    stage.photo("Creek", HOUR, seen(1, likeness=0.74))
    meet()
    (asked,) = waiting(db).sightings
    machine = last_decision(rows, asked.id)
    answered = assign(db, asked.id, FIRST.upper(), actor="Ann")
    assert (answered.number, answered.name, answered.before, answered.recorded) == (1, FIRST, None, True)
    assert (answered.consequences.retired, answered.consequences.unseen) == ([], 0)
    person = last_decision(rows, asked.id)
    kept = ("version", "fingerprints", "policy", "candidates", "probability", "new_probability")
    assert {k: person[k] for k in kept} == {k: machine[k] for k in kept}
    assert (person["outcome"], person["actor"], person["arm"], person["milliseconds"]) == (
        "assign",
        "Ann",
        None,
        None,
    )
    (event,) = rows("SELECT actor, subject, detail FROM events WHERE kind = 'assign'")
    assert event == {
        "actor": "Ann",
        "subject": f"sighting:{asked.id}",
        "detail": {
            "was": "review",
            "from": None,
            "from_name": None,
            "to": person["deer_id"],
            "to_name": FIRST,
        },
    }
    assert (list(who().values()), waiting(db).total) == ([FIRST, FIRST], 0)
    assert [d.sighting_count for d in catalogue_list(db)] == [2]
    sound()


def catalogue_list(db: Database, status: str = "all") -> list[catalogue.Individual]:
    with db.transaction() as connection:
        return catalogue.list_individuals(connection, status=status)


def test_the_same_answer_again_is_no_second_decision(
    db: Database, stage: Any, seen: Any, meet: Ask, one: Ask
) -> None:
    for visit in range(2):
        stage.photo("Creek", visit * HOUR, seen(1))
    meet()
    count = "SELECT (SELECT count(*) FROM decisions) + (SELECT count(*) FROM events)"
    before = one(count)
    confirmed = assign(db, 2, "1", actor="Ann")  # as the machine said: that a person looked is worth a line
    assert (confirmed.recorded, confirmed.before) == (True, FIRST)
    assert one(count) == before + 2
    for actor in ("Ann", "Bob"):
        assert not assign(db, 2, FIRST, actor=actor).recorded
    assert one(count) == before + 2


def test_a_confirmed_new_individual_stays_new_in_the_log(
    db: Database, stage: Any, seen: Any, meet: Ask, rows: Ask
) -> None:
    stage.photo("Creek", 0, seen(1))
    meet()
    assign(db, 1, "1", actor="Ann")
    assert last_decision(rows, 1)["outcome"] == "new"


def test_both_individuals_get_profiles_of_their_own_photos(
    db: Database, stage: Any, seen: Any, meet: Ask, rows: Ask, sound: Ask
) -> None:
    stage.photo("Creek", 0, seen(1, confidence=0.5))
    stage.photo("Creek", HOUR, seen(2, confidence=0.6))
    stage.photo("Creek", 2 * HOUR, seen(1, confidence=0.9, sex=Sex.MALE))
    meet()
    sources = "SELECT name, profile_detection_id AS best, sex, sighting_count AS n FROM deer ORDER BY number"
    assert rows(sources) == [
        {"name": FIRST, "best": 3, "sex": "male", "n": 2},
        {"name": SECOND, "best": 2, "sex": "unknown", "n": 1},
    ]
    assign(db, 3, SECOND, actor="Ann")
    assert rows(sources) == [
        {"name": FIRST, "best": 1, "sex": "unknown", "n": 1},  # nobody says male of it any more
        {"name": SECOND, "best": 3, "sex": "male", "n": 2},
    ]
    sound()
    assign(db, 2, FIRST, actor="Ann")
    assign(db, 3, FIRST, actor="Ann")
    assert [row["best"] for row in rows(sources)] == [3, None]
    sound()


def test_who_is_left_without_a_sighting_is_retired_and_comes_back_with_one(
    db: Database, stage: Any, seen: Any, meet: Ask, rows: Ask, groups: Ask, sound: Ask
) -> None:
    stage.photo("Creek", 0, seen(1))
    stage.photo("Creek", HOUR, seen(2))
    meet()
    answered = assign(db, 2, "1", actor="Ann")
    assert (answered.before, answered.consequences.retired) == (SECOND, [SECOND])
    assert rows("SELECT status, sighting_count, feature_vector FROM deer WHERE number = 2") == [
        {"status": "retired", "sighting_count": 0, "feature_vector": None}
    ]
    assert rows("SELECT subject, detail FROM events WHERE kind = 'status'") == [
        {"subject": "deer:2", "detail": {"from": "active", "to": "retired"}}
    ]
    sound()
    stage.photo("Creek", 2 * HOUR, seen(2, likeness=0.999))
    meet()
    assert groups()[3] == [3]  # who is retired is not met
    back = assign(db, 2, "2", actor="Ann")
    assert (back.consequences.retired, back.consequences.revived) == ([], [SECOND])
    assert assign(db, 3, "2", actor="Ann").consequences.retired == [THIRD]
    sound()
    stage.photo("Creek", 3 * HOUR, seen(2, likeness=0.999))
    meet()
    assert groups()[4] == [2]  # met again


def test_two_animals_in_one_photo_are_never_one(
    db: Database, stage: Any, seen: Any, meet: Ask, one: Ask
) -> None:
    stage.photo("Creek", 0, seen(1, LEFT), seen(2, RIGHT))
    meet()
    assert one("SELECT count(*) FROM deer") == 2
    with pytest.raises(
        InputError, match=r"sighting 1 is .* already, in a photo of sighting 2 .*IMG_0001"
    ) as e:
        assign(db, 2, "1", actor="Ann")
    assert "review assign 1" in e.value.hint
    assert one("SELECT count(*) FROM decisions") == 2
    assert one("SELECT count(*) FROM events") == 0
    assign(db, 1, "1", actor="Ann")  # that it is what it is clashes with nobody


def test_a_sighting_that_the_machine_never_decided_about(
    db: Database, stage: Any, seen: Any, meet: Ask, rows: Ask, sound: Ask
) -> None:
    stage.photo("Creek", 0, seen(1))
    meet()
    stage.photo("Creek", HOUR, seen(2))
    with db.transaction() as connection:
        encounter = sightings.add_encounter(connection, 1, None, None)
        found = sightings.put_sighting(connection, encounter, [2], Sex.UNKNOWN)
    assign(db, found, "1", actor="Ann")
    row = last_decision(rows, found)
    assert (row["version"], row["policy"], row["candidates"]) == ("v3_stage", {}, [])
    assert set(row["fingerprints"]) == {Output.MULTISCALE, Output.PARTNER}
    sound()
    meet()  # decided is decided
    assert last_decision(rows, found) == row


@pytest.mark.parametrize(
    ("sighting", "individual", "complaint"),
    [(9, "1", "no sighting 9"), (1, "Nobody", "no individual is called 'Nobody'"), (1, "9", "'9'")],
)
def test_nobody_there(
    db: Database, stage: Any, seen: Any, meet: Ask, sighting: int, individual: str, complaint: str
) -> None:
    stage.photo("Creek", 0, seen(1))
    meet()
    with pytest.raises(NotFoundError, match=complaint):
        assign(db, sighting, individual, actor="Ann")
    with pytest.raises(NotFoundError, match="no sighting 9"):
        assign_new(db, 9, actor="Ann")


def test_answers_that_cannot_be(db: Database, stage: Any, seen: Any, meet: Ask, one: Ask) -> None:
    stage.photo("Creek", 0, seen(1))
    stage.photo("Creek", HOUR, seen(2))
    meet()
    with pytest.raises(InputError, match="'machine'"):
        assign(db, 1, "2", actor="machine")
    with db.transaction() as connection:
        connection.execute("UPDATE deer SET status = 'merged' WHERE number = 2")
    with pytest.raises(InputError, match="merged"):
        assign(db, 1, "2", actor="Ann")
    assert one("SELECT count(*) FROM decisions WHERE actor <> 'machine'") == 0


def test_a_catalogue_that_never_ran(db: Database) -> None:
    with pytest.raises(InputError, match="never ran"):
        assign(db, 1, "1", actor="Ann")


def test_an_answer_waits_until_the_machine_has_decided(
    db: Database, stage: Any, seen: Any, meet: Ask
) -> None:
    for visit in range(2):
        stage.photo("Creek", visit * HOUR, seen(visit))
    meet()
    answering = threading.Thread(target=assign, args=(db, 2, "1"), kwargs={"actor": "Ann"})
    with db.transaction() as connection:
        sightings.lock_deciding(connection)
        answering.start()
        answering.join(0.3)
        assert answering.is_alive()
        assert waits(db) == 1
    answering.join(10)
    assert not answering.is_alive()


def waits(db: Database) -> int:
    with db.transaction() as connection:
        row = connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
    assert row is not None
    return int(row["count"])


def test_validations_take_answers_for_evidence(db: Database, stage: Any, seen: Any, meet: Ask) -> None:
    for visit in range(3):
        stage.photo("Creek", visit * HOUR, seen(1))
    meet()
    assign(db, 2, "1", actor="Ann")
    with db.transaction() as connection:
        (named,) = validations.named_sightings(connection, "v3_stage")
    assert (named.sightings, named.own, named.by_person) == ((2,), 2, 1)


# -- profiles while a change of the embedding is under way --------------------------------------------------


def test_columns_keep_their_models_and_lose_vectors_that_went_with_a_sighting(
    db: Database, stage: Any, seen: Any, meet: Ask, rows: Ask
) -> None:
    """Only one photo of each has the new version's vectors, as after a re-embedding of the best ones."""
    stage.photo("Creek", 0, seen(1, confidence=0.9))
    stage.photo("Creek", HOUR, seen(1, confidence=0.5))
    stage.photo("Creek", 2 * HOUR, seen(2, confidence=0.5))
    meet()
    v1 = EmbeddingVersion("v1_stage", 1, "stage", dict(stage.registered.version.fingerprints))
    new = EmbeddingVersion("v3_new", 3, "new", {o: f"{i:064x}" for i, o in enumerate(Output, start=7)})
    with db.transaction() as connection:
        embeddings.register_version(connection, v1)
        target = embeddings.register_version(connection, new)
        looks = np.stack([stage.looks(1, 0.9), stage.looks(2, 0.9)])
        embeddings.store_vectors(connection, target, [1, 3], dict.fromkeys(target.models, looks))
        assert len(profiles.put_profiles(connection, target)) == 2
        catalogue.put_setting(connection, catalogue.ACTIVE_VERSION, "v3_new")
    assert examine(db).passed
    answered = assign(db, 1, "2", actor="Ann")
    assert answered.consequences.unseen == 1  # no photo that is left to the first has the new vectors
    held = rows(
        "SELECT single_model_id = %s AS single, multiscale_model_id AS m, partner_model_id AS p, "
        "feature_vector_multiscale AS v, profile_detection_id AS best, embedding_version AS version "
        "FROM deer ORDER BY number",
        stage.registered.models[Output.SINGLE],
    )
    assert held[0] == {"single": True, "m": None, "p": None, "v": None, "best": 2, "version": "v1_stage"}
    assert (held[1]["m"], held[1]["best"]) == (target.models[Output.MULTISCALE], 1)
    assert {r.name for r in examine(db).results if not r.passed} == {"missing_vectors"}  # as it must be
    assert assign(db, 1, "1", actor="Ann").consequences.unseen == 0
    assert rows("SELECT DISTINCT multiscale_model_id AS m, embedding_version AS v FROM deer") == [
        {"m": target.models[Output.MULTISCALE], "v": "v3_new"}
    ]
    assert examine(db).passed


def test_in_an_ab_test_both_arms_can_meet_a_new_individual(
    db: Database, stage: Any, seen: Any, meet: Ask, rows: Ask
) -> None:
    stage.photo("Creek", 0, seen(1, likeness=1))
    stage.photo("Creek", HOUR, seen(1, likeness=0.74))
    meet()
    with db.transaction() as connection:
        v1 = EmbeddingVersion("v1_other", 1, "other", {Output.SINGLE: f"{9:064x}"})
        other = embeddings.register_version(connection, v1)
        looks = np.stack([stage.looks(1, 0.9), stage.looks(1, 0.7)])
        embeddings.store_vectors(connection, other, [1, 2], {Output.SINGLE: looks})
        profiles.put_profiles(connection, other)
        test = {"version": "v1_other", "share": 0.5, "since": "2025-01-01T00:00:00+00:00"}
        catalogue.put_setting(connection, catalogue.AB, test)
    assert assign_new(db, 2, actor="Ann").consequences.unseen == 0
    held = "SELECT single_model_id AS s, multiscale_model_id AS m, embedding_version AS v FROM deer"
    models = {"s": other.models[Output.SINGLE], "m": stage.registered.models[Output.MULTISCALE]}
    assert rows(f"{held} WHERE number = 2") == [{**models, "v": "v3_stage"}]
    assert examine(db).passed


# -- this is nobody known -----------------------------------------------------------------------------------


def test_a_new_individual_is_made_and_met_again(
    db: Database, stage: Any, seen: Any, meet: Ask, rows: Ask, groups: Ask, sound: Ask
) -> None:
    stage.photo("Creek", 0, seen(1, likeness=1))
    stage.photo("Creek", HOUR, seen(1, likeness=0.74, sex=Sex.FEMALE), seen(3, RIGHT))
    meet()
    (asked,) = waiting(db).sightings
    answered = assign_new(db, asked.id, actor="Ann")
    assert (answered.name, answered.number, answered.before) == (THIRD, 3, None)
    assert last_decision(rows, asked.id)["outcome"] == "new"
    assert rows("SELECT sex, status, embedding_version FROM deer WHERE number = 3") == [
        {"sex": "female", "status": "active", "embedding_version": "v3_stage"}
    ]
    sound()
    again = assign_new(db, asked.id, actor="Bob")
    assert (again.recorded, again.name) == (False, THIRD)
    renamed = assign_new(db, asked.id, actor="Bob", name=" Old  Limpy ")
    assert (renamed.recorded, renamed.name, renamed.number) == (False, "Old Limpy", 3)
    assert [d.name for d in catalogue_list(db)] == [FIRST, SECOND, "Old Limpy"]
    sound()


def test_who_was_made_for_this_sighting_is_kept(
    db: Database, stage: Any, seen: Any, meet: Ask, rows: Ask, who: Ask
) -> None:
    for visit in range(2):
        stage.photo("Creek", visit * HOUR, seen(1))
    meet()
    assert assign_new(db, 1, actor="Ann", name="Limpy").name == "Limpy"
    assert who() == {1: "Limpy", 2: "Limpy"}
    assert assign_new(db, 2, actor="Ann").name == SECOND
    assert who() == {1: "Limpy", 2: SECOND}


@pytest.mark.parametrize("name", ["", "  ", "17", FIRST.upper(), "x" * 81])
def test_a_name_that_cannot_be_given_makes_nobody(
    db: Database, stage: Any, seen: Any, meet: Ask, one: Ask, name: str
) -> None:
    stage.photo("Creek", 0, seen(1, likeness=1))
    stage.photo("Creek", HOUR, seen(1, likeness=0.74))
    meet()
    with pytest.raises(InputError):
        assign_new(db, 2, actor="Ann", name=name)
    assert one("SELECT count(*) FROM deer") == 1
    assert waiting(db).total == 1


def test_whatever_people_answer_the_catalogue_stays_sound(
    db: Database, stage: Any, seen: Any, meet: Ask, sound: Ask, one: Ask
) -> None:
    rng = np.random.default_rng(3)
    sexes = [Sex.UNKNOWN, Sex.MALE, Sex.FEMALE]
    for visit in range(12):
        first, second = (int(a) for a in rng.permutation(5)[:2])
        quality = float(rng.uniform(0.3, 1))
        animals = [seen(first, LEFT, 0.9, quality, sexes[visit % 3]), seen(second, RIGHT, 0.9, 0.6)]
        stage.burst("Creek", visit * HOUR, *animals[: 1 + visit % 2])
    meet()
    total = one("SELECT count(*) FROM sightings")
    refused = 0
    for _ in range(80):
        sighting = int(rng.integers(1, total + 1))
        if rng.random() < 0.15:
            assign_new(db, sighting, actor="Ann")
            continue
        try:
            assign(db, sighting, str(rng.integers(1, one("SELECT count(*) FROM deer") + 1)), actor="Ann")
        except InputError:  # in the photo already
            refused += 1
    assert refused
    sound()
    assert one("SELECT count(*) FROM deer WHERE (status = 'retired') <> (sighting_count = 0)") == 0
    meet()
    sound()


# -- names of known animals ---------------------------------------------------------------------------------


def row(photo: int, identity: str, station: str = "Creek", box: Box | None = None) -> TruthRow:
    return TruthRow(f"{station}/IMG_{photo:04}.JPG", identity, box=box)


def test_the_machines_individuals_get_their_names_and_the_rest_finds_its_way(
    db: Database, stage: Any, seen: Any, meet: Ask, rows: Ask, who: Ask, sound: Ask
) -> None:
    """The machine says: first, second, first, unsure, second. The truth is: A, A, A, B, C."""
    stage.photo("Creek", 0, seen(1, likeness=1))
    stage.photo("Creek", HOUR, seen(2, likeness=1))
    stage.photo("Creek", 2 * HOUR, seen(1))
    stage.photo("Creek", 3 * HOUR, seen(1, likeness=0.74))
    stage.photo("Creek", 4 * HOUR, seen(2))
    meet()
    assert list(who().values()) == [FIRST, SECOND, FIRST, None, SECOND]
    truth = [row(n, identity) for n, identity in enumerate("AAABC", start=1)]
    before = who()
    planned = import_names(db, truth, actor="Ann", dry_run=True)
    assert (who(), rows("SELECT count(*) AS n FROM events")) == (before, [{"n": 0}])
    done = import_names(db, truth, actor="Ann")
    assert planned == done
    assert (done.rows, done.unmatched, done.moved, done.confirmed, done.known) == (5, 0, 3, 2, 0)
    # Who was made for a photo of A is A; the second one's photos are A's and C's.
    assert (done.renamed, done.made) == ([(FIRST, "A")], ["B", "C"])
    assert done.consequences.retired == [SECOND]
    assert list(who().values()) == ["A", "A", "A", "B", "C"]
    logged = rows("SELECT outcome FROM decisions WHERE actor = 'Ann' ORDER BY sighting_id")
    assert [r["outcome"] for r in logged] == ["new", "assign", "assign", "new", "new"]
    (event,) = rows("SELECT detail FROM events WHERE kind = 'import names'")
    assert event["detail"] == {"moved": 3, "confirmed": 2, "made": 2}
    sound()
    count = "SELECT (SELECT count(*) FROM decisions) + (SELECT count(*) FROM events) AS n"
    lines = rows(count)
    again = import_names(db, truth, actor="Bob")
    assert (again.moved, again.confirmed, again.known, again.made, again.renamed) == (0, 0, 5, [], [])
    assert rows(count) == lines


def test_individuals_that_are_called_so_are_used_and_those_that_people_named_keep_their_names(
    db: Database, stage: Any, seen: Any, meet: Ask, who: Ask, sound: Ask
) -> None:
    for visit in range(3):
        stage.photo("Creek", visit * HOUR, seen(visit))
    meet()
    rename(db, "1", "Limpy", actor="Ann")
    rename(db, "2", "Old Bob", actor="Ann")
    truth = [row(1, "Limpy"), row(2, "New  Bob"), row(3, "LIMPY")]
    done = import_names(db, truth, actor="Ann")
    assert list(who().values()) == ["Limpy", "New Bob", "Limpy"]
    assert (done.made, done.renamed) == (["New Bob"], [])
    assert sorted(done.consequences.retired) == sorted(["Old Bob", THIRD])
    sound()


def test_what_the_list_does_not_settle_is_left_as_it_is(
    db: Database, stage: Any, seen: Any, meet: Ask, who: Ask, sound: Ask
) -> None:
    stage.burst("Creek", 0, seen(1), photos=2)  # photos 1 and 2
    stage.burst("Creek", HOUR, seen(2), photos=2)  # 3 and 4
    stage.photo("Creek", 2 * HOUR, seen(3))  # 5
    meet()
    truth = [row(1, "A"), row(2, "B"), row(3, "C"), row(99, "D")]
    done = import_names(db, truth, actor="Ann")
    assert done.mixed == [Undecidable(1, ("A", "B"))]
    assert (done.rows, done.unmatched, done.confirmed) == (4, 1, 1)
    assert list(who().values()) == [FIRST, "C", THIRD]
    sound()


def test_boxes_tell_which_animal_is_meant_and_none_gets_into_a_photo_twice(
    db: Database, stage: Any, seen: Any, meet: Ask, who: Ask, sound: Ask
) -> None:
    stage.burst("Creek", 0, seen(1, LEFT), seen(2, RIGHT), photos=2)
    stage.photo("Creek", HOUR, seen(3))
    meet()
    both = [row(1, "A", box=LEFT), row(2, "A", box=RIGHT), row(3, "A")]
    done = import_names(db, both, actor="Ann")
    # The first stays what it is and gets the name; the second would be the same animal in the same photos.
    assert done.clashing == [Undecidable(2, ("A",))]
    assert list(who().values()) == ["A", SECOND, "A"]
    sound()
    right = [row(1, "A", box=LEFT), row(2, "B", box=RIGHT), row(3, "B")]
    assert import_names(db, right, actor="Ann").clashing == []
    assert list(who().values()) == ["A", "B", "B"]
    sound()


def test_animals_may_change_places_in_a_photo(
    db: Database, stage: Any, seen: Any, meet: Ask, who: Ask, sound: Ask
) -> None:
    stage.photo("Creek", 0, seen(1, LEFT), seen(2, RIGHT))
    meet()
    swapped = [row(1, SECOND, box=LEFT), row(1, FIRST, box=RIGHT)]
    assert import_names(db, swapped, actor="Ann").moved == 2
    assert list(who().values()) == [SECOND, FIRST]
    sound()


def test_identities_that_are_the_next_friendly_names(
    db: Database, stage: Any, seen: Any, meet: Ask, who: Ask
) -> None:
    """A list from another catalogue of deertrack: its names are those that the next new ones here would get."""
    for visit in range(2):
        stage.photo("Creek", visit * HOUR, seen(1, likeness=1))
        stage.photo("Pond", visit * HOUR, seen(1, likeness=0.74))
    meet()
    names = [friendly_name(n) for n in (4, 3, 2)]
    import_names(db, [row(1, FIRST), row(2, names[0], "Pond"), row(4, names[1], "Pond")], actor="Ann")
    assert sorted(filter(None, who().values())) == sorted([FIRST, FIRST, names[0], names[1]])


def test_a_list_that_cannot_be_used(db: Database, stage: Any, seen: Any, meet: Ask, one: Ask) -> None:
    stage.photo("Creek", 0, seen(1))
    stage.photo("Creek", HOUR, seen(2))
    meet()
    with pytest.raises(InputError, match="names no photo of this catalogue"):
        import_names(db, [row(99, "A")], actor="Ann")
    with pytest.raises(InputError, match=r"cannot be names: '12', 'xxx") as caught:
        import_names(db, [row(1, "12"), row(2, "x" * 81)], actor="Ann")
    assert "N12" in caught.value.hint
    assert one("SELECT count(*) FROM events") == 0


# -- who it is not --------------------------------------------------------------------------------------------


def test_who_was_rejected_is_never_suggested_or_decided_again(
    db: Database, stage: Any, seen: Any, matcher: Matcher, meet: Any, rows: Ask
) -> None:
    stage.photo("Creek", 0, seen(1, likeness=1))
    stage.photo("Creek", HOUR, seen(1, likeness=0.99))
    assert identify(db, alone(matcher)).matched == 1
    (first,) = rows("SELECT * FROM deer")
    done = reject(db, 2, first["name"], actor="ranger")
    assert (done.recorded, done.waits, done.consequences.retired) == (True, True, [])
    assert rows("SELECT sighting_count FROM deer") == [{"sighting_count": 1}]
    (left,) = waiting(db).sightings
    assert (left.id, left.candidates) == (2, ())
    assert reject(db, 2, first["name"], actor="ranger").recorded is False

    with db.transaction() as connection:
        connection.execute("UPDATE sightings SET state = 'undecided' WHERE id = 2")
    assert identify(db, alone(matcher)).new == 1, "it is none of the others"
    last = rows("SELECT actor, outcome, candidates FROM decisions WHERE sighting_id = 2 ORDER BY id")
    assert [(d["actor"], d["outcome"]) for d in last] == [
        ("machine", "assign"),
        ("ranger", "review"),
        ("machine", "new"),
    ]
    assert last[-1]["candidates"] == []
    assert examine(db).passed


def test_a_rejection_is_taken_back_by_saying_so(
    db: Database, stage: Any, seen: Any, matcher: Matcher, meet: Any, rows: Ask
) -> None:
    stage.photo("Creek", 0, seen(1, likeness=1))
    stage.photo("Creek", HOUR, seen(1, likeness=0.75))
    assert identify(db, alone(matcher)).review == 1
    assert reject(db, 2, "1", actor="ranger").waits
    assert assign(db, 2, "1", actor="warden").recorded
    assert rows("SELECT * FROM rejections") == []
    assert rows("SELECT sighting_count FROM deer") == [{"sighting_count": 2}]


def test_an_individual_that_loses_its_only_sighting_to_a_rejection_is_retired(
    db: Database, stage: Any, seen: Any, matcher: Matcher, meet: Any
) -> None:
    stage.photo("Creek", 0, seen(1))
    identify(db, alone(matcher))
    done = reject(db, 1, "1", actor="ranger")
    assert len(done.consequences.retired) == 1
    assert examine(db).passed


@pytest.mark.parametrize("sighting", [1, 99])
def test_a_rejection_of_nobody_is_refused(
    db: Database, stage: Any, seen: Any, matcher: Matcher, meet: Any, sighting: int
) -> None:
    stage.photo("Creek", 0, seen(1))
    identify(db, alone(matcher))
    with pytest.raises(NotFoundError):
        reject(db, sighting, "No Such Deer", actor="ranger")


def test_nobody_waits_long_for_a_machine_that_takes_long(
    db: Database, stage: Any, seen: Any, meet: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.burst("Creek", 0, seen(1))
    meet()
    monkeypatch.setattr("deertrack.services.editing._PATIENCE", 1)
    with db.transaction() as busy:
        sightings.lock_deciding(busy)
        with pytest.raises(DatabaseError, match="the catalogue is busy"):
            assign_new(db, 1, actor="Ann")
    assert assign_new(db, 1, actor="Ann", name="Kudu").recorded
