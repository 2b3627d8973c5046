"""Long work through the queue: anybody may ask for it, any worker host may do it."""

import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deertrack.domain.errors import DeertrackError, InputError, VersionChangedError
from deertrack.services.lifecycle.reembed import Reembedded, parts_to_embed
from deertrack.services.run import RunReport, RunRequest
from deertrack.storage import catalogue
from deertrack.storage.db import Database
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.storage.jobs import JobQueue, Task

RUN = "deertrack.run"
REEMBED = "deertrack.reembed"
_log = logging.getLogger(__name__)


def defer_run(
    queue: JobQueue, photos: list[Path], detections: Path | None, *, whole_photo: bool, below: Path | None
) -> int:
    """Put a run over folders that the workers can see into the queue; returns the job's number.

    Args:
        below: the only folder that may be read; None where the asker may name any.

    Raises:
        InputError: a path outside ``below``, or no way to know where the animals are.
    """
    for path in [*photos, *([detections] if detections else [])]:
        if below is not None and not path.resolve().is_relative_to(below.resolve()):
            raise InputError(
                f"{path} is not inside {below}", hint=f"Only folders inside {below} can be read."
            )
    if bool(detections) == whole_photo:
        raise InputError("expected either a detections file or whole_photo")
    arguments = {
        "photos": [str(p) for p in photos],
        "detections": str(detections) if detections else None,
        "whole_photo": whole_photo,
    }
    # One after the other: two runs at once would embed the same waiting photos twice.
    job = queue.defer(RUN, arguments, lock=RUN)
    assert job is not None, "only jobs that are deferred once are ever refused"
    return job


def run_task(db: Database, do_run: Callable[[RunRequest], RunReport]) -> Task:
    """The task behind :data:`RUN`. What came of it is an event of the job, for whoever asked."""

    def task(job_id: int, arguments: dict[str, Any]) -> None:
        request = RunRequest(
            [Path(p) for p in arguments["photos"]],
            detections=Path(arguments["detections"]) if arguments["detections"] else None,
            whole_photo=arguments["whole_photo"],
        )
        try:
            try:
                report = do_run(request)
            except VersionChangedError:
                report = do_run(request)
        except DeertrackError as error:
            _write(db, job_id, "run failed", {"error": error.message, "hint": error.hint})
            raise
        _log.info("job %s: %s photos new, %s detections embedded", job_id, report.photos_new, report.embedded)
        _write(db, job_id, "run done", asdict(report))

    return task


def defer_reembed(
    queue: JobQueue, db: Database, target: RegisteredVersion, *, all_detections: bool, size: int = 100
) -> list[int]:
    """Put re-embedding into the queue, in parts that any number of workers share; returns the new jobs' numbers.

    A part that waits in the queue already is not put there again.

    Args:
        size: individuals or photos a job; some seconds of work, so that several hosts end at about the same time.
    """
    name = target.version.name
    jobs = []
    for part in parts_to_embed(db, target, all_detections=all_detections, size=size):
        ((kind, ids),) = part.items()
        once = f"{REEMBED}:{name}:{kind}:{ids[0]}-{ids[-1]}"
        job = queue.defer(REEMBED, {"version": name, **part}, once=once)
        jobs += [job] if job is not None else []
    return jobs


def reembed_task(db: Database, do_part: Callable[[str, dict[str, list[int]]], Reembedded]) -> Task:
    """The task behind :data:`REEMBED`; ``do_part`` gets the version's name and the part."""

    def task(job_id: int, arguments: dict[str, Any]) -> None:
        part = {key: value for key, value in arguments.items() if key != "version"}
        try:
            done = do_part(arguments["version"], part)
        except DeertrackError as error:
            _write(db, job_id, "reembed failed", {"error": error.message, "hint": error.hint})
            raise
        for problem in done.problems:
            _log.warning("%s: %s", problem.path, problem.reason)
        _log.info("job %s: %s detections embedded with %s", job_id, done.detections, done.version)
        _write(db, job_id, "reembed done", asdict(done))

    return task


def job_outcome(db: Database, job_id: int) -> dict[str, Any] | None:
    """The report of a job that ended, or its error; None while it has not."""
    with db.transaction() as connection:
        event = catalogue.last_event(connection, f"job:{job_id}")
    return None if event is None else {"event": event["kind"], **event["detail"]}


def _write(db: Database, job_id: int, kind: str, detail: dict[str, Any]) -> None:
    with db.transaction() as connection:
        catalogue.add_event(connection, "worker", kind, f"job:{job_id}", detail)
