"""Re-embed known individuals with another version (spec, phase 2). Stopped at any moment, it goes on from there.

Vectors of detections are immutable and belong to a model, so the new ones are stored beside the old. Profiles
(the columns that searches use) are filled at once where the active version does not use them; where it does,
they wait for the cut-over, which copies them in one transaction.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from deertrack.services.embed import EmbedOutcome, embed_pending, embed_photos
from deertrack.services.ingest import Problem
from deertrack.services.progress import SILENT, Progress
from deertrack.storage import catalogue, embeddings, profiles, sightings
from deertrack.storage.db import Connection, Database
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.storage.profiles import Coverage
from deertrack.vision.embedder import Embedder


@dataclass(slots=True)
class Reembedded:
    """What came of it.

    ``embedded``: individuals whose best detection was embedded now; ``done_before`` had vectors already.
    ``fell_back``: individuals whose best photo could not be read, so that the next-best one was taken.
    ``without``: sighted individuals none of whose photos can be read: they keep their older vectors only.
    ``profiles``: individuals whose columns were filled now; ``staged`` if they wait for the cut-over instead.
    """

    version: str
    deer: int = 0
    done_before: int = 0
    embedded: int = 0
    fell_back: int = 0
    without: int = 0
    profiles: int = 0
    staged: bool = False
    detections: int = 0
    problems: list[Problem] = field(default_factory=list)


def reembed(
    db: Database,
    make_embedder: Callable[[], Embedder],
    target: RegisteredVersion,
    *,
    all_detections: bool = False,
    limit: int | None = None,
    batch: int = 32,
    progress: Progress = SILENT,
) -> Reembedded:
    """Give every known individual vectors of ``target``: of its best detection, or of all its detections.

    Individuals that have them are passed over, so that the same call again resumes.

    Args:
        all_detections: embed every detection too (for validation, and for deciding again).
        limit: individuals at most to embed in this call.
        batch: individuals a commit: what a kill -9 costs at most.
    """
    report = Reembedded(target.version.name)
    with db.transaction() as connection:
        before = profiles.coverage(connection, target)
        todo = profiles.profiles_to_embed(connection, target, limit=limit or before.deer)
    report.deer, report.done_before = before.deer, before.embedded
    _fill_profiles(db, target, None, report)
    _embed_individuals(db, make_embedder, target, list(todo), report, batch=batch, progress=progress)
    if all_detections:
        outcome = embed_pending(db, make_embedder, target, progress=progress)
        _note(outcome, report)
        _fill_profiles(db, target, None, report)
    with db.transaction() as connection:
        after = profiles.coverage(connection, target)
    report.embedded = after.embedded - before.embedded
    report.without = after.deer - after.embedded if limit is None else 0
    return report


def reembed_some(
    db: Database, make_embedder: Callable[[], Embedder], target: RegisteredVersion, deer_ids: Sequence[int]
) -> Reembedded:
    """The same for a few individuals: one worker's part of a queued re-embedding."""
    report = Reembedded(target.version.name, deer=len(deer_ids))
    with db.transaction() as connection:
        todo = profiles.profiles_to_embed(connection, target, deer_ids=deer_ids)
    _embed_individuals(db, make_embedder, target, list(todo), report)
    _fill_profiles(db, target, deer_ids, report)
    return report


def parts_to_embed(
    db: Database, target: RegisteredVersion, *, all_detections: bool, size: int
) -> list[dict[str, list[int]]]:
    """What :func:`reembed` would do, in parts for workers: ``{"deer": ids}`` or ``{"images": ids}`` each."""
    with db.transaction() as connection:
        deer = list(profiles.profiles_to_embed(connection, target))
        images = embeddings.pending_images(connection, list(target.models.values())) if all_detections else []
    return [
        {kind: ids[start : start + size]}
        for kind, ids in (("deer", deer), ("images", images))
        for start in range(0, len(ids), size)
    ]


