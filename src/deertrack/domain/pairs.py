"""Pairs of labelled sightings, always from different encounters: two photos of one visit share light and pose.

The later sighting asks and the earlier one answers, as in life; only pairs that a search would compare count
(compatible sex). What is too many is sampled by a seed, and how many there were is said.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]

_BLOCK = 256  # rows of the (n, n) table looked at together


@dataclass(frozen=True, slots=True)
class SightingCodes:
    """n sightings in time. Each field is (n,) int64.

    ``identity`` counts from 0 without gaps, ``encounter`` is any number, ``sex`` is 0 where unknown and the
    same for all sightings of one identity.
    """

    identity: Codes
    encounter: Codes
    sex: Codes

    @property
    def identities(self) -> int:
        """How many distinct identities there are."""
        return int(self.identity.max(initial=-1)) + 1

    def comparable(self, rows: Codes) -> NDArray[np.bool_]:
        """Which sightings a search for each of ``rows`` (b,) could meet: (b, n). Its own encounter is left out."""
        sex = self.sex[rows, None]
        compatible = (sex == self.sex) | (sex == 0) | (self.sex == 0)
        met: NDArray[np.bool_] = compatible & (self.encounter[rows, None] != self.encounter)
        return met


@dataclass(frozen=True, slots=True)
class PairSet:
    """m chosen pairs out of ``total``: rows ``later`` and ``earlier`` of the sightings, and their identities."""

    later: Codes
    earlier: Codes
    first: Codes
    second: Codes
    total: int

    def __len__(self) -> int:
        return len(self.later)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of one animal and of two."""

    same: PairSet
    different: PairSet

    def weights(self, drawn: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What each pair of one and of two animals counts when each identity was drawn so often: (s,) and (d,).

        An animal drawn twice has its own pairs twice, and four times those with another that was drawn twice.
        """
        return drawn[self.same.first], drawn[self.different.first] * drawn[self.different.second]


def pick_pairs(
    sightings: SightingCodes,
    rng: np.random.Generator,
    *,
    same_each: int = 300,
    most_same: int = 100_000,
    most_different: int = 200_000,
) -> Pairs:
    """Choose pairs of different encounters. Memory grows with n and the chosen pairs, never with n².

    Args:
        same_each: pairs at most of one animal, lest the most photographed one outweighs the herd.
        most_same: pairs of one animal at most in all.
        most_different: pairs of two animals at most, about; fewer are all taken.
    """
    return Pairs(
        _pick_same(sightings, rng, same_each, most_same), _pick_different(sightings, rng, most_different)
    )


def _pick_same(sightings: SightingCodes, rng: np.random.Generator, each: int, most: int) -> PairSet:
    order = np.argsort(sightings.identity, kind="stable")
    starts = np.searchsorted(sightings.identity[order], np.arange(sightings.identities + 1))
    chosen, total = [np.empty((2, 0), np.int64)], 0
    for start, end in pairwise(starts):
        members = order[start:end]
        earlier, later = np.triu_indices(len(members), 1)
        pair = np.stack([members[later], members[earlier]])
        pair = pair[:, sightings.encounter[pair[0]] != sightings.encounter[pair[1]]]
        total += pair.shape[1]
        chosen.append(_at_most(pair, each, rng))
    return _pair_set(sightings, _at_most(np.concatenate(chosen, axis=1), most, rng), total)


def _pick_different(sightings: SightingCodes, rng: np.random.Generator, most: int) -> PairSet:
    n = len(sightings.identity)
    keep = most / max(n * (n - 1) // 2, 1)
    chosen, total = [np.empty((2, 0), np.int64)], 0
    for rows in blocks(np.arange(n), _BLOCK):
        usable = sightings.comparable(rows) & (sightings.identity[rows, None] != sightings.identity)
        later, earlier = np.nonzero(np.tril(usable, k=int(rows[0]) - 1))
        total += len(later)
        if keep < 1:
            kept = rng.random(len(later)) < keep
            later, earlier = later[kept], earlier[kept]
        chosen.append(np.stack([rows[later], earlier]))
    return _pair_set(sightings, np.concatenate(chosen, axis=1), total)


def blocks(rows: Codes, size: int) -> Iterator[Codes]:
    """``rows`` in consecutive parts of at most ``size``."""
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _at_most(pair: Codes, most: int, rng: np.random.Generator) -> Codes:
    if pair.shape[1] <= most:
        return pair
    return pair[:, np.sort(rng.choice(pair.shape[1], most, replace=False))]


def _pair_set(sightings: SightingCodes, pair: Codes, total: int) -> PairSet:
    later, earlier = pair
    return PairSet(later, earlier, sightings.identity[later], sightings.identity[earlier], total)
