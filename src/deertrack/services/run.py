"""The main job, end to end: photos in, individual deer out."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from deertrack.domain.errors import InputError
from deertrack.formats.classes import DEFAULT_CLASSES, ClassMap, read_class_map
from deertrack.formats.megadetector import DetectionsFile, read_detections
from deertrack.services.detections import (
    apply_detections,
    megadetector_installed,
    run_megadetector,
    take_whole_photos,
)
from deertrack.services.embed import embed_pending
from deertrack.services.identify import Deciders, identify
from deertrack.services.ingest import (
    FoundPhoto,
    Ingested,
    Problem,
    StationRules,
    find_photos,
    ingest,
    storable,
)
from deertrack.services.progress import SILENT, Progress
from deertrack.storage import catalogue, embeddings, images, profiles
from deertrack.storage.db import Database
from deertrack.vision.embedder import Embedder

HOW_TO_GET_DETECTIONS = (
    "Give one of these:\n"
    "  --detections FILE   a MegaDetector or SpeciesNet results file for these photos\n"
    "                      (EcoAssist / AddaxAI and MegaDetector's own scripts write one)\n"
    "  --whole-photo       if every photo is cropped to one animal already\n"
    "  or install MegaDetector beside deertrack (pip install 'deertrack[detect]'); it is then run for you"
)


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What to run on, and how its photos find their animals and stations."""

    roots: Sequence[Path]
    detections: Path | None = None
    whole_photo: bool = False
    min_confidence: float | None = None
    class_map: Path | None = None
    stations: StationRules = field(default_factory=StationRules)


