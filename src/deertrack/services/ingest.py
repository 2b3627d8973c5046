"""Folders of photos into the catalogue: which files, which stations, what time, what is known already."""

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

from deertrack.domain.errors import InputError, PhotoError
from deertrack.domain.records import PhotoFacts
from deertrack.services.progress import SILENT, Progress
from deertrack.storage import images
from deertrack.storage.db import Database
from deertrack.storage.images import CataloguedFile, KnownFile, OfferedPhoto
from deertrack.vision.image_io import PHOTO_SUFFIXES, read_facts

_BATCH = 256
_READERS = 4

# Folders that cameras make on a card; they name no place.
_CARD_FOLDER = re.compile(r"DCIM|\d{3}[A-Z0-9_]{5}", re.IGNORECASE)


class StationFrom(StrEnum):
    """Where a photo's station is read from."""

    FOLDER = "folder"  # the first folder below the one given that a camera did not make
    EXIF = "exif"  # what the camera wrote about itself; the folder where it wrote nothing


@dataclass(frozen=True, slots=True)
class StationRules:
    """How a photo gets its station.

    ``timezone`` is the IANA zone of stations that are met for the first time. ``folders`` holds pairs of a
    folder pattern below the photo root (``*`` and ``?`` as in a shell) and the station that it belongs to.
    """

    source: StationFrom = StationFrom.FOLDER
    timezone: str = "UTC"
    folders: Sequence[tuple[str, str]] = ()

    def name(self, photo: "FoundPhoto", facts: PhotoFacts | None = None) -> str:
        """The station's name: never empty."""
        if self.source is StationFrom.EXIF and facts and facts.station_tag:
            return facts.station_tag
        inside = [folder.as_posix() for folder in photo.relative.parents]
        for pattern, station in self.folders:
            if any(fnmatchcase(folder, pattern) for folder in inside):
                return station
        return station_folder(photo)


@dataclass(frozen=True, slots=True)
class FoundPhoto:
    """A file that looks like a photo. ``relative`` is its path below ``root``, the folder the user gave."""

    path: Path
    root: Path

    @property
    def relative(self) -> PurePath:
        """Path below the root; the bare name where the file itself was given."""
        return self.path.relative_to(self.root)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that could not be used, and why, in words for the user."""

    path: str
    reason: str


@dataclass(slots=True)
class Ingested:
    """What came of it. ``catalogued`` holds every readable file of the folders, new or known."""

    found: int = 0
    new: int = 0
    known: int = 0
    catalogued: dict[str, CataloguedFile] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def duplicates(self) -> list[CataloguedFile]:
        """Files whose photo another file holds already, here or on a card that is still in its place."""
        return [
            file
            for file in self.catalogued.values()
            if file.duplicate and (file.first_path in self.catalogued or Path(file.first_path).exists())
        ]


def find_photos(roots: Sequence[Path], problems: list[Problem] | None = None) -> list[FoundPhoto]:
    """Every photo in these folders and below, sorted by path; hidden files and folders are left out.

    Args:
        problems: subfolders that cannot be listed are added here.

    Raises:
        InputError: a folder that does not exist, or no photo in any of them.
    """
    found: dict[Path, FoundPhoto] = {}
    for given in roots:
        root = Path(os.path.abspath(given.expanduser()))  # noqa: PTH100 (resolve() would follow links)
        if not root.exists():
            raise InputError(f"{given}: there is no such file or folder")
        if root.is_file():
            found.setdefault(root, FoundPhoto(root, root.parent))
            continue
        for path in _walk(root, problems if problems is not None else []):
            found.setdefault(path, FoundPhoto(path, root))
    if not found:
        kinds = ", ".join(sorted(PHOTO_SUFFIXES))
        raise InputError(
            f"no photos in {', '.join(str(r) for r in roots)}", hint=f"Looked for {kinds}, in all subfolders."
        )
    return [found[path] for path in sorted(found)]


def _walk(root: Path, problems: list[Problem]) -> Iterator[Path]:
    def unlisted(error: OSError) -> None:
        problems.append(Problem(str(error.filename), f"the folder cannot be opened: {error.strerror}"))

    for folder, folders, names in os.walk(root, onerror=unlisted):
        folders[:] = [name for name in folders if not name.startswith((".", "@", "$"))]
        for name in names:
            if not name.startswith(".") and Path(name).suffix.lower() in PHOTO_SUFFIXES:
                yield Path(folder, name)


def station_folder(photo: FoundPhoto) -> str:
    """The first folder below the given one that names a place, else the given folder's own name."""
    below = list(photo.relative.parts[:-1])
    above = list(reversed(photo.root.parts))
    for name in below + above:
        if not _CARD_FOLDER.fullmatch(name):
            return name
    return photo.root.name


