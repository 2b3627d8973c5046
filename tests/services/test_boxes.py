"""Boxes that people mend: what becomes of sightings and individuals, what the machine makes of them, and undo."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from deertrack.domain.errors import InputError, NotFoundError
from deertrack.domain.records import Box, Sex
from deertrack.services import boxes
from deertrack.services.checks import examine
from deertrack.services.history import undo
from deertrack.services.identify import Matcher, alone, identify
from deertrack.services.individuals import overview
from deertrack.services.review import assign_new
from deertrack.storage import catalogue, embeddings, sightings
from deertrack.storage.db import Database

Ask = Callable[..., Any]
ELSEWHERE = Box(0.4, 0.1, 0.2, 0.3)


@pytest.fixture
def meet(db: Database, matcher: Matcher) -> Callable[[], None]:
    """Let the machine decide about what the cameras saw."""
    with db.transaction() as connection:
        catalogue.put_setting(connection, catalogue.ACTIVE_VERSION, matcher.registered.version.name)
    return lambda: identify(db, alone(matcher)) and None


@pytest.fixture
def sound(db: Database) -> Callable[[], None]:
    """Insist that the catalogue is what it should be."""

    def check() -> None:
        assert {r.name: r.findings for r in examine(db).results if not r.passed} == {}

    return check


@pytest.fixture
def embed(db: Database, stage: Any) -> Callable[[int, int], None]:
    """Give a new box the looks of an animal, as the embedder would."""

    def put(detection: int, animal: int) -> None:
        looks = np.stack([stage.looks(animal, 0.99)])
        with db.transaction() as connection:
            outputs = dict.fromkeys(stage.registered.models, looks)
            embeddings.store_vectors(connection, stage.registered, [detection], outputs)

    return put


@pytest.fixture
def now(rows: Ask) -> Callable[[int], dict[str, Any]]:
    """A detection as it is."""

    def ask(detection: int) -> dict[str, Any]:
        (row,) = rows(
            "SELECT d.rejected, d.sighting_id, d.drawn_by, d.sex, d.flank, g.state, g.deer_id, "
            "g.sex AS sighting_sex FROM detections d LEFT JOIN sightings g ON g.id = d.sighting_id WHERE d.id = %s",
            detection,
        )
        return dict(row)

    return ask


def boxes_in(db: Database, image: int) -> list[int]:
    return [box.id for box in boxes.show_photo(db, image)[1] if not box.rejected]


def test_a_rejected_box_leaves_its_sighting_and_the_rest_of_it_stays(
    db: Database, stage: Any, seen: Any, meet: Any, now: Any, sound: Any, one: Ask
) -> None:
    first, _second = stage.burst("Creek", 0, seen(1))
    meet()
    (box,) = boxes_in(db, first)
    before = now(box)
    done = boxes.reject(db, box, actor="ann")
    assert not done.waits
    assert now(box) == before | {"rejected": True, "sighting_id": None} | dict.fromkeys(
        ("state", "deer_id", "sighting_sex")
    )
    assert one("SELECT state FROM sightings") == "assigned"
    assert one("SELECT count(*) FROM detections WHERE sighting_id IS NOT NULL") == 1
    assert overview(db).totals["detections"] == 1
    sound()
    assert boxes.reject(db, box, actor="ben").edit is None  # said before
    undo(db, done.edit, actor="ann")
    assert now(box) == before
    sound()


def test_a_sighting_without_boxes_shows_no_animal_and_its_individual_retires(
    db: Database, stage: Any, seen: Any, meet: Any, now: Any, sound: Any, one: Ask, rows: Ask
) -> None:
    image = stage.photo("Creek", 0, seen(1))
    meet()
    (box,) = boxes_in(db, image)
    before = now(box)
    done = boxes.reject(db, box, actor="ann")
    assert rows("SELECT state, deer_id FROM sightings") == [{"state": "no animal", "deer_id": None}]
    assert one("SELECT status FROM deer") == "retired"
    assert done.consequences.retired == [one("SELECT name FROM deer")]
    sound()
    meet()  # the machine leaves it alone
    assert now(box)["sighting_id"] is None
    with db.transaction() as connection:
        assert sightings.stations_to_group(connection) == []
        assert embeddings.count_pending(connection, [999]) == (0, 0)
    undo(db, done.edit, actor="ann")
    assert now(box) == before
    assert one("SELECT status FROM deer") == "active"
    sound()


def test_a_restored_box_is_looked_at_like_a_new_one(
    db: Database, stage: Any, seen: Any, meet: Any, now: Any, sound: Any
) -> None:
    first, _ = stage.burst("Creek", 0, seen(1))
    meet()
    (box,) = boxes_in(db, first)
    was = now(box)["sighting_id"]
    boxes.reject(db, box, actor="ann")
    assert boxes.restore(db, box, actor="ann").waits
    assert boxes.restore(db, box, actor="ann").edit is None
    meet()
    assert now(box)["sighting_id"] == was  # the same animal in the same encounter
    sound()


def test_a_mended_box_is_a_new_detection_in_the_same_sighting(
    db: Database, stage: Any, seen: Any, meet: Any, now: Any, sound: Any, embed: Any, one: Ask
) -> None:
    image = stage.photo("Creek", 0, seen(1))
    meet()
    (box,) = boxes_in(db, image)
    with db.transaction() as connection:
        connection.execute("UPDATE detections SET sex = 'male', flank = 'left'")
    assign_new(db, now(box)["sighting_id"], actor="ann", name="Birch")
    before = now(box)
    done = boxes.move(db, box, ELSEWHERE, actor="ann")
    assert done.waits
    assert done.detection_id != box
    assert now(done.detection_id) == before | {"drawn_by": "ann"}  # who it is, stays
    assert now(box)["rejected"]
    assert one("SELECT count(*) FROM deer WHERE status = 'active'") == 1
    embed(done.detection_id, 1)
    meet()
    sound()
    assert one("SELECT profile_detection_id FROM deer") == done.detection_id
    with pytest.raises(InputError, match="rejected"):
        boxes.move(db, box, ELSEWHERE, actor="ann")
    with pytest.raises(InputError, match="this box already"):
        boxes.move(db, done.detection_id, boxes.show_box(db, box).box, actor="ann")
    assert boxes.move(db, done.detection_id, ELSEWHERE, actor="ann").edit is None
    undo(db, done.edit, actor="ben")
    assert now(box) == before
    assert now(done.detection_id)["rejected"]
    sound()


def test_a_drawn_box_waits_for_the_machine_and_becomes_a_sighting(
    db: Database, stage: Any, seen: Any, meet: Any, now: Any, sound: Any, embed: Any
) -> None:
    image = stage.photo("Creek", 0, seen(1))
    meet()
    done = boxes.add(db, image, ELSEWHERE, sex=Sex.FEMALE, flank="right", actor="ann")
    assert done.waits
    meet()
    assert now(done.detection_id)["sighting_id"] is None  # it has no vectors yet
    embed(done.detection_id, 2)
    meet()
    found = now(done.detection_id)
    assert (found["state"], found["sighting_sex"], found["flank"]) == ("assigned", "female", "right")
    assert found["deer_id"] != now(boxes_in(db, image)[0])["deer_id"]
    sound()
    undo(db, done.edit, actor="ann")
    assert now(done.detection_id)["rejected"]
    sound()
    with pytest.raises(InputError, match="this box already"):
        boxes.add(db, image, ELSEWHERE, actor="ann")


def test_what_a_person_says_of_a_box_reaches_its_sighting_and_individual(
    db: Database, stage: Any, seen: Any, meet: Any, now: Any, one: Ask, rows: Ask
) -> None:
    image = stage.photo("Creek", 0, seen(1))
    meet()
    (box,) = boxes_in(db, image)
    done = boxes.describe(db, box, sex=Sex.MALE, flank="left", actor="ann")
    assert (now(box)["sex"], now(box)["flank"], now(box)["sighting_sex"]) == ("male", "left", "male")
    assert one("SELECT sex FROM deer") == "male"
    kinds = rows("SELECT kind, actor FROM events WHERE subject = %s", f"detection:{box}")
    assert kinds == [{"kind": "describe box", "actor": "ann"}]
    assert boxes.describe(db, box, flank="left", actor="ann").edit is None
    undo(db, done.edit, actor="ann")
    assert (now(box)["sex"], now(box)["flank"], now(box)["sighting_sex"]) == ("unknown", "unknown", "unknown")
    assert one("SELECT sex FROM deer") == "unknown"
    with pytest.raises(InputError, match="flank"):
        boxes.describe(db, box, flank="back", actor="ann")


def test_what_a_person_said_of_a_sighting_outranks_its_boxes(
    db: Database, stage: Any, seen: Any, meet: Any, now: Any
) -> None:
    image = stage.photo("Creek", 0, seen(1))
    meet()
    (box,) = boxes_in(db, image)
    with db.transaction() as connection:
        connection.execute("UPDATE sightings SET sex = 'female', sex_said = true")
    boxes.describe(db, box, sex=Sex.MALE, actor="ann")
    assert now(box)["sighting_sex"] == "female"


def test_what_is_not_there_is_said(db: Database, stage: Any, seen: Any, meet: Any) -> None:
    image = stage.photo("Creek", 0, seen(1))
    meet()
    for wrong in (
        lambda: boxes.show_photo(db, image + 1),
        lambda: boxes.add(db, image + 1, ELSEWHERE, actor="ann"),
        lambda: boxes.reject(db, 99, actor="ann"),
    ):
        with pytest.raises(NotFoundError):
            wrong()
    with pytest.raises(InputError, match="signed 'machine'"):
        boxes.reject(db, boxes_in(db, image)[0], actor="machine")
