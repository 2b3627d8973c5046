"""A/B tests, the environment's flag, thresholds: which version decides about an encounter."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from deertrack.domain.decision import Policy
from deertrack.domain.embedding import DIMENSIONS, EmbeddingVersion, Output
from deertrack.domain.errors import InputError, VersionChangedError
from deertrack.domain.fusion import Weights
from deertrack.domain.trial import Arm, arm_of
from deertrack.services.identify import Deciders, Matcher, alone, identify
from deertrack.services.lifecycle.cutover import cut_over, roll_back
from deertrack.services.versions import Choice, Tuning, choose, describe, get_tuning
from deertrack.storage import catalogue, embeddings
from deertrack.storage.db import Database
from deertrack.storage.embeddings import RegisteredVersion

Ask = Callable[..., Any]
HOUR = 3600


@pytest.fixture
def single(db: Database) -> RegisteredVersion:
    """A single-layer version of another pack than the stage's."""
    version = EmbeddingVersion("v1_old", 1, "old", {Output.SINGLE: "f" * 64})
    with db.transaction() as connection:
        return embeddings.register_version(connection, version)


@pytest.fixture
def old(matcher: Matcher, single: RegisteredVersion) -> Matcher:
    return replace(matcher, registered=single)


@pytest.fixture
def film(db: Database, stage: Any, old: Matcher) -> Callable[..., int]:
    """A photo whose detections have vectors of both packs, as a run under an A/B test makes them."""

    def shoot(station: str, seconds: float, *seen: Any) -> int:
        image_id: int = stage.photo(station, seconds, *seen)
        with db.transaction() as connection:
            ids = [
                row["id"]
                for row in connection.execute(
                    "SELECT id FROM detections WHERE image_id = %s ORDER BY id", [image_id]
                )
            ]
            looks = np.stack([stage.looks(s.animal, s.likeness) for s in seen])
            assert looks.shape[1] == DIMENSIONS
            embeddings.store_vectors(connection, old.registered, ids, {Output.SINGLE: looks})
        return image_id

    return shoot


@pytest.fixture
def herd(db: Database, film: Any, seen: Any, old: Matcher, matcher: Matcher) -> None:
    """Eight individuals met with the old version, re-embedded with the new one."""
    with db.transaction() as connection:
        catalogue.put_setting(connection, catalogue.ACTIVE_VERSION, "v1_old")
    for n in range(8):
        film("Creek", n * HOUR, seen(n))
    assert identify(db, alone(old)).new == 8


def begin(db: Database, matcher: Matcher, share: float, **tuning: Any) -> Any:
    return cut_over(
        db, matcher.registered, tuning=Tuning(**tuning), reason="test", actor="tester", share=share
    )


def deciders(db: Database, *matchers: Matcher, enhanced: bool | None = None) -> Deciders:
    with db.transaction() as connection:
        choice = choose(connection, enhanced)
    assert choice
    by_name = {m.registered.version.name: m for m in matchers}
    return Deciders(choice, tuple(by_name[name] for name in choice.versions), enhanced)


def decided(rows: Ask) -> dict[int, tuple[str, str]]:
    """Encounter → arm and version of its latest decision."""
    found = rows(
        "SELECT g.encounter_id, c.arm, c.version FROM decisions c JOIN sightings g ON g.id = c.sighting_id "
        "WHERE c.arm IS NOT NULL"
    )
    return {row["encounter_id"]: (row["arm"], row["version"]) for row in found}


@pytest.mark.usefixtures("herd")
def test_each_encounter_is_decided_whole_by_the_arm_that_its_hash_says(
    db: Database, film: Any, seen: Any, old: Matcher, matcher: Matcher, rows: Ask
) -> None:
    assert begin(db, matcher, 0.5).share == 0.5
    both = deciders(db, old, matcher)
    for n in range(40):
        film("Ridge", n * HOUR, seen(n % 8), replace(seen((n + 1) % 8), box=replace(seen(0).box, x=0.6)))
    assert identify(db, both).matched == 80
    arms = decided(rows)
    assert len(arms) == 40
    for encounter_id, (arm, version) in arms.items():
        assert arm == arm_of(encounter_id, test=both.choice.since, share=0.5)
        assert version == ("v3_stage" if arm == Arm.ENHANCED else "v1_old")
    assert 8 <= sum(arm == Arm.ENHANCED for arm, _ in arms.values()) <= 32
    took = [r["milliseconds"] for r in rows("SELECT milliseconds FROM decisions WHERE arm IS NOT NULL")]
    assert all(0 < ms < 5000 for ms in took)


