"""Records that may be one animal, and records that may be two: invitations to look, never decisions."""

import threading
import time
from dataclasses import dataclass

import numpy as np

from deertrack.domain.fusion import joint_vectors
from deertrack.domain.suggestions import likely_pairs, split_in_two
from deertrack.services.identify import Deciders, Matcher
from deertrack.storage import suggestions as store
from deertrack.storage import tracks
from deertrack.storage.db import Connection, Database
from deertrack.storage.suggestions import Doubtful, Record

_SPLIT_AT = 0.5
_LEAST, _MOST = 4, 200  # sightings of a record that is looked at for being two
_RECORDS = 200
_FRESH = 300.0  # seconds


@dataclass(frozen=True, slots=True)
class SuggestedMerge:
    """Two records that may be one animal. ``probability`` in [0, 1], ``similarity`` a cosine."""

    one: Record
    other: Record
    similarity: float
    probability: float


@dataclass(frozen=True, slots=True)
class SuspectedMixture:
    """A record whose sightings fall into two parts (ids) that may be two animals: ``probability`` in [0, 1]."""

    record: Doubtful
    parts: tuple[tuple[int, ...], tuple[int, ...]]
    probability: float


@dataclass(frozen=True, slots=True)
class Suggestions:
    """Likeliest first."""

    merges: tuple[SuggestedMerge, ...]
    mixtures: tuple[SuspectedMixture, ...]


def suggest(db: Database, deciders: Deciders) -> Suggestions:
    """Compare all records with each other, and the sightings of those that rest on the machine's word most."""
    matcher = deciders.matchers[0]
    with db.transaction() as connection:
        return Suggestions(tuple(_merges(connection, matcher)), tuple(_mixtures(connection, matcher)))


class Suggesting:
    """Suggestions, made anew some minutes after they were made, or as soon as a person changed something."""

    def __init__(self, db: Database) -> None:
        self._db, self._lock = db, threading.Lock()
        self._made_at, self._edit, self._made = -_FRESH, 0, Suggestions((), ())

    def now(self, deciders: Deciders, *, last_edit: int) -> Suggestions:
        """Suggestions as of the person's last change, ``last_edit``."""
        with self._lock:
            if self._edit != last_edit or time.monotonic() - self._made_at > _FRESH:
                self._made = suggest(self._db, deciders)
                self._made_at, self._edit = time.monotonic(), last_edit
            return self._made


def _merges(connection: Connection, matcher: Matcher) -> list[SuggestedMerge]:
    shares = matcher.weights.of(matcher.registered.version)
    records, vectors = store.profiles(connection, matcher.registered)
    if len(records) < 2:
        return []
    place = {record.id: row for row, record in enumerate(records)}
    apart = {(place[a], place[b]) for a, b in store.surely_two(connection, list(place))}
    apart |= {(b, a) for a, b in apart}
    pairs = likely_pairs(
        joint_vectors(vectors, shares), matcher.calibration, unmet=matcher.policy.unmet, apart=apart
    )
    found = [(records[p.first], records[p.second], p) for p in pairs]
    return [
        SuggestedMerge(one, other, p.similarity, p.probability)
        for one, other, p in found
        if {one.sex, other.sex} != {"male", "female"}
    ]


def _mixtures(connection: Connection, matcher: Matcher) -> list[SuspectedMixture]:
    shares = matcher.weights.of(matcher.registered.version)
    found = []
    for record in store.doubtful(connection, least=_LEAST, most=_MOST, limit=_RECORDS):
        vectors = tracks.pooled_vectors(connection, matcher.registered, record.sightings, list(shares))
        looks = joint_vectors(vectors, shares)
        rows = np.flatnonzero(~np.isnan(looks).any(axis=1))
        split = split_in_two(looks[rows], matcher.calibration)
        if split is None or split.probability < _SPLIT_AT:
            continue
        first, second = (
            tuple(record.sightings[rows[i]] for i in part) for part in (split.first, split.second)
        )
        found.append(SuspectedMixture(record, (first, second), split.probability))
    return sorted(found, key=lambda mixture: (-mixture.probability, mixture.record.number))
