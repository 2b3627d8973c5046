"""Looking into the catalogue, and giving individuals names."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deertrack.domain.errors import InputError, NotFoundError
from deertrack.domain.names import friendly_name
from deertrack.domain.records import Sex
from deertrack.services.identify import Matcher, alone, identify
from deertrack.services.individuals import list_individuals, overview, rename, show_individual
from deertrack.storage import catalogue
from deertrack.storage.db import Database

HOUR = 3600
NOON = datetime(2025, 10, 1, 12, tzinfo=UTC)


@pytest.fixture
def herd(db: Database, stage: Any, seen: Any, matcher: Matcher) -> None:
    """Three individuals; the first one comes twice, to two stations. One sighting waits."""
    with db.transaction() as connection:
        catalogue.put_setting(connection, catalogue.ACTIVE_VERSION, stage.registered.version.name)
    stage.burst("Creek", 0, seen(1, likeness=1, sex=Sex.FEMALE), photos=3)
    stage.photo("Creek", HOUR, seen(2))
    stage.photo("Pond", 2 * HOUR, seen(1, likeness=0.98))
    stage.photo("Creek", 3 * HOUR, seen(3))
    stage.photo("Pond", 4 * HOUR, seen(1, likeness=0.74))
    identify(db, alone(matcher))


@pytest.mark.usefixtures("herd")
def test_the_whole_at_a_glance(db: Database) -> None:
    seen = overview(db)
    assert seen.totals == {
        "photos": 7,
        "unreadable": 0,
        "detections": 7,
        "encounters": 5,
        "tracks": 5,
        "individuals": 3,
        "waiting": 1,
        "stations": 2,
    }
    assert (seen.problems, seen.drawn) == ([], False)


def test_an_empty_catalogue(db: Database) -> None:
    assert set(overview(db).totals.values()) == {0}
    assert overview(db).version is None
    assert list_individuals(db) == []


@pytest.mark.usefixtures("herd")
def test_the_list(db: Database) -> None:
    first, second, third = list_individuals(db)
    assert [d.name for d in (first, second, third)] == [friendly_name(n) for n in (1, 2, 3)]
    assert (first.sighting_count, first.photos, first.sex, first.stations) == (
        2,
        4,
        "female",
        ("Creek", "Pond"),
    )
    assert (first.first_seen, first.last_seen) == (NOON, NOON + timedelta(hours=2))
    assert list_individuals(db, status="retired") == []
    assert list_individuals(db, status="all") == [first, second, third]


@pytest.mark.usefixtures("herd")
def test_one_of_them_by_name_or_number(db: Database) -> None:
    dossier = show_individual(db, "1")
    assert show_individual(db, friendly_name(1).upper()) == dossier
    first, again = dossier.sightings
    assert (first.outcome, again.outcome) == ("new", "assign")
    assert [len(s.photos) for s in (first, again)] == [3, 1]
    assert [p.taken_at for p in first.photos] == [NOON + timedelta(seconds=s) for s in (0, 3, 6)]
    assert again.probability is not None
    assert again.probability > 0.95


@pytest.mark.parametrize("which", ["Nobody", "99", "0", "", "' OR 1=1 --"])
@pytest.mark.usefixtures("herd")
def test_nobody_of_that_name(db: Database, which: str) -> None:
    with pytest.raises(NotFoundError, match="no individual is called") as caught:
        show_individual(db, which)
    assert "deer list" in caught.value.hint


@pytest.mark.usefixtures("herd")
def test_a_new_name_and_the_old_one_in_the_history(db: Database, rows: Callable[..., Any]) -> None:
    before, after = rename(db, friendly_name(1), "  Old   Šárka 鹿 ", actor="Ann")
    assert (before.name, after.name, after.number) == (friendly_name(1), "Old Šárka 鹿", before.number)
    assert show_individual(db, "old šárka 鹿").individual == after
    (event,) = rows("SELECT kind, actor, detail FROM events")
    assert event == {"kind": "rename", "actor": "Ann", "detail": {"from": before.name, "to": after.name}}
    with pytest.raises(NotFoundError):
        show_individual(db, before.name)


@pytest.mark.parametrize("name", ["", "   ", "x" * 81, "17", "limpy"])
@pytest.mark.usefixtures("herd")
def test_names_that_cannot_be_given(db: Database, name: str) -> None:
    rename(db, "2", "Limpy", actor="Ann")
    with pytest.raises(InputError):
        rename(db, "1", name, actor="Ann")
    assert show_individual(db, "1").individual.name == friendly_name(1)


@pytest.mark.usefixtures("herd")
def test_the_same_name_in_other_letters(db: Database) -> None:
    rename(db, "2", "Limpy", actor="Ann")
    assert rename(db, "2", "LIMPY", actor="Ann")[1].name == "LIMPY"
