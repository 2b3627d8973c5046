"""``deertrack worker``: does queued jobs, beside any number of others on the same database."""

import logging
import os
import signal
import sys
from functools import lru_cache, partial
from threading import Thread

from deertrack import wiring
from deertrack.services.lifecycle.reembed import Reembedded, embed_images, reembed_some
from deertrack.services.progress import Progress
from deertrack.services.queue import CATCH_UP, REEMBED, RUN, catch_up_task, reembed_task, run_task
from deertrack.services.run import RunReport, RunRequest, catch_up, run
from deertrack.services.uploads import make_ready
from deertrack.services.versions import registered_version
from deertrack.settings import Settings
from deertrack.vision.embedder import Embedder


def work(settings: Settings, *, until_empty: bool = False, owned: bool = False) -> None:
    """Do jobs until stopped, or until none is left.

    Args:
        owned: stop when standard input ends: whoever started this process is gone, however it ended.
    """
    level = logging.WARNING if owned else logging.INFO  # the server has the word there
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if owned:
        Thread(target=_stop_with_owner, daemon=True).start()
    with wiring.open_database(settings) as db:

        @lru_cache(maxsize=1)  # a queued re-embedding is many jobs with one model
        def embedder(version: str) -> Embedder:
            return wiring.make_embedder(settings, wiring.load_pack(settings, db, version))

        # For each job anew: a cut-over needs no restart.
        deciders = partial(wiring.make_deciders, settings)

        def do_run(request: RunRequest, progress: Progress) -> RunReport:
            return run(db, request, embedder, deciders, progress=progress)

        def do_catch_up(progress: Progress) -> RunReport:
            return catch_up(db, embedder, deciders, progress=progress)

        def do_part(version: str, part: dict[str, list[int]]) -> Reembedded:
            target = registered_version(db, wiring.load_pack(settings, db, version), version)
            load = partial(embedder, version)
            if "deer" in part:
                return reembed_some(db, load, target, part["deer"])
            return embed_images(db, load, target, part["images"])

        tasks = {
            RUN: run_task(db, do_run, partial(make_ready, db, settings.home)),
            CATCH_UP: catch_up_task(db, do_catch_up),
            REEMBED: reembed_task(db, do_part),
        }
        wiring.job_queue(db).work(tasks, until_empty=until_empty)


def _stop_with_owner() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)
