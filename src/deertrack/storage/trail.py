"""Reading the audit trail by what happened; :mod:`deertrack.storage.catalogue` writes it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from deertrack.storage.db import Connection
from deertrack.storage.queries import load_queries

_SQL = load_queries("trail")


def clock(connection: Connection) -> datetime | None:
    """The instant as the trail's clock shows it; None where the schema is too old for a trail."""
    row = connection.execute(_SQL["clock"]).fetchone()
    return row["now"] if row else None


def last_of_kinds(connection: Connection, kinds: Sequence[str]) -> dict[str, Any] | None:
    """The newest line of one of these kinds, whatever its subject: at (UTC), kind, subject, detail."""
    return connection.execute(_SQL["last_of_kinds"], {"kinds": list(kinds)}).fetchone()
