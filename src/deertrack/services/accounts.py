"""Accounts: who may log in and as what, their sessions and tokens, and what is done against guessing."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta

from deertrack.domain.accounts import (
    LONGEST_PASSWORD,
    Role,
    account_name,
    check_password,
    name_key,
    wait_after,
)
from deertrack.domain.errors import DeertrackError, InputError, NotFoundError
from deertrack.services.passwords import hash_password, matches
from deertrack.storage import accounts as store
from deertrack.storage import catalogue
from deertrack.storage.accounts import Token, User
from deertrack.storage.db import Connection, Database

_PREFIX = "deertrack_"  # of tokens, so that programs which look for leaked secrets find it
_MOST_DAYS = 3650
# Failures that cost nothing. An address may be a whole office.
_FREE_BY_NAME, _FREE_BY_ADDRESS = 5, 20


class LoginError(DeertrackError):
    """Name and password do not belong together, or the account is disabled; which of them is not said."""


class TooManyAttemptsError(DeertrackError):
    """Too many failures under this name or from this address. ``wait`` is in seconds."""

    def __init__(self, wait: int) -> None:
        super().__init__("too many attempts to log in", hint=f"Try again in {wait} s.")
        self.wait = wait


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token just made: the only time that its secret is known."""

    id: int
    secret: str


# Accounts ---------------------------------------------------------------------------------------------------


def add_user(db: Database, name: str, role: Role, password: str, *, actor: str) -> User:
    """Make an account.

    Raises:
        InputError: a name that cannot be or is taken, or a password that is too short.
    """
    name = account_name(name)
    check_password(password)
    with db.transaction() as connection:
        user = store.add_user(connection, name, role, hash_password(password))
        _note(connection, actor, "add user", user, {"role": role.word})
    return user


def list_users(db: Database) -> list[User]:
    """All accounts by name."""
    with db.transaction() as connection:
        return store.list_users(connection)


def find_user(db: Database, name: str) -> User:
    """An account by its name, in any case.

    Raises:
        NotFoundError: there is none.
    """
    with db.transaction() as connection:
        found = store.find_user(connection, name)
    if found is None:
        raise NotFoundError(f"there is no account named {name!r}", hint="`deertrack users list` shows all.")
    return found[0]


def anybody(db: Database) -> bool:
    """Whether there is an account that can log in."""
    with db.transaction() as connection:
        return store.any_user(connection)


def change_user(
    db: Database,
    user_id: int,
    *,
    role: Role | None = None,
    enabled: bool | None = None,
    password: str | None = None,
    actor: str,
) -> User:
    """Change what is given of an account; returns it as it is now.

    Another role, another password or being disabled ends its sessions, being disabled its tokens too.

    Raises:
        NotFoundError: no such account.
        InputError: the last admin would be none, or the password is too short. Nothing is changed.
    """
    if password is not None:
        check_password(password)
    with db.transaction() as connection:
        admins = store.lock_admins(connection)
        before = store.get_user(connection, user_id)
        demoted = role is not None and role < Role.ADMIN
        if admins == [user_id] and (demoted or enabled is False):
            raise InputError(f"{before.name} is the last admin", hint="Make somebody else an admin first.")
        if role is not None and role != before.role:
            store.set_role(connection, user_id, role)
            store.end_sessions(connection, user_id)
            _note(connection, actor, "change role", before, {"from": before.role.word, "to": role.word})
        if password is not None:
            store.set_password(connection, user_id, hash_password(password))
            store.end_sessions(connection, user_id)
            _note(connection, actor, "change password", before, {})
        if enabled is not None and enabled != before.enabled:
            store.set_enabled(connection, user_id, enabled)
            if not enabled:
                store.end_sessions(connection, user_id)
                store.revoke_tokens(connection, user_id)
            _note(connection, actor, "enable user" if enabled else "disable user", before, {})
        return store.get_user(connection, user_id)


# Sessions ---------------------------------------------------------------------------------------------------


def log_in(db: Database, name: str, password: str, *, address: str) -> tuple[User, str]:
    """Begin a session; returns whose it is, and the secret that the browser keeps.

    Raises:
        LoginError: that is nobody's name and password.
        TooManyAttemptsError: somebody has been guessing.
    """
    user = check_login(db, name, password, address=address)
    return user, begin_session(db, user.id)


