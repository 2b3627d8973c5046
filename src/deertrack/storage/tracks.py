"""Many sightings at once, to decide about them together: their looks, and which are surely two animals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deertrack.domain.embedding import DIMENSIONS, Output, Vectors
from deertrack.domain.records import Sex
from deertrack.domain.travel import CLOCK_ERROR, HORIZON, TOP_SPEED
from deertrack.storage.db import Connection
from deertrack.storage.embeddings import RegisteredVersion, as_array
from deertrack.storage.queries import load_queries

_SQL = load_queries("tracks")
_BATCH = 500  # sightings whose vectors are read at a time

Pair = tuple[int, int]  # sighting ids


@dataclass(frozen=True, slots=True)
class SeenTrack:
    """A sighting, how many of its photos have vectors, and the best detection among them.

    ``person``: the outcome of the last decision, where a person made it.
    """

    sighting_id: int
    encounter_id: int
    state: str
    deer_id: int | None
    sex: Sex
    photos: int
    detection_id: int
    confidence: float
    person: str | None


def seen_tracks(
    connection: Connection,
    registered: RegisteredVersion,
    states: Sequence[str],
    sighting_ids: Sequence[int] | None = None,
) -> list[SeenTrack]:
    """Sightings in one of these states that have vectors of all models that the version searches, in time."""
    parameters = {
        "states": list(states),
        "models": _searched(registered),
        "sighting_ids": None if sighting_ids is None else list(sighting_ids),
    }
    rows = connection.execute(_SQL["tracks"], parameters)
    return [SeenTrack(**{**row, "sex": Sex(row["sex"])}) for row in rows]


def pooled_vectors(
    connection: Connection,
    registered: RegisteredVersion,
    sighting_ids: Sequence[int],
    outputs: Sequence[Output],
) -> dict[Output, Vectors]:
    """For each output the direction of the mean of every sighting's photos: (n, 512) unit rows, in this order.

    Rows of sightings without a vector are NaN: outputs that the version does not search may be missing.
    """
    wanted = {registered.models[output]: output for output in outputs}
    found = {
        output: np.full((len(sighting_ids), DIMENSIONS), np.nan, np.float32) for output in wanted.values()
    }
    place = {sighting_id: i for i, sighting_id in enumerate(sighting_ids)}
    for start in range(0, len(sighting_ids), _BATCH):
        parameters = {
            "sighting_ids": list(sighting_ids[start : start + _BATCH]),
            "wanted": list(wanted),
            "models": _searched(registered),
        }
        for row in connection.execute(_SQL["pooled"], parameters, binary=True):
            found[wanted[row["model_id"]]][place[row["sighting_id"]]] = as_array(row["embedding"])
    return found


def side_by_side(connection: Connection, sighting_ids: Sequence[int]) -> list[Pair]:
    """Pairs of these sightings that share a photo."""
    return _pairs(connection.execute(_SQL["side_by_side"], {"sighting_ids": list(sighting_ids)}).fetchall())


def too_far_apart(connection: Connection, sighting_ids: Sequence[int]) -> list[Pair]:
    """Pairs of these sightings that no animal can have made both. Limits: :mod:`deertrack.domain.travel`."""
    parameters = {
        "sighting_ids": list(sighting_ids),
        "speed": TOP_SPEED,
        "clock_error": CLOCK_ERROR,
        "horizon": HORIZON,
    }
    return _pairs(connection.execute(_SQL["too_far_apart"], parameters).fetchall())


def founding_sightings(connection: Connection) -> dict[int, int]:
    """For which sighting each individual was made, by individual; whoever a person listed may have none."""
    return {row["deer_id"]: row["sighting_id"] for row in connection.execute(_SQL["founding"])}


def all_rejections(connection: Connection) -> list[Pair]:
    """Every (sighting, individual) that a person ruled out."""
    return [(row["sighting_id"], row["deer_id"]) for row in connection.execute(_SQL["rejections"])]


def merge_away(connection: Connection, deer_id: int, *, into: int) -> None:
    """Mark an individual without sightings as merged into another."""
    connection.execute(_SQL["merge_away"], {"deer_id": deer_id, "into": into})


def _searched(registered: RegisteredVersion) -> list[int]:
    return [registered.models[output] for output in registered.version.search_outputs]


def _pairs(rows: Sequence[dict[str, int]]) -> list[Pair]:
    return [(row["first"], row["second"]) for row in rows]
