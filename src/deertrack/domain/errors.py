"""Every error a user may meet. The message says what was expected and what came; the hint says what to do."""

from typing import Any


class DeertrackError(Exception):
    """Base of all errors that deertrack raises on purpose; shown to people without a traceback.

    Args:
        message: what is wrong, naming the file, row or value.
        hint: what the reader can do about it, or empty.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(DeertrackError):
    """The caller gave something that cannot be used: a missing folder, a malformed file, a bad option."""


class PhotoError(DeertrackError):
    """One photo cannot be read. Recorded against that photo; never stops the others."""


class PackError(DeertrackError):
    """A model pack is missing, incomplete or changed since it was built."""


class FingerprintMismatchError(DeertrackError):
    """Vectors of different models were about to be compared. Never a low score, always this error."""


class VersionChangedError(DeertrackError):
    """The catalogue was cut over to another embedding version while this run was under way."""


class DatabaseError(DeertrackError):
    """The database cannot be reached, or refuses what was asked."""


class UnstorableError(DatabaseError):
    """A value came that no column can hold: a number beyond 64 bits, a text with a NUL. The database is well."""


class ServerError(DatabaseError):
    """The embedded PostgreSQL server cannot be started, reached or stopped."""


class MigrationError(DatabaseError):
    """The schema cannot be brought to the asked version; nothing is left half-built."""


class NotFoundError(DeertrackError):
    """No individual, station or photo goes by that name or number."""


class ConflictError(DeertrackError):
    """Somebody else changed meanwhile what was to be changed. ``current`` is how it is now, in JSON's types."""

    def __init__(self, message: str, *, current: dict[str, Any], hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.current = current


class TooLargeError(InputError):
    """More was sent, or is packed into what was sent, than will be taken."""


class NoSpaceError(DeertrackError):
    """The disk has no room for what was to be kept."""


class StoppedError(DeertrackError):
    """A person stopped a job. What it had done is kept."""
