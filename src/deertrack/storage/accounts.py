"""Accounts, sessions, tokens and failed log-ins. Secrets come in as hashes and never leave."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from deertrack.domain.accounts import Role, name_key, parse_role
from deertrack.domain.errors import InputError, NotFoundError
from deertrack.storage.db import Connection
from deertrack.storage.queries import load_queries

_SQL = load_queries("accounts")


@dataclass(frozen=True, slots=True)
class User:
    """An account. ``seen_at`` is its last request, to the minute; None if there is no trace of one."""

    id: int
    name: str
    role: Role
    enabled: bool
    created_at: datetime
    seen_at: datetime | None


@dataclass(frozen=True, slots=True)
class Token:
    """A token that works, without its secret. ``expires_at`` None: never."""

    id: int
    owner: str
    label: str
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None


def add_user(connection: Connection, name: str, role: Role, password: str) -> User:
    """A new account; ``password`` is its hash.

    Raises:
        InputError: the name is taken.
    """
    given = {"name": name, "key": name_key(name), "role": role.word, "password": password}
    row = connection.execute(_SQL["add_user"], given).fetchone()
    if row is None:
        raise InputError(
            f"there is an account named {name!r} already", hint="Upper and lower case are the same."
        )
    return get_user(connection, row["id"])


def list_users(connection: Connection) -> list[User]:
    """All accounts by name."""
    return [_user(row) for row in connection.execute(_SQL["users"], {"id": None})]


def get_user(connection: Connection, user_id: int) -> User:
    """An account by its number.

    Raises:
        NotFoundError: there is none.
    """
    row = connection.execute(_SQL["users"], {"id": user_id}).fetchone()
    if row is None:
        raise NotFoundError(f"there is no account {user_id}")
    return _user(row)


def find_user(connection: Connection, name: str) -> tuple[User, str] | None:
    """An account by its name (any case) with its password's hash, or None."""
    row = connection.execute(_SQL["find_user"], {"key": name_key(name)}).fetchone()
    return (get_user(connection, row["id"]), row["password"]) if row else None


def any_user(connection: Connection) -> bool:
    """Whether anybody could log in."""
    row = connection.execute(_SQL["any_user"]).fetchone()
    return bool(row and row["found"])


def lock_admins(connection: Connection) -> list[int]:
    """The numbers of all admins that are enabled. Nobody else changes them before this transaction ends."""
    return [row["id"] for row in connection.execute(_SQL["lock_admins"])]


def set_role(connection: Connection, user_id: int, role: Role) -> None:
    """Give an account another role."""
    connection.execute(_SQL["set_role"], {"id": user_id, "role": role.word})


def set_enabled(connection: Connection, user_id: int, enabled: bool) -> None:
    """Let an account in, or keep it out."""
    connection.execute(_SQL["set_enabled"], {"id": user_id, "enabled": enabled})


def set_password(connection: Connection, user_id: int, password: str) -> None:
    """Keep another password's hash."""
    connection.execute(_SQL["set_password"], {"id": user_id, "password": password})


def add_session(connection: Connection, digest: bytes, user_id: int) -> None:
    """A new session; those that are over go."""
    connection.execute(_SQL["purge_sessions"])
    connection.execute(_SQL["add_session"], {"hash": digest, "user_id": user_id})


def session_user(connection: Connection, digest: bytes) -> User | None:
    """Whose session this is, which lives on from now; None if there is none or it is over."""
    return _holder(connection, "session", digest)


def end_session(connection: Connection, digest: bytes) -> None:
    """End one session."""
    connection.execute(_SQL["end_session"], {"hash": digest})


def end_sessions(connection: Connection, user_id: int) -> None:
    """End all sessions of an account."""
    connection.execute(_SQL["end_sessions"], {"user_id": user_id})


def add_token(
    connection: Connection, digest: bytes, user_id: int, label: str, lasts: timedelta | None
) -> int:
    """A new token; returns its number."""
    given = {"hash": digest, "user_id": user_id, "label": label, "lasts": lasts}
    row = connection.execute(_SQL["add_token"], given).fetchone()
    assert row is not None
    return int(row["id"])


def token_user(connection: Connection, digest: bytes) -> User | None:
    """Whose token this is; None if it is nobody's, revoked or over."""
    return _holder(connection, "token", digest)


def list_tokens(connection: Connection, user_id: int | None = None) -> list[Token]:
    """Tokens that work, oldest first: those of one account, or all."""
    return [Token(**row) for row in connection.execute(_SQL["tokens"], {"user_id": user_id})]


def revoke_token(connection: Connection, token_id: int, user_id: int | None = None) -> User | None:
    """End a token, of one account or anybody's; returns whose it was, None if there is none."""
    row = connection.execute(_SQL["revoke_token"], {"id": token_id, "user_id": user_id}).fetchone()
    return get_user(connection, row["user_id"]) if row else None


def revoke_tokens(connection: Connection, user_id: int) -> None:
    """End all tokens of an account."""
    connection.execute(_SQL["revoke_tokens"], {"user_id": user_id})


def count_attempt(connection: Connection, subject: bytes) -> int | None:
    """Count an attempt to log in as a failure, until it succeeds. Returns the failures; None: it has to wait."""
    row = connection.execute(_SQL["count_attempt"], {"subject": subject}).fetchone()
    return int(row["failures"]) if row else None


def block(connection: Connection, subject: bytes, seconds: int) -> None:
    """Let a subject wait."""
    connection.execute(_SQL["block"], {"subject": subject, "seconds": seconds})


def wait_of(connection: Connection, subject: bytes) -> int:
    """Seconds that a subject has to wait, at least 1 while it has to."""
    row = connection.execute(_SQL["wait"], {"subject": subject}).fetchone()
    return int(row["seconds"]) if row else 1


def forget_attempts(connection: Connection, subjects: Sequence[bytes]) -> None:
    """Forget the failures of these, and all that are a day old."""
    connection.execute(_SQL["forget_attempts"], {"subjects": list(subjects)})


def _holder(connection: Connection, what: str, digest: bytes) -> User | None:
    row = connection.execute(_SQL[f"{what}_user"], {"hash": digest}).fetchone()
    if row is None:
        return None
    if row.pop("stale"):  # written once a minute, not with every request
        connection.execute(_SQL[f"touch_{what}"], {"hash": digest})
    return _user(row)


def _user(row: dict[str, Any]) -> User:
    return User(**{**row, "role": parse_role(row["role"])})