def ingest(
    db: Database, photos: Sequence[FoundPhoto], rules: StationRules, *, progress: Progress = SILENT
) -> Ingested:
    """Read photos into the catalogue. Files that are unchanged since the last time are not opened again.

    Raises:
        InputError: an unknown time zone. A bad photo is only listed.
    """
    result = Ingested(found=len(photos))
    progress.start("Reading photos", len(photos))
    with ThreadPoolExecutor(_READERS, thread_name_prefix="ingest") as readers:
        for start in range(0, len(photos), _BATCH):
            batch = photos[start : start + _BATCH]
            _ingest_batch(db, batch, readers, rules, result)
            progress.advance(len(batch))
    return result


def _ingest_batch(
    db: Database,
    batch: Sequence[FoundPhoto],
    readers: ThreadPoolExecutor,
    rules: StationRules,
    result: Ingested,
) -> None:
    usable = []
    for photo in batch:
        if storable(photo.path) == str(photo.path):
            usable.append(photo)
        else:
            problem = Problem(storable(photo.path), "the file name is not valid UTF-8; rename the file")
            result.problems.append(problem)
    paths = [str(photo.path) for photo in usable]
    with db.transaction() as connection:
        known = images.known_files(connection, paths)
    offered: list[OfferedPhoto] = []
    for outcome in readers.map(lambda photo: _read(photo, known.get(str(photo.path)), rules), usable):
        match outcome:
            case Problem():
                result.problems.append(outcome)
            case KnownFile():
                result.known += 1
            case OfferedPhoto():
                offered.append(outcome)
        if isinstance(outcome, KnownFile | OfferedPhoto) and outcome.error:
            result.problems.append(Problem(outcome.path, outcome.error))
    with db.transaction() as connection:
        result.new += images.add_photos(connection, offered, timezone=rules.timezone)
        catalogued = images.catalogued_files(connection, paths)
    # A file that was written anew with the same photo in it is an old acquaintance too.
    result.known += sum(
        file.path in known and catalogued[file.path].image_id == known[file.path].image_id
        for file in offered
        if file.facts
    )
    result.catalogued |= catalogued
    result.problems += [Problem(file.path, file.error) for file in catalogued.values() if file.error]


def _read(
    photo: FoundPhoto, known: KnownFile | None, rules: StationRules
) -> OfferedPhoto | KnownFile | Problem:
    """Open one file unless it is unchanged; runs in a reader thread."""
    path = photo.path
    try:
        stat = path.stat()
        if known and (known.size, known.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
            return known
        if not path.is_file():  # reading a pipe would wait for ever
            return Problem(str(path), "not a regular file")
        data = path.read_bytes()
    except OSError as error:  # not remembered: the card may be readable next time
        return Problem(str(path), f"cannot be opened: {error.strerror}")
    file = (str(path), stat.st_size, stat.st_mtime_ns)
    try:
        facts = read_facts(data, path)
    except PhotoError as error:
        return OfferedPhoto(*file, "", None, error.message.removeprefix(f"{path}: "))
    return OfferedPhoto(*file, rules.name(photo, facts), facts)


def storable(path: Path) -> str:
    """The path as text that a database and a terminal can hold; odd bytes in a name show as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
