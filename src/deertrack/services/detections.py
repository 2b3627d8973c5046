"""Which animals are in which photo: a detector's file met with the catalogue, or the whole photo taken."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from deertrack.domain.errors import InputError
from deertrack.domain.records import WHOLE_PHOTO, DetectedAnimal
from deertrack.formats.classes import DEFAULT_CLASSES, ClassMap
from deertrack.formats.megadetector import DetectionsFile, read_detections
from deertrack.services.ingest import FoundPhoto, Problem
from deertrack.services.progress import SILENT, Progress
from deertrack.storage import images
from deertrack.storage.db import Database
from deertrack.storage.images import CataloguedFile

_BATCH = 500
# Photos of a detections file that are missing here and still named one by one.
_LISTED = 20
WHOLE_PHOTO_DETECTOR = "whole photo"


@dataclass(slots=True)
class Detected:
    """What came of it: new detections, photos that no detector has looked at, and what could not be used."""

    detections: int = 0
    without_result: int = 0
    problems: list[Problem] = field(default_factory=list)


def apply_detections(
    db: Database,
    photos: Sequence[FoundPhoto],
    catalogued: Mapping[str, CataloguedFile],
    files: Sequence[DetectionsFile],
    *,
    progress: Progress = SILENT,
) -> Detected:
    """Store what detectors saw in catalogued photos. A photo's first answer stays; the rest is left out.

    Entries that name no photo of these folders, and photos that a detector could not read, are listed.
    """
    outcome = Detected()
    pending = {file.image_id for file in catalogued.values() if file.detector is None and not file.error}
    index = PhotoIndex(photos) if files else None
    for file in files:
        assert index is not None
        answers: dict[int, tuple[DetectedAnimal, ...]] = {}
        strangers: list[str] = []
        for result in file.results:
            path = index.find(result.file)
            if path is None:
                strangers.append(result.file)
            elif isinstance(path, str):
                outcome.problems.append(Problem(result.file, path))
            elif result.failure:
                outcome.problems.append(Problem(str(path), f"the detector failed: {result.failure}"))
            elif (photo := catalogued.get(str(path))) is not None and photo.image_id in pending:
                answers.setdefault(photo.image_id, result.animals)
        outcome.detections += _store(db, answers, file.detector, progress)
        outcome.problems += _about_strangers(file, strangers)
        pending -= answers.keys()
    outcome.without_result = len(pending)
    return outcome


def _about_strangers(file: DetectionsFile, names: Sequence[str]) -> list[Problem]:
    """Photos that the file names and that are not here: each a line, or one line for all of another folder."""
    what = "named in the detections file, but not among the photos"
    if len(names) <= _LISTED:
        return [Problem(name, what) for name in names]
    examples = ", ".join(names[:3])
    return [Problem(str(file.path), f"{len(names):,} of its photos are not among those given: {examples}, …")]


def take_whole_photos(
    db: Database, catalogued: Mapping[str, CataloguedFile], *, progress: Progress = SILENT
) -> Detected:
    """Photos that are cropped to one animal already: the animal is the photo."""
    animal = DetectedAnimal(WHOLE_PHOTO, confidence=1.0)
    todo = {f.image_id: (animal,) for f in catalogued.values() if f.detector is None and not f.error}
    return Detected(_store(db, todo, WHOLE_PHOTO_DETECTOR, progress))


def _store(
    db: Database,
    answers: Mapping[int, tuple[DetectedAnimal, ...]],
    detector: str,
    progress: Progress,
) -> int:
    # In the order of the photos, so that an interrupted run and an undisturbed one end alike.
    added, todo = 0, sorted(answers)
    progress.start("Storing detections", len(todo))
    for start in range(0, len(todo), _BATCH):
        batch = todo[start : start + _BATCH]
        with db.transaction() as connection:
            for image_id in batch:
                added += images.add_detections(connection, image_id, detector, answers[image_id])
        progress.advance(len(batch))
    return added


class PhotoIndex:
    """Finds the photo that a detector's file means, though it may have run elsewhere, on another drive.

    A name means a photo if it is the whole path or the end of it ("Creek/IMG_1.JPG"), or if it ends in the
    photo's whole path below the given folder ("D:/cards/Creek/IMG_1.JPG"). A bare end that fits several
    photos means none of them.
    """

    def __init__(self, photos: Sequence[FoundPhoto]) -> None:
        self._by_relative: dict[PurePosixPath, list[Path]] = {}
        self._by_end: dict[PurePosixPath, list[Path]] = {}
        for photo in photos:
            below = PurePosixPath(photo.relative.as_posix())
            named = PurePosixPath(photo.root.name, below)
            self._by_relative.setdefault(below, []).append(photo.path)
            self._by_relative.setdefault(named, []).append(photo.path)
            parts = photo.path.parts
            for start in range(len(parts)):
                self._by_end.setdefault(PurePosixPath(*parts[start:]), []).append(photo.path)

    def find(self, file: str) -> Path | str | None:
        """The photo's path; None if it is not here, or a sentence that says why it is not clear which it is."""
        name = PurePosixPath(file)
        choices = self._by_relative.get(name) or self._by_end.get(name)
        if not choices:
            # Shorter and shorter ends; a bare file name alone would be a guess.
            ends = (PurePosixPath(*name.parts[i:]) for i in range(1, len(name.parts) - 1))
            choices = next((c for end in ends if (c := self._by_relative.get(end))), None)
        if not choices:
            return None
        if len(choices) > 1:
            return f"fits {len(choices)} photos; give the folder that its paths start from"
        return choices[0]


def megadetector_installed() -> bool:
    """Whether the optional extra ``detect`` is installed."""
    return find_spec("megadetector") is not None


def run_megadetector(
    photos: Sequence[Path],
    *,
    model: str = "MDV5A",
    threshold: float | None = None,
    classes: ClassMap = DEFAULT_CLASSES,
) -> DetectionsFile:
    """Run MegaDetector over these photos with its own package, and read what it wrote.

    It runs in a process of its own: it brings torch along, which has no place in ours. The model is fetched
    by the package on first use. ``threshold`` and ``classes`` as in ``read_detections``.

    Raises:
        InputError: it failed; the message carries its last words.
    """
    with tempfile.TemporaryDirectory(prefix="deertrack-megadetector-") as folder:
        listed, target = Path(folder, "photos.json"), Path(folder, "detections.json")
        listed.write_text(json.dumps([str(photo) for photo in photos]), encoding="utf-8")
        script = "megadetector.detection.run_detector_batch"
        command = [sys.executable, "-m", script, model, str(listed), str(target), "--quiet"]
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode or not target.exists():
            last = "\n".join(done.stdout.strip().splitlines()[-5:])
            raise InputError(
                f"MegaDetector failed: {last}", hint="Run it yourself and pass its file with --detections."
            )
        return read_detections(target, threshold=threshold, classes=classes)
