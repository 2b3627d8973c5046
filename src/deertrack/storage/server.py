"""The embedded PostgreSQL server: a real server in the user's home directory, started on demand.

How it holds together:

- **Is a server alive?** The server inherits an exclusive `flock` on its `PG_VERSION` file, and its child
  processes inherit it in turn. The kernel drops the lock with the last of them, so neither a stale pid file,
  a reused pid, a zombie nor a clock can mislead us; `kill -9` leaves nothing to clean.
- **The socket lives in the data directory** (mode 0700), bound through a relative path: no TCP, no length
  limit, nothing for a cleaner of the temporary folder to remove. Where the path is too long or too unusual
  for a connection URL, clients reach it through a symbolic link in a private directory of their own.
- **Who may connect:** `peer` authentication for the operating-system user who owns the data, and for root.
  The URL names that user as `requirepeer`, so that no other user's server can pass for this one.
- **As root** another user runs it: see `programs.py`.
"""

import hashlib
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import psycopg
from psycopg import sql

from deertrack.domain.errors import ServerError
from deertrack.storage.data_dir import ROLE, configure_data_dir, create_data_dir, open_private
from deertrack.storage.programs import (
    CLEAN_ENVIRONMENT,
    is_postgres,
    root_account,
    run_as,
    tool,
    user_name,
)

if sys.platform != "win32":
    import fcntl
    import pwd

DATABASE = "deertrack"

_PATIENCE = 60.0  # seconds for a start, crash recovery included, and for a stop
_POLL = 0.02  # seconds
_LOG_LIMIT = 10_000_000  # bytes
_LINKS_PARENT = Path("/tmp")  # noqa: S108  not TMPDIR: every process of a user must find the same link
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./-]{1,90}")  # fits a socket address and a URL as it is
_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


@dataclass(frozen=True)
class ServerStatus:
    """The state of the embedded server.

    Attributes:
        running: it answers queries.
        pid: of its main process, or None.
        version: such as "18.4"; of the running server, or None.
        os_user: operating-system user who owns the data and runs the server, or None before first use.
        data_dir: where the data is, or will be.
        log_file: the server's own log.
        size_bytes: of the data directory on disk; 0 before first use.
        url: connection URL, or None when it does not run.
    """

    running: bool
    pid: int | None
    version: str | None
    os_user: str | None
    data_dir: Path
    log_file: Path
    size_bytes: int
    url: str | None


