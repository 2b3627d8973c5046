"""What people may want to look at again: records that may be one animal, and records that may be two."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deertrack.domain.calibration import Calibration
from deertrack.domain.embedding import Vectors

_NEAREST = 10  # that are weighed for each, as a search does
_BLOCK = 1_000  # rows at a time: 10,000 records need 40 MB then, not 400


@dataclass(frozen=True, slots=True)
class LikelyPair:
    """Rows of two records that may be one animal. ``probability`` in [0, 1], ``similarity`` a cosine in [-1, 1]."""

    first: int
    second: int
    similarity: float
    probability: float


@dataclass(frozen=True, slots=True)
class Split:
    """A record's rows in two parts that may be two animals. ``probability`` in [0, 1] that they are."""

    first: tuple[int, ...]
    second: tuple[int, ...]
    similarity: float
    probability: float


def likely_pairs(
    looks: Vectors,
    calibration: Calibration,
    *,
    unmet: float,
    apart: AbstractSet[tuple[int, int]] = frozenset(),
    at_least: float = 0.05,
    most: int = 50,
) -> list[LikelyPair]:
    """Pairs of records that may be one animal, likeliest first.

    Each record is looked up among all others as if it were a new sighting, in both directions; the mean of both
    answers counts. That no animal should have two records is no evidence here: these are invitations to look.

    Args:
        looks: (n, d) unit rows whose inner products are similarities.
        unmet: how many animals may be about that were never met.
        apart: pairs of rows (smaller first) that are surely two animals.
        at_least: the least probability, in [0, 1].
        most: so many pairs at most.
    """
    count = len(looks)
    nearest = min(_NEAREST, count - 1)
    if nearest < 1:
        return []
    said: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for start in range(0, count, _BLOCK):
        block = looks[start : start + _BLOCK] @ looks.T
        rows = np.arange(len(block))
        block[rows, start + rows] = -np.inf
        best = np.argpartition(block, -nearest, axis=1)[:, -nearest:]
        similar = np.take_along_axis(block, best, axis=1)
        ratios = calibration.likelihood_ratios(similar)
        rest = (count - 1 - nearest) * np.minimum(ratios.min(axis=1), 1.0)
        shares = ratios / (unmet + rest + ratios.sum(axis=1))[:, None]
        for row, place in np.argwhere(shares >= at_least).tolist():
            one, other = start + row, int(best[row, place])
            pair = (min(one, other), max(one, other))
            said.setdefault(pair, []).append((float(similar[row, place]), float(shares[row, place])))
    pairs = [
        LikelyPair(*pair, answers[0][0], sum(share for _, share in answers) / 2)
        for pair, answers in said.items()
        if pair not in apart
    ]
    pairs = [pair for pair in pairs if pair.probability >= at_least]
    return sorted(pairs, key=lambda p: (-p.probability, p.first, p.second))[:most]


def split_in_two(looks: Vectors, calibration: Calibration) -> Split | None:
    """A record's sightings in the two parts that differ most; None where there are too few to say.

    The parts are told by the sign of the first principal component. Each needs two sightings: one that looks like
    no other is a bad photo more often than another animal. Two flanks of one animal may come out as two parts.

    Args:
        looks: (n, d) unit rows, one of each sighting.
    """
    if len(looks) < 4:
        return None
    centred = looks - looks.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    side: NDArray[np.bool_] = centred @ directions[0] > 0
    parts = np.flatnonzero(side), np.flatnonzero(~side)
    if min(map(len, parts)) < 2:
        return None
    means = [looks[part].mean(axis=0) for part in parts]
    similarity = float(means[0] @ means[1] / (np.linalg.norm(means[0]) * np.linalg.norm(means[1])))
    ratio = float(calibration.likelihood_ratios([similarity])[0])
    first, second = sorted(parts, key=lambda part: (-len(part), int(part[0])))
    return Split(tuple(first.tolist()), tuple(second.tolist()), similarity, 1 / (1 + ratio))
