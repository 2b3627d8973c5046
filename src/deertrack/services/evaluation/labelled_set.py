"""A labelled set made ready: photos found and opened, boxes and encounters known, and what is missing said."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from deertrack.domain.encounters import Grouping, split_by_pause
from deertrack.domain.errors import InputError, PhotoError
from deertrack.domain.protocols import UNKNOWN_FLANK, LabelledPhotos
from deertrack.domain.records import WHOLE_PHOTO, Box, DetectedAnimal, PhotoFacts
from deertrack.formats.labelled import LabelledFile, LabelledRow, folder_rows, read_labelled_table
from deertrack.formats.megadetector import read_detections
from deertrack.services.detections import PhotoIndex
from deertrack.services.ingest import FoundPhoto, Problem, find_photos
from deertrack.services.progress import SILENT, Progress
from deertrack.vision.image_io import Photo

_READERS = 4
_SAME_BOX = 0.5  # intersection over union
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SetPhoto:
    """One animal in one photo, and who it is.

    ``encounter`` and ``station`` are "" and ``taken_at`` (only differences count) None where nobody
    tells. ``confidence`` is the detector's, 1 without one. ``detection_id`` is set in a catalogue's own set.
    """

    path: Path
    sha256: bytes
    identity: str
    encounter: str
    flank: str
    station: str
    taken_at: datetime | None
    box: Box
    confidence: float
    detection_id: int | None = None


@dataclass(slots=True)
class LabelledSet:
    """n photos in time, what was left out (``problems``), and what a reader should know (``notes``)."""

    source: str
    photos: list[SetPhoto]
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The identities in the order of their codes."""
        return list(dict.fromkeys(photo.identity for photo in self.photos))

    def without(self, bad: Mapping[int, str]) -> "LabelledSet":
        """The set without some rows, each with the reason."""
        problems = [Problem(str(self.photos[row].path), reason) for row, reason in bad.items()]
        kept = [photo for row, photo in enumerate(self.photos) if row not in bad]
        return LabelledSet(self.source, kept, [*self.problems, *dict.fromkeys(problems)], [*self.notes])

    def codes(self) -> LabelledPhotos:
        """Who, when, which flank and which photo, as numbers."""
        flanks = [photo.flank for photo in self.photos]
        known = {flank: code for code, flank in enumerate(dict.fromkeys(filter(None, flanks)))}
        return LabelledPhotos(
            identity=_numbered(photo.identity for photo in self.photos),
            encounter=_numbered(_encounters(self.photos)),
            flank=np.array([known.get(flank, UNKNOWN_FLANK) for flank in flanks], np.int64),
            image=_numbered(photo.path for photo in self.photos),
        )


def load_labelled_set(
    truth: Path, *, images: Path | None = None, detections: Path | None = None, progress: Progress = SILENT
) -> LabelledSet:
    """Read a labelled set and open its photos.

    Photos are looked for in ``images``, else in ``cards`` or ``images`` beside the file, else beside it. Boxes come
    from ``detections``, else from detections.json beside the file, else from the rows, else the whole photo is the
    animal. Times come from the rows, else from what the cameras wrote.

    Raises:
        InputError: no such file or folder, a file that cannot be used, or not one photo of it is there.
    """
    if not truth.exists():
        raise InputError(f"{truth}: there is no such file or folder")
    for given in (images, detections):
        if given is not None and not given.exists():
            raise InputError(f"{given}: there is no such file or folder")
    listed = _read_folder(truth) if truth.is_dir() else read_labelled_table(truth)
    problems = [Problem(str(truth), line) for line in listed.skipped]
    base = truth if truth.is_dir() else truth.parent
    roots = [images] if images else [base] if truth.is_dir() else [base / "cards", base / "images", base]
    paths = _locate(listed.rows, roots, problems)
    facts = _open_all(paths.values(), problems, progress)
    rows = [(row, path) for row, path in paths.items() if path in facts]
    if not rows:
        raise InputError(
            f"{truth}: not one of its {len(listed.rows):,} photos can be read",
            hint=f"Looked in {', '.join(str(root) for root in roots)}. Say where they are with --images DIR.",
        )
    notes: list[str] = []
    beside = next(
        (f for f in (base / "detections.json", truth.parent / "detections.json") if f.is_file()), None
    )
    detector = detections or beside
    seen = _detected(detector, [path for _, path in rows], roots) if detector else {}
    boxes = _choose_boxes(rows, facts, seen, problems, notes, with_detector=detector is not None)
    photos = [
        SetPhoto(
            path,
            facts[path].sha256,
            row.identity,
            row.encounter,
            row.flank,
            row.station,
            _in_utc(row.timestamp or facts[path].clock),
            box,
            confidence,
        )
        for (row, path), found in zip(rows, boxes, strict=True)
        if found is not None
        for box, confidence in [found]
    ]
    photos.sort(key=lambda photo: (photo.taken_at is None, photo.taken_at or _NEVER))
    photos = _without_copies(photos, problems)
    notes += _about_encounters(photos)
    return LabelledSet(str(truth), photos, problems, notes)


