"""Does the right animal come first? Each sighting asks; all sightings of other encounters answer.

Rank-k: a sighting of the same animal is among the first k. Mean average precision: how far up all of them are
(Manning, Raghavan & Schütze (2008), "Introduction to Information Retrieval", chapter 8). Ties count against the
right animal.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deertrack.domain.embedding import Vectors
from deertrack.domain.pairs import Codes, SightingCodes, blocks

_BLOCK = 256


@dataclass(frozen=True, slots=True)
class Answers:
    """What came back for each of q queries; every field is (q,).

    ``best_same`` and ``best_other`` are the rows of the most similar sighting of the same animal and of another,
    ``same_similarity`` and ``other_similarity`` how similar they are.
    """

    query: Codes
    rank_1: NDArray[np.bool_]
    rank_5: NDArray[np.bool_]
    precision: NDArray[np.float64]
    best_same: Codes
    best_other: Codes
    same_similarity: NDArray[np.float64]
    other_similarity: NDArray[np.float64]


def answerable(sightings: SightingCodes) -> Codes:
    """Sightings whose animal, and another one, was met in another encounter: (q,) rows."""
    good = [np.empty(0, np.int64)]
    for rows in blocks(np.arange(len(sightings.identity)), _BLOCK):
        comparable = sightings.comparable(rows)
        same = sightings.identity[rows, None] == sightings.identity
        good.append(rows[(comparable & same).any(axis=1) & (comparable & ~same).any(axis=1)])
    return np.concatenate(good)


def ask(asking: Vectors, answering: Vectors, sightings: SightingCodes, queries: Codes) -> Answers:
    """Rank all comparable sightings for each query.

    Args:
        asking: (n, d) rows of the sightings as queries.
        answering: (n, d) rows of the sightings as profiles; inner products with ``asking`` are similarities.
        queries: (q,) rows, each answerable.
    """
    q = len(queries)
    rank_1, rank_5 = np.zeros(q, bool), np.zeros(q, bool)
    precision, same_best, other_best = np.zeros(q), np.zeros(q), np.zeros(q)
    best_same, best_other = np.zeros(q, np.int64), np.zeros(q, np.int64)
    done = 0
    for rows in blocks(queries, _BLOCK):
        similar = asking[rows] @ answering.T
        comparable = sightings.comparable(rows)
        same = sightings.identity[rows, None] == sightings.identity
        of_same = np.where(comparable & same, similar, -np.inf)
        of_other = np.where(comparable & ~same, similar, -np.inf)
        at = slice(done, done + len(rows))
        done += len(rows)
        best_same[at], best_other[at] = of_same.argmax(axis=1), of_other.argmax(axis=1)
        same_best[at], other_best[at] = of_same.max(axis=1), of_other.max(axis=1)
        others = np.sort(of_other, axis=1)
        for i, row in enumerate(range(at.start, at.stop)):
            right = np.sort(of_same[i][np.isfinite(of_same[i])])[::-1]
            wrong_above = others.shape[1] - np.searchsorted(others[i], right, side="left")
            rank_1[row], rank_5[row] = wrong_above[0] == 0, wrong_above[0] < 5
            found = np.searchsorted(-right, -right, side="right")
            precision[row] = np.mean(found / (found + wrong_above))
    return Answers(queries, rank_1, rank_5, precision, best_same, best_other, same_best, other_best)
