"""The embedded server, for real: every way it has been seen to fail elsewhere is provoked here."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from deertrack.domain.errors import ServerError
from deertrack.storage import server as server_module
from deertrack.storage.data_dir import create_data_dir
from deertrack.storage.programs import tool
from deertrack.storage.server import EmbeddedServer

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the embedded server needs Linux or macOS")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else too")

ENSURE = """
import sys
from pathlib import Path
from deertrack.storage.server import EmbeddedServer
print(EmbeddedServer(Path(sys.argv[1])).ensure(), flush=True)
"""


def python(program: str, home: Path, **options: object) -> "subprocess.Popen[str]":
    """Another process that runs a program with the home as its argument."""
    command = [sys.executable, "-c", program, str(home)]
    return subprocess.Popen(command, stdout=-1, stderr=-1, text=True, **options)  # type: ignore[call-overload]


def one(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
        assert row is not None
        return row[0]


def fill(url: str, rows: int = 100) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("DROP TABLE IF EXISTS deer")
        connection.execute("CREATE TABLE deer AS SELECT generate_series(1, %s) AS id", [rows])


def processes(data_dir: Path) -> list[int]:
    """Every process of the server of a data directory, its main process first."""
    main = int((data_dir / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
    return [main, *map(int, children)]


def kill(server: EmbeddedServer) -> None:
    for pid in processes(server.data_dir):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def wait_until(condition: Callable[[], object], *, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to pass"
        time.sleep(0.01)


def ensure_as(user: str, home: Path) -> str:
    """What `ensure` says in a process of another user: a fork, for they may not reach our interpreter."""
    if not all(path.stat().st_mode & 0o001 for path in tool("postgres").parents):
        pytest.skip("other users cannot reach the PostgreSQL of this virtual environment")
    account = pwd.getpwnam(user)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
            said = EmbeddedServer(home).ensure()
        except BaseException as error:  # noqa: BLE001
            said = f"{type(error).__name__}: {error}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        os.waitpid(child, 0)
        return pipe.read()


def remove(home: Path) -> None:
    EmbeddedServer(home).stop(mode="immediate")
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "home"
    yield home
    remove(home)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """One server for the tests that leave it as they find it, if sometimes killed in between."""
    home = tmp_path_factory.mktemp("running") / "home"
    server = EmbeddedServer(home)
    server.ensure()
    yield server
    remove(home)


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A directory that everybody can enter, with a short path."""
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def links(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this user's links to data directories go."""
    monkeypatch.setattr(server_module, "_LINKS_PARENT", short_dir)
    return short_dir / f"deertrack-{os.geteuid()}"


# Everyday life ------------------------------------------------------------------------------------------


def test_first_start_gives_a_sound_database(running: EmbeddedServer) -> None:
    url = running.ensure()
    settings = {
        "listen_addresses": "",
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "data_checksums": "on",
        "jit": "off",
        "server_encoding": "UTF8",
        "TimeZone": "UTC",
    }
    assert {name: one(url, f"SHOW {name}") for name in settings} == settings
    assert one(url, "SELECT datlocale FROM pg_database WHERE datname = 'deertrack'") == "C.UTF-8"
    with psycopg.connect(url) as connection:
        connection.execute("CREATE EXTENSION vector")
        distance = connection.execute("SELECT '[1,0]'::vector <=> '[0,1]'::vector").fetchone()
        assert distance == (1.0,)
        connection.rollback()
    assert running.data_dir.stat().st_mode & 0o777 == 0o700
    assert (running.data_dir / ".s.PGSQL.5432").stat().st_mode & 0o777 == 0o700
    assert running.log_file.stat().st_mode & 0o777 == 0o600


def test_no_network_port_is_opened(running: EmbeddedServer) -> None:
    if not Path("/proc/net/tcp").exists():
        pytest.skip("no /proc to see a process's sockets in")
    main = processes(running.data_dir)[0]
    ours = {str(link.readlink()) for link in Path(f"/proc/{main}/fd").iterdir() if link.is_symlink()}
    listening = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                listening.add(f"socket:[{fields[9]}]")
    assert not ours & listening


def test_another_process_and_psql_attach(running: EmbeddedServer) -> None:
    url = running.ensure()
    other = python(ENSURE, running.home)
    assert other.communicate(timeout=30)[0].strip() == url
    answer = subprocess.run(
        [tool("psql"), url, "-Atc", "SELECT current_database()"], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "deertrack"


def test_ensure_is_quick_when_it_runs(running: EmbeddedServer) -> None:
    def measure() -> float:
        start = time.perf_counter()
        running.ensure()
        return time.perf_counter() - start

    assert min(measure() for _ in range(20)) < 0.02


def test_stop_status_and_start_again(home: Path) -> None:
    server = EmbeddedServer(home)
    assert server.stop() is False
    empty = server.status()
    assert (empty.running, empty.pid, empty.version, empty.url, empty.size_bytes) == (
        False,
        None,
        None,
        None,
        0,
    )
    assert not home.exists()

    url = server.ensure()
    fill(url)
    up = server.status()
    assert up.running
    assert (up.url, up.data_dir, up.log_file) == (url, home / "postgres", home / "postgres.log")
    assert up.version == subprocess.check_output([tool("postgres"), "--version"], text=True).split()[-1]
    assert up.pid == processes(server.data_dir)[0]
    assert up.size_bytes > 10_000_000

    with psycopg.connect(url):  # a client does not keep it up
        assert server.stop() is True
    assert server.stop() is False
    assert server.status().running is False
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    assert server.ensure() == url
    assert one(url, "SELECT count(*) FROM deer") == 100


def test_run_psql_returns_its_status(running: EmbeddedServer) -> None:
    program = "import sys; from deertrack.storage.programs import run_psql; "
    program += "sys.exit(run_psql(sys.argv[1], sys.argv[2:]))"
    command = [sys.executable, "-c", program, running.ensure(), "-At", "-v", "ON_ERROR_STOP=1"]
    good = subprocess.run(command, input="SELECT 6*7;", capture_output=True, text=True, check=False)
    assert (good.returncode, good.stdout.strip()) == (0, "42")
    bad = subprocess.run(command, input="SELECT nonsense;", capture_output=True, text=True, check=False)
    assert bad.returncode == 3


def test_settings_of_ones_own_survive_a_restart(running: EmbeddedServer) -> None:
    with psycopg.connect(running.ensure(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET work_mem = '77MB'")
    running.stop()
    assert one(running.ensure(), "SHOW work_mem") == "77MB"


def test_environment_of_the_client_does_not_leak_in(home: Path) -> None:
    odd = {
        "PGPORT": "1",
        "PGDATA": "/nowhere",
        "PGDATABASE": "x",
        "PGUSER": "x",
        "PGHOST": "x",
        "LC_ALL": "xx_YY",
    }
    starter = python(ENSURE, home, env=os.environ | odd)
    out, err = starter.communicate(timeout=60)
    assert starter.returncode == 0, err
    assert one(out.strip(), "SELECT current_user || ' ' || current_database()") == "deertrack deertrack"


# Several at once, and killed ------------------------------------------------------------------------------


def test_four_processes_on_a_fresh_home_get_one_server(home: Path) -> None:
    starters = [python(ENSURE, home) for _ in range(4)]
    said = [starter.communicate(timeout=90) for starter in starters]
    assert [starter.returncode for starter in starters] == [0] * 4, said
    urls = {out.strip() for out, _ in said}
    assert len(urls) == 1
    (url,) = urls
    assert one(url, "SELECT count(*) FROM pg_database WHERE datname = 'deertrack'") == 1
    assert "already exists" not in (home / "postgres.log").read_text()
    assert {path.name for path in home.iterdir()} == {"postgres", "postgres.lock", "postgres.log"}


def test_threads_of_one_process_may_ensure_and_stop_at_once(home: Path) -> None:
    def work(number: int) -> None:
        server = EmbeddedServer(home)
        for _ in range(3):
            if number == 0:
                server.stop()
            else:
                server.ensure()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert one(EmbeddedServer(home).ensure(), "SELECT 1") == 1


def test_killed_client_leaves_the_server_up(home: Path) -> None:
    """Not even killing the client's whole process group, or Ctrl-C in its terminal, reaches the server."""
    client = python(ENSURE + "import time; time.sleep(60)", home, start_new_session=True)
    assert client.stdout is not None
    url = client.stdout.readline().strip()
    started = one(url, "SELECT pg_postmaster_start_time()")
    os.killpg(client.pid, signal.SIGINT)
    os.killpg(client.pid, signal.SIGKILL)
    client.communicate()
    time.sleep(0.2)
    assert one(url, "SELECT pg_postmaster_start_time()") == started
    assert EmbeddedServer(home).stop() is True


def test_killed_server_recovers_every_committed_row(running: EmbeddedServer) -> None:
    url = running.ensure()
    fill(url)
    for _ in range(2):
        with psycopg.connect(url) as connection:
            connection.execute("INSERT INTO deer SELECT generate_series(1, 50)")
        kill(running)
        assert (running.data_dir / "postmaster.pid").exists()
        assert running.ensure() == url
    assert one(url, "SELECT count(*) FROM deer") == 200


def test_orphans_of_a_killed_server_are_waited_for(running: EmbeddedServer) -> None:
    """A query goes on when the main process dies; a second server beside it would ruin the data."""
    url = running.ensure()
    fill(url)
    busy = psycopg.connect(url)

    def query() -> None:
        with suppress(psycopg.OperationalError):
            busy.execute("SELECT count(*) FROM generate_series(1, 10000000)")

    thread = threading.Thread(target=query)
    thread.start()
    wait_until(lambda: one(url, "SELECT count(*) FROM pg_stat_activity WHERE query ~ '^SELECT count.*0000'"))
    orphan = busy.info.backend_pid
    os.kill(processes(running.data_dir)[0], signal.SIGKILL)
    time.sleep(0.1)
    assert Path(f"/proc/{orphan}").exists()
    assert running.ensure() == url
    with pytest.raises((FileNotFoundError, ProcessLookupError)):
        Path(f"/proc/{orphan}/exe").readlink()  # gone, or a zombie
    thread.join()
    busy.close()
    assert one(url, "SELECT count(*) FROM deer") == 100


def test_stale_pid_files_with_the_pid_of_somebody_else(running: EmbeddedServer) -> None:
    url = running.ensure()
    fill(url)
    pid_file, socket_lock = running.data_dir / "postmaster.pid", running.data_dir / ".s.PGSQL.5432.lock"
    left = {path: path.read_text().split("\n", 1)[1] for path in (pid_file, socket_lock)}
    kill(running)
    stranger = subprocess.Popen(["sleep", "60"], user=running.data_dir.stat().st_uid)
    try:
        for pid in (os.getpid(), stranger.pid):
            for path, rest in left.items():
                path.write_text(f"{pid}\n{rest}")
            assert running.stop() is False  # and nobody was killed
            assert running.ensure() == url
            assert one(url, "SELECT count(*) FROM deer") == 100
            running.stop()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_deleted_socket_is_repaired(running: EmbeddedServer) -> None:
    url = running.ensure()
    fill(url)
    (running.data_dir / ".s.PGSQL.5432").unlink()
    assert running.ensure() == url
    assert one(url, "SELECT count(*) FROM deer") == 100


def test_dropped_database_is_made_again(running: EmbeddedServer) -> None:
    url = running.ensure()
    with psycopg.connect(url.replace("/deertrack?", "/postgres?"), autocommit=True) as connection:
        connection.execute("DROP DATABASE deertrack WITH (FORCE)")
    assert one(running.ensure(), "SELECT current_database()") == "deertrack"


def test_first_start_killed_half_way_is_begun_again(home: Path) -> None:
    client = python(ENSURE, home)
    wait_until(lambda: list(home.glob("postgres.partial-*/base")))
    client.kill()
    client.communicate()
    assert not (home / "postgres").exists()
    assert one(EmbeddedServer(home).ensure(), "SELECT 1") == 1
    # Its initdb may have lived on and written while we cleaned up. The next start finds it dead.
    EmbeddedServer(home).stop()
    assert one(EmbeddedServer(home).ensure(), "SELECT 1") == 1
    assert not list(home.glob("postgres.partial-*"))


def test_log_does_not_grow_for_ever(running: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_LOG_LIMIT", 100_000)
    url = running.ensure()
    with running.log_file.open("a") as log:
        log.write("x" * 200_000)
    running.ensure()
    with psycopg.connect(url) as connection, pytest.raises(psycopg.Error):
        connection.execute("SELECT nonsense")
    assert "nonsense" in running.log_file.read_text()
    assert running.log_file.stat().st_size < 10_000


# Where the home is ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["Fotos ü 'two' \"quotes\", a&b%20c$(touch x)`y`\\z#?@", "long-" * 30 + "/" + "path-" * 30],
)
def test_any_path_will_do(tmp_path: Path, links: Path, name: str) -> None:
    home = tmp_path / name
    server = EmbeddedServer(home)
    try:
        url = server.ensure()
        assert len(url) < 160
        assert links.lstat().st_mode & 0o777 == 0o700
        assert len(list(links.iterdir())) == 1
        fill(url)
        assert EmbeddedServer(home).ensure() == url
        # A cleaner of the temporary folder takes the link away while the server runs.
        started = one(url, "SELECT pg_postmaster_start_time()")
        shutil.rmtree(links)
        assert server.ensure() == url
        assert one(url, "SELECT pg_postmaster_start_time()") == started
        assert server.stop() is True
        assert one(server.ensure(), "SELECT count(*) FROM deer") == 100
    finally:
        remove(home)


def test_links_of_homes_that_are_gone_are_removed(running: EmbeddedServer, links: Path) -> None:
    links.mkdir(mode=0o700)
    (links / "old").symlink_to(links / "gone")
    link = server_module._link_to(running.data_dir)
    assert list(links.iterdir()) == [link]
    assert link.samefile(running.data_dir)


@pytest.mark.parametrize("flaw", ["open to all", "a link", pytest.param("foreign", marks=as_root)])
def test_link_directory_that_others_control_is_refused(
    running: EmbeddedServer, links: Path, flaw: str
) -> None:
    if flaw == "a link":
        (links.parent / "theirs").mkdir(mode=0o700)
        links.symlink_to(links.parent / "theirs")
    else:
        links.mkdir(mode=0o700)
        links.chmod(0o777 if flaw == "open to all" else 0o700)
        if flaw == "foreign":
            os.chown(links, pwd.getpwnam("nobody").pw_uid, -1)
    with pytest.raises(ServerError, match="only you can use"):
        server_module._link_to(running.data_dir)


def test_home_that_is_a_file_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(ServerError, match=r"cannot use the database in .*home"):
        EmbeddedServer(tmp_path / "home").ensure()


def test_foreign_directories_are_left_alone(tmp_path: Path) -> None:
    data_dir = tmp_path / "postgres"
    data_dir.mkdir()
    (data_dir / "thesis.txt").write_text("precious")
    with pytest.raises(ServerError, match="not a PostgreSQL data directory"):
        EmbeddedServer(tmp_path).ensure()
    (data_dir / "PG_VERSION").write_text("15\n")
    with pytest.raises(ServerError, match="made by PostgreSQL 15; this deertrack brings PostgreSQL 18"):
        EmbeddedServer(tmp_path).ensure()
    assert (data_dir / "thesis.txt").read_text() == "precious"


def test_data_on_a_disk_that_is_not_mounted_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "postgres").symlink_to(tmp_path / "disk" / "postgres")
    with pytest.raises(ServerError, match="which is not there"):
        EmbeddedServer(tmp_path).ensure()


def test_data_directory_may_be_a_link(running: EmbeddedServer, tmp_path: Path) -> None:
    """The data on another disk, say."""
    running.stop()
    running.data_dir.rename(tmp_path / "elsewhere")
    running.data_dir.symlink_to(tmp_path / "elsewhere")
    try:
        assert one(running.ensure(), "SELECT 1") == 1
        assert running.stop() is True
    finally:
        running.data_dir.unlink()
        (tmp_path / "elsewhere").rename(running.data_dir)


def test_a_server_that_cannot_start_says_why(running: EmbeddedServer) -> None:
    running.stop()
    control = running.data_dir / "global" / "pg_control"
    good = control.read_bytes()
    control.write_bytes(bytes(8192))
    begun = time.monotonic()
    try:
        with pytest.raises(ServerError, match=r"did not start(.|\n)*incompatible with server"):
            running.ensure()
    finally:
        control.write_bytes(good)
    assert time.monotonic() - begun < 20  # not the whole minute
    assert one(running.ensure(), "SELECT 1") == 1


# Who may connect ------------------------------------------------------------------------------------------


@as_root
def test_no_other_user_can_connect(short_dir: Path) -> None:
    """Even with every door opened on the way, PostgreSQL itself asks the kernel who is there."""
    home = short_dir / "home"
    server = EmbeddedServer(home)
    try:
        url = server.ensure()
        command = [tool("psql"), url, "-Atc", "SELECT 'in'"]
        assert subprocess.run(command, check=False).returncode == 0

        def stranger() -> str:
            account = pwd.getpwnam("nobody")
            tried = subprocess.run(
                command, user=account.pw_uid, group=account.pw_gid, extra_groups=[], cwd="/",
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert tried.returncode != 0
            return tried.stderr

        assert "Permission denied" in stranger()
        said = ensure_as("nobody", home)
        assert said.startswith("ServerError")
        assert "belongs to deertrack-db, and you are nobody" in said
        server.data_dir.chmod(0o755)
        (server.data_dir / ".s.PGSQL.5432").chmod(0o777)
        assert "Peer authentication failed" in stranger()
    finally:
        remove(home)


@as_root
def test_server_of_root_runs_as_its_own_user_without_privileges(short_dir: Path) -> None:
    home = short_dir / "home"
    server = EmbeddedServer(home)
    try:
        server.ensure()
        status = server.status()
        assert status.os_user == "deertrack-db"
        assert status.pid is not None
        state = Path(f"/proc/{status.pid}/status").read_text()
        assert f"Uid:\t{pwd.getpwnam('deertrack-db').pw_uid}\t" in state
        assert "CapEff:\t0000000000000000" in state
        # In a home that user cannot enter, one privilege and no more, and the directory stays closed.
        server.stop()
        short_dir.chmod(0o700)
        server.ensure()
        state = Path(f"/proc/{server.status().pid}/status").read_text()
        assert "CapEff:\t0000000000000002" in state  # CAP_DAC_OVERRIDE
        assert short_dir.stat().st_mode & 0o777 == 0o700
    finally:
        remove(home)


@as_root
def test_plain_user_and_root_share_a_home(short_dir: Path) -> None:
    """The data stays the plain user's, whoever of the two starts the server."""
    account = pwd.getpwnam("nobody")
    home = short_dir / "home"
    home.mkdir()
    os.chown(home, account.pw_uid, account.pw_gid)
    server = EmbeddedServer(home)
    try:
        url = server.ensure()  # root first, then the user
        fill(url)
        assert ensure_as("nobody", home) == url
        assert server.stop() is True
        assert ensure_as("nobody", home) == url
        assert server.ensure() == url
        assert one(url, "SELECT count(*) FROM deer") == 100
        assert server.status().os_user == "nobody"
        owners = {path.lstat().st_uid for path in [home, *home.rglob("*")]}
        assert owners == {account.pw_uid}
    finally:
        remove(home)


def test_nobody_else_can_take_the_place_of_the_server(running: EmbeddedServer, short_dir: Path) -> None:
    """A client refuses a server of another user than the one who owns the data."""
    impostor = socket.socket(socket.AF_UNIX)
    impostor.bind(str(short_dir / ".s.PGSQL.5432"))
    impostor.listen()
    try:
        url = running.ensure().replace(str(running.data_dir), str(short_dir))
        assert f"host={short_dir}" in url
        if os.geteuid() != 0:
            url = url.replace("requirepeer=", "requirepeer=not-")
        with pytest.raises(psycopg.OperationalError, match="requirepeer specifies"):
            psycopg.connect(url, connect_timeout=5)
    finally:
        impostor.close()


def test_create_data_dir_reports_what_initdb_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deertrack.storage.data_dir._INITDB_OPTIONS", ["--encoding=klingon"])
    owner = pwd.getpwuid(os.geteuid()) if os.geteuid() else pwd.getpwnam("nobody")
    with pytest.raises(ServerError, match="klingon"):
        create_data_dir(tmp_path / "postgres", owner)
    assert list(tmp_path.iterdir()) == []
