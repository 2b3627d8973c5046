"""Whether the database and the queue in it answer, asked at the door and not through the pool."""

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from deertrack.storage.db import translated_errors
from deertrack.storage.queries import load_queries

_SQL = load_queries("health")
_PATIENCE = 3  # seconds


@dataclass(frozen=True, slots=True)
class QueueState:
    """How many jobs wait, and whether any worker gave a sign of life within a minute."""

    waiting: int
    worker: bool


def ping(url: str) -> None:
    """Insist on an answer of the database within seconds.

    Raises:
        DatabaseError: there is none.
    """
    _ask(url, "ping")


def queue_state(url: str) -> QueueState:
    """The state of the job queue.

    Raises:
        DatabaseError: its tables cannot be read.
    """
    row = _ask(url, "queue")
    return QueueState(row["waiting"], bool(row["worker"]))


def _ask(url: str, query: str) -> dict[str, Any]:
    options = f"-c statement_timeout={_PATIENCE}s"
    with (
        translated_errors(),
        psycopg.connect(url, connect_timeout=_PATIENCE, options=options, row_factory=dict_row) as connection,
    ):
        row = connection.execute(_SQL[query]).fetchone()
    assert row is not None
    return row
