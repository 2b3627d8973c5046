"""Individuals in the order in which they were last met: from the last encounters alone, or from all."""

from collections.abc import Iterator

import pytest

from deertrack.storage import herd
from deertrack.storage.db import Connection, Database

# Individuals 1 and 2 were met long ago, 3 later, 4 to 8 lately, 4 and 8 in the very last encounter. Nobody knows
# when 9 was met.
FILL = """
INSERT INTO stations (name) VALUES ('Oak');
INSERT INTO encounters (station_id, started_at, ended_at)
SELECT 1, t, t
FROM generate_series('2025-01-01'::timestamptz, '2025-01-01'::timestamptz + interval '2999 minutes', '1 minute') t;
INSERT INTO encounters (station_id) VALUES (1);
INSERT INTO deer (number, name) SELECT i, 'Deer ' || i FROM generate_series(1, 9) i;
INSERT INTO sightings (encounter_id, deer_id, state)
SELECT i, CASE WHEN i <= 1000 THEN 1 + i % 2 WHEN i <= 1500 THEN 3 WHEN i = 3001 THEN 9 ELSE 4 + i % 5 END,
       'assigned'
FROM generate_series(1, 3001) i;
INSERT INTO sightings (encounter_id, deer_id, state) VALUES (3000, 8, 'assigned');
INSERT INTO sightings (encounter_id, state) VALUES (3000, 'review')
"""
LAST_FIRST = [4, 8, 7, 6, 5, 3, 1, 2, 9]


@pytest.fixture
def connection(db: Database) -> Iterator[Connection]:
    with db.transaction() as connection:
        connection.execute(FILL)
    with db.transaction() as connection:
        yield connection


@pytest.mark.parametrize("limit", [1, 2, 4, 9, 50])
def test_pages_go_on_in_one_order_wherever_they_come_from(connection: Connection, limit: int) -> None:
    found: list[int] = []
    while len(found) < 9:
        total, listed = herd.page(connection, order="last_seen", limit=limit, offset=len(found))
        assert total == 9
        found += [one.number for one in listed]
    assert found == LAST_FIRST


def test_whoever_is_asked_for_is_found_however_long_ago(connection: Connection) -> None:
    connection.execute("UPDATE deer SET sex = 'male' WHERE number IN (2, 8, 9)")
    total, listed = herd.page(connection, order="last_seen", sex="male", limit=2)
    assert (total, [one.number for one in listed]) == (3, [8, 2])
