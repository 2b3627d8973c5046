"""Stations: places, zones and clocks, and what a change of them does to the photos' times."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deertrack.domain.errors import InputError, NotFoundError
from deertrack.formats.stations import StationRow, read_stations
from deertrack.services.identify import Matcher, alone, identify
from deertrack.services.stations import apply_stations, list_stations, set_station, shift_clock
from deertrack.storage.db import Database

Ask = Callable[..., Any]
NOON = datetime(2025, 10, 1, 12, tzinfo=UTC)


@pytest.fixture
def creek(stage: Any, seen: Any) -> Any:
    """One station with two photos at noon and a minute later, and one without a time."""
    stage.burst("Creek", 0, seen(1), photos=2, pause=30)
    stage.photo("Creek", None, seen(1))
    return stage


def taken(rows: Ask) -> list[datetime | None]:
    return [row["taken_at"] for row in rows("SELECT taken_at FROM images ORDER BY taken_at NULLS LAST")]


def test_a_shift_moves_photos_and_encounters_and_its_opposite_brings_them_back(
    db: Database, creek: Any, matcher: Matcher, rows: Ask
) -> None:
    identify(db, alone(matcher))
    times = taken(rows)
    encounters = "SELECT started_at, ended_at FROM encounters ORDER BY 1"
    before = rows(encounters)
    assert shift_clock(db, "Creek", timedelta(hours=1)).clock_shift == timedelta(hours=1)
    hour = timedelta(hours=1)
    assert taken(rows) == [NOON + hour, NOON + hour + timedelta(seconds=30), None]
    assert rows(encounters)[0] == {k: v + hour for k, v in before[0].items()}
    assert shift_clock(db, "Creek", -timedelta(hours=1)).clock_shift == timedelta(0)
    assert (taken(rows), rows(encounters)) == (times, before)


def test_shifts_add_up_and_count_for_later_photos(db: Database, creek: Any, seen: Any, rows: Ask) -> None:
    shift_clock(db, "Creek", timedelta(minutes=10))
    assert shift_clock(db, "Creek", timedelta(minutes=-3)).clock_shift == timedelta(minutes=7)
    creek.photo("Creek", 3600, seen(1))
    assert NOON + timedelta(hours=1, minutes=7) in taken(rows)


def test_a_new_zone_moves_the_instants(db: Database, creek: Any, rows: Ask) -> None:
    assert set_station(db, "Creek", timezone="America/Chicago").timezone == "America/Chicago"
    assert taken(rows)[0] == NOON + timedelta(hours=5)  # summer time in October


def test_changes_are_in_the_audit_trail_and_no_change_is_not(db: Database, creek: Any, rows: Ask) -> None:
    set_station(db, "Creek", latitude=48.1, longitude=11.5)
    set_station(db, "Creek", latitude=48.1, longitude=11.5)
    set_station(db, "Creek")
    (event,) = rows("SELECT kind, subject, detail FROM events")
    assert (event["kind"], event["subject"]) == ("change station", "station:Creek")
    assert event["detail"] == {"latitude": ["None", "48.1"], "longitude": ["None", "11.5"]}


@pytest.mark.parametrize("given", [{"latitude": 48.1}, {"longitude": 11.5}])
def test_half_a_place_is_an_error(db: Database, creek: Any, given: dict[str, float]) -> None:
    with pytest.raises(InputError, match="expected latitude and longitude, got one"):
        set_station(db, "Creek", **given)  # type: ignore[arg-type]
    set_station(db, "Creek", latitude=1, longitude=2)
    assert set_station(db, "Creek", **given).latitude == given.get("latitude", 1)  # type: ignore[arg-type]


def test_what_does_not_exist(db: Database, creek: Any) -> None:
    with pytest.raises(NotFoundError, match="no station 'Creak'") as caught:
        shift_clock(db, "Creak", timedelta(hours=1))
    assert "Creek" in caught.value.hint
    with pytest.raises(InputError, match="'Mars' is not a time zone"):
        set_station(db, "Creek", timezone="Mars")


def test_a_file_makes_stations_and_leaves_what_it_does_not_say(
    db: Database, creek: Any, tmp_path: Path, rows: Ask
) -> None:
    set_station(db, "Creek", latitude=1, longitude=2)
    table = tmp_path / "stations.csv"
    table.write_text(
        "station,latitude,longitude,timezone,clock_shift\n"
        "Creek,,,Europe/Berlin,-1h\nPond,48.5,11.25,,\nHügel,,,Asia/Tokyo,\n",
        encoding="utf-8",
    )
    for _ in range(2):  # the same file again changes nothing
        apply_stations(db, read_stations(table), timezone="America/Chicago")
    found = {row["name"]: row for row in list_stations(db)}
    assert list(found) == ["Creek", "Hügel", "Pond"]
    assert (found["Creek"]["latitude"], found["Creek"]["timezone"]) == (1, "Europe/Berlin")
    assert found["Creek"]["clock_shift"] == timedelta(hours=-1)
    assert found["Creek"]["first_photo"] == NOON - timedelta(hours=3)
    assert found["Creek"]["photos"] == 3
    assert (found["Pond"]["latitude"], found["Pond"]["timezone"]) == (48.5, "America/Chicago")
    assert found["Hügel"]["timezone"] == "Asia/Tokyo"
    assert (found["Pond"]["photos"], found["Pond"]["first_photo"]) == (0, None)
    assert len(rows("SELECT 1 FROM events")) == 4


def test_all_rows_or_none_count(db: Database, creek: Any) -> None:
    rows = [StationRow("Pond", "Pond", timezone="Europe/Berlin"), StationRow("Hill", "Hill", timezone="Mars")]
    with pytest.raises(InputError, match="'Mars'"):
        apply_stations(db, rows)
    assert [row["name"] for row in list_stations(db)] == ["Creek"]
