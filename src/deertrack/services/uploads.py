"""Cards that a browser sends: in pieces that can be sent again, into a folder of their own, then read by a job.

An upload is the folder ``uploads/<id>/`` of the home. Below it a folder with the upload's name holds the files as
they lay on the card, for folders name stations. Archives wait beside it, and are unpacked by the job. How much of a
file has arrived is its size on disk, so nothing has to be remembered of a piece, and a killed server forgets none.
"""

import os
import shutil
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePath, PurePosixPath
from uuid import UUID

from deertrack.domain.errors import InputError, NoSpaceError, NotFoundError, TooLargeError
from deertrack.services import archives
from deertrack.services.ingest import FoundPhoto, Problem, StationRules, find_photos
from deertrack.services.progress import Progress
from deertrack.services.queue import defer_upload, run_options
from deertrack.storage import catalogue, uploads
from deertrack.storage.db import Connection, Database
from deertrack.storage.jobs import JobQueue
from deertrack.storage.uploads import OfferedFile, Unfinished, Upload
from deertrack.vision.image_io import PHOTO_SUFFIXES

PIECE = 8 * 2**20  # what the browser sends at a time
LARGEST_PIECE = 64 * 2**20

_ARCHIVES = ".archives"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that is not taken, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Arrived:
    """A file by number, its size, and how many of its bytes have arrived, from the first on without a gap."""

    n: int
    path: str
    size: int
    received: int


@dataclass(frozen=True, slots=True)
class Standing:
    """An upload as it stands: what of it has arrived, and how many photos would be of which station."""

    upload: Upload
    files: tuple[Arrived, ...]
    stations: dict[str, int]


@dataclass(frozen=True, slots=True)
class Begun:
    """An upload that may be sent now; ``new`` is False where the same was begun before and not finished."""

    standing: Standing
    left_out: tuple[LeftOut, ...]
    new: bool


def begin(db: Database, home: Path, name: str, files: Sequence[tuple[str, int]], *, actor: str) -> Begun:
    """Announce files (path on the card, size in bytes); only photos, .json, .csv and .zip are taken.

    The same files offered again by the same person go on with what has arrived.

    Raises:
        InputError: a path that leads elsewhere, no file to take, or two of one path.
        TooLargeError: too many or too large.
        NoSpaceError: the disk has no room for them.
    """
    if len(files) > archives.MOST_FILES:
        raise TooLargeError(
            f"expected at most {archives.MOST_FILES:,} files, got {len(files):,}", hint="Send fewer at once."
        )
    label = _label(name)
    wanted, left_out = [], []
    for n, (given, size) in enumerate(files):
        path = archives.clean_path(given)
        if reason := archives.unwanted(path):
            left_out.append(LeftOut(given, reason))
            continue
        most = archives.LARGEST_ARCHIVE if archives.is_archive(path.name) else archives.LARGEST_FILE
        if size > most:
            raise TooLargeError(f"{given}: expected at most {most / 2**20:,.0f} MiB, got {size / 2**20:,.0f}")
        wanted.append(OfferedFile(n, path.as_posix(), size))
    _check_paths(wanted)
    total = sum(file.size for file in wanted)
    if total > archives.LARGEST_UPLOAD:
        raise TooLargeError(
            f"expected at most {archives.LARGEST_UPLOAD / 2**30:,.0f} GiB, got {total / 2**30:,.1f}"
        )
    digest = sha256(repr((label, sorted((f.path, f.size, f.n) for f in wanted))).encode()).digest()
    with db.transaction() as connection:
        upload_id, new = uploads.begin(connection, label, actor, digest, wanted)
        standing = _standing(home, _find(connection, upload_id), wanted)
        packed = sum(file.size for file in wanted if archives.is_archive(file.path))
        missing = total - sum(file.received for file in standing.files)
        archives.check_space(home, missing + packed)  # an archive is there twice while it is unpacked
    return Begun(standing, tuple(left_out), new)


def show(db: Database, home: Path, upload_id: UUID) -> Standing:
    """What has arrived of an upload.

    Raises:
        NotFoundError: there is none.
    """
    with db.transaction() as connection:
        return _standing(home, _find(connection, upload_id), uploads.files_of(connection, upload_id))


def unfinished(db: Database, *, limit: int = 50) -> list[Unfinished]:
    """Uploads of which something is still to come, newest first."""
    with db.transaction() as connection:
        return uploads.unfinished(connection, limit=limit)