class EmbeddedServer:
    """The PostgreSQL server whose data is in `home/postgres`. Making this object starts nothing."""

    def __init__(self, home: Path) -> None:
        self.home = home.expanduser().resolve()
        self.data_dir = self.home / "postgres"
        self.log_file = self.home / "postgres.log"

    def ensure(self) -> str:
        """Start the server if it does not answer, and return a URL on which it does.

        First use creates the data directory and the database `deertrack`. Safe from any number of processes
        at once; a few milliseconds when the server already runs. The URL carries no password and works for
        every program of the same user that uses libpq.

        Raises:
            ServerError: it cannot be started, or does not answer within 60 s; the message says why.
        """
        if sys.platform == "win32":
            raise ServerError(
                "the embedded PostgreSQL server needs Linux or macOS",
                hint="set DATABASE_URL to a PostgreSQL 16+ server with pgvector 0.8+",
            )
        with _as_server_error(f"cannot use the database in {self.home}"):
            self._trim_log()
            if self.data_dir.exists() and not _problem(url := self._url()):
                return url
            self.home.mkdir(parents=True, exist_ok=True)
            user = self._server_user()
            with self._one_at_a_time():
                create_data_dir(self.data_dir, user)
                self._restart_if_unreachable()
                self._start_and_wait(user)
                self._create_database()
            return self._url()

    def stop(self, *, mode: Literal["smart", "fast", "immediate"] = "fast") -> bool:
        """Stop the server and wait until its last process is gone.

        Args:
            mode: "smart" waits for clients to leave, "fast" disconnects them, "immediate" simulates a crash
                (the next start recovers).

        Returns:
            False if it did not run.

        Raises:
            ServerError: it is still running after 60 s.
        """
        with _as_server_error(f"cannot stop the database in {self.home}"):
            if not self.data_dir.exists():
                return False
            with self._one_at_a_time():
                return self._stop(_SIGNALS[mode])

    def status(self) -> ServerStatus:
        """What the server is doing now. Starts nothing.

        Raises:
            ServerError: the home cannot be read.
        """
        with _as_server_error(f"cannot look at the database in {self.home}"):
            exists = self.data_dir.exists()
            url = self._url() if exists else None
            version = None
            if url:
                with (
                    suppress(psycopg.OperationalError),
                    psycopg.connect(url, connect_timeout=5) as connection,
                ):
                    version = connection.info.parameter_status("server_version")
            return ServerStatus(
                running=version is not None,
                pid=self._pid() if version else None,
                version=version,
                os_user=user_name(self.data_dir.stat().st_uid) if exists else None,
                data_dir=self.data_dir,
                log_file=self.log_file,
                size_bytes=_size_on_disk(self.data_dir),
                url=url if version else None,
            )

    # Starting -----------------------------------------------------------------------------------------

    def _restart_if_unreachable(self) -> None:
        """Stop a server that is up but whose socket somebody deleted: nobody can reach it any more."""
        with suppress(FileNotFoundError):
            ready = (self.data_dir / "postmaster.pid").read_text().rstrip().endswith("ready")
            if ready and not (self.data_dir / ".s.PGSQL.5432").exists():
                self._stop(signal.SIGINT)

    def _start_and_wait(self, user: "pwd.struct_passwd") -> None:
        """Start the server unless one is alive, and wait until it answers.

        One that is alive but silent is starting, recovering from a crash or going down, or it is what a
        killed server left behind: all of these pass.
        """
        log_start = None
        deadline = time.monotonic() + _PATIENCE
        while problem := _problem(self._url(database="postgres")):
            with self._claim() as lock:
                if lock is not None and log_start is not None:
                    raise ServerError(f"PostgreSQL did not start: {self._log_since(log_start)}")
                if lock is not None:
                    log_start = self._start(user, lock)
            if time.monotonic() > deadline:
                raise ServerError(
                    f"PostgreSQL in {self.data_dir} does not answer after {_PATIENCE:.0f} s: {problem}",
                    hint=f"if it recovers from a crash, try again in a minute; its log is {self.log_file}",
                )
            time.sleep(_POLL)

    def _start(self, user: "pwd.struct_passwd", lock: int) -> int:
        """Launch the server, which inherits `lock`. Returns where its part of the log begins, in bytes."""
        # With the lock in our hands there is no server, whatever these say and whoever has that pid now.
        for stale in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            (self.data_dir / stale).unlink(missing_ok=True)
        configure_data_dir(self.data_dir, user)
        server = [*run_as(user, self.data_dir), str(tool("postgres")), "-D", str(self.data_dir)]
        with os.fdopen(open_private(self.log_file, os.O_WRONLY | os.O_APPEND), "ab") as log:
            log_start = log.tell()
            # The shell leaves at once, so the server is nobody's child, in a session of its own: neither the
            # end of this process nor Ctrl-C in its terminal reaches it.
            subprocess.run(
                ["/bin/sh", "-c", '"$@" &', "sh", *server],
                env=CLEAN_ENVIRONMENT,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(lock,),
                start_new_session=True,
                check=True,
            )
        return log_start

    def _create_database(self) -> None:
        with psycopg.connect(self._url(database="postgres"), autocommit=True) as connection:
            known = connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
            if known is None:
                connection.execute(
                    sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(DATABASE))
                )

    # Stopping -----------------------------------------------------------------------------------------

    def _stop(self, signal_: signal.Signals) -> bool:
        deadline = time.monotonic() + _PATIENCE
        sent = False
        while True:
            with self._claim() as lock:
                if lock is not None:
                    return sent
            if not sent and (pid := self._pid()) is not None and is_postgres(pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal_)
                sent = True
            if time.monotonic() > deadline:
                raise ServerError(
                    f"PostgreSQL in {self.data_dir} is still shutting down after {_PATIENCE:.0f} s",
                    hint=f"try again in a minute; its log is {self.log_file}",
                )
            time.sleep(_POLL)

    # What is known about it -----------------------------------------------------------------------------

    @contextmanager
    def _claim(self) -> Iterator[int | None]:
        """Hold the lock that every process of a live server shares; None while there is such a process."""
        lock = os.open(self.data_dir / "PG_VERSION", os.O_RDWR)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                free = True
            except BlockingIOError:
                free = False
            yield lock if free else None
        finally:
            os.close(lock)

    def _pid(self) -> int | None:
        with suppress(FileNotFoundError, ValueError, IndexError):
            return int((self.data_dir / "postmaster.pid").read_text().splitlines()[0])
        return None

    def _server_user(self) -> "pwd.struct_passwd":
        """The user who runs the server: the data's owner. Created if root needs one."""
        exists = self.data_dir.exists()
        owner = (self.data_dir if exists else self.home).stat().st_uid
        me = os.geteuid()
        if me == 0 and (owner == 0 or (not exists and user_name(owner).isdigit())):
            return root_account()
        if me not in (0, owner) and exists:
            raise ServerError(
                f"{self.data_dir} belongs to {user_name(owner)}, and you are {user_name(me)}",
                hint="run deertrack as that user or as root, or choose another --home",
            )
        uid = owner if me == 0 else me
        try:
            return pwd.getpwuid(uid)
        except KeyError:
            raise ServerError(
                f"PostgreSQL needs a user with a name, and user id {uid} has none on this machine",
                hint="add it to /etc/passwd, run deertrack as another user, or set DATABASE_URL",
            ) from None

    def _url(self, *, database: str = DATABASE) -> str:
        directory = str(self.data_dir)
        if not _PLAIN_PATH.fullmatch(directory):
            directory = str(_link_to(self.data_dir))
        peer = quote(user_name(self.data_dir.stat().st_uid), safe="")
        return f"postgresql://{ROLE}@/{database}?host={directory}&port=5432&requirepeer={peer}"

    def _log_since(self, start: int) -> str:
        with self.log_file.open("rb") as log:
            log.seek(start)
            lines = log.read().decode(errors="replace").strip().splitlines()
        return "\n".join(lines[-8:]) or f"it left no message in {self.log_file}"

    def _trim_log(self) -> None:
        with suppress(FileNotFoundError):
            if self.log_file.stat().st_size > _LOG_LIMIT:
                os.truncate(self.log_file, 0)  # the server appends, so it goes on from the beginning

    # Files ----------------------------------------------------------------------------------------------

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        """Only one process at a time starts or stops this server."""
        lock = open_private(self.home / "postgres.lock", os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _problem(url: str) -> str:
    """Why no query is answered there; empty if all is well."""
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            connection.execute("SELECT 1")
    except psycopg.OperationalError as error:
        return str(error)
    return ""


def _link_to(data_dir: Path) -> Path:
    """A short, plain path to a data directory, the same for every process of this user."""
    links = _LINKS_PARENT / f"deertrack-{os.geteuid()}"
    with suppress(FileExistsError):
        links.mkdir(mode=0o700)
    found = links.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise ServerError(
            f"{links} is not a directory that only you can use, so somebody else could reach the database",
            hint=f"remove {links}, or choose a --home with a short path of plain letters, which needs no link",
        )
    link = links / hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    if not link.is_symlink() or link.readlink() != data_dir:
        fresh = Path(f"{link}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(data_dir)
        fresh.replace(link)
        for other in links.iterdir():
            if not other.exists():  # its home is gone
                other.unlink(missing_ok=True)
    return link


def _size_on_disk(directory: Path) -> int:
    size = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(FileNotFoundError):  # a live server removes files
                size += (Path(folder) / name).lstat().st_size
    return size


@contextmanager
def _as_server_error(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, subprocess.SubprocessError, psycopg.Error) as error:
        raise ServerError(f"{what}: {error}", hint="choose another --home, or set DATABASE_URL") from error
