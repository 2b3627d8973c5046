"""Backups that the catalogue remembers: where each was written, and how to know it again."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from deertrack.domain.errors import DeertrackError
from deertrack.services.ingest import storable
from deertrack.storage import backup, catalogue, trail
from deertrack.storage.db import Connection, Database

_KIND = "backup"


@dataclass(frozen=True, slots=True)
class SavedBackup:
    """A backup's file where it was written, its size in bytes, the hash of its content.

    ``at``: the instant whose state it holds, at the earliest.
    """

    file: Path
    bytes: int
    sha256: str
    at: datetime


def back_up(url: str, file: Path, *, actor: str) -> int:
    """Write the whole database into a file, and the fact into the audit trail; returns the size in bytes.

    The trail gets it when the file is complete, so the file does not hold its own line.

    Args:
        url: connection URL of the database, whatever its schema; one too old for a trail is backed up all the same.
        file: to write, in a directory that exists.

    Raises:
        InputError: the file cannot be written there.
        DatabaseError: it failed; an older file of that name is untouched.
    """
    with Database(url, size=1) as db:
        with db.transaction() as connection:
            begun = trail.clock(connection)
        size = backup.backup(url, file)
        if begun:
            path, digest = storable(file.absolute()), backup.sha256(file)
            detail = {"file": path, "bytes": size, "sha256": digest, "begun": begun.isoformat()}
            with db.transaction() as connection:
                catalogue.add_event(connection, actor, _KIND, "catalogue", detail)
    return size


def newest_backup(connection: Connection) -> SavedBackup | None:
    """The last backup that the catalogue remembers."""
    event = trail.last_of_kinds(connection, [_KIND])
    if event is None:
        return None
    detail = event["detail"]
    begun = datetime.fromisoformat(detail["begun"])
    return SavedBackup(Path(detail["file"]), detail["bytes"], detail["sha256"], begun)


def problem_with(url: str, saved: SavedBackup, file: Path) -> str:
    """Why a file cannot stand for a backup: gone, changed or damaged; empty if nothing speaks against it."""
    try:
        if (size := file.stat().st_size) != saved.bytes:
            return f"{file} has {size:,} bytes, the backup of {saved.at:%Y-%m-%d} has {saved.bytes:,}"
        if backup.sha256(file) != saved.sha256:
            return f"{file} is not the backup of {saved.at:%Y-%m-%d}: its content is another"
        backup.check_dump(url, file)
    except OSError as error:
        return f"{file} cannot be read: {error.strerror}"
    except DeertrackError as error:
        return error.message
    return ""
