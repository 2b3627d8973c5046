"""Records that may be one animal, and records that may be two: invitations to look, never decisions."""

import logging
import threading
import time
from dataclasses import dataclass

import numpy as np

from deertrack.domain.errors import DeertrackError
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
_QUICK = 1.0  # seconds that somebody waits for them
_REST = 4  # times as long as it took, before it is done again
_log = logging.getLogger(__name__)


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
    """Suggestions as of the last change by a person, or of some minutes ago where nobody changed anything.

    In large herds they take seconds: then whoever asks gets the former ones, and they are made anew meanwhile.
    """

    def __init__(self, db: Database) -> None:
        self._db, self._making = db, threading.Lock()
        self._made: _Made | None = None

    def now(self, deciders: Deciders, *, last_edit: int) -> Suggestions:
        """Suggestions as of ``last_edit``, the number of the last change by a person, or of before it."""
        made = self._made
        if made is None or (made.took < _QUICK and not made.fresh(last_edit)):
            with self._making:  # who asks meanwhile waits for the same
                if self._made is made:
                    self._make(deciders, last_edit)
                assert self._made is not None
                return self._made.suggestions
        if not made.fresh(last_edit) and time.monotonic() - made.at > _REST * made.took:
            threading.Thread(target=self._renew, args=(deciders, last_edit), daemon=True).start()
        return made.suggestions

    def _renew(self, deciders: Deciders, last_edit: int) -> None:
        if self._making.acquire(blocking=False):  # else somebody is at it
            try:
                self._make(deciders, last_edit)
            except DeertrackError as error:
                _log.warning("no new suggestions: %s", error.message)
            finally:
                self._making.release()

    def _make(self, deciders: Deciders, last_edit: int) -> None:
        began = time.monotonic()
        found = suggest(self._db, deciders)
        now = time.monotonic()
        self._made = _Made(found, last_edit, now, now - began)


@dataclass(frozen=True, slots=True)
class _Made:
    """Suggestions as of an edit, when they were made (monotonic seconds), and how long that took."""

    suggestions: Suggestions
    edit: int
    at: float
    took: float

    def fresh(self, last_edit: int) -> bool:
        return self.edit == last_edit and time.monotonic() - self.at < _FRESH


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
