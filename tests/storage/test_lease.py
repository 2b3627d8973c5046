"""Who turns off the light: the embedded server runs while somebody uses it, and no longer."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from deertrack.domain.errors import InputError, ServerError
from deertrack.storage import lease
from deertrack.storage.server import EmbeddedServer

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the embedded server needs Linux or macOS")

# A command that says that it is at work, works until it is told to end, and ends.
USER = """
import sys
from pathlib import Path
from deertrack.storage import lease
from deertrack.storage.server import EmbeddedServer
with lease.in_use(EmbeddedServer(Path(sys.argv[1]))) as url:
    print("working", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose data directory exists, so that each test only starts a server."""
    home = tmp_path_factory.mktemp("lease")
    with lease.in_use(EmbeddedServer(home)):
        pass
    return home


@pytest.fixture
def server(home: Path) -> Iterator[EmbeddedServer]:
    """The embedded server, stopped before and after."""
    server = EmbeddedServer(home)
    assert not running(server)
    yield server
    lease.stop(server)


def running(server: EmbeddedServer) -> bool:
    return server.status().running


def answers(url: str) -> bool:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT 1").fetchone() == (1,)


def start_user(home: Path) -> "subprocess.Popen[str]":
    user = subprocess.Popen(
        [sys.executable, "-c", USER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert user.stdout is not None
    assert user.stdout.readline() == "working\n"
    return user


def end(user: "subprocess.Popen[str]") -> None:
    user.communicate("\n", timeout=30)
    assert user.returncode == 0


def test_the_server_runs_while_it_is_used_and_stops_afterwards(server: EmbeddedServer) -> None:
    with lease.in_use(server) as url:
        assert answers(url)
    assert not running(server)


@pytest.mark.parametrize("error", [InputError("no"), KeyboardInterrupt()])
def test_a_command_that_fails_turns_off_the_light_too(server: EmbeddedServer, error: BaseException) -> None:
    with pytest.raises(type(error)), lease.in_use(server):
        raise error
    assert not running(server)


def test_the_last_one_out_stops_it_and_nobody_before(server: EmbeddedServer, home: Path) -> None:
    with lease.in_use(server) as url:
        other = start_user(home)
        end(other)  # not the last one
        assert answers(url)
        other = start_user(home)
    assert answers(url)  # we were not the last one either
    end(other)
    assert not running(server)


def test_of_several_that_end_at_once_one_stops_it(server: EmbeddedServer, home: Path) -> None:
    users = [start_user(home) for _ in range(4)]
    for user in users:
        assert user.stdin is not None
        user.stdin.write("\n")
        user.stdin.flush()
    for user in users:
        user.communicate(timeout=30)
    assert [user.returncode for user in users] == [0] * 4
    assert not running(server)


def test_whoever_comes_while_it_stops_gets_a_server_that_answers(home: Path, server: EmbeddedServer) -> None:
    for _ in range(3):
        leaving = start_user(home)
        assert leaving.stdin is not None
        leaving.stdin.write("\n")
        leaving.stdin.flush()
        with lease.in_use(server) as url:
            assert answers(url)
            leaving.communicate(timeout=30)
            assert leaving.returncode == 0
            assert answers(url)
    assert not running(server)


def test_keep_running_keeps_it_until_it_is_stopped(server: EmbeddedServer, home: Path) -> None:
    url = lease.keep_running(server)
    assert answers(url)
    with lease.in_use(server) as same:
        assert same == url
    end(start_user(home))
    assert answers(url)
    assert lease.stop(server) is True
    assert not running(server)
    # From now on the last one out stops it again.
    with lease.in_use(server):
        pass
    assert not running(server)


def test_it_is_not_stopped_while_somebody_uses_it(server: EmbeddedServer, home: Path) -> None:
    user = start_user(home)
    with pytest.raises(ServerError, match="another deertrack command") as caught:
        lease.stop(server)
    assert caught.value.hint
    assert running(server)
    end(user)
    assert lease.stop(server) is False  # it did that itself


def test_a_refused_stop_leaves_keep_running_as_it_was(server: EmbeddedServer, home: Path) -> None:
    url = lease.keep_running(server)
    user = start_user(home)
    with pytest.raises(ServerError):
        lease.stop(server)
    end(user)
    assert answers(url)


def test_a_killed_command_counts_no_longer(server: EmbeddedServer, home: Path) -> None:
    killed = start_user(home)
    killed.kill()
    killed.wait(timeout=10)
    assert running(server)  # it could not turn off the light
    with lease.in_use(server) as url:
        assert answers(url)
    assert not running(server)  # the next one does

    killed = start_user(home)
    killed.kill()
    killed.wait(timeout=10)
    assert lease.stop(server) is True


def test_stopping_what_never_was_makes_nothing(tmp_path: Path) -> None:
    assert lease.stop(EmbeddedServer(tmp_path / "nowhere")) is False
    assert not (tmp_path / "nowhere").exists()
