"""Who may answer whom: the protocols under which a matcher is measured.

Two photos of one visit share light, pose and background, so finding one by the other says little about
recognising the animal. Every protocol but the leaky one therefore keeps encounters apart. What is learned from
labelled animals is tried on others only (``identity-disjoint``).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from deertrack.domain.pairs import Codes

UNKNOWN_FLANK = -1


class Protocol(StrEnum):
    """How a labelled set is cut into questions and answers."""

    ENCOUNTER = "encounter-disjoint"
    SAME_FLANK = "same-flank"
    IDENTITY = "identity-disjoint"
    IDENTITY_SAME_FLANK = "identity-disjoint-same-flank"
    RANDOM = "random"

    @property
    def same_flank(self) -> bool:
        """Whether only photos of one flank are compared; photos whose flank nobody tells are left out."""
        return self in (Protocol.SAME_FLANK, Protocol.IDENTITY_SAME_FLANK)

    @property
    def folds(self) -> bool:
        """Whether a matcher learns from some animals and is asked about the others."""
        return self in (Protocol.IDENTITY, Protocol.IDENTITY_SAME_FLANK)

    @property
    def leaky(self) -> bool:
        """Whether photos of one encounter answer each other: never a result, only a comparison."""
        return self is Protocol.RANDOM


@dataclass(frozen=True, slots=True)
class LabelledPhotos:
    """n animals in photos, in time as far as it is known. Each field is (n,) int64.

    ``identity`` counts from 0 without gaps; ``encounter`` and ``image`` are any numbers (two animals in one photo
    share an image); ``flank`` is ``UNKNOWN_FLANK`` where nobody tells.
    """

    identity: Codes
    encounter: Codes
    flank: Codes
    image: Codes

    def __len__(self) -> int:
        return len(self.identity)


@dataclass(frozen=True, slots=True)
class Sightings:
    """s sightings. ``photos`` holds the rows of each one's photos; the other fields are (s,) int64.

    Sightings are compared with those of other encounters on the same ``side``: the flank in a same-flank protocol,
    0 for all in the others.
    """

    photos: tuple[Codes, ...]
    identity: Codes
    encounter: Codes
    side: Codes

    def __len__(self) -> int:
        return len(self.identity)

    def take(self, rows: Codes) -> "Sightings":
        """Some of them: ``rows`` (r,)."""
        return Sightings(
            tuple(self.photos[row] for row in rows.tolist()),
            self.identity[rows],
            self.encounter[rows],
            self.side[rows],
        )

    def comparable(self, rows: Codes) -> NDArray[np.bool_]:
        """Which sightings may answer each of ``rows`` (r,): (r, s)."""
        allowed: NDArray[np.bool_] = (self.encounter[rows, None] != self.encounter) & (
            self.side[rows, None] == self.side
        )
        return allowed


def make_sightings(photos: LabelledPhotos, protocol: Protocol) -> Sightings:
    """The sightings that ask and answer, in the order of their first photos.

    All photos of one animal in one encounter are one sighting, those of each flank apart in a same-flank protocol.
    In the leaky protocol each photo is one, and every other photo may answer.
    """
    n = len(photos)
    usable = np.arange(n)
    encounter, side = photos.encounter, np.zeros(n, np.int64)
    if protocol.leaky:
        encounter = np.arange(n)
    if protocol.same_flank:
        usable, side = np.flatnonzero(photos.flank != UNKNOWN_FLANK), photos.flank
    groups: dict[tuple[int, int, int], list[int]] = {}
    keys = np.stack([photos.identity, encounter, side], axis=1)[usable].tolist()
    for row, (who, when, flank) in zip(usable.tolist(), keys, strict=True):
        groups.setdefault((who, when, flank), []).append(row)
    columns = np.array(list(groups), np.int64).reshape(-1, 3)
    return Sightings(
        tuple(np.array(rows, np.int64) for rows in groups.values()),
        columns[:, 0],
        columns[:, 1],
        columns[:, 2],
    )


def identity_folds(
    sightings: Sightings, folds: int, rng: np.random.Generator
) -> Iterator[tuple[Codes, Codes]]:
    """Cut the identities into ``folds`` parts by the seed: for each the rows to learn from and the rows that ask.

    No identity is on both sides. With fewer identities than folds there are as many folds as identities.
    """
    identities = rng.permutation(np.unique(sightings.identity))
    for held_out in np.array_split(identities, min(folds, len(identities))):
        asking = np.isin(sightings.identity, held_out)
        yield np.flatnonzero(~asking), np.flatnonzero(asking)
