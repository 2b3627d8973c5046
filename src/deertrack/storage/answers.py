"""Answers kept for requests that come again: Idempotency-Key."""

from dataclasses import dataclass

from deertrack.storage.db import Connection
from deertrack.storage.queries import load_queries

_SQL = load_queries("answers")


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of a request: its SHA-256 and the answer; ``status`` None while it is being worked on."""

    request: bytes
    status: int | None
    body: bytes | None


def claim(connection: Connection, who: str, key: str, request: bytes) -> Answer | None:
    """Begin to work on a request. None: go on. Else what came of the one that had this key first.

    Answers are kept for 24 hours; whoever worked on one for more than a minute is taken for dead.
    """
    connection.execute(_SQL["purge"])
    given = {"who": who, "key": key}
    if connection.execute(_SQL["claim"], {**given, "request": request}).fetchone():
        return None
    row = connection.execute(_SQL["find"], given).fetchone()
    return Answer(row["request"], row["status"], row["body"]) if row else None


def keep(connection: Connection, who: str, key: str, status: int, body: bytes) -> None:
    """Keep the answer to a request that was claimed."""
    connection.execute(_SQL["keep"], {"who": who, "key": key, "status": status, "body": body})


def forget(connection: Connection, who: str, key: str) -> None:
    """Nothing was done: the request may come again."""
    connection.execute(_SQL["forget"], {"who": who, "key": key})
