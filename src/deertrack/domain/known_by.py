"""By what an individual is known to a search: the mean of its sightings, each of them, or the first one.

The mean is what a catalogue searches (``storage/profiles.py``). The others are measured beside it, to show what
it is worth: rank-1 on nyala is .04 by first photos, .08 by best sightings and .10 by means (docs/evaluation.md).
"""

from collections.abc import Callable
from enum import StrEnum

import numpy as np

from deertrack.domain.embedding import Vectors
from deertrack.domain.evaluation import Floats
from deertrack.domain.pairs import Codes
from deertrack.domain.protocols import Sightings


class KnownBy(StrEnum):
    """How the sightings of one individual answer together."""

    MEAN = "mean"
    BEST = "best"
    FIRST = "first"


# The score of a query (d,) with an individual's comparable sightings (k, d), k ≥ 1, in their order.
_Together = Callable[[Floats, Floats], float]


def compare(
    asking: Vectors, answering: Vectors, queries: Sightings, gallery: Sightings, known_by: KnownBy
) -> Floats:
    """Every query against every sighting of the gallery, each of which scores as its individual does.

    What was seen in the query's own encounter is no part of an individual: it would be a leak. In a same-flank
    protocol an individual is what is known of one flank.

    Args:
        asking: (q, d) unit rows of the queries.
        answering: (g, d) unit rows of the gallery's sightings.

    Returns:
        (q, g) similarities in [-1, 1]; -1 where an individual has nothing to compare.
    """
    if known_by is KnownBy.BEST:
        return np.asarray(asking @ answering.T, np.float64)
    together = _to_mean if known_by is KnownBy.MEAN else _to_first
    _, group = np.unique(np.stack([gallery.identity, gallery.side]), axis=1, return_inverse=True)
    members = [np.flatnonzero(group == k) for k in range(int(group.max(initial=-1)) + 1)]
    rows, ask = answering.astype(np.float64), asking.astype(np.float64)
    scores = ask @ _representatives(rows, members, known_by).T
    for i, encounter in enumerate(queries.encounter.tolist()):
        for k in set(group[gallery.encounter == encounter].tolist()):
            rest = members[k][gallery.encounter[members[k]] != encounter]
            scores[i, k] = together(ask[i], rows[rest]) if len(rest) else -1.0
    return scores[:, group]


def _representatives(rows: Floats, members: list[Codes], known_by: KnownBy) -> Floats:
    if known_by is KnownBy.FIRST:
        return rows[[own[0] for own in members]]
    sums = np.stack([rows[own].sum(axis=0) for own in members])
    means: Floats = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return means


def _to_mean(query: Floats, known: Floats) -> float:
    total = known.sum(axis=0)
    return float(query @ total / max(np.linalg.norm(total), 1e-12))


def _to_first(query: Floats, known: Floats) -> float:
    return float(query @ known[0])