@pytest.mark.usefixtures("herd")
def test_an_individual_met_in_one_arm_is_met_again_in_the_other(
    db: Database, film: Any, seen: Any, old: Matcher, matcher: Matcher, rows: Ask
) -> None:
    begin(db, matcher, 0.5)
    both = deciders(db, old, matcher)
    for n in range(24):  # six new animals, four times each, whichever arm they fall into
        film("Ridge", n * HOUR, seen(100 + n % 6))
    done = identify(db, both)
    assert (done.new, done.matched, done.unseen) == (6, 18, 0)
    assert len({arm for arm, _ in decided(rows).values()}) == 2
    assert {r["embedding_version"] for r in rows("SELECT embedding_version FROM deer")} == {"v3_stage"}


@pytest.mark.usefixtures("herd")
def test_an_ab_test_begins_ends_and_becomes_a_cut_over(
    db: Database, old: Matcher, matcher: Matcher, rows: Ask
) -> None:
    begin(db, matcher, 0.25, weights=Weights(0.7, 0.3))
    with db.transaction() as connection:
        choice = choose(connection, None)
        assert choice
        assert (choice.version, choice.challenger, choice.share) == ("v1_old", "v3_stage", 0.25)
        assert get_tuning(connection, "v3_stage").weights == Weights(0.7, 0.3)
        assert get_tuning(connection, "v1_old") == Tuning()
    assert roll_back(db, actor="tester").version == "v1_old"
    with db.transaction() as connection:
        assert choose(connection, None) == Choice("v1_old")
    begin(db, matcher, 0.5)
    assert begin(db, matcher, 0.1).share == 0.1, "another share is another test"
    assert begin(db, matcher, 1.0, threshold=0.4).before == "v1_old"
    with db.transaction() as connection:
        assert choose(connection, None) == Choice("v3_stage")
        assert get_tuning(connection, "v3_stage").threshold == 0.4
    begun = ["ab begun", "ab ended"]
    kinds = [r["kind"] for r in rows("SELECT kind FROM events WHERE subject LIKE 'version:%%' ORDER BY id")]
    assert kinds == [*begun, "roll back", *begun, *begun, "cut over"]
    assert roll_back(db, actor="tester").version == "v1_old"


@pytest.mark.usefixtures("herd")
def test_what_an_ab_test_refuses(db: Database, matcher: Matcher, old: Matcher) -> None:
    third = EmbeddingVersion("v3_third", 3, "third", {o: f"{i:064x}" for i, o in enumerate(Output, start=7)})
    with db.transaction() as connection:
        other = embeddings.register_version(connection, third)
    with pytest.raises(InputError, match="'v1_old' already"):
        begin(db, old, 0.5)
    with pytest.raises(InputError, match="share of the encounters"):
        begin(db, matcher, 0.0)
    begin(db, matcher, 0.5)
    with pytest.raises(InputError, match="A/B test of 'v3_stage' is under way"):
        begin(db, replace(matcher, registered=other), 1.0)
    begin(db, matcher, 1.0)
    with pytest.raises(InputError, match="same columns"):
        begin(db, replace(matcher, registered=other), 0.5)


@pytest.mark.usefixtures("herd")
def test_a_run_under_way_notices_that_an_ab_test_began(
    db: Database, film: Any, seen: Any, old: Matcher, matcher: Matcher
) -> None:
    before = deciders(db, old)
    begin(db, matcher, 0.5)
    film("Ridge", 0, seen(1))
    with pytest.raises(VersionChangedError, match="'v1_old and v3_stage' meanwhile"):
        identify(db, before)


