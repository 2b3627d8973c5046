"""``deertrack worker``: does queued jobs, beside any number of others on the same database."""

import logging

from deertrack import wiring
from deertrack.services.queue import RUN, run_task
from deertrack.services.run import RunReport, RunRequest, run
from deertrack.settings import Settings


def work(settings: Settings, *, until_empty: bool = False) -> None:
    """Do jobs until stopped, or until none is left."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with wiring.open_database(settings) as db:

        def do_run(request: RunRequest) -> RunReport:
            pack = wiring.load_pack(settings, db)  # for each job: a cut-over needs no restart
            return run(
                db,
                request,
                lambda: wiring.make_embedder(settings, pack),
                lambda database: wiring.make_matcher(database, pack),
            )

        wiring.job_queue(db).work({RUN: run_task(db, do_run)}, until_empty=until_empty)
