"""Which records are suggested to be one, or to be two."""

import time
from typing import Any

import numpy as np
import pytest

from deertrack.domain.calibration import Calibration
from deertrack.domain.records import Box
from deertrack.domain.suggestions import likely_pairs, split_in_two
from deertrack.services.history import undo
from deertrack.services.identify import Matcher, alone, identify
from deertrack.services.individuals import describe
from deertrack.services.moves import keep_apart, merge, move
from deertrack.services.suggestions import Suggesting, Suggestions, suggest
from deertrack.storage import catalogue
from deertrack.storage.db import Database


@pytest.fixture
def herd(stage: Any, matcher: Matcher, seen: Any, db: Database) -> Database:
    """Animal 1 has two records (1 and 3), record 2 is a mixture of animals 2 and 4, two sightings each."""
    with db.transaction() as connection:
        catalogue.put_setting(connection, catalogue.ACTIVE_VERSION, stage.registered.version.name)
    for i, animal in enumerate([1, 2, 2, 5, 4, 4, 1]):
        stage.burst("Creek", 7_200 * i, seen(animal))
        identify(db, alone(matcher))
    move(db, [7], None, name="Double", actor="anna")
    move(db, [5, 6], "2", actor="anna")
    with db.transaction() as connection:  # the machine's own mistake, not a person's
        connection.execute(
            "INSERT INTO decisions (sighting_id, outcome, deer_id, version, fingerprints, policy, candidates) "
            "SELECT id, 'assign', deer_id, %s, '{}', '{}', '[]' FROM sightings WHERE deer_id = 2",
            [stage.registered.version.name],
        )
    return db


def pairs(found: Suggestions) -> list[set[str]]:
    return [{m.one.name, m.other.name} for m in found.merges]


def test_two_records_of_one_animal_and_one_of_two_are_found(herd: Database, matcher: Matcher) -> None:
    found = suggest(herd, alone(matcher))
    assert [m.probability > 0.9 for m in found.merges] == [True]
    assert "Double" in pairs(found)[0]
    (mixture,) = found.mixtures
    assert mixture.record.number == 2
    assert {frozenset(part) for part in mixture.parts} == {frozenset({2, 3}), frozenset({5, 6})}


def test_who_is_said_to_be_two_is_suggested_no_more(herd: Database, matcher: Matcher) -> None:
    keep_apart(herd, "Double", "1", actor="anna")
    assert suggest(herd, alone(matcher)).merges == ()


def test_nor_are_a_bull_and_a_ewe_or_who_was_merged_or_retired(herd: Database, matcher: Matcher) -> None:
    describe(herd, "Double", {"sex": "male"}, actor="anna")
    describe(herd, "1", {"sex": "female"}, actor="anna")
    assert suggest(herd, alone(matcher)).merges == ()
    describe(herd, "1", {"sex": "", "status": "retired"}, actor="anna")
    assert suggest(herd, alone(matcher)).merges == ()
    describe(herd, "1", {"status": "active"}, actor="anna")
    assert len(suggest(herd, alone(matcher)).merges) == 1
    merge(herd, "Double", "1", actor="anna")
    assert suggest(herd, alone(matcher)).merges == ()


def test_who_shares_a_photo_is_two(stage: Any, matcher: Matcher, seen: Any, db: Database) -> None:
    with db.transaction() as connection:
        catalogue.put_setting(connection, catalogue.ACTIVE_VERSION, stage.registered.version.name)
    stage.photo("Creek", 0, seen(1), seen(1, box=Box(0.6, 0.2, 0.3, 0.5)))
    identify(db, alone(matcher))
    move(db, [1], None, actor="anna")
    move(db, [2], None, actor="anna")
    assert suggest(db, alone(matcher)).merges == ()


def test_where_they_take_long_the_former_ones_are_shown_meanwhile(
    herd: Database, matcher: Matcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    suggesting = Suggesting(herd)
    first = suggesting.now(alone(matcher), last_edit=2)
    apart = keep_apart(herd, "Double", "1", actor="anna")
    assert suggesting.now(alone(matcher), last_edit=2) is first  # nobody said that anything changed
    assert suggesting.now(alone(matcher), last_edit=3).merges == ()
    undo(herd, apart or 0, actor="anna")
    monkeypatch.setattr("deertrack.services.suggestions._QUICK", 0)
    assert suggesting.now(alone(matcher), last_edit=4).merges == ()
    end = time.monotonic() + 20
    while not suggesting.now(alone(matcher), last_edit=4).merges:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_an_empty_herd_has_nothing_to_suggest(db: Database, stage: Any, matcher: Matcher) -> None:
    assert suggest(db, alone(matcher)) == Suggestions((), ())


def test_pairs_in_blocks_are_those_of_one_matrix() -> None:
    rng = np.random.default_rng(0)
    looks = rng.normal(size=(2_345, 512)).astype(np.float32)
    looks[2_000] = looks[7] + 0.1 * rng.normal(size=512)
    looks[1_500] = looks[1_499]
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)
    curve = Calibration((0.3, 0.95), (-8.0, 9.0))
    found = likely_pairs(looks, curve, unmet=1)
    assert [(p.first, p.second) for p in found] == [(7, 2_000), (1_499, 1_500)]  # the curve ends: as likely
    assert [p.first for p in likely_pairs(looks, curve, unmet=1, apart={(7, 2_000)})] == [1_499]
    assert likely_pairs(looks[:1], curve, unmet=1) == []


def test_a_split_needs_two_sightings_on_either_side() -> None:
    curve = Calibration((0.3, 0.95), (-8.0, 9.0))
    one, other = np.eye(8, dtype=np.float32)[:2]
    assert split_in_two(np.stack([one, one, one]), curve) is None
    assert split_in_two(np.stack([one, one, one, other]), curve) is None
    split = split_in_two(np.stack([one, other, one, other, one]), curve)
    assert split is not None
    assert (split.first, split.second) == ((0, 2, 4), (1, 3))
    assert split.probability > 0.99