def check_login(db: Database, name: str, password: str, *, address: str) -> User:
    """Whose name and password these are. Takes as long whether or not there is such an account.

    Raises: as :func:`log_in`.
    """
    # The address first: once it has to wait, it leaves no more names behind.
    subjects = {
        _digest(f"address:{address}"): _FREE_BY_ADDRESS,
        _digest(f"name:{name_key(name)}"): _FREE_BY_NAME,
    }
    with db.transaction() as connection:
        found = store.find_user(connection, name)
        wait = _count(connection, subjects, found[0] if found else None, address)
    if wait:
        raise TooManyAttemptsError(wait)
    right = len(password) <= LONGEST_PASSWORD and matches(password, found[1] if found else None)
    if not (right and found and found[0].enabled):
        raise LoginError("this name and password do not belong together")
    with db.transaction() as connection:
        store.forget_attempts(connection, list(subjects))
    return found[0]


def begin_session(db: Database, user_id: int) -> str:
    """A new session's secret, 256 random bits. The database gets its hash."""
    secret = secrets.token_urlsafe(32)
    with db.transaction() as connection:
        store.add_session(connection, _digest(secret), user_id)
    return secret


def session_user(db: Database, secret: str) -> User | None:
    """Whose session this is; None if it is over."""
    with db.transaction() as connection:
        return store.session_user(connection, _digest(secret))


def log_out(db: Database, secret: str) -> None:
    """End a session."""
    with db.transaction() as connection:
        store.end_session(connection, _digest(secret))


# Tokens -----------------------------------------------------------------------------------------------------


def make_token(
    db: Database, user_id: int, *, label: str = "", days: int | None = None, actor: str
) -> NewToken:
    """A token for scripts of this account. Its secret is known now and never again.

    Raises:
        NotFoundError: no such account.
        InputError: the account is disabled, a label of more than 80 characters, or days outside 1 to 3,650.
    """
    label = " ".join(label.split())
    if len(label) > 80:
        raise InputError(f"expected a label of at most 80 characters, got {len(label)}")
    if days is not None and not 1 <= days <= _MOST_DAYS:
        raise InputError(f"expected 1 to {_MOST_DAYS:,} days, got {days}")
    secret = _PREFIX + secrets.token_urlsafe(32)
    with db.transaction() as connection:
        user = store.get_user(connection, user_id)
        if not user.enabled:
            raise InputError(f"the account {user.name!r} is disabled", hint="Enable it first.")
        lasts = timedelta(days=days) if days else None
        number = store.add_token(connection, _digest(secret), user_id, label, lasts)
        _note(connection, actor, "make token", user, {"token": number, "label": label, "days": days})
    return NewToken(number, secret)


def token_user(db: Database, secret: str) -> User | None:
    """Whose token this is; None if it is nobody's, revoked or over."""
    if not secret.startswith(_PREFIX):
        return None
    with db.transaction() as connection:
        return store.token_user(connection, _digest(secret))


def list_tokens(db: Database, user_id: int | None = None) -> list[Token]:
    """Tokens that work: those of one account, or all."""
    with db.transaction() as connection:
        return store.list_tokens(connection, user_id)


def revoke_token(db: Database, token_id: int, *, of: int | None = None, actor: str) -> None:
    """End a token, of one account or anybody's.

    Raises:
        NotFoundError: no such token, or it is another account's.
    """
    with db.transaction() as connection:
        owner = store.revoke_token(connection, token_id, of)
        if owner is None:
            raise NotFoundError(f"there is no token {token_id}")
        _note(connection, actor, "revoke token", owner, {"token": token_id})


# ------------------------------------------------------------------------------------------------------------


def _count(connection: Connection, subjects: dict[bytes, int], user: User | None, address: str) -> int:
    """Count an attempt under each subject; returns the seconds to wait if it may not be made."""
    for subject, free in subjects.items():
        failures = store.count_attempt(connection, subject)
        if failures is None:
            return store.wait_of(connection, subject)
        if wait := wait_after(failures, free=free):
            store.block(connection, subject, wait)
            about = f"user:{user.name}" if user else f"address:{address}"
            detail = {"address": address, "failures": failures, "wait": wait}
            catalogue.add_event(connection, "system", "slow down log-ins", about, detail)
    return 0


def _note(connection: Connection, actor: str, kind: str, user: User, detail: dict[str, object]) -> None:
    catalogue.add_event(connection, actor, kind, f"user:{user.name}", detail)


def _digest(secret: str) -> bytes:
    # One round suffices: what comes in is 256 random bits, or no secret at all.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
