"""The matchers that there are: each embedding version, as a search with it compares."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import partial

import numpy as np

from deertrack.domain.calibration import Calibration
from deertrack.domain.decision import CANDIDATES, Belief, Policy, believe
from deertrack.domain.embedding import EmbeddingVersion, Output, Vectors, normalise
from deertrack.domain.errors import InputError, PackError
from deertrack.domain.evaluation import Floats
from deertrack.domain.fusion import Weights
from deertrack.domain.known_by import KnownBy, compare
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


class VersionMatcher:
    """An embedding version over n photos: the query is a sighting's pooled vector, the answer an individual.

    Args:
        vectors: per output (n, 512) unit rows.
        photos: the n photos, for their quality (spec, phase 2: highest confidence, then largest box).
        calibration: what similarities mean; None where nobody measured it.
        weights: of the ensemble.
        known_by: what an individual is to a query; a catalogue searches means. A first sighting is its best photo.
    """

    def __init__(
        self,
        version: EmbeddingVersion,
        vectors: Mapping[Output, Vectors],
        photos: Sequence[SetPhoto],
        calibration: Calibration | None,
        weights: Weights | None = None,
        *,
        known_by: KnownBy = KnownBy.MEAN,
    ) -> None:
        self._version, self._calibration, self._known_by = version, calibration, known_by
        self._shares = (weights or Weights()).of(version)
        self._vectors = {output: vectors[output] for output in self._shares}
        order = sorted(range(len(photos)), key=lambda i: (-photos[i].confidence, -photos[i].box.area, i))
        self._quality_rank = np.empty(len(photos), np.int64)
        self._quality_rank[order] = np.arange(len(photos))

    @property
    def name(self) -> str:
        """The version's name, and by what individuals are known where that is not as in a catalogue."""
        known_by = "" if self._known_by is KnownBy.MEAN else f", {self._known_by}"
        return f"{self._version.name}{known_by}"

    @property
    def calibration(self) -> Calibration | None:
        """What its similarities mean."""
        return self._calibration

    @property
    def vectors(self) -> Mapping[Output, Vectors]:
        """Of the outputs that it compares: (n, 512) each."""
        return self._vectors

    def with_vectors(self, vectors: Mapping[Output, Vectors]) -> "VersionMatcher":
        """The same comparison of other vectors, whose meaning nobody measured."""
        other = copy(self)
        other._vectors, other._calibration = dict(vectors), None
        return other

    def fit(self, train: Sightings) -> "VersionMatcher":  # noqa: ARG002 (nothing is learned)
        """Itself: a version is what it is."""
        return self

    def scores(self, queries: Sightings, gallery: Sightings) -> Floats:
        """Weighted similarities, (q, g) in [-1, 1]: a sighting scores as its individual does."""
        best = [rows[self._quality_rank[rows].argmin()] for rows in gallery.photos]
        total = np.zeros((len(queries), len(gallery)))
        for output, share in self._shares.items():
            rows = self._vectors[output]
            answering = rows[best] if self._known_by is KnownBy.FIRST else _pooled(rows, gallery.photos)
            asking = _pooled(rows, queries.photos)
            total += share * compare(asking, answering, queries, gallery, self._known_by)
        return total

    def believe(self, scores: Floats) -> Belief | None:
        """By the version's calibration and the rules of every search."""
        if self._calibration is None:
            return None
        order = np.argsort(-scores, kind="stable")[:CANDIDATES]
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
    known_by: Sequence[KnownBy] = (KnownBy.MEAN,),
    progress: Progress = SILENT,
) -> tuple[LabelledSet, list[VersionMatcher]]:
    """Embed a labelled set and make a matcher of each version.

    Args:
        packs: each with the names of its versions that are wanted.
        kept: where vectors are kept from one time to the next.
        db: the catalogue whose calibrations count; None for those of the packs.
        known_by: for each of these a matcher of each version.

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
            _calibration(db, version, pack) if how is KnownBy.MEAN else None,
            known_by=how,
        )
        for how in known_by
        for pack, names in packs
        for version in pack.versions
        if version.name in names
    ]
    return rest, matchers


def catalogue_matchers(
    db: Database,
    labelled: LabelledSet,
    packs: Sequence[tuple[Pack, Sequence[str]]],
    known_by: Sequence[KnownBy] = (KnownBy.MEAN,),
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
        VersionMatcher(
            version,
            {o: v[rows] for o, v in vectors.items()},
            rest.photos,
            curve if how is KnownBy.MEAN else None,
            weights,
            known_by=how,
        )
        for how in known_by
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
