"""The audit: everything that anybody changed, out of the events, people's edits and the decision log."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from deertrack.storage.db import Connection
from deertrack.storage.queries import load_queries

_SQL = load_queries("audit")
_SIGHTING = re.compile(r"sighting:(\d{1,18})")
_EVER, _NEVER = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a line stands in the audit; greater is newer."""

    at: datetime
    log: str
    id: int
    item: int


@dataclass(frozen=True, slots=True)
class Line:
    """One change: who (the machine is ``machine``) did what to what, and the values before and after.

    ``before`` and ``after`` are as JSON holds them; None where there was nothing, or a log keeps it in ``detail``.
    """

    place: Place
    actor: str
    kind: str
    subject: str
    before: Any
    after: Any
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines: in [since, until), by one actor, of one kind, about one subject; None for all.

    ``subject`` is a thing ("deer:12") or all things of a kind ("deer").
    """

    since: datetime | None = None
    until: datetime | None = None
    actor: str | None = None
    kind: str | None = None
    subject: str | None = None


def read_lines(connection: Connection, wanted: Wanted, *, before: Place | None, limit: int) -> list[Line]:
    """Lines older than a place (None: from the newest on), newest first."""
    about = _SIGHTING.fullmatch(wanted.subject or "")
    start = before or Place(_NEVER, "", 0, 0)
    parameters = {
        "since": wanted.since or _EVER,
        "until": wanted.until or _NEVER,
        "actor": wanted.actor,
        "kind": wanted.kind,
        "subject": wanted.subject,
        "sighting": int(about[1]) if about else None,
        "at": start.at,
        "log": start.log,
        "id": start.id,
        "item": start.item,
        "limit": limit,
    }
    return [
        Line(
            Place(row["at"], row["log"], row["id"], row["item"]),
            row["actor"],
            row["kind"],
            row["subject"],
            row["from"],
            row["to"],
            row["detail"],
        )
        for row in connection.execute(_SQL["page"], parameters)
    ]
