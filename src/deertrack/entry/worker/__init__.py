"""``deertrack worker``: does queued jobs, beside any number of others on the same database."""

import logging
from functools import lru_cache, partial

from deertrack import wiring
from deertrack.services.lifecycle.reembed import Reembedded, embed_images, reembed_some
from deertrack.services.queue import REEMBED, RUN, reembed_task, run_task
from deertrack.services.run import RunReport, RunRequest, run
from deertrack.services.versions import registered_version
from deertrack.settings import Settings
from deertrack.vision.embedder import Embedder


def work(settings: Settings, *, until_empty: bool = False) -> None:
    """Do jobs until stopped, or until none is left."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with wiring.open_database(settings) as db:

        @lru_cache(maxsize=1)  # a queued re-embedding is many jobs with one model
        def embedder(version: str) -> Embedder:
            return wiring.make_embedder(settings, wiring.load_pack(settings, db, version))

        def do_run(request: RunRequest) -> RunReport:
            return run(
                db,
                request,
                embedder,
                # For each job anew: a cut-over needs no restart.
                lambda database: wiring.make_deciders(settings, database),
            )

        def do_part(version: str, part: dict[str, list[int]]) -> Reembedded:
            target = registered_version(db, wiring.load_pack(settings, db, version), version)
            load = partial(embedder, version)
            if "deer" in part:
                return reembed_some(db, load, target, part["deer"])
            return embed_images(db, load, target, part["images"])

        tasks = {RUN: run_task(db, do_run), REEMBED: reembed_task(db, do_part)}
        wiring.job_queue(db).work(tasks, until_empty=until_empty)
