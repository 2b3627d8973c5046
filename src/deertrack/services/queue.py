"""Long work through the queue: anybody may ask for it, any worker host may do it."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from deertrack.domain.errors import DeertrackError, InputError, StoppedError, VersionChangedError
from deertrack.formats.stations import parse_timezone
from deertrack.services.detections import megadetector_installed
from deertrack.services.ingest import Problem, StationRules
from deertrack.services.lifecycle.reembed import Reembedded, parts_to_embed
from deertrack.services.progress import JobProgress, Progress
from deertrack.services.run import RunPlan, RunReport, RunRequest, plan
from deertrack.storage import catalogue, job_progress
from deertrack.storage.db import Database
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.storage.jobs import JobQueue, Task

RUN = "deertrack.run"
CATCH_UP = "deertrack.catch_up"
REEMBED = "deertrack.reembed"
_log = logging.getLogger(__name__)


class Unpack(Protocol):
    """Makes an upload ready to read: its folder, its detections file, and what was left out of archives."""

    def __call__(
        self, upload_id: UUID, *, detections: str | None, root: str | None, progress: Progress
    ) -> tuple[Path, Path | None, list[Problem]]: ...


def check_below(paths: list[Path], below: Path | None) -> None:
    """Insist that paths are inside a folder; None where the asker may name any.

    Raises:
        InputError: one is not.
    """
    for path in paths:
        if below is not None and not path.resolve().is_relative_to(below.resolve()):
            raise InputError(
                f"{path} is not inside {below}", hint=f"Only folders inside {below} can be read."
            )


def defer_run(
    queue: JobQueue,
    photos: list[Path],
    detections: Path | None,
    *,
    whole_photo: bool,
    below: Path | None,
    timezone: str = "UTC",
    min_confidence: float | None = None,
    actor: str = "user",
) -> int:
    """Put a run over folders that the workers can see into the queue; returns the job's number.

    Args:
        below: the only folder that may be read; None where the asker may name any.
        timezone: IANA zone of stations that are met for the first time.
        min_confidence: least confidence of a detection, in [0, 1]; None for what the detections file recommends.

    Raises:
        InputError: a path outside ``below``, or no way to know where the animals are.
    """
    check_below([*photos, *([detections] if detections else [])], below)
    arguments = {
        "title": ", ".join(path.name or str(path) for path in photos),
        "photos": [str(p) for p in photos],
        "detections": str(detections) if detections else None,
    }
    options = run_options(bool(detections), whole_photo, timezone, min_confidence, actor)
    return _defer_run(queue, arguments | options)


def plan_folders(db: Database, photos: list[Path], *, below: Path | None) -> RunPlan:
    """What a run over folders that the server can see would read; changes nothing.

    Raises:
        InputError: a path outside ``below``, one that does not exist, or no photo.
    """
    check_below(photos, below)
    return plan(db, RunRequest(photos))


def defer_upload(
    queue: JobQueue,
    upload_id: UUID,
    options: dict[str, object],
    *,
    title: str,
    detections: str | None,
    root: str | None,
    left_out: Sequence[str] = (),
) -> int:
    """Put a run over what was uploaded into the queue; returns the job's number.

    Args:
        options: of :func:`run_options`.
        detections: the detections file's path within the upload.
        root: the folder within it whose folders are stations; None to tell it from the photos.
        left_out: files that did not arrive.
    """
    arguments = {
        "title": title,
        "upload": str(upload_id),
        "detections": detections,
        "root": root,
        "left_out": list(left_out),
    }
    return _defer_run(queue, arguments | options)


def run_options(
    detections: bool, whole_photo: bool, timezone: str, min_confidence: float | None, actor: str
) -> dict[str, object]:
    """What a run's arguments hold besides what it reads.

    Raises:
        InputError: no way to know where the animals are, or two; or no such time zone.
    """
    if detections and whole_photo:
        raise InputError("expected either a detections file or whole_photo, got both")
    if not (detections or whole_photo or megadetector_installed()):
        raise InputError(
            "nobody has said yet where the animals are in these photos: expected either a detections file or "
            "whole_photo",
            hint="Give a MegaDetector or SpeciesNet results file, or say that each photo is cropped to one animal. "
            "Or install MegaDetector beside deertrack (pip install 'deertrack[detect]'): it is then run for you.",
        )
    return {
        "whole_photo": whole_photo,
        "timezone": parse_timezone(timezone),
        "min_confidence": min_confidence,
        "by": actor,
    }


def _defer_run(queue: JobQueue, arguments: dict[str, Any]) -> int:
    # One after the other: two runs at once would embed the same waiting photos twice.
    job = queue.defer(RUN, arguments, lock=RUN)
    assert job is not None, "only jobs that are deferred once are ever refused"
    return job


def defer_catch_up(queue: JobQueue, db: Database, *, actor: str) -> int:
    """Let what waits be embedded, grouped and decided; returns the number of the job that will do it.

    One that waits in the queue already does it for all.
    """
    while True:
        arguments = {"title": "Boxes that were changed", "by": actor}
        job = queue.defer(CATCH_UP, arguments, lock=RUN, once=CATCH_UP)
        if job is None:
            with db.transaction() as connection:
                job = job_progress.waiting_job(connection, CATCH_UP)
        if job is not None:  # else a worker took it between the two
            return job


def run_task(db: Database, do_run: Callable[[RunRequest, Progress], RunReport], unpack: Unpack) -> Task:
    """The task behind :data:`RUN`. What came of it is an event of the job, for whoever asked."""

    def task(job_id: int, arguments: dict[str, Any]) -> None:
        with _job(db, job_id, "run") as progress:
            left_out: list[Problem] = []
            if upload := arguments.get("upload"):
                folder, detections, left_out = unpack(
                    UUID(upload),
                    detections=arguments["detections"],
                    root=arguments["root"],
                    progress=progress,
                )
                left_out += [Problem(path, "did not arrive") for path in arguments["left_out"]]
                roots = [folder]
            else:
                roots = [Path(p) for p in arguments["photos"]]
                detections = Path(arguments["detections"]) if arguments["detections"] else None
            request = RunRequest(
                roots,
                detections=detections,
                whole_photo=arguments["whole_photo"],
                min_confidence=arguments.get("min_confidence"),
                stations=StationRules(timezone=arguments.get("timezone", "UTC")),
            )
            report = _twice(lambda: do_run(request, progress))
            report.problems[:0] = left_out
        _log.info("job %s: %s photos new, %s detections embedded", job_id, report.photos_new, report.embedded)
        _write(db, job_id, "run done", asdict(report))

    return task


def catch_up_task(db: Database, do_catch_up: Callable[[Progress], RunReport]) -> Task:
    """The task behind :data:`CATCH_UP`."""

    def task(job_id: int, _: dict[str, Any]) -> None:
        with _job(db, job_id, "catch-up") as progress:
            report = _twice(lambda: do_catch_up(progress))
        _write(db, job_id, "catch-up done", asdict(report))

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
        part = {key: value for key, value in arguments.items() if key in ("deer", "images")}
        with _job(db, job_id, "reembed"):
            done = do_part(arguments["version"], part)
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


@contextmanager
def _job(db: Database, job_id: int, what: str) -> Iterator[JobProgress]:
    """A job's work: how far it is, and in the trail why it failed, if it did."""
    progress = JobProgress(db, job_id)
    try:
        yield progress
    except DeertrackError as error:
        kind = f"{what} stopped" if isinstance(error, StoppedError) else f"{what} failed"
        _write(db, job_id, kind, {"error": error.message, "hint": error.hint})
        raise
    finally:
        progress.finish()


def _twice(work: Callable[[], RunReport]) -> RunReport:
    """Once more where the catalogue was cut over to another version meanwhile."""
    try:
        return work()
    except VersionChangedError:
        return work()


def _write(db: Database, job_id: int, kind: str, detail: dict[str, Any]) -> None:
    with db.transaction() as connection:
        catalogue.add_event(connection, "worker", kind, f"job:{job_id}", detail)
