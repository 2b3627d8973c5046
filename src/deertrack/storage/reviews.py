"""A person's answers about who is who: what waits for one, who a sighting is, and what follows from an answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path

from psycopg import sql
from psycopg.types.json import Jsonb

from deertrack.domain.records import Box, Sex
from deertrack.storage.catalogue import SightingPhoto
from deertrack.storage.db import Connection
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.storage.layout import read_layout
from deertrack.storage.queries import load_queries

_SQL = load_queries("reviews")


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An individual that the machine thought of. ``similarity`` is in [-1, 1], ``probability`` in [0, 1]."""

    deer_id: int
    number: int
    name: str
    similarity: float
    probability: float


@dataclass(frozen=True, slots=True)
class WaitingSighting:
    """A sighting that waits for a person, with the machine's candidates, best first, and its photos in time.

    ``new_probability`` is the chance that it is none of the known; None where a machine never looked.
    """

    id: int
    encounter_id: int
    station: str
    timezone: str
    started_at: datetime | None
    sex: Sex
    new_probability: float | None
    candidates: tuple[Suggestion, ...]
    photos: tuple[SightingPhoto, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """Who a sighting is now (None: nobody yet), and the last decision about it (None: there is none).

    Of that: its outcome, who made it, and whether that was a person.
    """

    sighting_id: int
    state: str
    deer_id: int | None
    number: int | None
    name: str | None
    sex: str
    decision: int | None
    outcome: str | None
    actor: str | None
    by_person: bool
    best_detection: int

    @property
    def revision(self) -> str:
        """Another one as soon as anybody decides anything about the sighting."""
        said = f"{self.decision or 0}-{self.sex}"
        return f"{self.sighting_id}-{self.state.replace(' ', '_')}-{self.deer_id or 0}-{said}"


@dataclass(frozen=True, slots=True)
class Rival:
    """Another sighting (``other``, who is ``deer_id``) in a photo of a sighting. ``path`` is that photo's."""

    sighting_id: int
    other: int
    deer_id: int | None
    path: str | None


@dataclass(frozen=True, slots=True)
class Called:
    """Who bears a name, if anybody. ``name_key`` is the same for names that differ in case alone."""

    name: str
    name_key: str
    deer_id: int | None
    status: str | None


@dataclass(frozen=True, slots=True)
class Founded:
    """An individual and the sighting for which it was made."""

    deer_id: int
    number: int
    name: str
    sighting_id: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A person says which individual a sighting is; ``founds``: that individual is made for it."""

    sighting_id: int
    deer_id: int
    founds: bool = False


@dataclass(frozen=True, slots=True)
class Refreshed:
    """An individual whose sightings changed, and its status before and after."""

    deer_id: int
    name: str
    before: str
    after: str


def list_waiting(connection: Connection, limit: int | None) -> tuple[int, list[WaitingSighting]]:
    """How many sightings wait for a person, and the oldest of them, ``limit`` at most (None: all)."""
    rows = connection.execute(_SQL["waiting"], {"limit": limit}).fetchall()
    found = [
        WaitingSighting(
            id=sighting_id,
            encounter_id=photos[0]["encounter_id"],
            station=photos[0]["station"],
            timezone=photos[0]["timezone"],
            started_at=photos[0]["started_at"],
            sex=Sex(photos[0]["sex"]),
            new_probability=photos[0]["new_probability"],
            candidates=tuple(Suggestion(**c) for c in photos[0]["candidates"] or ()),
            photos=tuple(
                SightingPhoto(
                    row["detection_id"],
                    row["image_id"],
                    row["taken_at"],
                    row["confidence"],
                    Box(row["x"], row["y"], row["width"], row["height"]),
                    tuple(Path(p) for p in row["paths"] or ()),
                )
                for row in photos
            ),
        )
        for sighting_id, group in groupby(rows, key=lambda row: row["sighting_id"])
        if (photos := list(group))
    ]
    return (rows[0]["total"] if rows else 0), found


def standings(connection: Connection, sighting_ids: Sequence[int]) -> list[Standing]:
    """Who these sightings are, in time. Unknown ids are left out."""
    return [
        Standing(**row) for row in connection.execute(_SQL["standings"], {"sighting_ids": list(sighting_ids)})
    ]


def rivals(connection: Connection, sighting_ids: Sequence[int]) -> list[Rival]:
    """Every other sighting in the photos of these."""
    rows = connection.execute(_SQL["rivals"], {"sighting_ids": list(sighting_ids)})
    return [Rival(**row) for row in rows]


def called(connection: Connection, names: Sequence[str]) -> list[Called]:
    """Who bears each of these names."""
    return [Called(**row) for row in connection.execute(_SQL["called"], {"names": list(names)})]


def founded(connection: Connection, sighting_ids: Sequence[int]) -> list[Founded]:
    """Active individuals that were made for one of these sightings and still have it, by number."""
    rows = connection.execute(_SQL["founded"], {"sighting_ids": list(sighting_ids)})
    return [Founded(**row) for row in rows]


def record_answers(
    connection: Connection, answers: Sequence[Answer], *, actor: str, registered: RegisteredVersion
) -> None:
    """Log a person's answers, trace what changes, and let them take effect on the sightings.

    Call it under :func:`deertrack.storage.sightings.lock_deciding`, and :func:`refresh_individuals` afterwards
    for all whose sightings changed.

    Args:
        registered: the version to log for sightings that the machine never decided about.
    """
    version = registered.version
    parameters = {
        "sighting_ids": [a.sighting_id for a in answers],
        "deer_ids": [a.deer_id for a in answers],
        "founds": [a.founds for a in answers],
        "actor": actor,
        "version": version.name,
        "fingerprints": Jsonb({o: version.fingerprints[o] for o in version.search_outputs}),
    }
    for query in ("log_answers", "trace_answers", "hand_over", "forget_rejections"):
        connection.execute(_SQL[query], parameters)


def record_rejection(connection: Connection, standing: Standing, deer_id: int, *, actor: str) -> bool:
    """A person says that a sighting is not this individual; returns whether that is news.

    A sighting that was that individual waits for a review again; call :func:`refresh_individuals` then.
    """
    parameters = {"sighting_id": standing.sighting_id, "deer_id": deer_id, "actor": actor}
    news = connection.execute(_SQL["reject"], parameters).rowcount == 1
    if standing.deer_id == deer_id:
        connection.execute(_SQL["log_rejection"], parameters)
        connection.execute(_SQL["take_back"], parameters)
    return news


def record_unidentifiable(
    connection: Connection, sighting_id: int, *, actor: str, registered: RegisteredVersion
) -> None:
    """A person says that nobody can tell who a sighting is; call :func:`refresh_individuals` for who it was.

    Args:
        registered: the version to log where the machine never decided.
    """
    version = registered.version
    parameters = {
        "sighting_id": sighting_id,
        "actor": actor,
        "version": version.name,
        "fingerprints": Jsonb({o: version.fingerprints[o] for o in version.search_outputs}),
    }
    for query in ("log_unidentifiable", "set_unidentifiable"):
        connection.execute(_SQL[query], parameters)


def set_sex(connection: Connection, sighting_id: int, sex: Sex) -> None:
    """A person says which sex a sighting shows."""
    connection.execute(_SQL["set_sex"], {"sighting_id": sighting_id, "sex": sex})


def make_undecided(connection: Connection, sighting_id: int) -> None:
    """Let a sighting be decided about anew; call :func:`refresh_individuals` for who it was."""
    connection.execute(_SQL["make_undecided"], {"sighting_id": sighting_id})


def name_new(connection: Connection, deer_id: int, name: str) -> None:
    """Name an individual that was made just now. The name must be free, and none that reads as a number."""
    connection.execute(_SQL["name_new"], {"deer_id": deer_id, "name": name})


def refresh_individuals(connection: Connection, deer_ids: Sequence[int]) -> list[Refreshed]:
    """Count sightings anew, and take sex, status and profile from them; by id.

    Each profile column keeps its model: it gets the mean of the individual's sightings in vectors of that model, or
    none. Who has no sighting is retired; who had none and has one now is active again.
    """
    columns = [
        _SQL["profile_column"].format(
            vector=column.vector, model=column.model, source=sql.Identifier(column.output.name.lower())
        )
        for column in read_layout(connection).columns
    ]
    query = _SQL["refresh_individuals"].format(profile=sql.SQL(", ").join(columns))
    rows = connection.execute(query, {"deer_ids": list(deer_ids)})
    return sorted((Refreshed(**row) for row in rows), key=lambda r: r.deer_id)


def sightings_of(connection: Connection, deer_id: int) -> list[int]:
    """An individual's sightings by id."""
    return [row["id"] for row in connection.execute(_SQL["sightings_of"], {"deer_id": deer_id})]


def encounters_of(connection: Connection, sighting_ids: Sequence[int]) -> list[int]:
    """The encounters of these sightings."""
    rows = connection.execute(_SQL["encounters_of"], {"sighting_ids": list(sighting_ids)})
    return [row["encounter_id"] for row in rows]


def mark_merged(connection: Connection, deer_id: int, *, into: int) -> None:
    """An individual turned out to be another; its sightings must be handed over next."""
    connection.execute(_SQL["mark_merged"], {"deer_id": deer_id, "into": into})


def rejected_by(connection: Connection, deer_id: int) -> list[int]:
    """The sightings that a person said are not this individual."""
    return [row["sighting_id"] for row in connection.execute(_SQL["rejected_by"], {"deer_id": deer_id})]


def share_rejections(
    connection: Connection, sighting_ids: Sequence[int], deer_id: int, *, actor: str
) -> None:
    """These sightings are not that individual."""
    parameters = {"sighting_ids": list(sighting_ids), "deer_id": deer_id, "actor": actor}
    connection.execute(_SQL["share_rejections"], parameters)


def drop_rejections(connection: Connection, sighting_ids: Sequence[int], deer_id: int) -> None:
    """Forget that these sightings are not that individual."""
    connection.execute(_SQL["drop_rejections"], {"sighting_ids": list(sighting_ids), "deer_id": deer_id})