class Piece:
    """Bytes of a file from an offset on, written as they come. Sent again, they are written to the same place."""

    def __init__(self, file: OfferedFile, path: Path, offset: int) -> None:
        self._file, self._path, self._at = file, path, offset
        self._end = min(offset + LARGEST_PIECE, file.size)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._out = os.open(path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)

    def write(self, data: bytes) -> None:
        """The next bytes.

        Raises:
            TooLargeError: more than the file was said to have, or than a piece may have.
            NoSpaceError: the disk is full.
        """
        if self._at + len(data) > self._end:
            raise TooLargeError(
                f"{self._file.path}: expected at most {self._end:,} bytes up to here, got {self._at + len(data):,}"
            )
        try:
            os.lseek(self._out, self._at, os.SEEK_SET)
            view = memoryview(data)
            while view:
                view = view[os.write(self._out, view) :]
        except OSError as error:
            raise NoSpaceError(f"{self._file.path} cannot be written: {error.strerror}") from error
        self._at += len(data)

    def close(self) -> int:
        """How many bytes of the file have arrived."""
        received = os.fstat(self._out).st_size
        os.close(self._out)
        return received


def open_piece(db: Database, home: Path, upload_id: UUID, n: int, offset: int) -> Piece:
    """Begin to write a piece of file ``n`` of an upload, from byte ``offset`` on.

    Raises:
        NotFoundError: no such file, or the upload is finished.
        InputError: a gap before the offset; the hint says how much has arrived.
        NoSpaceError: the disk is full but for what the database needs.
    """
    with db.transaction() as connection:
        upload, file = _find(connection, upload_id), uploads.open_file(connection, upload_id, n)
    if file is None:
        raise NotFoundError(
            f"upload {upload_id} has no file {n} to send", hint="Perhaps it is finished already."
        )
    path = _place(home, upload, file.path)
    if offset > (there := _size(path)):
        raise InputError(
            f"{file.path}: expected bytes from {there:,} on, got an offset of {offset:,}",
            hint=f"{there} bytes have arrived.",
        )
    archives.check_space(home, max(0, min(file.size - offset, LARGEST_PIECE)))  # others send too
    return Piece(file, Path(path), offset)


def finish(
    db: Database,
    home: Path,
    queue: JobQueue,
    upload_id: UUID,
    *,
    detections: str | None,
    whole_photo: bool,
    timezone: str,
    min_confidence: float | None,
    root: str | None,
    incomplete: bool = False,
    actor: str,
) -> int:
    """Order the job that reads an upload; the same again gives the same job.

    Args:
        detections: path on the card of the MegaDetector or SpeciesNet file; it may be inside an archive.
        incomplete: leave out what has not arrived whole (a card may be damaged), and tell it with the job.
        root: the folder on the card whose folders are the stations; None: see :func:`station_root`.
        timezone, min_confidence: as for :func:`deertrack.services.queue.defer_run`.

    Raises:
        NotFoundError: no such upload.
        InputError: something is still to come, an archive cannot be read, or the detections file is not there.
        TooLargeError: an archive holds too much.
        NoSpaceError: the disk has no room to unpack it.
    """
    with db.transaction() as connection:
        upload = _find(connection, upload_id, lock=True)
        if upload.job_id is not None:
            return upload.job_id
        standing = _standing(home, upload, uploads.files_of(connection, upload_id))
        missing = [file for file in standing.files if file.received != file.size]
        for file in [file for file in missing if file.size == 0]:  # of which no piece is ever sent
            Piece(OfferedFile(file.n, file.path, 0), Path(_place(home, upload, file.path)), 0).close()
            missing.remove(file)
        if missing and not incomplete:
            raise InputError(
                f"{len(missing):,} files have not arrived yet, the first of them {missing[0].path}",
                hint="Send them, then finish; or say that they are to be left out.",
            )
        for file in missing:
            Path(_place(home, upload, file.path)).unlink(missing_ok=True)
        arrived = set(standing.files).difference(missing)
        names = {file.path for file in arrived if not archives.is_archive(file.path)}
        size = 0
        for file in arrived:
            if archives.is_archive(file.path):
                with archives.open_archive(Path(_place(home, upload, file.path))) as archive:
                    members, _ = archives.members_of(archive)
                names |= {path.as_posix() for path, _ in members}
                size += sum(info.file_size for _, info in members)
        archives.check_space(home, size)
        if detections is not None:
            detections = archives.clean_path(detections).as_posix()
            if detections not in names or not detections.lower().endswith(".json"):
                raise InputError(f"there is no detections file {detections!r:.200} among the files")
        if not any(PurePosixPath(name).suffix.lower() in PHOTO_SUFFIXES for name in names):
            raise InputError(
                "there is no photo among the files",
                hint=f"Photos end in {', '.join(sorted(PHOTO_SUFFIXES))}.",
            )
        if root is not None:
            root = archives.clean_path(root).as_posix() if root.strip("./") else ""
            if not any(PurePosixPath(name).is_relative_to(root) for name in names):
                raise InputError(f"there is no folder {root!r:.200} among the files")
        options = run_options(bool(detections), whole_photo, timezone, min_confidence, actor)
        job = defer_upload(
            queue,
            upload_id,
            options,
            title=upload.name,
            detections=detections,
            root=root,
            left_out=[file.path for file in missing],
        )
        uploads.finish(connection, upload_id, job)
        detail = {"name": upload.name, "files": len(standing.files), "job": job}
        catalogue.add_event(connection, actor, "upload", f"upload:{upload_id}", detail)
        return job


