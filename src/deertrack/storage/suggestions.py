"""Profiles of all individuals at once, and who is surely not who: for suggestions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from psycopg import sql

from deertrack.domain.embedding import Output, Vectors
from deertrack.storage.db import Connection
from deertrack.storage.embeddings import RegisteredVersion, as_array
from deertrack.storage.layout import insist_on_columns
from deertrack.storage.queries import load_queries

_SQL = load_queries("suggestions")
_BATCH = 1_000  # individuals whose vectors are read at a time


@dataclass(frozen=True, slots=True)
class Record:
    """An individual that is compared with others."""

    id: int
    number: int
    name: str
    sex: str
    profile_detection_id: int | None
    sighting_count: int


@dataclass(frozen=True, slots=True)
class Doubtful:
    """An individual of several sightings, some of them the machine's word."""

    id: int
    number: int
    name: str
    profile_detection_id: int | None
    sightings: tuple[int, ...]


def profiles(
    connection: Connection, registered: RegisteredVersion
) -> tuple[list[Record], dict[Output, Vectors]]:
    """Active individuals by number, and their (n, 512) profile vectors of each output that the version searches.

    Raises:
        InputError: the clean-up dropped a column that the version searches.
    """
    layout = insist_on_columns(connection, registered)
    columns = layout.searched(registered)
    query = _SQL["profiles"].format(
        vectors=sql.SQL(", ").join(column.vector for column in columns), lacks=layout.lacks(registered)
    )
    records: list[Record] = []
    vectors: dict[Output, list[Vectors]] = {column.output: [] for column in columns}
    while True:
        after = records[-1].number if records else 0
        rows = connection.execute(query, {"after": after, "limit": _BATCH}, binary=True).fetchall()
        if not rows:
            break
        for row in rows:
            for column in columns:
                vectors[column.output].append(as_array(row.pop(column.name)))
            records.append(Record(**row))
    return records, {output: np.array(rows, np.float32) for output, rows in vectors.items()}


def surely_two(connection: Connection, deer_ids: Sequence[int]) -> set[tuple[int, int]]:
    """Pairs of these individuals (smaller id first) that share a photo, or of which a person said so."""
    found = set()
    for query in ("seen_together", "said_to_differ"):
        rows = connection.execute(_SQL[query], {"deer_ids": list(deer_ids)})
        found |= {(row["first"], row["second"]) for row in rows}
    return found


def doubtful(connection: Connection, *, least: int, most: int, limit: int) -> list[Doubtful]:
    """Individuals of ``least`` to ``most`` sightings that rest on the machine's word most."""
    rows = connection.execute(_SQL["doubtful"], {"least": least, "most": most, "limit": limit})
    return [Doubtful(**{**row, "sightings": tuple(row["sightings"])}) for row in rows]
