"""What waits for a person, and all that is shown of one sighting."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath
from typing import Any, Literal

from psycopg import sql

from deertrack.domain.records import Box
from deertrack.storage.db import Connection
from deertrack.storage.queries import load_queries

_SQL = load_queries("review_queue")

QueueOrder = Literal["value", "oldest", "newest"]
_ORDER: dict[QueueOrder, str] = {
    "value": "{}.priority DESC NULLS LAST",
    "oldest": "{}.started_at NULLS LAST",
    "newest": "{}.started_at DESC NULLS LAST",
}


@dataclass(frozen=True, slots=True)
class Waiting:
    """A sighting in the queue. ``priority``: what an answer would tell, in bits; None where no machine looked.

    ``likeliest_*`` is the machine's best candidate when it decided, None without any.
    """

    id: int
    station: str
    timezone: str
    started_at: datetime | None
    sex: str
    priority: float | None
    new_probability: float | None
    likeliest_number: int | None
    likeliest_name: str | None
    likeliest_probability: float | None
    photos: int
    best_detection: int | None


@dataclass(frozen=True, slots=True)
class Frame:
    """One photo of a sighting: where the animal is in it, the photo's size in pixels, and the file's bare name."""

    detection_id: int
    image_id: int
    taken_at: datetime | None
    confidence: float
    flank: str
    width: int
    height: int
    box: Box
    file: str


@dataclass(frozen=True, slots=True)
class Beside:
    """Another sighting of the encounter. ``side_by_side``: they share a photo, so they are two animals."""

    id: int
    state: str
    number: int | None
    name: str | None
    side_by_side: bool


@dataclass(frozen=True, slots=True)
class Looked:
    """A sighting with all that a person wants to see of it, but for the candidates."""

    id: int
    encounter_id: int
    state: str
    sex: str
    sex_said: bool
    deer_id: int | None
    number: int | None
    name: str | None
    started_at: datetime | None
    station: str
    timezone: str
    new_probability: float | None
    version: str | None
    frames: tuple[Frame, ...]
    beside: tuple[Beside, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """A candidate as a person knows it, and where it was last."""

    deer_id: int
    number: int
    name: str
    sex: str
    sighting_count: int
    profile_detection_id: int | None
    last_seen: datetime | None
    station: str | None
    timezone: str | None


@dataclass(frozen=True, slots=True)
class LookAlike:
    """A candidate's photo that looks like a frame (``query_detection_id``) of the sighting; a cosine in [-1, 1]."""

    deer_id: int
    detection_id: int
    image_id: int
    flank: str
    query_detection_id: int
    similarity: float


def queue(
    connection: Connection,
    *,
    order: QueueOrder = "value",
    station: str | None = None,
    sex: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    deer_id: int | None = None,
    limit: int = 50,
    offset: int = 0,
) -> tuple[int, list[Waiting]]:
    """How many sightings wait of those asked for, and some of them."""
    inner = _ORDER[order].format("e" if order != "value" else "g")
    query = _SQL["queue"].format(order=sql.SQL(inner), order_again=sql.SQL(_ORDER[order].format("o")))
    parameters = {
        "station": station,
        "sex": sex,
        "since": since,
        "until": until,
        "deer_id": deer_id,
        "limit": limit,
        "offset": offset,
    }
    rows = connection.execute(query, parameters).fetchall()
    total = rows[0]["total"] if rows else 0
    return total, [Waiting(**{k: v for k, v in row.items() if k != "total"}) for row in rows]


def count_waiting(connection: Connection) -> int:
    """How many sightings wait for a person."""
    row = connection.execute(_SQL["count_waiting"]).fetchone()
    assert row is not None
    return int(row["waiting"])


def pace(connection: Connection) -> tuple[float | None, int]:
    """Median seconds between a person's last answers (None: there are none), and of how many."""
    row = connection.execute(_SQL["pace"]).fetchone()
    assert row is not None
    return row["seconds"], row["answers"]


def look(connection: Connection, sighting_id: int) -> Looked | None:
    """A sighting with its photos and those beside it; None for an unknown one."""
    row = connection.execute(_SQL["sighting"], {"id": sighting_id}).fetchone()
    if row is None:
        return None
    frames = connection.execute(_SQL["frames"], {"id": sighting_id})
    beside = connection.execute(_SQL["beside"], {"id": sighting_id})
    return Looked(
        **row,
        frames=tuple(_frame(frame) for frame in frames),
        beside=tuple(Beside(**other) for other in beside),
    )


def known(connection: Connection, deer_ids: Sequence[int]) -> dict[int, Known]:
    """Candidates by id."""
    rows = connection.execute(_SQL["candidates"], {"deer_ids": list(deer_ids)})
    return {row["deer_id"]: Known(**row) for row in rows}


def look_alikes(
    connection: Connection, sighting_id: int, deer_ids: Sequence[int], weights: dict[int, float], *, each: int
) -> dict[int, list[LookAlike]]:
    """The photos of each candidate that look most like the sighting, best first, ``each`` at most.

    Args:
        weights: of the vectors that are compared, by model id.
    """
    parameters = {
        "id": sighting_id,
        "deer_ids": list(deer_ids),
        "models": list(weights),
        "weights": list(weights.values()),
        "each": each,
    }
    found: dict[int, list[LookAlike]] = {}
    for row in connection.execute(_SQL["look_alikes"], parameters):
        found.setdefault(row["deer_id"], []).append(LookAlike(**row))
    return found


def _frame(row: dict[str, Any]) -> Frame:
    box = Box(row["x"], row["y"], row["box_width"], row["box_height"])
    name = PurePath(row["path"]).name if row["path"] else ""
    return Frame(
        row["detection_id"],
        row["image_id"],
        row["taken_at"],
        row["confidence"],
        row["flank"],
        row["width"],
        row["height"],
        box,
        name,
    )
