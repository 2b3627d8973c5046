"""Queued work as people see it: how far it is, what came of it, stopping it, doing it again."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deertrack.domain.errors import InputError, NotFoundError
from deertrack.services.queue import CATCH_UP, REEMBED, RUN
from deertrack.storage import catalogue, job_progress
from deertrack.storage.db import Database
from deertrack.storage.job_progress import JobRow
from deertrack.storage.jobs import JobQueue

_KINDS = {RUN: "run", CATCH_UP: "catch-up", REEMBED: "re-embedding"}
_LOCKS = {RUN: RUN, CATCH_UP: RUN, REEMBED: None}
ENDED = frozenset({"succeeded", "failed", "cancelled", "aborted"})


@dataclass(frozen=True, slots=True)
class Job:
    """A job.

    ``kind``: run, catch-up or re-embedding; ``title``: what it works on; ``by``: who ordered it. ``status``: todo,
    doing, succeeded, failed, cancelled (before it began) or aborted; ``stopping``: somebody asked a running one to
    stop. ``stages`` so far, each {stage, done, total or null}. ``report`` holds the counts of a job that is done,
    ``error`` and ``hint`` why one failed; ``problems`` counts what it could not use.
    """

    id: int
    kind: str
    title: str
    by: str
    status: str
    stopping: bool
    ordered_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    stages: list[dict[str, Any]]
    report: dict[str, Any] | None
    error: str | None
    hint: str | None
    problems: int

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in ENDED


def list_jobs(db: Database, *, limit: int = 20, offset: int = 0) -> tuple[int, list[Job]]:
    """How many jobs there are, and some of them, newest first."""
    with db.transaction() as connection:
        total, found = job_progress.list_jobs(connection, list(_KINDS), limit=limit, offset=offset)
    return total, [_job(row) for row in found]


def show_job(db: Database, job_id: int) -> Job:
    """One job.

    Raises:
        NotFoundError: there is none.
    """
    return _job(_row(db, job_id))


def problems(db: Database, job_id: int, *, limit: int, offset: int) -> tuple[int, list[dict[str, str]]]:
    """How much a job could not use, and some of it, each {path, reason}.

    Raises:
        NotFoundError: there is no such job.
    """
    total = _row(db, job_id).problems
    with db.transaction() as connection:
        return total, job_progress.problems(connection, job_id, limit=limit, offset=offset)


def stop(db: Database, queue: JobQueue, job_id: int, *, actor: str) -> Job:
    """Take a job out of the queue, or stop it where it is: what it has committed stays.

    Raises:
        NotFoundError: there is no such job.
        InputError: it has ended.
    """
    row = _row(db, job_id)
    if row.task == REEMBED and row.status == "doing":
        raise InputError(f"job {job_id} is a part of a re-embedding; it ends in a moment by itself")
    if not queue.stop(job_id):
        raise InputError(f"job {job_id} has ended already")
    with db.transaction() as connection:
        catalogue.add_event(connection, actor, "stop job", f"order:{job_id}", {"was": row.status})
    return show_job(db, job_id)


def again(db: Database, queue: JobQueue, job_id: int, *, actor: str) -> int:
    """Order a job that ended once more, with what it was ordered with; returns the new job's number.

    Raises:
        NotFoundError: there is no such job.
        InputError: it has not ended yet.
    """
    row = _row(db, job_id)
    if row.status not in ENDED:
        raise InputError(f"job {job_id} has not ended yet")
    job = queue.defer(row.task, {**row.arguments, "by": actor}, lock=_LOCKS[row.task])
    assert job is not None, "only jobs that are deferred once are ever refused"
    return job


def _row(db: Database, job_id: int) -> JobRow:
    with db.transaction() as connection:
        row = job_progress.find_job(connection, list(_KINDS), job_id)
    if row is None:
        raise NotFoundError(f"there is no job {job_id}")
    return row


def _job(row: JobRow) -> Job:
    outcome = row.outcome if row.status in ENDED else None
    failed = outcome is not None and "error" in outcome
    given = row.arguments
    return Job(
        id=row.id,
        kind=_KINDS[row.task],
        title=given.get("title") or given.get("version") or ", ".join(given.get("photos", ())),
        by=given.get("by", "user"),
        status=row.status,
        stopping=row.stopping and row.status == "doing",
        ordered_at=row.ordered_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        stages=row.stages,
        report=None if failed else outcome,
        error=outcome["error"] if failed and outcome else None,
        hint=outcome["hint"] if failed and outcome else None,
        problems=row.problems,
    )
