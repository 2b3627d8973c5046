"""The data directory of the embedded PostgreSQL server: how it comes to be, and its configuration."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from deertrack.domain.errors import ServerError
from deertrack.storage.programs import CLEAN_ENVIRONMENT, MAJOR, run_as, tool, user_name

if sys.platform != "win32":
    import pwd

ROLE = "deertrack"  # owns the database and is its superuser

_INITDB_OPTIONS = (
    f"--username={ROLE} --auth=peer --data-checksums --no-instructions "
    "--encoding=UTF8 --locale=C --locale-provider=builtin --builtin-locale=C.UTF-8"
).split()

_SETTINGS = """\
# Written by deertrack at every start. For settings of your own use ALTER SYSTEM, which wins over this file.
listen_addresses = ''            # no TCP
unix_socket_directories = '.'    # this directory
unix_socket_permissions = 0700
port = 5432                      # part of the socket's name
max_connections = 50
shared_buffers = 512MB           # at 100,000 deer a search takes half the time that it takes with 128 MB
maintenance_work_mem = 256MB     # an HNSW build that overflows this takes three times as long
dynamic_shared_memory_type = mmap  # a container's /dev/shm is often too small for a parallel index build
wal_level = minimal
max_wal_senders = 0
max_wal_size = 512MB
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] '
lc_messages = 'C'
"""


def create_data_dir(data_dir: Path, user: "pwd.struct_passwd") -> None:
    """Make the data directory unless it is there. It appears under its name only when complete."""
    for abandoned in data_dir.parent.glob("postgres.partial-*"):  # by a process killed at just this
        shutil.rmtree(abandoned, ignore_errors=True)
    if data_dir.exists():
        _check(data_dir)
        return
    if data_dir.is_symlink():
        raise ServerError(
            f"{data_dir} is a link to {data_dir.readlink()}, which is not there",
            hint="mount or restore that directory; remove the link to start with an empty database",
        )
    partial = Path(tempfile.mkdtemp(prefix="postgres.partial-", dir=data_dir.parent))
    try:
        if os.geteuid() == 0:
            os.chown(partial, user.pw_uid, user.pw_gid)
        made = subprocess.run(
            [*run_as(user, partial), tool("initdb"), f"--pgdata={partial}", *_INITDB_OPTIONS],
            env=CLEAN_ENVIRONMENT,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            raise ServerError(f"cannot create a database in {data_dir}: {made.stderr.strip()}")
        partial.rename(data_dir)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check(data_dir: Path) -> None:
    version_file = data_dir / "PG_VERSION"
    if not version_file.is_file():
        raise ServerError(
            f"{data_dir} is not a PostgreSQL data directory (no PG_VERSION in it)",
            hint="choose another --home, or move that directory away",
        )
    if (version := version_file.read_text().strip()) != str(MAJOR):
        raise ServerError(
            f"{data_dir} was made by PostgreSQL {version}; this deertrack brings PostgreSQL {MAJOR}",
            hint="back it up with the deertrack that made it, and restore that backup into a new --home",
        )


def configure_data_dir(data_dir: Path, user: "pwd.struct_passwd") -> None:
    """Write the server's settings, and who may connect: the data's owner and root, through the socket."""
    allowed = dict.fromkeys((user.pw_name, user_name(0)))
    for name, text in (
        ("postgresql.conf", _SETTINGS),
        ("pg_hba.conf", f"local all all peer map={ROLE}\n"),
        ("pg_ident.conf", "".join(f'{ROLE} "{name}" {ROLE}\n' for name in allowed)),
    ):
        with os.fdopen(open_private(data_dir / name, os.O_WRONLY | os.O_TRUNC), "w") as file:
            file.write(text)


def open_private(path: Path, flags: int) -> int:
    """Open or create a file for its directory's owner alone, also when it is root that asks.

    Returns:
        the file descriptor.
    """
    file = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    if os.geteuid() == 0:
        directory = path.parent.stat()
        os.fchown(file, directory.st_uid, directory.st_gid)
    return file
