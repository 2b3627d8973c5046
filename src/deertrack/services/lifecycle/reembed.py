"""Re-embed known individuals with another version (spec, phase 2). Stopped at any moment, it goes on from there.

Vectors of detections are immutable and belong to a model, so the new ones are stored beside the old. Profiles
(the columns that searches use) are filled at once where the active version does not use them; where it does,
they wait for the cut-over, which copies them in one transaction.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from deertrack.services.embed import EmbedOutcome, embed_pending, embed_photos
from deertrack.services.ingest import Problem
from deertrack.services.progress import SILENT, Progress
from deertrack.storage import profiles
from deertrack.storage.db import Database
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
    active: RegisteredVersion,
    *,
    all_detections: bool = False,
    limit: int | None = None,
    batch: int = 32,
    progress: Progress = SILENT,
) -> Reembedded:
    """Give every known individual vectors of ``target``: of its best detection, or of all its detections.

    Individuals that have them are passed over, so that the same call again resumes.

    Args:
        active: the version that searches use now; its columns are never overwritten here.
        all_detections: embed every detection too (for validation, and for deciding again).
        limit: individuals at most to embed in this call.
        batch: individuals a commit: what a kill -9 costs at most.
    """
    report = Reembedded(target.version.name, staged=overlaps(target, active))
    with db.transaction() as connection:
        before = profiles.coverage(connection, target)
        todo = profiles.profiles_to_embed(connection, target, limit=limit or before.deer)
    report.deer, report.done_before = before.deer, before.embedded
    _fill_profiles(db, target, None, report)
    if todo:
        progress.start("Re-embedding individuals", len(todo))
        embedder, deer_ids = make_embedder(), list(todo)
        for start in range(0, len(deer_ids), batch):
            some = deer_ids[start : start + batch]
            _embed_batch(db, embedder, target, some, report)
            progress.advance(len(some))
    if all_detections:
        outcome = embed_pending(db, make_embedder, target, progress=progress)
        _note(outcome, report)
        _fill_profiles(db, target, None, report)
    with db.transaction() as connection:
        after = profiles.coverage(connection, target)
    report.embedded = after.embedded - before.embedded
    report.without = after.deer - after.embedded if limit is None else 0
    return report


def reembed_plan(db: Database, target: RegisteredVersion) -> Coverage:
    """What :func:`reembed` would start from. Changes nothing."""
    with db.transaction() as connection:
        return profiles.coverage(connection, target)


def overlaps(target: RegisteredVersion, active: RegisteredVersion) -> bool:
    """Whether filling the target's columns would take away what the active version searches."""
    shared = set(target.version.search_outputs) & set(active.version.search_outputs)
    return any(target.models[output] != active.models[output] for output in shared)


def _embed_batch(
    db: Database, embedder: Embedder, target: RegisteredVersion, deer_ids: list[int], report: Reembedded
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
        embed_photos(db, embedder, target, photos, outcome)
        _note(outcome, report)
        unreachable += outcome.unreachable
        first_round = False
    _fill_profiles(db, target, deer_ids, report)


def _fill_profiles(
    db: Database, target: RegisteredVersion, deer_ids: list[int] | None, report: Reembedded
) -> None:
    if not report.staged:
        with db.transaction() as connection:
            report.profiles += len(profiles.put_profiles(connection, target, deer_ids=deer_ids))


def _note(outcome: EmbedOutcome, report: Reembedded) -> None:
    report.detections += outcome.detections
    report.problems += outcome.problems
