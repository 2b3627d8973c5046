"""The main job through the queue: anybody may ask for a run, any worker host may do it."""

import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deertrack.domain.errors import DeertrackError, InputError, VersionChangedError
from deertrack.services.run import RunReport, RunRequest
from deertrack.storage import catalogue
from deertrack.storage.db import Database
from deertrack.storage.jobs import JobQueue, Task

RUN = "deertrack.run"
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
    return queue.defer(RUN, arguments, lock=RUN)


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


def job_outcome(db: Database, job_id: int) -> dict[str, Any] | None:
    """The report of a job that ended, or its error; None while it has not."""
    with db.transaction() as connection:
        event = catalogue.last_event(connection, f"job:{job_id}")
    return None if event is None else {"event": event["kind"], **event["detail"]}


def _write(db: Database, job_id: int, kind: str, detail: dict[str, Any]) -> None:
    with db.transaction() as connection:
        catalogue.add_event(connection, "worker", kind, f"job:{job_id}", detail)