def _read_folder(folder: Path) -> LabelledFile:
    files = find_photos([folder])
    listed = folder_rows(photo.relative.as_posix() for photo in files)
    if not listed.rows:
        raise InputError(
            f"{folder}: expected one folder of photos for each animal, got photos without such folders",
            hint="Or give a CSV file with the columns file and identity.",
        )
    return listed


def _locate(
    rows: Sequence[LabelledRow], roots: Sequence[Path], problems: list[Problem]
) -> dict[LabelledRow, Path]:
    """The file of each row; those that are nowhere are named."""
    there = [root for root in roots if root.is_dir()]
    found = {row: path for row in rows for path in [_under(row.file, there)] if path}
    lost = [row for row in rows if row not in found]
    index = None
    # Beside the file there may be anything: only a folder that is meant for photos is looked through.
    if lost and there and (len(roots) == 1 or there[0] != roots[-1]):
        try:
            index = PhotoIndex(find_photos(there[:1]))
        except InputError:
            index = None
    for row in lost:
        path = index.find(row.file) if index else None
        if isinstance(path, Path):
            found[row] = path
        else:
            problems.append(Problem(row.file, path or "there is no such photo"))
    return {row: found[row] for row in rows if row in found}


def _under(file: str, roots: Sequence[Path]) -> Path | None:
    return next((path for root in roots for path in [root / file] if path.is_file()), None)


def _open_all(paths: Iterable[Path], problems: list[Problem], progress: Progress) -> dict[Path, PhotoFacts]:
    """What each photo says of itself; those that cannot be read are named."""
    distinct = list(dict.fromkeys(paths))
    progress.start("Reading photos", len(distinct))
    facts = {}
    with ThreadPoolExecutor(_READERS) as pool:
        for path, found in zip(distinct, pool.map(_open, distinct), strict=True):
            progress.advance()
            if isinstance(found, str):
                problems.append(Problem(str(path), found))
            else:
                facts[path] = found
    return facts


def _open(path: Path) -> PhotoFacts | str:
    try:
        return Photo(path.read_bytes(), path).facts()
    except PhotoError as error:
        return error.message.removeprefix(f"{path}: ")
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _detected(
    file: Path, paths: Sequence[Path], roots: Sequence[Path]
) -> dict[Path, Sequence[DetectedAnimal]]:
    """The animals that a detector saw in each photo it could read."""
    photos = []
    for path in dict.fromkeys(paths):
        root = next((root for root in roots if path.is_relative_to(root)), path.parent)
        photos.append(FoundPhoto(path, root))
    index = PhotoIndex(photos)
    seen: dict[Path, Sequence[DetectedAnimal]] = {}
    for result in read_detections(file).results:
        found = index.find(result.file)
        if isinstance(found, Path) and not result.failure:
            seen.setdefault(found, result.animals)
    return seen


