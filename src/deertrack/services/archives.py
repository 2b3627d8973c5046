"""What a card may hold, and archives of cards: weighed before they are unpacked, and never out of their folder."""

import errno
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from deertrack.domain.errors import InputError, NoSpaceError, TooLargeError
from deertrack.services.ingest import Problem
from deertrack.services.progress import Progress
from deertrack.vision.image_io import PHOTO_SUFFIXES

LARGEST_FILE = 200 * 2**20
LARGEST_ARCHIVE = 20 * 2**30
LARGEST_UPLOAD = 200 * 2**30
MOST_FILES = 100_000

_ARCHIVE = ".zip"
TAKEN = PHOTO_SUFFIXES | {".json", ".csv", _ARCHIVE}  # of what a card holds
_SPARE = 2**30  # left free on the disk: the database lives there too
_RATIO = 100  # photos hardly pack at all; what packs better is a bomb
# Bytes. File systems take 255 and 4096, the home's own path among them.
_LONGEST_NAME, _LONGEST_PATH = 200, 1000
_COPY = 2**20


def clean_path(given: str) -> PurePosixPath:
    """A path on a card as a relative path that stays below its folder; ``\\`` counts as ``/``.

    Raises:
        InputError: it is absolute, climbs out (``..``), is empty, or no name for a file.
    """
    text = given.replace("\\", "/")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    drive = len(text) > 1 and text[1] == ":"
    try:
        long = (
            max((len(part.encode()) for part in parts), default=0) > _LONGEST_NAME
            or len(text.encode()) > _LONGEST_PATH
        )
    except UnicodeEncodeError:
        long = True
    if text.startswith("/") or drive or ".." in parts or not parts or long:
        raise InputError(
            f"expected a path below the card's folder, got {given!r:.200}",
            hint=f"No drive, no leading /, no .., names of at most {_LONGEST_NAME} bytes.",
        )
    # A name that a terminal would obey, or that a database cannot hold, is no name.
    return PurePosixPath(*("".join(c if c.isprintable() else "_" for c in part) for part in parts))


def check_space(home: Path, size: int) -> None:
    """Insist on so many free bytes beside some spare ones for the database.

    Raises:
        NoSpaceError: there are fewer.
    """
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if size + _SPARE > free:
        raise NoSpaceError(
            f"expected {(size + _SPARE) / 2**30:,.1f} GiB of free disk, got {free / 2**30:,.1f}",
            hint="Make room on the server, or send less at once.",
        )


def unwanted(path: PurePosixPath) -> str:
    """Why a file is not taken; empty if it is."""
    if any(part.startswith((".", "@", "$", "__MACOSX")) for part in path.parts):
        return "hidden"
    if path.suffix.lower() not in TAKEN:
        return "neither a photo nor .json, .csv or .zip"
    return ""


def is_archive(path: str) -> bool:
    """Whether a file is one that is unpacked, by its name."""
    return path.lower().endswith(_ARCHIVE)


def open_archive(path: Path) -> zipfile.ZipFile:
    """An archive whose list of contents is worth reading: a forged one would fill the memory.

    Raises:
        InputError: it is none.
        TooLargeError: it lists too much.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 2**16 - 2**7))
            end = file.read()
        at, at64 = end.rfind(b"PK\5\6"), end.rfind(b"PK\6\6")
        listed = int.from_bytes(end[at + 12 : at + 16], "little") if at >= 0 else 0
        if at64 >= 0:
            listed = max(listed % 0xFFFFFFFF, int.from_bytes(end[at64 + 40 : at64 + 48], "little"))
        if listed > MOST_FILES * (_LONGEST_PATH + 100):
            raise TooLargeError(f"{path.name}: expected at most {MOST_FILES:,} files in it")
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"{path.name} is no archive that can be read: {error}") from None


def members_of(
    archive: zipfile.ZipFile,
) -> tuple[list[tuple[PurePosixPath, zipfile.ZipInfo]], list[Problem]]:
    """What to unpack and where to, and what is left out.

    Raises:
        TooLargeError: too many files, too much, or packed too well to be photos.
    """
    name = Path(str(archive.filename)).name
    infos = archive.infolist()
    if len(infos) > MOST_FILES:
        raise TooLargeError(f"{name}: expected at most {MOST_FILES:,} files in it, got {len(infos):,}")
    members: dict[PurePosixPath, zipfile.ZipInfo] = {}
    left_out = []
    for info in infos:
        if info.is_dir():
            continue
        try:
            path = clean_path(info.filename)
        except InputError as error:
            left_out.append(Problem(f"{name}: {info.filename!r:.200}", error.message))
            continue
        reason = unwanted(path)
        if path.suffix.lower() == _ARCHIVE:
            reason = "an archive in an archive"
        elif stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            reason = "not a regular file"
        elif info.flag_bits & 1:
            reason = "locked with a password"
        elif info.file_size > LARGEST_FILE:
            reason = f"larger than {LARGEST_FILE / 2**20:.0f} MiB"
        elif path in members:
            reason = "twice in it"
        if reason:
            left_out.append(Problem(f"{name}: {path}", reason))
        else:
            members[path] = info
    total = sum(info.file_size for info in members.values())
    packed = max(sum(info.compress_size for info in members.values()), 1)
    if total > LARGEST_UPLOAD or (total > LARGEST_FILE and total > _RATIO * packed):
        raise TooLargeError(
            f"{name} would unpack to {total / 2**30:,.1f} GiB, {total / packed:,.0f} times its size",
            hint="Photos hardly pack at all; send the folder itself.",
        )
    return list(members.items()), left_out


def unpack(archive: zipfile.ZipFile, folder: Path, progress: Progress) -> Iterator[Problem]:
    """Unpack what is wanted of an archive below a folder; yields what is left out, and why.

    Raises:
        TooLargeError: see :func:`members_of`.
        NoSpaceError: the disk has no room.
    """
    name = Path(str(archive.filename)).name
    members, left_out = members_of(archive)
    check_space(folder, sum(info.file_size for _, info in members))
    yield from left_out
    progress.start("Unpacking", len(members))
    for path, info in members:
        target = folder / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(info) as packed, target.open("wb") as out:
                _copy(packed, out, info.file_size)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            target.unlink(missing_ok=True)
            yield Problem(f"{name}: {path}", f"is damaged: {error}")
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise NoSpaceError(f"{name}: the disk is full") from error
            yield Problem(f"{name}: {path}", f"cannot be written: {error.strerror}")
        progress.advance()


def _copy(packed: IO[bytes], out: IO[bytes], most: int) -> None:
    """Never more than the archive's list says, which was weighed."""
    while data := packed.read(_COPY):
        most -= len(data)
        if most < 0:
            raise zipfile.BadZipFile("it holds more than it says")
        out.write(data)