def forget(db: Database, home: Path, upload_id: UUID) -> None:
    """Delete an unfinished upload with all that has arrived of it.

    Raises:
        NotFoundError: no such upload.
        InputError: it is finished: its photos are in the catalogue.
    """
    with db.transaction() as connection:
        upload = _find(connection, upload_id, lock=True)
        if not uploads.forget(connection, upload_id):
            raise InputError(f"upload {upload_id} is finished", hint=f"Job {upload.job_id} reads its photos.")
        shutil.rmtree(_folder(home, upload_id), ignore_errors=True)


def make_ready(
    db: Database,
    home: Path,
    upload_id: UUID,
    *,
    detections: str | None,
    root: str | None,
    progress: Progress,
) -> tuple[Path, Path | None, list[Problem]]:
    """Unpack what is packed; returns the folder to read, the detections file, and what was left out.

    Killed and called again, it begins with the archive that it was at.

    Raises:
        NotFoundError: no such upload.
        InputError: an archive cannot be read.
        TooLargeError: an archive holds more than it says, or than is taken.
        NoSpaceError: the disk has no room.
    """
    with db.transaction() as connection:
        upload = _find(connection, upload_id)
    cards = _folder(home, upload_id) / upload.name
    left_out: list[Problem] = []
    for packed in sorted((_folder(home, upload_id) / _ARCHIVES).glob("**/*.zip"), key=str):
        with archives.open_archive(packed) as archive:
            left_out += archives.unpack(archive, cards, progress)
        packed.unlink()
    if root is None:
        root = station_root({photo.relative.parent for photo in find_photos([cards])}).as_posix()
    return cards / root, cards / detections if detections else None, left_out


def station_root(folders: Collection[PurePath]) -> PurePath:
    """The folder of a card whose folders are the stations, given the folders on the card that hold photos.

    The deepest folder that all of these are in; where it is one of them, the folder that was chosen.
    """
    first = next(iter(folders))
    shared = next(f for f in (first, *first.parents) if all(g.is_relative_to(f) for g in folders))
    return shared if shared not in folders else PurePath(*shared.parts[:1])


def _label(name: str) -> str:
    words = " ".join(name.replace("\\", " ").replace("/", " ").replace(":", " ").split())
    return str(archives.clean_path(words.strip(". ") or "card"))


def _check_paths(files: Sequence[OfferedFile]) -> None:
    if not files:
        raise InputError("expected photos, got none", hint=f"Taken are {', '.join(sorted(archives.TAKEN))}.")
    times = Counter(file.path for file in files)
    deepest = {PurePosixPath(folder) for folder in {file.path.rpartition("/")[0] for file in files}}
    folders = {folder.as_posix() for deep in deepest for folder in (deep, *deep.parents)}
    for path, count in times.items():
        if count > 1 or path in folders:
            raise InputError(f"expected each path once, got {path!r:.200} again")


def _find(connection: Connection, upload_id: UUID, *, lock: bool = False) -> Upload:
    upload = uploads.find(connection, upload_id, lock=lock)
    if upload is None:
        raise NotFoundError(f"there is no upload {upload_id}")
    return upload


def _standing(home: Path, upload: Upload, files: Sequence[OfferedFile]) -> Standing:
    arrived = tuple(
        Arrived(file.n, file.path, file.size, _size(_place(home, upload, file.path))) for file in files
    )
    return Standing(upload, arrived, _stations(home, upload, files))


def _stations(home: Path, upload: Upload, files: Sequence[OfferedFile]) -> dict[str, int]:
    """What the photos' stations will be called, those in archives left out."""
    ends = tuple(PHOTO_SUFFIXES)
    texts = Counter(f.path.rpartition("/")[0] for f in files if f.path.lower().endswith(ends))
    photos = {PurePosixPath(folder): count for folder, count in texts.items()}
    if not photos:
        return {}
    cards, rules = _folder(home, upload.id) / upload.name, StationRules()
    root = cards / station_root(photos)
    stations: Counter[str] = Counter()
    for folder, count in photos.items():
        stations[rules.name(FoundPhoto(cards / folder / "photo", root))] += count
    return dict(sorted(stations.items()))


def _folder(home: Path, upload_id: UUID) -> Path:
    return home / "uploads" / str(upload_id)


def _place(home: Path, upload: Upload, path: str) -> str:
    """Where a file of an upload lies. Of text, for there may be a hundred thousand."""
    return f"{home}/uploads/{upload.id}/{_ARCHIVES if archives.is_archive(path) else upload.name}/{path}"


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 (three times as quick)
    except FileNotFoundError:
        return 0
