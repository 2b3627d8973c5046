"""Who uses the embedded server just now: the last one out turns off the light.

Every command holds a shared lock on a file in the home while it works. The kernel drops it with the process,
so a killed command never counts as a user.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deertrack.domain.errors import ServerError
from deertrack.storage.server import EmbeddedServer

if sys.platform != "win32":
    import fcntl


@contextmanager
def in_use(server: EmbeddedServer) -> Iterator[str]:
    """The server's URL, valid inside the block. The server is started if it must be.

    At the end it is stopped, unless another command uses it or :func:`keep_running` was asked for.
    """
    with _lock_file(server.home) as lock:
        # Shared before the start: whoever is stopping the server holds it alone until it has stopped.
        fcntl.flock(lock, fcntl.LOCK_SH)
        url = server.ensure()
        try:
            yield url
        finally:
            if not _marker(server.home).exists() and _alone(lock):
                server.stop()


def keep_running(server: EmbeddedServer) -> str:
    """Start the server and leave it running when commands end; returns its URL."""
    with _lock_file(server.home) as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        url = server.ensure()
        _marker(server.home).touch()
        return url


def stop(server: EmbeddedServer) -> bool:
    """Stop the server, unless a command uses it; False if it did not run.

    Raises:
        ServerError: a command is at work on it.
    """
    if not server.home.exists():
        return False
    with _lock_file(server.home) as lock:
        if not _alone(lock):
            raise ServerError(
                "another deertrack command is using the database",
                hint="Wait for it to end, or stop it first.",
            )
        _marker(server.home).unlink(missing_ok=True)
        return server.stop()


@contextmanager
def _lock_file(home: Path) -> Iterator[int]:
    home.mkdir(parents=True, exist_ok=True)
    lock = os.open(home / "in-use.lock", os.O_RDONLY | os.O_CREAT, 0o644)
    try:
        yield lock
    finally:
        os.close(lock)


def _alone(lock: int) -> bool:
    """Whether nobody else holds the lock; if so, it is ours alone from now on."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _marker(home: Path) -> Path:
    return home / "keep-running"
