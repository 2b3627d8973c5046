"""Matchers that learn: an embedding version whose vectors go through heads fitted to some of the sightings."""

from collections.abc import Mapping

import numpy as np

from deertrack.domain.decision import Belief
from deertrack.domain.embedding import Output, Vectors, normalise
from deertrack.domain.evaluation import Floats
from deertrack.domain.learned import Head, Method, classes_of, fit_head
from deertrack.domain.pairs import Codes
from deertrack.domain.protocols import LabelledPhotos, Sightings
from deertrack.services.evaluation.matchers import VersionMatcher


def fit_heads(
    method: Method, vectors: Mapping[Output, Vectors], classes: Codes, train: Sightings
) -> dict[Output, Head]:
    """A head for each output, fitted to the photos of some sightings.

    Args:
        vectors: per output (n, 512).
        classes: (n,) from ``classes_of``.

    Raises:
        InputError: too few photos or animals.
    """
    rows = np.concatenate([np.empty(0, np.int64), *train.photos])
    return {output: fit_head(method, of_all[rows], classes[rows]) for output, of_all in vectors.items()}


def through(heads: Mapping[Output, Head], vectors: Mapping[Output, Vectors]) -> dict[Output, Vectors]:
    """Vectors, per output (n, 512), as the heads make them."""
    return {output: normalise(heads[output].project(rows)) for output, rows in vectors.items()}


class LearnedMatcher:
    """A version with learned heads. It is fitted under the identity-disjoint protocols, fold by fold.

    Asked without having been fitted, it learns from the gallery itself: only leaky comparisons do that.

    Args:
        base: the version whose vectors it starts from.
        photos: who the matcher's n photos show.
    """

    def __init__(self, base: VersionMatcher, method: Method, photos: LabelledPhotos) -> None:
        self._base, self._method = base, method
        self._classes = classes_of(photos.identity, photos.flank)

    @property
    def name(self) -> str:
        """The version's name and the method's."""
        return f"{self._base.name}+{self._method}"

    @property
    def calibration(self) -> None:
        """None: what the scores mean is measured when a head is trained for good."""

    def fit(self, train: Sightings) -> VersionMatcher:
        """The version as it compares vectors that went through heads fitted to the photos of these sightings."""
        heads = fit_heads(self._method, self._base.vectors, self._classes, train)
        return self._base.with_vectors(through(heads, self._base.vectors))

    def scores(self, queries: Sightings, gallery: Sightings) -> Floats:
        """As the version, with heads fitted to the gallery."""
        return self.fit(gallery).scores(queries, gallery)

    def believe(self, scores: Floats) -> Belief | None:  # noqa: ARG002
        """None, as there is no calibration."""
        return None