def _choose_boxes(
    rows: Sequence[tuple[LabelledRow, Path]],
    facts: Mapping[Path, PhotoFacts],
    seen: Mapping[Path, Sequence[DetectedAnimal]],
    problems: list[Problem],
    notes: list[str],
    *,
    with_detector: bool,
) -> list[tuple[Box, float] | None]:
    """For each row the box that it means and its confidence; None where nobody can tell which animal is meant."""
    animals_of = Counter(path for _, path in rows)
    chosen: list[tuple[Box, float] | None] = []
    counts: Counter[str] = Counter()
    for row, path in rows:
        given = _given_box(row, facts[path])
        animals = seen.get(path, ())
        if given is not None:
            animals = [a for a in animals if a.box.overlap(given) >= _SAME_BOX]
            animals.sort(key=lambda a: -a.box.overlap(given))
        if animals and (given is not None or len(animals) == 1 or animals_of[path] == 1):
            counts["clearest"] += given is None and len(animals) > 1
            best = animals[0] if given is not None else max(animals, key=lambda a: (a.confidence, a.box.area))
            chosen.append((best.box, best.confidence))
        elif given is not None:
            chosen.append((given, 1.0))
        elif animals_of[path] > 1:
            problems.append(Problem(str(path), f"shows several animals; no box says which is {row.identity}"))
            chosen.append(None)
        else:
            counts["whole"] += 1
            chosen.append((WHOLE_PHOTO, 1.0))
    if counts["whole"]:
        why = "in them the detector saw no animal" if with_detector else "nobody says where the animals are"
        notes.append(f"{counts['whole']:,} photos are taken as a whole: {why}.")
    if counts["clearest"]:
        notes.append(
            f"In {counts['clearest']:,} photos of several animals the one seen most clearly is taken."
        )
    return chosen


def _without_copies(photos: Sequence[SetPhoto], problems: list[Problem]) -> list[SetPhoto]:
    """One of each photo: a copy in another place would find its original, which is no recognition."""
    first: dict[tuple[bytes, str, Box], SetPhoto] = {}
    for photo in photos:
        original = first.setdefault((photo.sha256, photo.identity, photo.box), photo)
        if original is not photo:
            problems.append(Problem(str(photo.path), f"is a copy of {original.path}"))
    return list(first.values())


def _given_box(row: LabelledRow, facts: PhotoFacts) -> Box | None:
    if row.pixels is None:
        return row.box
    x, y, width, height = row.pixels
    try:
        return Box(x / facts.width, y / facts.height, width / facts.width, height / facts.height)
    except InputError:
        return None


def _in_utc(instant: datetime | None) -> datetime | None:
    """A time to take differences of: what has no zone is read as UTC."""
    if instant is None:
        return None
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _encounters(photos: Sequence[SetPhoto]) -> list[tuple[object, ...]]:
    """Which encounter each photo belongs to: as the set says, else by pauses at the station, else its own.

    An encounter is told apart by its animal too, so that two animals of one encounter are compared: that makes a
    task harder, never easier, and sets that number encounters from 1 for each animal are read rightly.
    """
    found: list[tuple[object, ...]] = [()] * len(photos)
    timed: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row, photo in enumerate(photos):
        if photo.encounter:
            found[row] = (photo.identity, "named", photo.encounter)
        elif photo.taken_at is not None:
            # Where no station is known, photos of other animals say nothing of an animal's pauses.
            timed[photo.station, "" if photo.station else photo.identity].append(row)
        else:
            found[row] = (photo.identity, "alone", row)
    for place, rows in timed.items():
        rows.sort(key=lambda row: photos[row].taken_at or _NEVER)
        times = [photos[row].taken_at or _NEVER for row in rows]
        for number, part in enumerate(split_by_pause(times, Grouping().encounter_gap)):
            for row in rows[part]:
                found[row] = (photos[row].identity, *place, number)
    return found


def _about_encounters(photos: Sequence[SetPhoto]) -> list[str]:
    alone = sum(not photo.encounter and photo.taken_at is None for photo in photos)
    told = sum(not photo.encounter and photo.taken_at is not None for photo in photos)
    notes = []
    if alone:
        notes.append(
            f"Nobody says which of {alone:,} photos were taken in one encounter, and they have no time: each "
            "counts as an encounter of its own. If some were taken together, the figures are too good."
        )
    if told:
        gap = int(Grouping().encounter_gap.total_seconds())
        notes.append(f"{told:,} photos are put into encounters by their times: pauses of {gap} s part them.")
    return notes


def _numbered(labels: Iterable[object]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    seen: dict[object, int] = {}
    return np.array([seen.setdefault(label, len(seen)) for label in labels], np.int64)