@dataclass(slots=True)
class RunReport:
    """What one run did, and what the catalogue holds after it. Counts are of this run unless said otherwise."""

    photos_found: int = 0
    photos_new: int = 0
    photos_known: int = 0
    duplicates: int = 0
    unreadable: int = 0
    without_detections: int = 0
    detections: int = 0
    embedded: int = 0
    encounters: int = 0
    tracks: int = 0
    matched: int = 0
    new: int = 0
    review: int = 0
    unseen: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    catalogue: dict[str, int] = field(default_factory=dict)

    @property
    def nothing_new(self) -> bool:
        """Whether the catalogue is as it was before."""
        return not (
            self.photos_new or self.detections or self.embedded or self.tracks or self.matched + self.new
        )


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run would read: photos by station, of which ``known`` were read before."""

    photos_found: int
    photos_known: int
    stations: dict[str, int]


def plan(db: Database, request: RunRequest) -> RunPlan:
    """Look at the folders without reading photos or changing anything.

    Stations are told from folders: what a camera wrote about itself is known only once a photo is read.
    """
    photos = find_photos(request.roots)
    with db.transaction() as connection:
        known = images.known_files(connection, [storable(photo.path) for photo in photos])
    stations = Counter(request.stations.name(photo) for photo in photos)
    return RunPlan(len(photos), len(known), dict(sorted(stations.items())))


def run(
    db: Database,
    request: RunRequest,
    make_embedder: Callable[[str], Embedder],
    make_deciders: Callable[[Database], Deciders],
    *,
    progress: Progress = SILENT,
) -> RunReport:
    """Ingest, detect, embed, group, decide. Every stage goes on where an interrupted run left off.

    ``make_embedder`` loads the model of a version; it is called only if something is left to embed.

    Raises:
        InputError: a folder or file that cannot be used at all, or no way to know where the animals are.
    """
    report = RunReport()
    photos = find_photos(request.roots, report.problems)
    with _timed(report, "detections"):
        files = _detection_files(db, photos, request)
    with _timed(report, "ingest"):
        ingested = ingest(db, photos, request.stations, progress=progress)
    with _timed(report, "detections"):
        if request.whole_photo:
            detected = take_whole_photos(db, ingested.catalogued, progress=progress)
        else:
            files = files or _detect(ingested, request)
            detected = apply_detections(db, photos, ingested.catalogued, files, progress=progress)
    report.problems += [Problem(str(file.path), entry) for file in files for entry in file.skipped]
    report.problems += [*ingested.problems, *detected.problems]
    unreadable = _embed_and_decide(db, report, make_embedder, make_deciders, progress)
    report.photos_found, report.photos_new = ingested.found, ingested.new
    report.photos_known, report.duplicates = ingested.known, len(ingested.duplicates)
    report.detections, report.without_detections = detected.detections, detected.without_result
    report.unreadable = len({p.path for p in [*ingested.problems, *unreadable]})
    _close(db, report)
    return report


def catch_up(
    db: Database,
    make_embedder: Callable[[str], Embedder],
    make_deciders: Callable[[Database], Deciders],
    *,
    progress: Progress = SILENT,
) -> RunReport:
    """Embed, group and decide what waits for it without reading any folder: boxes that people drew.

    The arguments are those of :func:`run`.
    """
    report = RunReport()
    unreadable = _embed_and_decide(db, report, make_embedder, make_deciders, progress)
    report.unreadable = len({p.path for p in unreadable})
    _close(db, report)
    return report


def _embed_and_decide(
    db: Database,
    report: RunReport,
    make_embedder: Callable[[str], Embedder],
    make_deciders: Callable[[Database], Deciders],
    progress: Progress,
) -> list[Problem]:
    """The stages after the detector; returns the photos that could not be read."""
    deciders = make_deciders(db)
    embedded = []
    with db.transaction() as connection:
        redrawn = embeddings.individuals_pending(connection, deciders.models)
    with _timed(report, "embed"):
        for matcher in deciders.matchers:  # both arms of an A/B test, once where they share a pack
            load = partial(make_embedder, matcher.registered.version.name)
            embedded.append(embed_pending(db, load, matcher.registered, progress=progress))
    if redrawn:  # they are known by their new boxes from now on
        with db.transaction() as connection:
            profiles.refresh_profiles(connection, deer_ids=redrawn)
    with _timed(report, "identify"):
        identified = identify(db, deciders, progress=progress)
    report.embedded = sum(outcome.detections for outcome in embedded)
    report.encounters, report.tracks = identified.encounters, identified.tracks
    report.matched, report.new, report.review = identified.matched, identified.new, identified.review
    report.unseen = identified.unseen
    unreadable = list(dict.fromkeys(p for outcome in embedded for p in outcome.problems))
    report.problems += unreadable
    return unreadable


def _close(db: Database, report: RunReport) -> None:
    """What the catalogue holds now; a line in its trail if that changed."""
    with db.transaction() as connection:
        report.catalogue = catalogue.totals(connection)
        if not report.nothing_new:
            counts = {key: value for key, value in asdict(report).items() if key != "problems"}
            catalogue.add_event(connection, "machine", "run", "catalogue", counts)


def _detection_files(db: Database, photos: Sequence[FoundPhoto], request: RunRequest) -> list[DetectionsFile]:
    """What is known of where the animals are, before anything is stored."""
    if request.whole_photo:
        return []
    if request.detections:
        return [
            read_detections(request.detections, threshold=request.min_confidence, classes=_classes(request))
        ]
    if not megadetector_installed() and not _all_settled(db, photos):
        raise InputError(
            "nobody has said yet where the animals are in these photos", hint=HOW_TO_GET_DETECTIONS
        )
    return []


def _all_settled(db: Database, photos: Sequence[FoundPhoto]) -> bool:
    """Whether a detector has looked at every photo already, those left out that cannot be read."""
    paths = [str(photo.path) for photo in photos if storable(photo.path) == str(photo.path)]
    with db.transaction() as connection:
        settled = {path for path, file in images.known_files(connection, paths).items() if file.error}
        catalogued = images.catalogued_files(connection, paths)
    settled |= {path for path, file in catalogued.items() if file.detector or file.error}
    return settled.issuperset(paths)


def _detect(ingested: Ingested, request: RunRequest) -> list[DetectionsFile]:
    """MegaDetector's word on the photos that no detector has looked at, if there are any."""
    todo = {f.image_id: Path(f.path) for f in ingested.catalogued.values() if not (f.detector or f.error)}
    if not todo or not megadetector_installed():
        return []
    return [
        run_megadetector(list(todo.values()), threshold=request.min_confidence, classes=_classes(request))
    ]


def _classes(request: RunRequest) -> ClassMap:
    return read_class_map(request.class_map) if request.class_map else DEFAULT_CLASSES


@contextmanager
def _timed(report: RunReport, stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    report.seconds[stage] = report.seconds.get(stage, 0.0) + time.perf_counter() - start
