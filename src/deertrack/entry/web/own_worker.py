"""The server's own worker: a process beside it, so that a single command is all that a user starts."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from deertrack.settings import Settings

_PATIENCE = (
    10.0  # seconds that a job in hand has to end; what is killed after that is done again by the next worker
)
_log = logging.getLogger(__name__)


@contextmanager
def own_worker(settings: Settings) -> Iterator[None]:
    """Keep one worker process alive inside the block: it is started again where it dies, and stopped at the end.

    It stops by itself when this process is gone, however that ended: its standard input is a pipe from here.
    """
    stop = Event()
    keeper = Thread(target=_keep, args=(settings, stop), name="own worker")
    keeper.start()
    try:
        yield
    finally:
        stop.set()
        keeper.join()


def _keep(settings: Settings, stop: Event) -> None:
    command = [sys.executable, "-m", "deertrack", "worker", "--owned", "--home", str(settings.home)]
    pause = 1.0
    while not stop.is_set():
        # A session of its own: Ctrl-C is the server's, which then stops the worker in good order.
        with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as worker:
            while worker.poll() is None and not stop.wait(0.2):
                pass
            if stop.is_set():
                _end(worker)
                return
        _log.warning("the worker ended with status %s; it is started again", worker.returncode)
        stop.wait(pause)
        pause = min(2 * pause, 60.0)


def _end(worker: subprocess.Popen[bytes]) -> None:
    assert worker.stdin is not None
    worker.stdin.close()
    try:
        worker.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        worker.kill()