def embed_images(
    db: Database, make_embedder: Callable[[], Embedder], target: RegisteredVersion, image_ids: Sequence[int]
) -> Reembedded:
    """Every detection of some photos: one worker's part of a queued re-embedding of all detections."""
    report = Reembedded(target.version.name)
    with db.transaction() as connection:
        photos = embeddings.pending_photos(
            connection, list(target.models.values()), image_ids=image_ids, limit=len(image_ids)
        )
    if photos:
        outcome = EmbedOutcome()
        embed_photos(db, make_embedder(), target, photos, outcome)
        _note(outcome, report)
        with db.transaction() as connection:
            shown = profiles.individuals_in(connection, image_ids)
        _fill_profiles(db, target, shown, report)
    return report


def reembed_plan(db: Database, target: RegisteredVersion) -> Coverage:
    """What :func:`reembed` would start from. Changes nothing."""
    with db.transaction() as connection:
        return profiles.coverage(connection, target)


def overlaps(target: RegisteredVersion, active: RegisteredVersion) -> bool:
    """Whether filling the target's columns would take away what the active version searches."""
    shared = set(target.version.search_outputs) & set(active.version.search_outputs)
    return any(target.models[output] != active.models[output] for output in shared)


def versions_in_use(connection: Connection) -> list[RegisteredVersion]:
    """The active version, and the one that an A/B test tries beside it."""
    active = catalogue.get_setting(connection, catalogue.ACTIVE_VERSION)
    test = catalogue.get_setting(connection, catalogue.AB)
    names = [name for name in (active, test and test["version"]) if name]
    return [embeddings.find_version(connection, name) for name in names]


def _embed_individuals(
    db: Database,
    make_embedder: Callable[[], Embedder],
    target: RegisteredVersion,
    deer_ids: Sequence[int],
    report: Reembedded,
    *,
    batch: int = 32,
    progress: Progress = SILENT,
) -> None:
    if not deer_ids:
        return
    progress.start("Re-embedding individuals", len(deer_ids))
    embedder = make_embedder()
    for start in range(0, len(deer_ids), batch):
        some = deer_ids[start : start + batch]
        _embed_batch(db, embedder, target, some, report, progress=progress)


def _embed_batch(
    db: Database,
    embedder: Embedder,
    target: RegisteredVersion,
    deer_ids: Sequence[int],
    report: Reembedded,
    *,
    progress: Progress,
) -> None:
    """Embed the best readable detection of each; where that fails, the next best, until one is left or none."""
    unreachable: list[int] = []
    first_round = True
    while True:
        with db.transaction() as connection:
            wanted = profiles.profiles_to_embed(
                connection, target, deer_ids=deer_ids, unreachable=unreachable
            )
            photos = profiles.photos_of(connection, list(wanted.values()))
        if not photos:
            break
        if not first_round:
            report.fell_back += len(wanted)
        outcome = EmbedOutcome()
        # One detection each, so the first round's steps are individuals, unreadable ones among them.
        told = progress if first_round else SILENT
        embed_photos(db, embedder, target, photos, outcome, progress=told)
        _note(outcome, report)
        unreachable += outcome.unreachable
        first_round = False
    _fill_profiles(db, target, deer_ids, report)


def _fill_profiles(
    db: Database, target: RegisteredVersion, deer_ids: Sequence[int] | None, report: Reembedded
) -> None:
    """Fill the profiles, unless that would take away what searches use: under the lock that a cut-over takes."""
    with db.transaction() as connection:
        sightings.lock_deciding(connection)
        report.staged = any(overlaps(target, used) for used in versions_in_use(connection))
        if not report.staged:
            report.profiles += len(profiles.put_profiles(connection, target, deer_ids=deer_ids))
            profiles.refresh_profiles(connection, deer_ids=deer_ids)


def _note(outcome: EmbedOutcome, report: Reembedded) -> None:
    report.detections += outcome.detections
    report.problems += outcome.problems
