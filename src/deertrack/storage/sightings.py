"""Encounters, sightings (one animal across one encounter) and the log of decisions about them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from deertrack.domain.decision import Decision, Policy, worth_asking
from deertrack.domain.records import Box, Sex
from deertrack.domain.travel import CLOCK_ERROR, HORIZON, TOP_SPEED
from deertrack.domain.trial import Arm
from deertrack.storage.db import Connection
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.storage.queries import load_queries

_SQL = load_queries("sightings")

# Any number will do, as long as it stays: two workers must ask for the same one.
_DECIDE_LOCK = 0x0DEE_0001


@dataclass(frozen=True, slots=True)
class PlacedDetection:
    """A detection with the instant and place in its photo, and its sighting if it has one."""

    detection_id: int
    image_id: int
    taken_at: datetime | None
    box: Box
    sex: Sex
    sighting_id: int | None = None


@dataclass(frozen=True, slots=True)
class SightingDetection:
    """One row of an encounter: a detection, its quality, and the state of its sighting."""

    sighting_id: int
    state: str
    deer_id: int | None
    sex: Sex
    detection_id: int
    image_id: int
    confidence: float
    area: float


@dataclass(frozen=True, slots=True)
class FiledDetection:
    """A detection, its encounter, the sighting and individual (if any) it belongs to, and its photo's files."""

    detection_id: int
    encounter_id: int
    sighting_id: int
    deer_id: int | None
    confidence: float
    box: Box
    paths: tuple[str, ...]


def stations_to_group(connection: Connection) -> list[tuple[int, str]]:
    """Id and name of stations with detections that belong to no sighting yet, by name."""
    return [(row["id"], row["name"]) for row in connection.execute(_SQL["stations_to_group"])]


def ungrouped(connection: Connection, station_id: int, models: Sequence[int]) -> list[PlacedDetection]:
    """A station's embedded detections without a sighting, in the order in which they were taken."""
    rows = connection.execute(
        _SQL["ungrouped_detections"], {"station_id": station_id, "models": list(models)}
    )
    return [_placed(row) for row in rows]


def encounter_near(
    connection: Connection, station_id: int, first: datetime, last: datetime, gap: timedelta
) -> int | None:
    """An encounter that photos from ``first`` to ``last`` continue, if there is one."""
    row = connection.execute(
        _SQL["encounter_near"], {"station_id": station_id, "first": first, "last": last, "gap": gap}
    ).fetchone()
    return row["id"] if row else None


def add_encounter(
    connection: Connection, station_id: int, first: datetime | None, last: datetime | None
) -> int:
    """A new encounter; both times None for a photo without one."""
    row = connection.execute(
        _SQL["add_encounter"], {"station_id": station_id, "first": first, "last": last}
    ).fetchone()
    assert row is not None
    return int(row["id"])


def extend_encounter(connection: Connection, encounter_id: int, first: datetime, last: datetime) -> None:
    """Widen an encounter to cover late photos."""
    connection.execute(_SQL["extend_encounter"], {"id": encounter_id, "first": first, "last": last})


def encounter_shots(
    connection: Connection, encounter_id: int, models: Sequence[int]
) -> list[PlacedDetection]:
    """The detections with vectors that an encounter has already, sighting by sighting, each in time."""
    rows = connection.execute(_SQL["encounter_shots"], {"encounter_id": encounter_id, "models": list(models)})
    return [_placed(row) for row in rows]


def put_sighting(
    connection: Connection,
    encounter_id: int,
    detection_ids: Sequence[int],
    sex: Sex,
    *,
    sighting_id: int | None = None,
) -> int:
    """Store a track: a new sighting, or more detections for a known one. Returns its id."""
    if sighting_id is None:
        row = connection.execute(_SQL["add_sighting"], {"encounter_id": encounter_id, "sex": sex}).fetchone()
        assert row is not None
        sighting_id = int(row["id"])
    else:
        connection.execute(_SQL["set_sighting_sex"], {"id": sighting_id, "sex": sex})
    connection.execute(
        _SQL["attach_detections"], {"sighting_id": sighting_id, "detection_ids": list(detection_ids)}
    )
    return sighting_id


def undecided_encounters(connection: Connection) -> list[int]:
    """Encounters with a sighting that nobody decided about, in time."""
    return [row["id"] for row in connection.execute(_SQL["undecided_encounters"])]


