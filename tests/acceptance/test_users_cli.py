"""`deertrack users` and the door of `deertrack serve`, as a person and a script use them."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

PASSWORD = "four words nobody says"

Cli = Callable[..., Any]


def with_password(url: str, *arguments: str, password: str = PASSWORD) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "deertrack", "users", *arguments, "--password-stdin"],
        env={**os.environ, "DATABASE_URL": url},
        input=f"{password}\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_accounts_from_the_first_to_the_last(cli: Cli, url: str) -> None:
    assert "Nobody yet" in cli("users", "list", url=url).out
    assert with_password(url, "add", "Ada", "--role", "admin").stdout == "Ada can log in as admin.\n"
    assert "at least" not in with_password(url, "add", "Bob").stdout
    short = with_password(url, "add", "Eve", password="short")
    assert (short.returncode, "expected a password of 10" in short.stderr) == (1, True)
    taken = with_password(url, "add", "ADA")
    assert (taken.returncode, "already" in taken.stderr) == (1, True)
    assert "Bob is reviewer now" in cli("users", "role", "bob", "reviewer", url=url).out
    listed = json.loads(cli("users", "list", "--json", url=url).out)
    assert [(u["name"], u["role"], u["enabled"]) for u in listed] == [
        ("Ada", "admin", True),
        ("Bob", "reviewer", True),
    ]
    for last in (("role", "Ada", "viewer"), ("disable", "Ada")):
        said = cli("users", *last, url=url)
        assert (said.code, "last admin" in said.err) == (1, True)
    assert "cannot log in any more" in cli("users", "disable", "Bob", url=url).out
    assert "Bob" in cli("users", "list", url=url).out
    assert "can log in again" in cli("users", "enable", "Bob", url=url).out
    assert with_password(url, "password", "bob", password="another pass word").returncode == 0
    assert cli("users", "role", "Bob", "boss", url=url).code == 1
    assert "no account named 'Eve'" in cli("users", "password", "Eve", url=url).err


def test_a_tokens_secret_is_printed_once_and_alone(cli: Cli, url: str) -> None:
    with_password(url, "add", "Ada", "--role", "admin")
    secret = cli("users", "token", "Ada", "--days", 3, "--label", "nightly", url=url).out
    assert re.fullmatch(r"deertrack_[\w-]{43}\n", secret)
    said = cli("users", "tokens", url=url).out
    assert "nightly" in said
    assert secret.strip() not in said
    (token,) = json.loads(cli("users", "tokens", "--json", url=url).out)
    assert token["expires_at"] > token["created_at"]
    assert "works no more" in cli("users", "revoke", token["id"], url=url).out
    assert json.loads(cli("users", "tokens", "--json", url=url).out) == []
    assert cli("users", "revoke", token["id"], url=url).code == 1


def test_a_password_is_asked_for_twice_and_not_shown(url: str) -> None:
    person, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "deertrack", "users", "add", "Ada", "--role", "admin"],
        env={**os.environ, "DATABASE_URL": url, "TERM": "dumb"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    shown = ""
    for prompt in ("Password: ", "Repeat for confirmation: "):
        while not shown.endswith(prompt):
            shown += os.read(person, 1000).decode()
        os.write(person, f"{PASSWORD}\n".encode())
    while process.poll() is None or "can log in" not in shown:
        try:
            shown += os.read(person, 1000).decode()
        except OSError:  # the terminal's other end is closed
            break
    os.close(person)
    assert process.wait(timeout=30) == 0
    assert "Ada can log in as admin." in shown
    assert PASSWORD not in shown


def test_serve_asks_for_a_login_where_others_get_in(cli: Cli, url: str) -> None:
    for options, told in (
        (["--login"], "nobody could log in"),
        (["--host", "0.0.0.0"], "nobody could log in"),
        (["--host", "0.0.0.0", "--no-login"], "so they have to log in"),
    ):
        said = cli("serve", *options, url=url)
        assert (said.code, told in said.err) == (1, True), said.err
    assert (
        "nobody could log in" in cli("serve", url=url, DEERTRACK_HOSTS="deer.example").err
    )  # behind a proxy
    serve = [sys.executable, "-m", "deertrack", "serve", "--port", str(_free_port())]
    environment = {**os.environ, "DATABASE_URL": url}
    with_password(url, "add", "Ada", "--role", "admin")
    for options, status in (([], 200), (["--login"], 401), (["--host", "0.0.0.0"], 401)):
        process = subprocess.Popen([*serve, *options], env=environment, stderr=subprocess.DEVNULL)
        try:
            assert _status(f"http://127.0.0.1:{serve[-1]}/api/v1/session") == status, options
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=30)


def _status(address: str) -> int:
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(address) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            assert time.monotonic() < deadline, "nobody listens"
            time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