def test_a_threshold_is_a_bar_for_automatic_matches_only(
    db: Database, stage: Any, seen: Any, matcher: Matcher, rows: Ask
) -> None:
    stage.photo("Creek", 0, seen(1, likeness=1))
    stage.photo("Creek", HOUR, seen(1, likeness=0.95))
    assert identify(db, alone(replace(matcher, policy=Policy(min_similarity=0.97)))).review == 1
    stage.photo("Creek", 2 * HOUR, seen(1, likeness=0.99))
    assert identify(db, alone(replace(matcher, policy=Policy(min_similarity=0.97)))).matched == 1
    assert {r["bar"] for r in rows("SELECT policy->>'min_similarity' AS bar FROM decisions")} == {"0.97"}


def test_a_fresh_catalogue_begins_with_whatever_version_is_chosen(
    db: Database, old: Matcher, matcher: Matcher
) -> None:
    with pytest.raises(InputError, match="nothing to compare with"):
        begin(db, old, 0.5)
    done = cut_over(db, old.registered, tuning=Tuning(), reason="", actor="tester")
    assert (done.version, done.before) == ("v1_old", None)
    assert chosen(db, None) == Choice("v1_old")
    with pytest.raises(InputError, match="nothing to roll back"):
        roll_back(db, actor="tester")


# -- USE_ENHANCED_REID --------------------------------------------------------------------------------------


def chosen(db: Database, enhanced: bool | None) -> Choice | None:
    with db.transaction() as connection:
        return choose(connection, enhanced)


@pytest.mark.usefixtures("herd")
def test_the_environments_flag_outranks_the_last_cut_over(db: Database, matcher: Matcher) -> None:
    assert chosen(db, False) == Choice("v1_old")
    with pytest.raises(InputError, match="USE_ENHANCED_REID=true, but no enhanced version"):
        chosen(db, True)
    begin(db, matcher, 0.5)
    assert chosen(db, True) == Choice("v3_stage", forced=True)
    assert chosen(db, False) == Choice("v1_old", forced=True)
    begin(db, matcher, 1.0)
    assert chosen(db, True) == chosen(db, None) == Choice("v3_stage")
    assert chosen(db, False) == Choice("v1_old", forced=True)
    roll_back(db, actor="tester")
    assert chosen(db, None) == Choice("v1_old")
    assert chosen(db, True) == Choice("v3_stage", forced=True)  # its vectors are still there


def test_the_flag_in_catalogues_without_such_a_version(db: Database, matcher: Matcher) -> None:
    assert describe(db, False) == "none yet"
    assert chosen(db, False) is None  # never ran: the first run decides
    with db.transaction() as connection:
        catalogue.put_setting(connection, catalogue.ACTIVE_VERSION, "v3_stage")
    assert chosen(db, True) == Choice("v3_stage")
    with pytest.raises(InputError, match="knows no single-layer version"):
        chosen(db, False)
    assert "runs stop here" in describe(db, False)


@pytest.mark.usefixtures("herd")
def test_what_status_says_of_who_decides(db: Database, matcher: Matcher) -> None:
    assert describe(db, None) == "v1_old"
    begin(db, matcher, 0.25)
    assert "v3_stage decides about 25% of the encounters" in describe(db, None)
    assert describe(db, True).startswith("v3_stage, because USE_ENHANCED_REID=true is set here")
    assert describe(db, False).startswith("v1_old, because USE_ENHANCED_REID=false is set here")
    begin(db, matcher, 1.0)
    assert describe(db, True) == "v3_stage (USE_ENHANCED_REID=true is set here and agrees)"


@pytest.mark.usefixtures("herd")
def test_the_flag_switches_the_search_back_to_the_old_column_at_once(
    db: Database, film: Any, seen: Any, old: Matcher, matcher: Matcher, rows: Ask
) -> None:
    """Spec, rollback scenario 1: flag off, restart, matched by the old vectors; nothing else changed."""
    begin(db, matcher, 1.0)
    film("Ridge", 0, seen(1))
    assert identify(db, deciders(db, old, matcher, enhanced=False)).matched == 1
    film("Ridge", HOUR, seen(2))
    assert identify(db, deciders(db, old, matcher)).matched == 1
    versions = [r["version"] for r in rows("SELECT version FROM decisions ORDER BY id DESC LIMIT 2")]
    assert versions == ["v3_stage", "v1_old"]