def encounter_of(connection: Connection, sighting_id: int) -> int:
    """The encounter of a sighting that there is."""
    row = connection.execute(_SQL["encounter_of"], {"id": sighting_id}).fetchone()
    assert row is not None
    return int(row["encounter_id"])


def lock_deciding(connection: Connection, *, patience: int | None = None) -> None:
    """Wait until no other worker decides; held until the transaction ends.

    Args:
        patience: so many seconds at most; None for ever.

    Raises:
        DatabaseError: that was not long enough.
    """
    if patience is not None:
        connection.execute(_SQL["lock_patience"], {"patience": f"{patience}s"})
    connection.execute(_SQL["decide_lock"], {"key": _DECIDE_LOCK})


def encounter_sightings(connection: Connection, encounter_id: int) -> list[SightingDetection]:
    """All of an encounter's sightings, one row per detection."""
    rows = connection.execute(_SQL["encounter_sightings"], {"encounter_id": encounter_id})
    return [SightingDetection(**{**row, "sex": Sex(row["sex"])}) for row in rows]


def rejected(connection: Connection, sighting_ids: Sequence[int]) -> dict[int, set[int]]:
    """The individuals that a person ruled out, by sighting; sightings without any are left out."""
    found: dict[int, set[int]] = {}
    for row in connection.execute(_SQL["rejections"], {"sighting_ids": list(sighting_ids)}):
        found.setdefault(row["sighting_id"], set()).add(row["deer_id"])
    return found


def out_of_reach(connection: Connection, encounter_id: int, deer_ids: Sequence[int]) -> set[int]:
    """Which of these individuals cannot have been at this encounter: they were too far away.

    Only stations with coordinates and encounters with times count. Limits: :mod:`deertrack.domain.travel`.
    """
    parameters = {
        "encounter_id": encounter_id,
        "deer_ids": list(deer_ids),
        "speed": TOP_SPEED,
        "clock_error": CLOCK_ERROR,
        "horizon": HORIZON,
    }
    return {row["deer_id"] for row in connection.execute(_SQL["out_of_reach"], parameters)}


def record_decision(
    connection: Connection,
    sighting_id: int,
    decision: Decision,
    *,
    deer_id: int | None,
    policy: Policy,
    registered: RegisteredVersion,
    arm: Arm | None = None,
    milliseconds: float | None = None,
    reason: str | None = None,
) -> None:
    """Log a decision with all that led to it, and let it take effect on the sighting.

    Args:
        deer_id: the assigned or newly made individual; None for a review.
        arm: of an A/B test, if there is one.
        milliseconds: what the search and the decision took.
        reason: why a sighting is decided about again; kept beside the policy.
    """
    version, best = registered.version, decision.belief.candidates
    connection.execute(
        _SQL["add_decision"],
        {
            "sighting_id": sighting_id,
            "outcome": decision.outcome,
            "deer_id": deer_id,
            "probability": best[0].probability if best else None,
            "new_probability": decision.belief.new,
            "version": version.name,
            "fingerprints": Jsonb({o: version.fingerprints[o] for o in version.search_outputs}),
            "policy": Jsonb(asdict(policy) | ({"reason": reason} if reason else {})),
            "candidates": Jsonb([asdict(c) for c in best]),
            "arm": arm,
            "milliseconds": milliseconds,
        },
    )
    connection.execute(
        _SQL["set_sighting_state"],
        {
            "sighting_id": sighting_id,
            "deer_id": deer_id,
            "state": "assigned" if deer_id else "review",
            "priority": None if deer_id else worth_asking(decision.belief),
        },
    )


def detections_in_files(connection: Connection) -> list[FiledDetection]:
    """Every detection of every sighting with its files, sightings in time."""
    return [
        FiledDetection(
            row["detection_id"],
            row["encounter_id"],
            row["sighting_id"],
            row["deer_id"],
            row["confidence"],
            Box(row["x"], row["y"], row["width"], row["height"]),
            tuple(row["paths"]),
        )
        for row in connection.execute(_SQL["placed_in_files"])
    ]


def _placed(row: dict[str, Any]) -> PlacedDetection:
    return PlacedDetection(
        row["detection_id"],
        row["image_id"],
        row["taken_at"],
        Box(row["x"], row["y"], row["width"], row["height"]),
        Sex(row["sex"]),
        row.get("sighting_id"),
    )
