"""Who may use a shared catalogue: roles, names of accounts, passwords, and how long guessing has to wait."""

import unicodedata
from enum import IntEnum

from deertrack.domain.errors import InputError

SHORTEST_PASSWORD, LONGEST_PASSWORD = 10, 1000
# They sign changes that no account made.
_RESERVED = {"machine", "worker", "system", "user", "token"}
_WAIT, _LONGEST_WAIT = 30, 900  # seconds


class Role(IntEnum):
    """What somebody may do; each role may do what those before it may."""

    VIEWER = 1
    REVIEWER = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        """As people write it: "viewer"."""
        return self.name.lower()


def parse_role(text: str) -> Role:
    """The role of this name.

    Raises:
        InputError: there is none.
    """
    for role in Role:
        if role.word == text:
            return role
    raise InputError(f"expected a role ({', '.join(r.word for r in Role)}), got {text!r}")


def account_name(text: str) -> str:
    """A name for an account, as it is kept: spaces trimmed and single.

    Raises:
        InputError: empty, longer than 40 characters, with characters that nobody sees, or one that deertrack
            itself signs with.
    """
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if not 1 <= len(name) <= 40:
        raise InputError(f"expected a name of 1 to 40 characters, got {len(name)}")
    if any(unicodedata.category(character).startswith("C") for character in name):
        raise InputError("expected a name without invisible characters")
    if name_key(name) in _RESERVED:
        raise InputError(f"the name {name!r} is reserved", hint=f"So are {', '.join(sorted(_RESERVED))}.")
    return name


def name_key(text: str) -> str:
    """What two spellings of one name have in common: upper and lower case, ways to write an accent, spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def check_password(text: str) -> None:
    """Refuse a new password that is too short to be one, or too long to be meant.

    Raises:
        InputError: it is.
    """
    if not SHORTEST_PASSWORD <= len(text) <= LONGEST_PASSWORD:
        raise InputError(
            f"expected a password of {SHORTEST_PASSWORD} to {LONGEST_PASSWORD:,} characters, got {len(text):,}",
            hint="Four words that have nothing to do with each other are easy to remember and hard to guess.",
        )


def wait_after(failures: int, *, free: int) -> int:
    """Seconds to wait before the next attempt: none for the first ``free`` failures, then ever longer."""
    return 0 if failures < free else int(min(_WAIT * 2 ** min(failures - free, 10), _LONGEST_WAIT))
