"""Validations: labelled sightings to compare two embedding versions on, and what came of it as evidence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from psycopg.types.json import Jsonb

from deertrack.domain.embedding import EmbeddingVersion, Output
from deertrack.domain.errors import NotFoundError
from deertrack.domain.records import Box, Sex
from deertrack.storage.db import Connection
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.storage.queries import load_queries

_SQL = load_queries("validations")


@dataclass(frozen=True, slots=True)
class NamedSightings:
    """An individual and its sightings, without those that the version in question named by itself (``own``).

    ``by_person`` of them were decided by a person.
    """

    deer_id: int
    name: str
    sex: Sex
    sightings: tuple[int, ...]
    own: int
    by_person: int


@dataclass(frozen=True, slots=True)
class ComparedSighting:
    """A sighting's detections that have all vectors, best quality first, and those that lack some."""

    sighting_id: int
    encounter_id: int
    sex: Sex
    covered: tuple[int, ...]
    uncovered: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DetectionPhoto:
    """Where a detection can be looked at. ``paths`` are all files that hold the photo."""

    box: Box
    station: str
    timezone: str
    taken_at: datetime | None
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class StoredValidation:
    """What a validation found, when, and about which models. ``outcome`` is pass, fail or not enough data."""

    id: int
    new_version: str
    old_version: str
    fingerprints: Mapping[str, Mapping[str, str]]
    weights: Mapping[str, float]
    outcome: str
    report: Mapping[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ValidationHead:
    """A stored validation without its report; ``sentence`` is its verdict in words."""

    id: int
    new_version: str
    old_version: str
    weights: Mapping[str, float]
    outcome: str
    sentence: str
    created_at: datetime


def registered_versions(connection: Connection) -> list[RegisteredVersion]:
    """Every version that the catalogue knows, lowest stage first, then in the order in which they came."""
    return [
        RegisteredVersion(
            EmbeddingVersion(row["name"], row["stage"], row["pack"], {o: row[o] for o in Output if row[o]}),
            {o: row[f"{o}_model"] for o in Output if row[o]},
        )
        for row in connection.execute(_SQL["registered_versions"])
    ]


def named_sightings(connection: Connection, version: str) -> list[NamedSightings]:
    """Every individual with its sightings; ``version`` is the one whose own decisions do not count."""
    rows = connection.execute(_SQL["named_sightings"], {"version": version})
    return [
        NamedSightings(**{**row, "sex": Sex(row["sex"]), "sightings": tuple(row["sightings"] or ())})
        for row in rows
    ]


def sightings_to_compare(
    connection: Connection, sighting_ids: Sequence[int], models: Sequence[int]
) -> list[ComparedSighting]:
    """Sightings in time, with which of their detections have vectors of all ``models``."""
    rows = connection.execute(
        _SQL["sightings_to_compare"], {"sighting_ids": list(sighting_ids), "models": list(models)}
    )
    return [
        ComparedSighting(
            row["sighting_id"],
            row["encounter_id"],
            Sex(row["sex"]),
            tuple(row["covered"]),
            tuple(row["uncovered"]),
        )
        for row in rows
    ]


def photos_of_detections(connection: Connection, detection_ids: Sequence[int]) -> dict[int, DetectionPhoto]:
    """The photo of each detection, by detection id."""
    return {
        row["detection_id"]: DetectionPhoto(
            Box(row["x"], row["y"], row["width"], row["height"]),
            row["station"],
            row["timezone"],
            row["taken_at"],
            tuple(Path(p) for p in row["paths"] or ()),
        )
        for row in connection.execute(_SQL["photos_of_detections"], {"detection_ids": list(detection_ids)})
    }


def add_validation(
    connection: Connection,
    *,
    new: EmbeddingVersion,
    old: EmbeddingVersion,
    weights: Mapping[str, float],
    outcome: str,
    report: Mapping[str, Any],
) -> int:
    """Keep what a validation found; returns its id. It can never be changed."""
    fingerprints = {v.name: {o.value: v.fingerprints[o] for o in v.search_outputs} for v in (new, old)}
    row = connection.execute(
        _SQL["add_validation"],
        {
            "new": new.name,
            "old": old.name,
            "fingerprints": Jsonb(fingerprints),
            "weights": Jsonb(dict(weights)),
            "outcome": outcome,
            "report": Jsonb(dict(report)),
        },
    ).fetchone()
    assert row is not None
    return int(row["id"])


def find_validation(connection: Connection, number: int) -> StoredValidation:
    """A validation by its number.

    Raises:
        NotFoundError: there is none.
    """
    row = connection.execute(_SQL["find_validation"], {"id": number}).fetchone()
    if row is None:
        raise NotFoundError(f"there is no validation {number}")
    return StoredValidation(**row)


def list_validations(connection: Connection) -> list[ValidationHead]:
    """All validations without their reports, newest first."""
    return [ValidationHead(**row) for row in connection.execute(_SQL["list_validations"])]


def latest_validation(connection: Connection, new: str, old: str | None = None) -> StoredValidation | None:
    """The newest validation of a version, against ``old`` or, with None, against any other."""
    row = connection.execute(_SQL["latest_validation"], {"new": new, "old": old}).fetchone()
    return StoredValidation(**row) if row else None
