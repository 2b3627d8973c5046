"""Profile vectors: what ``deer`` holds for searches, made of the immutable vectors of detections.

A profile is the direction of the mean of an individual's sightings, each the direction of the mean of its photos.
Where one photo was embedded (spec, phase 2: the best one), it is that photo's vector.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from deertrack.storage.db import Connection
from deertrack.storage.embeddings import PendingPhoto, RegisteredVersion, as_pending
from deertrack.storage.layout import ProfileColumn, insist_on_columns, read_layout
from deertrack.storage.queries import load_queries

_SQL = load_queries("profiles")


@dataclass(frozen=True, slots=True)
class Coverage:
    """How far a version reaches: active, sighted individuals; those with its profile; those that could have one."""

    deer: int
    in_profile: int
    embedded: int

    @property
    def complete(self) -> bool:
        """Whether every individual has a detection with this version's vectors."""
        return self.embedded == self.deer


def coverage(connection: Connection, target: RegisteredVersion) -> Coverage:
    """How many individuals a version can search. None are in profile once the clean-up has dropped its column."""
    query = _SQL["coverage"].format(lacks=read_layout(connection).lacks(target))
    row = connection.execute(query, {"models": _models(target)}).fetchone()
    assert row is not None
    return Coverage(**row)


def profiles_to_embed(
    connection: Connection,
    target: RegisteredVersion,
    *,
    limit: int | None = None,
    deer_ids: Sequence[int] | None = None,
    unreachable: Sequence[int] = (),
) -> dict[int, int]:
    """Individuals whose best detection lacks vectors of the target: deer id → detection id, by deer id.

    Args:
        limit: so many at most.
        deer_ids: only among these.
        unreachable: image ids to pass over: their files are gone, so the next-best detection is wanted.
    """
    parameters = {
        "models": _models(target),
        "limit": limit,
        "deer_ids": None if deer_ids is None else list(deer_ids),
        "unreachable": list(unreachable),
    }
    rows = connection.execute(_SQL["profiles_to_embed"], parameters)
    return {row["deer_id"]: row["detection_id"] for row in rows}


def photos_of(connection: Connection, detection_ids: Sequence[int]) -> list[PendingPhoto]:
    """The photos of some detections, each with those detections and its files."""
    rows = connection.execute(_SQL["detections_to_embed"], {"detection_ids": list(detection_ids)})
    return [as_pending(row) for row in rows]


def individuals_in(connection: Connection, image_ids: Sequence[int]) -> list[int]:
    """Ids of the individuals that are in these photos."""
    rows = connection.execute(_SQL["individuals_in"], {"image_ids": list(image_ids)})
    return [row["deer_id"] for row in rows]


def put_profiles(
    connection: Connection, target: RegisteredVersion, *, deer_ids: Sequence[int] | None = None
) -> list[int]:
    """Make profiles of the target for individuals that have none; returns who changed.

    Only the columns that the target searches are written (spec, phase 2: the old ``feature_vector`` stays).

    Args:
        deer_ids: only these; None for all.

    Raises:
        InputError: the clean-up dropped a column of the target.
    """
    layout = insist_on_columns(connection, target)
    assignments, sources = [], []
    for column in layout.searched(target):
        source, wanted = _source(column), sql.Literal(target.models[column.output])
        assignments.append(
            _SQL["assignment"].format(vector=column.vector, model=column.model, source=source, wanted=wanted)
        )
        sources.append(_SQL["source"].format(source=source, wanted=wanted))
    query = _SQL["put_profiles"].format(
        assignments=sql.SQL(", ").join(assignments),
        sources=sql.SQL(" ").join(sources),
        lacks=layout.lacks(target),
    )
    parameters = {
        "models": _models(target),
        "version": target.version.name,
        "stage": target.version.stage,
        "deer_ids": None if deer_ids is None else list(deer_ids),
    }
    return [row["id"] for row in connection.execute(query, parameters)]


def refresh_profiles(connection: Connection, *, deer_ids: Sequence[int] | None = None) -> list[int]:
    """Let the profiles that there are tell of the sightings that individuals have now; returns who changed.

    Every column keeps its model, and its vector where no detection has one of that model.

    Args:
        deer_ids: only these; None for all.
    """
    columns = read_layout(connection).columns
    parts: dict[str, list[sql.Composed]] = {"refreshed": [], "changed": [], "source": []}
    for column in columns:
        source, wanted = _source(column), sql.SQL("b.{}").format(column.model)
        for name, found in parts.items():
            found.append(_SQL[name].format(vector=column.vector, source=source, wanted=wanted))
    query = _SQL["refresh_profiles"].format(
        assignments=sql.SQL(", ").join(parts["refreshed"]),
        models=sql.SQL(", ").join(column.model for column in columns),
        sources=sql.SQL(" ").join(parts["source"]),
        changed=sql.SQL(" OR ").join(parts["changed"]),
    )
    parameters = {"deer_ids": None if deer_ids is None else list(deer_ids)}
    return [row["id"] for row in connection.execute(query, parameters)]


def _source(column: ProfileColumn) -> sql.Identifier:
    """The alias in SQL of what a column's vectors come from."""
    return sql.Identifier(column.output.name.lower())


def _models(target: RegisteredVersion) -> list[int]:
    """The models of the vectors that the target searches."""
    return [target.models[output] for output in target.version.search_outputs]
