"""Vectors for every detection that lacks them: read ahead, embed in batches, store by COPY, resume anywhere."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from deertrack.domain.embedding import Output, Vectors
from deertrack.services.ingest import Problem
from deertrack.services.progress import SILENT, Progress
from deertrack.storage import embeddings, images
from deertrack.storage.db import Database
from deertrack.storage.embeddings import PendingPhoto, RegisteredVersion
from deertrack.vision.embedder import Embedded, Embedder, EmbedTask

_PAGE = 500
# Detections a commit: what a kill -9 costs at most.
_COMMIT_EVERY = 128


@dataclass(slots=True)
class EmbedOutcome:
    """What came of it: photos and detections embedded now, and what could not be read.

    ``unreachable`` are the images whose file is gone or cannot be opened: they may be read another time.
    """

    photos: int = 0
    detections: int = 0
    problems: list[Problem] = field(default_factory=list)
    unreachable: list[int] = field(default_factory=list)


def embed_pending(
    db: Database,
    make_embedder: Callable[[], Embedder],
    registered: RegisteredVersion,
    *,
    progress: Progress = SILENT,
) -> EmbedOutcome:
    """Embed what lacks vectors of this version's pack. Stopped at any moment, the next call goes on from there.

    The model is loaded (``make_embedder``) only if there is something to embed.
    """
    outcome = EmbedOutcome()
    with db.transaction() as connection:
        _, detections = embeddings.count_pending(connection, list(registered.models.values()))
    if detections:
        progress.start("Embedding", detections)
        pending = _pending_photos(db, registered)
        embed_photos(db, make_embedder(), registered, pending, outcome, progress=progress)
    return outcome


def embed_photos(
    db: Database,
    embedder: Embedder,
    registered: RegisteredVersion,
    photos: Iterable[PendingPhoto],
    outcome: EmbedOutcome,
    *,
    progress: Progress = SILENT,
) -> None:
    """Embed the given detections of photos and store their vectors; what came of it is added to ``outcome``.

    A photo whose pixels are damaged is marked and never tried again; one whose file is gone or cannot be
    opened is listed and tried the next time.
    """
    batch = _Batch(db, registered)
    on_the_way: dict[int, tuple[PendingPhoto, Path]] = {}
    for done in embedder.embed(_tasks(photos, on_the_way, outcome)):
        photo, path = on_the_way.pop(done.key)
        progress.advance(len(photo.detection_ids))
        if done.error:
            reason = done.error.removeprefix(f"{path}: ")
            outcome.problems.append(Problem(str(path), reason))
            if _opens(path):
                with db.transaction() as connection:
                    images.mark_unreadable(connection, photo.image_id, reason)
            else:  # the drive may be back next time
                outcome.unreachable.append(photo.image_id)
            continue
        outcome.photos += 1
        outcome.detections += len(photo.detection_ids)
        batch.add(photo, done)
    batch.flush()


def _pending_photos(db: Database, registered: RegisteredVersion) -> Iterator[PendingPhoto]:
    """Page by page, as the embedder asks for them."""
    after, models = 0, list(registered.models.values())
    while True:
        with db.transaction() as connection:
            page = embeddings.pending_photos(connection, models, after=after, limit=_PAGE)
        if not page:
            return
        yield from page
        after = page[-1].image_id


def _tasks(
    photos: Iterable[PendingPhoto],
    on_the_way: dict[int, tuple[PendingPhoto, Path]],
    outcome: EmbedOutcome,
) -> Iterator[EmbedTask]:
    for photo in photos:
        path = next((path for path in photo.paths if path.exists()), None)
        if path is None:
            outcome.problems.append(_gone(photo))
            outcome.unreachable.append(photo.image_id)
            continue
        on_the_way[photo.image_id] = photo, path
        yield EmbedTask(photo.image_id, path, photo.boxes)


def _gone(photo: PendingPhoto) -> Problem:
    if photo.paths:
        return Problem(str(photo.paths[0]), "the file is gone; bring it back and run again")
    return Problem(
        f"photo {photo.image_id}", "its file holds another photo now; bring the first one back and run again"
    )


def _opens(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError:
        return False
    return True


class _Batch:
    """Collects finished photos and stores them together: a commit waits for the disk."""

    def __init__(self, db: Database, registered: RegisteredVersion) -> None:
        self._db, self._registered = db, registered
        self._detection_ids: list[int] = []
        self._vectors: list[dict[Output, Vectors]] = []

    def add(self, photo: PendingPhoto, done: Embedded) -> None:
        self._detection_ids += photo.detection_ids
        self._vectors.append(done.vectors)
        if len(self._detection_ids) >= _COMMIT_EVERY:
            self.flush()

    def flush(self) -> None:
        if not self._detection_ids:
            return
        outputs = self._vectors[0]
        vectors = {output: np.concatenate([v[output] for v in self._vectors]) for output in outputs}
        with self._db.transaction() as connection:
            embeddings.store_vectors(connection, self._registered, self._detection_ids, vectors)
        self._detection_ids, self._vectors = [], []
