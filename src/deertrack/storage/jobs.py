"""The job queue: procrastinate on the catalogue's own PostgreSQL, so that any number of hosts share the work."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from procrastinate import App, JobContext, PsycopgConnector, SyncPsycopgConnector
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException, JobAborted

from deertrack.domain.errors import NotFoundError, StoppedError
from deertrack.storage.db import translated_errors as database_errors

# A task gets its job's number and the arguments that it was deferred with.
Task = Callable[[int, dict[str, Any]], None]

# Any number will do, as long as it stays: two processes must ask for the same one.
_SCHEMA_LOCK = 0x0DEE_0070

# Apart from people's jobs: half a million a year, which nobody asks for.
_SWEEPS = "sweeps"


@contextmanager
def translated_errors() -> Iterator[None]:
    """The same where the library put the driver's error into one of its own."""
    with database_errors():
        try:
            yield
        except ConnectorException as error:
            raise error.__cause__ or error from None


class JobQueue:
    """Jobs by task name, with JSON arguments. A job whose worker was killed is found and run again.

    Raises:
        DatabaseError: nobody answers at ``url``.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        with translated_errors():
            self._ensure_schema()

    def defer(
        self, task: str, arguments: dict[str, Any], *, lock: str | None = None, once: str | None = None
    ) -> int | None:
        """Put a job into the queue; returns its number.

        Args:
            lock: jobs that share one never run side by side.
            once: None is returned, and nothing done, while a job with the same one waits in the queue.
        """
        with translated_errors(), self._plain_app().open() as app:
            try:
                return app.configure_task(task, lock=lock, queueing_lock=once).defer(arguments=arguments)
            except AlreadyEnqueued:
                return None

    def status(self, job_id: int) -> str:
        """Where a job stands: todo, doing, succeeded, failed, cancelled or aborted.

        Raises:
            NotFoundError: no such job.
        """
        with translated_errors(), self._plain_app().open() as app:
            jobs = app.job_manager.list_jobs(id=job_id)
            if not jobs:
                raise NotFoundError(f"there is no job {job_id}")
            return str(app.job_manager.get_job_status(job_id).value)

    def stop(self, job_id: int) -> bool:
        """Take a waiting job out of the queue, or ask a running one to stop; whether there was anything to stop."""
        with translated_errors(), self._plain_app().open() as app:
            return app.job_manager.cancel_job_by_id(job_id, abort=True)

    def work(self, tasks: Mapping[str, Task], *, until_empty: bool = False) -> None:
        """Run jobs until SIGINT or SIGTERM (the job in hand is finished first), or until none is left."""
        app = App(connector=PsycopgConnector(conninfo=self._url))
        for name, task in tasks.items():
            _register(app, name, task)
        sweep = app.task(name="deertrack.sweep", queue=_SWEEPS, pass_context=True)(_sweep)
        app.periodic(cron="* * * * *")(sweep)
        with translated_errors():
            asyncio.run(_work(app, until_empty=until_empty))

    def _plain_app(self) -> App:
        return App(connector=SyncPsycopgConnector(conninfo=self._url))

    def _ensure_schema(self) -> None:
        # The library applies its schema blindly: a second time fails, and so do two at once.
        with psycopg.connect(self._url) as guard:
            guard.execute("SELECT pg_advisory_xact_lock(%s)", [_SCHEMA_LOCK])
            known = guard.execute("SELECT to_regclass('procrastinate_jobs')").fetchone()
            if known is None or known[0] is None:
                with self._plain_app().open() as app:
                    app.schema_manager.apply_schema()


def _register(app: App, name: str, task: Task) -> None:
    @app.task(name=name, pass_context=True)
    def run(context: JobContext, arguments: dict[str, Any]) -> None:
        try:
            task(context.job.id or 0, arguments)
        except StoppedError as error:
            raise JobAborted from error


async def _work(app: App, *, until_empty: bool) -> None:
    async with app.open_async():
        await _retry_stalled(app)
        # Jobs that wait for a shared lock are found by polling only, hence once a second.
        await app.run_worker_async(wait=not until_empty, fetch_job_polling_interval=1)


async def _sweep(context: JobContext, timestamp: int) -> None:  # noqa: ARG001 (the library passes it)
    await _retry_stalled(context.app)
    await context.app.job_manager.delete_old_jobs(nb_hours=1, queue=_SWEEPS)


async def _retry_stalled(app: App) -> None:
    """Give back the jobs of killed workers: those without a sign of life for half a minute."""
    for job in await app.job_manager.get_stalled_jobs():
        await app.job_manager.retry_job(job)
