"""People's changes as what was before and after, and putting back what was before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from psycopg.types.json import Jsonb

from deertrack.storage.db import Connection
from deertrack.storage.queries import load_queries

_SQL = load_queries("edits")

# The fields of one thing that a person can change, in JSON's types.
Fields = dict[str, Any]


class Thing(StrEnum):
    """What an edit may change."""

    SIGHTING = "sighting"
    DEER = "deer"
    DETECTION = "detection"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that an edit changed: those of its fields that changed, before and after."""

    thing: Thing
    id: int
    before: Fields
    after: Fields


@dataclass(frozen=True, slots=True)
class Edit:
    """One change by a person. ``undoes`` an earlier one; ``undone_by`` a later one that still holds."""

    id: int
    at: datetime
    actor: str
    kind: str
    detail: dict[str, Any]
    items: tuple[Item, ...]
    undoes: int | None
    undone_by: int | None


@dataclass(frozen=True, slots=True)
class Named:
    """An individual as people call it. ``merged_into`` is set for one that was merged."""

    id: int
    number: int
    name: str
    status: str
    merged_into: int | None


def snapshot(connection: Connection, thing: Thing, ids: Sequence[int]) -> dict[int, Fields]:
    """All changeable fields of these things, by id. Unknown ids are left out."""
    query = {Thing.SIGHTING: "sightings", Thing.DEER: "deer", Thing.DETECTION: "detections"}[thing]
    rows = connection.execute(_SQL[query], {"ids": list(ids)})
    return {row.pop("id"): row for row in rows}


def add_edit(
    connection: Connection,
    items: Sequence[Item],
    *,
    actor: str,
    kind: str,
    detail: Mapping[str, object],
    undoes: int | None = None,
) -> int:
    """Remember a change; returns its number."""
    values = [{item.thing: item.id, "before": item.before, "after": item.after} for item in items]
    parameters = {"actor": actor, "kind": kind, "detail": Jsonb(dict(detail)), "items": Jsonb(values)}
    row = connection.execute(_SQL["add_edit"], {**parameters, "undoes": undoes}).fetchone()
    assert row is not None
    return int(row["id"])


def find_edit(connection: Connection, edit_id: int) -> Edit | None:
    """An edit by its number, or None."""
    row = connection.execute(_SQL["find_edit"], {"id": edit_id}).fetchone()
    return None if row is None else _edit(row)


def list_edits(
    connection: Connection,
    *,
    touching: tuple[Thing, int] | None = None,
    actor: str | None = None,
    limit: int = 50,
    offset: int = 0,
) -> tuple[int, list[Edit]]:
    """How many edits there are, and some of them, newest first."""
    parameters = {
        "touching": None if touching is None else _touching(*touching),
        "actor": actor,
        "limit": limit,
        "offset": offset,
    }
    rows = connection.execute(_SQL["list_edits"], parameters).fetchall()
    return (rows[0]["total"] if rows else 0), [_edit(row) for row in rows]


def last_edit(connection: Connection) -> int:
    """The number of the newest edit; 0 without any."""
    row = connection.execute(_SQL["last_edit"]).fetchone()
    assert row is not None
    return int(row["id"])


def answers_to_learn_from(connection: Connection) -> int:
    """How many answers people gave since the last calibration."""
    row = connection.execute(_SQL["answers_to_learn_from"]).fetchone()
    assert row is not None
    return int(row["answers"])


def later_edit(connection: Connection, edit_id: int, thing: Thing, of: int) -> Edit | None:
    """The last edit after this one that touched the same thing, if there is one."""
    parameters = {"id": edit_id, "touching": _touching(thing, of)}
    row = connection.execute(_SQL["later_edit"], parameters).fetchone()
    return None if row is None else _edit(row)


def restore_sighting(
    connection: Connection, sighting_id: int, fields: Fields, *, decision: int | None, actor: str, reason: str
) -> None:
    """Let a sighting be as ``fields`` say; ``decision`` (None: none) is said again."""
    parameters = {**fields, "id": sighting_id, "deer_ids": fields["rejected"], "actor": actor}
    for query in ("restore_sighting", "forget_rejections", "add_rejections"):
        connection.execute(_SQL[query], parameters)
    connection.execute(_SQL["restore_decision"], {"decision": decision, "reason": reason})


def restore_deer(connection: Connection, deer_id: int, fields: Fields) -> None:
    """Let what people say of an individual be as ``fields`` say. Its name must be free."""
    connection.execute(_SQL["restore_deer"], {**fields, "id": deer_id})


def restore_detection(connection: Connection, detection_id: int, fields: Fields) -> None:
    """Let a box be as ``fields`` say."""
    connection.execute(_SQL["restore_detection"], {**fields, "id": detection_id})


def mark_empty(connection: Connection, sighting_ids: Sequence[int]) -> list[int]:
    """Sightings of which no box is left show no animal; returns the individuals that they were."""
    rows = connection.execute(_SQL["empty_sightings"], {"ids": list(sighting_ids)})
    return [row["deer_id"] for row in rows if row["deer_id"] is not None]


def names(connection: Connection, deer_ids: Sequence[int]) -> dict[int, Named]:
    """Individuals by id."""
    return {row["id"]: Named(**row) for row in connection.execute(_SQL["names"], {"ids": list(deer_ids)})}


def _touching(thing: Thing, of: int) -> Jsonb:
    return Jsonb([{thing: of}])


def _edit(row: dict[str, Any]) -> Edit:
    row.pop("total", None)
    items = []
    for value in row.pop("items"):
        thing = next(t for t in Thing if t in value)
        items.append(Item(thing, value[thing], value["before"], value["after"]))
    return Edit(**row, items=tuple(items))
