"""Uploads: what a browser said that it would send. What has arrived of it, the disk knows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from deertrack.storage.db import Connection
from deertrack.storage.queries import load_queries

_SQL = load_queries("uploads")


@dataclass(frozen=True, slots=True)
class OfferedFile:
    """A file by number; ``path`` is relative to the upload's folder, ``size`` in bytes."""

    n: int
    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload; ``job_id`` is the job that reads it, None while it is not finished."""

    id: UUID
    name: str
    actor: str
    created_at: datetime
    job_id: int | None


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An upload under way: how many files it shall have, and how many bytes."""

    upload: Upload
    files: int
    size: int


def begin(
    connection: Connection, name: str, actor: str, digest: bytes, files: Sequence[OfferedFile]
) -> tuple[UUID, bool]:
    """A new upload, or the one of the same person and digest that is under way; and whether it is new."""
    parameters = {"name": name, "actor": actor, "digest": digest}
    if row := connection.execute(_SQL["begin"], parameters).fetchone():
        columns = {
            "upload_id": row["id"],
            "numbers": [file.n for file in files],
            "paths": [file.path for file in files],
            "sizes": [file.size for file in files],
        }
        connection.execute(_SQL["add_files"], columns)
        return row["id"], True
    row = connection.execute(_SQL["under_way"], parameters).fetchone()
    assert row is not None
    return row["id"], False


def find(connection: Connection, upload_id: UUID, *, lock: bool = False) -> Upload | None:
    """An upload; with ``lock``, nobody else finishes or forgets it until the transaction ends."""
    if lock:
        connection.execute(_SQL["lock_upload"], {"id": upload_id})
    row = connection.execute(_SQL["upload"], {"id": upload_id}).fetchone()
    return None if row is None else Upload(**row)


def files_of(connection: Connection, upload_id: UUID) -> list[OfferedFile]:
    """All files of an upload, by number."""
    return [OfferedFile(**row) for row in connection.execute(_SQL["files"], {"id": upload_id})]


def open_file(connection: Connection, upload_id: UUID, n: int) -> OfferedFile | None:
    """A file of an upload that is not finished; None if there is none."""
    row = connection.execute(_SQL["file"], {"id": upload_id, "n": n}).fetchone()
    return None if row is None else OfferedFile(**row)


def unfinished(connection: Connection, *, limit: int) -> list[Unfinished]:
    """Uploads of which something is still to come, newest first."""
    rows = connection.execute(_SQL["unfinished"], {"limit": limit}).fetchall()
    return [
        Unfinished(
            Upload(row["id"], row["name"], row["actor"], row["created_at"], row["job_id"]),
            row["files"],
            row["size"],
        )
        for row in rows
    ]


def finish(connection: Connection, upload_id: UUID, job_id: int) -> None:
    """Remember which job reads an upload."""
    connection.execute(_SQL["finish"], {"id": upload_id, "job": job_id})


def forget(connection: Connection, upload_id: UUID) -> bool:
    """Forget an unfinished upload; whether there was one."""
    return connection.execute(_SQL["forget"], {"id": upload_id}).rowcount == 1
