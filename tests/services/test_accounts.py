"""Accounts: names, passwords, the last admin, sessions and tokens, on a real database."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from deertrack.domain.accounts import Role, account_name, parse_role, wait_after
from deertrack.domain.errors import InputError, NotFoundError
from deertrack.services import accounts, passwords
from deertrack.services.accounts import LoginError, TooManyAttemptsError
from deertrack.storage.accounts import User
from deertrack.storage.db import Database

PASSWORD = "four words nobody says"


@pytest.fixture(autouse=True)
def _cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_COST", (2**4, 8, 1))


def add(db: Database, name: str, role: Role = Role.VIEWER) -> User:
    return accounts.add_user(db, name, role, PASSWORD, actor="test")


def events(rows: Callable[..., list[dict[str, Any]]]) -> list[tuple[str, str]]:
    return [(r["kind"], r["subject"]) for r in rows("SELECT kind, subject FROM events ORDER BY id")]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "  ",
        "x" * 41,
        "a\x00b",
        "a\u200bb",
        "a\u202eb",
        "Machine",
        "WORKER",
        "system",
        "User",
        "token",
        "\ud800",
    ],
)
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(InputError):
        account_name(name)


def test_names_are_the_same_in_any_case_and_spelling(db: Database) -> None:
    assert add(db, "  Zoë   Müller ").name == "Zoë Müller"
    for other in ("zoë müller", "ZOË MÜLLER", "Zoe\u0308 Mu\u0308ller"):
        with pytest.raises(InputError, match="already"):
            add(db, other)
        assert accounts.find_user(db, other).name == "Zoë Müller"
    assert account_name("x" * 40) == "x" * 40


def test_roles_are_in_order() -> None:
    assert Role.VIEWER < Role.REVIEWER < Role.ADMIN
    assert parse_role("reviewer") is Role.REVIEWER
    with pytest.raises(InputError, match="viewer, reviewer, admin"):
        parse_role("boss")


@pytest.mark.parametrize("password", ["", "123456789", "x" * 1001])
def test_passwords_have_a_length(db: Database, password: str) -> None:
    with pytest.raises(InputError, match="expected a password of 10 to"):
        accounts.add_user(db, "Ada", Role.ADMIN, password, actor="test")
    assert not accounts.anybody(db)


def test_a_password_is_kept_as_a_hash_with_its_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = passwords.hash_password(PASSWORD), passwords.hash_password(PASSWORD)
    assert one != two
    assert one.startswith("scrypt$16$8$1$")
    monkeypatch.setattr(passwords, "_COST", (2**5, 8, 1))  # a later release asks for more
    assert passwords.matches(PASSWORD, one)
    assert not passwords.matches(PASSWORD + " ", one)
    assert passwords.matches("e\u0301tude du matin", passwords.hash_password("\u00e9tude du matin"))


def test_an_unknown_name_takes_as_long_as_a_wrong_password(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "_COST", (2**14, 8, 1))  # some 50 ms, which would show
    add(db, "Ada")

    def seconds(name: str) -> float:
        began = time.perf_counter()
        with pytest.raises(LoginError):
            accounts.log_in(db, name, "wrong", address="1.2.3.4")
        return time.perf_counter() - began

    assert min(seconds("nobody") for _ in range(3)) > min(seconds("Ada") for _ in range(3)) / 2


def test_the_last_admin_can_be_neither_disabled_nor_demoted(db: Database) -> None:
    ada, bea = add(db, "Ada", Role.ADMIN), add(db, "Bea", Role.ADMIN)
    accounts.change_user(db, bea.id, enabled=False, actor="test")
    for change in ({"role": Role.VIEWER}, {"enabled": False}, {"enabled": False, "password": "another word"}):
        with pytest.raises(InputError, match="last admin"):
            accounts.change_user(db, ada.id, **change, actor="test")
    accounts.log_in(db, "Ada", PASSWORD, address="x")  # nothing was changed, the password neither
    accounts.change_user(db, bea.id, enabled=True, actor="test")
    assert accounts.change_user(db, ada.id, role=Role.VIEWER, actor="test").role is Role.VIEWER


def test_two_admins_who_demote_each_other_at_once_leave_one(db: Database) -> None:
    users = [add(db, "Ada", Role.ADMIN), add(db, "Bea", Role.ADMIN)]
    for _ in range(5):
        start, failed = threading.Barrier(2), []

        def demote(user: User, start: threading.Barrier = start, failed: list[User] = failed) -> None:
            start.wait()
            try:
                accounts.change_user(db, user.id, role=Role.VIEWER, actor="test")
            except InputError:
                failed.append(user)

        threads = [threading.Thread(target=demote, args=[user]) for user in users]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(failed) == 1
        for user in users:
            accounts.change_user(db, user.id, role=Role.ADMIN, actor="test")


def test_what_ends_sessions_and_tokens(db: Database) -> None:
    add(db, "Bea", Role.ADMIN)
    ada = add(db, "Ada", Role.REVIEWER)
    for change, token_lives in (
        ({"role": Role.ADMIN}, True),
        ({"password": PASSWORD}, True),
        ({"enabled": False}, False),
    ):
        session = accounts.begin_session(db, ada.id)
        token = accounts.make_token(db, ada.id, actor="test").secret
        accounts.change_user(db, ada.id, **change, actor="test")
        assert accounts.session_user(db, session) is None
        assert (accounts.token_user(db, token) is not None) == token_lives
    accounts.change_user(db, ada.id, enabled=True, actor="test")
    assert accounts.list_tokens(db, ada.id) == []  # they do not come back
    accounts.change_user(db, ada.id, enabled=False, actor="test")
    with pytest.raises(LoginError):
        accounts.log_in(db, "Ada", PASSWORD, address="x")
    with pytest.raises(InputError, match="disabled"):
        accounts.make_token(db, ada.id, actor="test")


def test_a_change_to_the_same_changes_nothing(db: Database, rows: Callable[..., Any]) -> None:
    ada = add(db, "Ada", Role.ADMIN)
    session = accounts.begin_session(db, ada.id)
    accounts.change_user(db, ada.id, role=Role.ADMIN, enabled=True, actor="test")
    assert accounts.session_user(db, session) == accounts.find_user(db, "Ada")
    assert events(rows) == [("add user", "user:Ada")]


def test_everything_leaves_a_line_and_no_secret(db: Database, rows: Callable[..., Any]) -> None:
    add(db, "Bea", Role.ADMIN)
    ada = add(db, "Ada")
    accounts.change_user(db, ada.id, role=Role.REVIEWER, password="another word", actor="Bea")
    token = accounts.make_token(db, ada.id, label=" nightly  import ", days=3, actor="Ada")
    accounts.revoke_token(db, token.id, actor="Bea")
    accounts.change_user(db, ada.id, enabled=False, actor="Bea")
    for _ in range(5):
        with pytest.raises(LoginError):
            accounts.log_in(db, "Ada", "wrong password", address="1.2.3.4")
    assert [kind for kind, subject in events(rows) if subject == "user:Ada"] == [
        *("add user", "change role", "change password", "make token", "revoke token", "disable user"),
        "slow down log-ins",
    ]
    written = str(rows("SELECT * FROM events"))
    assert "nightly import" in written
    assert not [s for s in (PASSWORD, "another word", "wrong password", token.secret) if s in written]


def test_many_attempts_at_once_are_many_attempts(db: Database) -> None:
    add(db, "Ada")
    refused: list[type] = []

    def guess() -> None:
        try:
            accounts.log_in(db, "Ada", "wrong password", address="1.2.3.4")
        except (LoginError, TooManyAttemptsError) as error:
            refused.append(type(error))

    threads = [threading.Thread(target=guess) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (refused.count(LoginError), refused.count(TooManyAttemptsError)) == (5, 7)


def test_waits_grow_to_a_quarter_of_an_hour() -> None:
    waits = [wait_after(failures, free=5) for failures in range(12)]
    assert waits == [0, 0, 0, 0, 0, 30, 60, 120, 240, 480, 900, 900]
    assert wait_after(10_000, free=5) == 900


def test_what_is_not_there(db: Database) -> None:
    with pytest.raises(NotFoundError):
        accounts.find_user(db, "nobody")
    with pytest.raises(NotFoundError):
        accounts.change_user(db, 99, role=Role.ADMIN, actor="test")
    with pytest.raises(NotFoundError):
        accounts.revoke_token(db, 99, actor="test")
    assert accounts.session_user(db, "nothing") is None
    assert accounts.token_user(db, "deertrack_nothing") is None
