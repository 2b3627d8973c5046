"""The matchers that there are: each embedding version, as a search with it compares."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from deertrack.domain.calibration import Calibration
from deertrack.domain.decision import Belief, Policy, believe
from deertrack.domain.embedding import EmbeddingVersion, Output, Vectors, normalise
from deertrack.domain.errors import InputError, PackError
from deertrack.domain.evaluation import Floats
from deertrack.domain.fusion import Weights, joint_vectors
from deertrack.domain.pairs import Codes
from deertrack.domain.protocols import Sightings
from deertrack.formats.calibration import read_calibration
from deertrack.services.evaluation.catalogue_set import stored_vectors
from deertrack.services.evaluation.labelled_set import LabelledSet, SetPhoto
from deertrack.services.evaluation.vectors import VectorFiles, embed_photos
from deertrack.services.progress import SILENT, Progress
from deertrack.services.versions import active_calibration, get_tuning
from deertrack.storage.db import Database
from deertrack.storage.embeddings import find_version
from deertrack.vision.embedder import Embedder
from deertrack.vision.model_packs import Pack

_CANDIDATES = 10  # of a search


class VersionMatcher:
    """An embedding version over n photos: the query is a sighting's pooled vector, the answer its best photo's.

    Args:
        vectors: per output (n, 512) unit rows.
        photos: the n photos, for their quality (spec, phase 2: highest confidence, then largest box).
        calibration: what similarities mean; None where nobody measured it.
        weights: of the ensemble.
    """

    def __init__(
        self,
        version: EmbeddingVersion,
        vectors: Mapping[Output, Vectors],
        photos: Sequence[SetPhoto],
        calibration: Calibration | None,
        weights: Weights | None = None,
    ) -> None:
        self._version, self._calibration = version, calibration
        self._shares = (weights or Weights()).of(version)
        self._vectors = {output: vectors[output] for output in self._shares}
        order = sorted(range(len(photos)), key=lambda i: (-photos[i].confidence, -photos[i].box.area, i))
        self._quality_rank = np.empty(len(photos), np.int64)
        self._quality_rank[order] = np.arange(len(photos))

    @property
    def name(self) -> str:
        """The version's name."""
        return self._version.name

    def fit(self, train: Sightings) -> "VersionMatcher":  # noqa: ARG002 (nothing is learned)
        """Itself: a version is what it is."""
        return self

    def scores(self, queries: Sightings, gallery: Sightings) -> Vectors:
        """Weighted similarities, (q, g) in [-1, 1]."""
        best = np.array([rows[self._quality_rank[rows].argmin()] for rows in gallery.photos], np.int64)
        asking = {output: _pooled(rows, queries.photos) for output, rows in self._vectors.items()}
        answering = {output: rows[best] for output, rows in self._vectors.items()}
        scores: Vectors = joint_vectors(asking, self._shares) @ joint_vectors(answering, self._shares).T
        return scores

    def believe(self, scores: Floats) -> Belief | None:
        """By the version's calibration and the rules of every search."""
        if self._calibration is None:
            return None
        order = np.argsort(-scores, kind="stable")[:_CANDIDATES]
        return believe(
            [(int(i), float(scores[i])) for i in order],
            gallery_size=len(scores),
            calibration=self._calibration,
            unmet=Policy().unmet,
        )


def _pooled(rows: Vectors, photos: Sequence[Codes]) -> Vectors:
    """The direction of the mean of each sighting's photos: (s, 512)."""
    starts = np.cumsum([0, *(len(p) for p in photos[:-1])])
    return normalise(np.add.reduceat(rows[np.concatenate(photos)].astype(np.float64), starts, axis=0))


def version_matchers(
    labelled: LabelledSet,
    packs: Sequence[tuple[Pack, Sequence[str]]],
    make_embedder: Callable[[Pack], Embedder],
    kept: VectorFiles,
    *,
    db: Database | None = None,
    progress: Progress = SILENT,
) -> tuple[LabelledSet, list[VersionMatcher]]:
    """Embed a labelled set and make a matcher of each version.

    Args:
        packs: each with the names of its versions that are wanted.
        kept: where vectors are kept from one time to the next.
        db: the catalogue whose calibrations count; None for those of the packs.

    Returns:
        The set without the photos that cannot be embedded, and the matchers over the rest.
    """
    vectors: dict[str, dict[Output, Vectors]] = {}
    bad: dict[int, str] = {}
    for pack, _ in packs:
        load = partial(make_embedder, pack)
        vectors[pack.card.name], reasons = embed_photos(labelled.photos, pack, load, kept, progress=progress)
        bad |= reasons
    rest, rows = _without(labelled, bad)
    matchers = [
        VersionMatcher(
            version,
            {o: v[rows] for o, v in vectors[pack.card.name].items()},
            rest.photos,
            _calibration(db, version, pack),
        )
        for pack, names in packs
        for version in pack.versions
        if version.name in names
    ]
    return rest, matchers


def catalogue_matchers(
    db: Database, labelled: LabelledSet, packs: Sequence[tuple[Pack, Sequence[str]]]
) -> tuple[LabelledSet, list[VersionMatcher]]:
    """The same on the catalogue's own set, with the vectors that it stores and the weights it was cut over to.

    A version of which nothing is stored is left out and noted.

    Raises:
        NotFoundError: the catalogue does not know a version.
        InputError: there are vectors of none of them.
    """
    stored = []
    bad: dict[int, str] = {}
    for pack, names in packs:
        for version in (v for v in pack.versions if v.name in names):
            with db.transaction() as connection:
                registered = find_version(connection, version.name)
                weights = get_tuning(connection, version.name).weights
            vectors, reasons = stored_vectors(db, registered, labelled.photos)
            if len(reasons) == len(labelled.photos):
                labelled.notes.append(f"{version.name} is left out: the catalogue has no vectors of it.")
                continue
            bad |= reasons
            stored.append((version, vectors, _calibration(db, version, pack), weights))
    rest, rows = _without(labelled, bad)
    if not stored or not rest.photos:
        raise InputError(
            "the catalogue has no vectors of these versions for the sightings that a person confirmed",
            hint="`deertrack reid reembed VERSION --all-detections` brings them.",
        )
    return rest, [
        VersionMatcher(version, {o: v[rows] for o, v in vectors.items()}, rest.photos, curve, weights)
        for version, vectors, curve, weights in stored
    ]


def _without(labelled: LabelledSet, bad: Mapping[int, str]) -> tuple[LabelledSet, Codes]:
    rows = np.array([row for row in range(len(labelled.photos)) if row not in bad], np.int64)
    return labelled.without(bad), rows


def _calibration(db: Database | None, version: EmbeddingVersion, pack: Pack) -> Calibration | None:
    """What similarities of a version mean; None where nobody measured it."""
    if db is not None:
        try:
            return active_calibration(db, version, pack)
        except PackError:
            return None
    measured = pack.directory / "calibration.json"
    try:
        return read_calibration(measured).curve_for(version) if measured.is_file() else None
    except InputError:
        return None
