"""How a long job tells a person how far it is."""

import time
from typing import Any, Protocol

from deertrack.domain.errors import StoppedError
from deertrack.storage import job_progress
from deertrack.storage.db import Database

_PAUSE = 0.5  # seconds between two lines of a job's progress


class Progress(Protocol):
    """Where a service reports. ``total`` is None while it is not known."""

    def start(self, stage: str, total: int | None) -> None:
        """A stage begins; the one before has ended."""

    def advance(self, steps: int = 1) -> None:
        """So many more of the stage's steps are done."""


class Silent:
    """Reports to nobody."""

    def start(self, stage: str, total: int | None) -> None:
        """Nothing."""

    def advance(self, steps: int = 1) -> None:
        """Nothing."""


SILENT = Silent()


class JobProgress:
    """Tells the catalogue how far a queued job is, at most twice a second, in transactions of its own.

    Raises (from ``start`` and ``advance``):
        StoppedError: somebody asked the job to stop. All that it committed stays, so it may go on another time.
    """

    def __init__(self, db: Database, job_id: int) -> None:
        self._db, self._job_id = db, job_id
        self._stages: list[dict[str, Any]] = []
        self._told = 0.0

    def start(self, stage: str, total: int | None) -> None:
        """A stage begins; the one before has ended."""
        self._stages.append({"stage": stage, "done": 0, "total": total})
        self._tell()

    def advance(self, steps: int = 1) -> None:
        """So many more of the stage's steps are done."""
        self._stages[-1]["done"] += steps
        if time.monotonic() - self._told >= _PAUSE:
            self._tell()

    def finish(self) -> None:
        """The job has ended; what its last stage did since the last line is told."""
        with self._db.transaction() as connection:
            job_progress.put(connection, self._job_id, self._stages)

    def _tell(self) -> None:
        with self._db.transaction() as connection:
            stop = job_progress.put(connection, self._job_id, self._stages)
        self._told = time.monotonic()
        if stop:
            raise StoppedError(
                "the job was stopped", hint="What it had done is kept; order it again to go on."
            )
