"""How far jobs are, and what came of them: the queue's own tables read beside ours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from deertrack.storage.db import Connection
from deertrack.storage.queries import load_queries

_SQL = load_queries("job_progress")


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job of the queue.

    ``status``: todo, doing, succeeded, failed, cancelled or aborted; ``stopping``: somebody asked a running one to
    stop. ``stages`` so far, each {stage, done, total}; ``total`` is null while nobody knows it. ``outcome`` is its
    report or its error without the list of ``problems`` (how many), None while there is none.
    """

    id: int
    task: str
    status: str
    stopping: bool
    arguments: dict[str, Any]
    stages: list[dict[str, Any]]
    ordered_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    outcome: dict[str, Any] | None
    problems: int


def put(connection: Connection, job_id: int, stages: Sequence[Mapping[str, object]]) -> bool:
    """Write how far a job is; returns whether somebody asked it to stop."""
    row = connection.execute(_SQL["put"], {"job_id": job_id, "stages": Jsonb(list(stages))}).fetchone()
    return row is not None and bool(row["stop"])


def list_jobs(
    connection: Connection, tasks: Sequence[str], *, limit: int, offset: int
) -> tuple[int, list[JobRow]]:
    """How many jobs of these tasks there are, and some of them, newest first."""
    count = connection.execute(_SQL["count"], {"tasks": list(tasks)}).fetchone()
    parameters = {"tasks": list(tasks), "id": None, "limit": limit, "offset": offset}
    found = [JobRow(**row) for row in connection.execute(_SQL["jobs"], parameters)]
    return (count["total"] if count else 0), found


def find_job(connection: Connection, tasks: Sequence[str], job_id: int) -> JobRow | None:
    """One job, if it is of one of these tasks."""
    parameters = {"tasks": list(tasks), "id": job_id, "limit": 1, "offset": 0}
    row = connection.execute(_SQL["jobs"], parameters).fetchone()
    return None if row is None else JobRow(**row)


def waiting_job(connection: Connection, once: str) -> int | None:
    """The job that was deferred with this ``once`` and waits in the queue."""
    row = connection.execute(_SQL["waiting"], {"once": once}).fetchone()
    return None if row is None else int(row["id"])


def problems(connection: Connection, job_id: int, *, limit: int, offset: int) -> list[dict[str, str]]:
    """What a job could not use, each {path, reason}, in its order."""
    return connection.execute(_SQL["problems"], {"id": job_id, "limit": limit, "offset": offset}).fetchall()
