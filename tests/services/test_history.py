"""Merge, split, describe – and undo, at once and after other changes, held against the whole catalogue."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from deertrack.domain.errors import ConflictError, InputError, NotFoundError
from deertrack.domain.records import Sex
from deertrack.services.checks import examine
from deertrack.services.history import list_edits, undo
from deertrack.services.identify import Matcher, alone, identify
from deertrack.services.individuals import describe, meetings, page_of_individuals, portray
from deertrack.services.moves import keep_apart, merge, move
from deertrack.services.review import assign, assign_new, reject, unidentifiable
from deertrack.storage import catalogue, reviews
from deertrack.storage.db import Database

Rows = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def herd(stage: Any, matcher: Matcher, seen: Any, db: Database) -> Database:
    """Individuals 1, 2 and 3 with three, two and one sightings; sighting 7 waits."""
    with db.transaction() as connection:
        catalogue.put_setting(connection, catalogue.ACTIVE_VERSION, stage.registered.version.name)
    for i, animal in enumerate([1, 1, 1, 2, 2, 3]):
        stage.burst("Creek" if i % 2 else "Ridge", 7_200 * i, seen(animal))
        identify(db, alone(matcher))
    stage.burst("Creek", 100_000, seen(9, likeness=0.5))
    identify(db, alone(matcher))
    with db.transaction() as connection:  # one that waits, whatever the machine thinks
        connection.execute("UPDATE sightings SET state = 'review', deer_id = NULL WHERE id = 7")
        reviews.refresh_individuals(
            connection, [row["id"] for row in connection.execute("SELECT id FROM deer")]
        )
    return db


@pytest.fixture
def state(rows: Rows) -> Callable[[], dict[str, Any]]:
    """All that people can change, and what follows from it, with a profile of the version that decides."""

    def ask() -> dict[str, Any]:
        return {
            "sightings": rows("SELECT id, state, deer_id, sex, sex_said FROM sightings ORDER BY id"),
            "last": rows(
                "SELECT DISTINCT ON (sighting_id) sighting_id, outcome, deer_id, actor FROM decisions "
                "ORDER BY sighting_id, id DESC"
            ),
            "rejections": rows("SELECT sighting_id, deer_id FROM rejections ORDER BY 1, 2"),
            "deer": rows(
                "SELECT number, name, notes, sex, sex_said, age_class, aliases, status, merged_into, "
                "sighting_count, profile_detection_id, left(md5(feature_vector_multiscale::text), 8) AS looks "
                "FROM deer WHERE number < 5 ORDER BY number"
            ),
        }

    return ask


def owners(rows: Rows) -> dict[int, Any]:
    found = rows("SELECT g.id, r.number FROM sightings g LEFT JOIN deer r ON r.id = g.deer_id ORDER BY g.id")
    return {row["id"]: row["number"] for row in found}


CHANGES: dict[str, Callable[[Database], Any]] = {
    "assign": lambda db: assign(db, 7, "2", actor="anna").edit,
    "assign elsewhere": lambda db: assign(db, 6, "1", actor="anna").edit,
    "confirm": lambda db: assign(db, 1, "1", actor="anna").edit,
    "new": lambda db: assign_new(db, 7, actor="anna", name="Kudu").edit,
    "new name only": lambda db: assign_new(db, 1, actor="anna", name="Alpha").edit,
    "reject": lambda db: reject(db, 2, "1", actor="anna").edit,
    "reject in advance": lambda db: reject(db, 7, "1", actor="anna").edit,
    "unidentifiable": lambda db: unidentifiable(db, 7, actor="anna"),
    "unidentifiable after all": lambda db: unidentifiable(db, 4, actor="anna"),
    "merge": lambda db: merge(db, "2", "1", actor="anna").edit,
    "move": lambda db: move(db, [1, 2], "3", actor="anna").edit,
    "move all": lambda db: move(db, [4, 5], "3", actor="anna").edit,
    "split": lambda db: move(db, [2, 3], None, name="Half", actor="anna").edit,
    "describe": lambda db: describe(
        db,
        "1",
        {"name": "Ada", "notes": "torn ear", "sex": "female", "age_class": "adult", "aliases": ["Old one"]},
        actor="anna",
    ),
    "retire": lambda db: describe(db, "1", {"status": "retired"}, actor="anna"),
    "keep apart": lambda db: keep_apart(db, "1", "2", actor="anna"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_undo_brings_everything_back_and_undoing_the_undo_the_change(
    change: str, herd: Database, state: Callable[[], dict[str, Any]]
) -> None:
    before = state()
    edit = CHANGES[change](herd)
    after = state()
    assert after != before
    preview = undo(herd, edit, actor="ben", dry_run=True)
    assert (preview.edit, state()) == (None, after)
    undone = undo(herd, edit, actor="ben")
    assert not undone.kept
    restored = state()
    made = [deer for deer in restored["deer"] if deer["number"] > 3 and deer not in before["deer"]]
    assert all(deer["status"] == "retired" for deer in made)  # nobody is deleted
    assert {**restored, "deer": restored["deer"][: len(before["deer"])]} == before
    assert undone.edit is not None
    undo(herd, undone.edit, actor="anna")
    assert state() == after
    with pytest.raises(InputError, match="undone already"):
        undo(herd, edit, actor="ben")


def test_a_merge_is_undone_as_far_as_nobody_changed_it_since(herd: Database, rows: Rows) -> None:
    merged = merge(herd, "2", "1", actor="anna")
    assert (merged.sightings, merged.to) == (2, (1, portray(herd, "1").individual.name))
    assert portray(herd, "2").individual.merged_into == 1
    moved = move(herd, [5], "3", actor="ben")
    assign(herd, 7, "1", actor="ben")
    describe(herd, "1", {"name": "Ada"}, actor="ben")
    undone = undo(herd, merged.edit or 0, actor="anna")
    assert owners(rows) == {1: 1, 2: 1, 3: 1, 4: 2, 5: 3, 6: 3, 7: 1}
    assert [kept.edit for kept in undone.kept] == [moved.edit]
    assert "ben changed sighting 5 since" in undone.kept[0].text
    two = portray(herd, "2").individual
    assert (two.status, two.merged_into, two.sighting_count) == ("active", None, 1)
    assert portray(herd, "Ada").individual.number == 1


def test_an_undo_that_makes_no_sense_any_more_says_why_and_changes_nothing(
    herd: Database, state: Callable[[], dict[str, Any]]
) -> None:
    first = assign(herd, 7, "2", actor="anna")
    second = merge(herd, "2", "1", actor="ben")
    before = state()
    with pytest.raises(InputError, match="makes no sense any more: ben changed sighting 7") as caught:
        undo(herd, first.edit or 0, actor="anna")
    assert f"Undo change {second.edit} first" in caught.value.hint
    assert state() == before
    undo(herd, second.edit or 0, actor="ben")
    undo(herd, first.edit or 0, actor="anna")
    with pytest.raises(NotFoundError):
        undo(herd, 999, actor="anna")


def test_a_name_that_was_given_away_does_not_come_back(herd: Database) -> None:
    old = portray(herd, "1").individual.name
    edit = describe(herd, "1", {"name": "Ada"}, actor="anna")
    describe(herd, "2", {"name": old}, actor="ben")
    with pytest.raises(InputError, match="belongs to another individual now"):
        undo(herd, edit or 0, actor="anna")


def test_two_in_one_photo_are_never_made_one(herd: Database, rows: Rows) -> None:
    photo = rows("SELECT image_id FROM detections WHERE sighting_id = 1")[0]["image_id"]
    with herd.transaction() as connection:  # sighting 4 was beside sighting 1
        connection.execute(
            "UPDATE detections SET image_id = %s, bbox_x = 0.6 WHERE id = "
            "(SELECT min(id) FROM detections WHERE sighting_id = 4)",
            [photo],
        )
    for refused in (
        lambda: merge(herd, "2", "1", actor="anna"),
        lambda: move(herd, [4], "1", actor="anna"),
        lambda: move(herd, [1, 4], None, actor="anna"),
    ):
        with pytest.raises(InputError, match="two animals"):
            refused()
    assert owners(rows)[4] == 2


def test_a_preview_is_honoured_only_while_nothing_changed(herd: Database, rows: Rows) -> None:
    preview = merge(herd, "2", "1", actor="anna", dry_run=True)
    assert (preview.edit, owners(rows)[4]) == (None, 2)
    assign(herd, 4, "3", actor="ben")
    with pytest.raises(ConflictError, match="since the preview"):
        merge(herd, "2", "1", actor="anna", expected=preview.expected)
    again = merge(herd, "2", "1", actor="anna", dry_run=True)
    assert merge(herd, "2", "1", actor="anna", expected=again.expected).sightings == 1


def test_what_cannot_be_merged_or_moved_is_refused(herd: Database) -> None:
    for refused in (
        lambda: merge(herd, "1", "1", actor="anna"),
        lambda: move(herd, [], "1", actor="anna"),
        lambda: move(herd, [1], None, name="7", actor="anna"),
        lambda: describe(herd, "1", {"sex": "bull"}, actor="anna"),
        lambda: describe(herd, "1", {"status": "merged"}, actor="anna"),
        lambda: describe(herd, "1", {"number": 9}, actor="anna"),
    ):
        with pytest.raises(InputError):
            refused()
    merge(herd, "2", "1", actor="anna")
    for refused in (
        lambda: merge(herd, "2", "3", actor="anna"),
        lambda: move(herd, [6], "2", actor="anna"),
        lambda: describe(herd, "2", {"notes": "gone"}, actor="anna"),
    ):
        with pytest.raises(InputError, match="merged"):
            refused()
    with pytest.raises(NotFoundError):
        move(herd, [1, 99], "1", actor="anna")


def test_who_was_said_not_to_be_the_one_is_not_the_other_either(herd: Database, rows: Rows) -> None:
    reject(herd, 7, "2", actor="anna")
    merge(herd, "2", "1", actor="anna")
    ruled_out = rows(
        "SELECT r.number FROM rejections j JOIN deer r ON r.id = j.deer_id WHERE sighting_id = 7"
    )
    assert sorted(row["number"] for row in ruled_out) == [1, 2]


def test_the_second_of_two_reviewers_learns_what_the_first_did(herd: Database) -> None:
    with herd.transaction() as connection:
        revision = reviews.standings(connection, [7])[0].revision
    assign(herd, 7, "2", actor="anna", expected=revision)
    with pytest.raises(ConflictError, match="anna decided about sighting 7") as caught:
        assign_new(herd, 7, actor="ben", expected=revision)
    assert caught.value.current["number"] == 2


def test_a_sex_that_a_person_said_outranks_what_sightings_show(herd: Database, rows: Rows) -> None:
    with herd.transaction() as connection:
        connection.execute("UPDATE sightings SET sex = 'male' WHERE deer_id = 1")
    describe(herd, "1", {"sex": "female"}, actor="anna")
    assign(herd, 7, "1", actor="anna")
    assert portray(herd, "1").individual.sex == "female"
    describe(herd, "1", {"sex": ""}, actor="anna")
    assert portray(herd, "1").individual.sex == "male"


def test_pages_find_individuals_by_name_alias_number_station_and_sex(herd: Database) -> None:
    describe(herd, "2", {"aliases": ["Limpy 50%"], "sex": "male"}, actor="anna")

    def numbers(**asked: Any) -> list[int]:
        return [listed.number for listed in page_of_individuals(herd, **asked).individuals]

    assert numbers() == [1, 2, 3]
    assert numbers(search="limpy 50%") == [2]
    assert numbers(search="%") == [2]
    assert numbers(search="3") == [3]
    assert numbers(sex=Sex.MALE) == [2]
    assert numbers(station="Creek", order="number") == [1, 2, 3]
    assert numbers(order="last_seen", limit=1) == [3]
    page = page_of_individuals(herd, limit=1, offset=1)
    assert (page.total, page.individuals[0].number) == (3, 2)
    met = meetings(herd, "limpy 50%")
    assert (met.total, [len(m.photos) for m in met.sightings]) == (2, [2, 2])
    drawn = portray(herd, "1")
    assert (sum(drawn.hours), sum(drawn.months), len(drawn.instants)) == (3, 3, 3)


def test_the_history_tells_in_words_what_happened(herd: Database) -> None:
    name = {n: portray(herd, str(n)).individual.name for n in (1, 2, 3)}
    assign(herd, 7, "2", actor="anna")
    merge(herd, "2", "1", actor="ben")
    told = list_edits(herd)
    assert told.total == 2
    assert told.entries[0].text == f"{name[2]} is {name[1]}: 3 sightings merged"
    assert told.entries[1].text == f"sighting 7 is {name[2]}"
    assert list_edits(herd, individual="3").total == 0
    assert [e.edit.actor for e in list_edits(herd, sighting=7).entries] == ["ben", "anna"]
    assert list_edits(herd, actor="ben").total == 1


@pytest.mark.parametrize("seed", range(6))
def test_whatever_was_done_undone_backwards_leaves_no_trace(
    seed: int, herd: Database, state: Callable[[], dict[str, Any]]
) -> None:
    rng = random.Random(seed)
    number, sighting = lambda: str(rng.randint(1, 6)), lambda: rng.randint(1, 7)
    changes: list[Callable[[], Any]] = [
        lambda: assign(herd, sighting(), number(), actor="anna").edit,
        lambda: assign_new(herd, sighting(), actor="ben").edit,
        lambda: reject(herd, sighting(), number(), actor="anna").edit,
        lambda: unidentifiable(herd, sighting(), actor="ben"),
        lambda: merge(herd, number(), number(), actor="anna").edit,
        lambda: move(herd, [sighting(), sighting()], rng.choice([None, number()]), actor="ben").edit,
        lambda: keep_apart(herd, number(), number(), actor="anna"),
        lambda: describe(herd, number(), {"status": rng.choice(["active", "retired"])}, actor="ben"),
        lambda: describe(herd, number(), {"sex": rng.choice(["male", "female", ""])}, actor="ben"),
        lambda: describe(herd, number(), {"name": f"Name {rng.random():.6f}"}, actor="ben"),
    ]
    before, done = state(), []
    for _ in range(14):
        try:
            done.append(rng.choice(changes)())
        except (InputError, NotFoundError):
            continue  # what cannot be is refused, and changes nothing
    for edit in reversed([edit for edit in done if edit is not None]):
        assert undo(herd, edit, actor="carla").kept == ()
    after = state()
    known = len(before["deer"])
    assert {**after, "deer": after["deer"][:known]} == before
    assert {deer["status"] for deer in after["deer"][known:]} <= {"retired"}
    assert [result.name for result in examine(herd).results if not result.passed] == []
