"""Sightings grouped by animal (:mod:`deertrack.domain.clustering`): what is read for it, and what comes out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deertrack.domain.clustering import (
    UNKNOWN,
    Clustering,
    Codes,
    Flags,
    Floats,
    Looks,
    Ties,
    cluster,
    order_to_decide,
)
from deertrack.domain.embedding import Output, Vectors, normalise, pool
from deertrack.domain.encounters import agreed_sex
from deertrack.domain.fusion import joint_vectors
from deertrack.domain.records import Sex
from deertrack.services.identify import Matcher
from deertrack.storage import gallery, tracks
from deertrack.storage.db import Connection
from deertrack.storage.tracks import Pair, SeenTrack

_SEXES = {Sex.UNKNOWN: UNKNOWN, Sex.MALE: 0, Sex.FEMALE: 1}


@dataclass(frozen=True, slots=True)
class Together:
    """n sightings that are weighed together: who they are, what they look like, which are surely two animals."""

    tracks: Sequence[SeenTrack]
    looks: Mapping[Output, Vectors]
    ties: Ties

    def groups(self, matcher: Matcher, known: float) -> "Groups":
        """Which of them are one animal, among ``known`` individuals that are not among them."""
        shares = matcher.weights.of(matcher.registered.version)
        ratios = matcher.calibration.likelihood_ratios
        looks = Looks(joint_vectors(self.looks, shares))
        clustering = cluster(looks, self.ties, ratios, matcher.policy, known=known)
        return Groups(self, matcher, _surest_numbers(clustering, self.tracks))


class Groups:
    """Sightings grouped; group 0 has most photos, then the best detection, then the first sighting.

    ``totals`` has for each output the sum of every group's sightings, (g, 512); ``looks`` its direction, ``joint``
    rows whose inner products are weighted similarities.
    """

    def __init__(self, together: Together, matcher: Matcher, clustering: Clustering) -> None:
        self._matcher = matcher
        self.of, self.probability = clustering.group, clustering.probability
        self.members = [
            [together.tracks[i] for i in rows]
            for rows in np.split(np.argsort(self.of, kind="stable"), np.cumsum(np.bincount(self.of))[:-1])
        ]
        self.ties = together.ties.joined(self.of)
        self.totals: dict[Output, Vectors] = {}
        for output, rows in together.looks.items():
            self.totals[output] = np.zeros((len(self), rows.shape[1]), np.float32)
            np.add.at(self.totals[output], self.of, rows)
        self.looks = {output: normalise(rows) for output, rows in self.totals.items()}
        self.joint = self.compared(self.looks)
        self._rows = {track.sighting_id: i for i, track in enumerate(together.tracks)}
        self._sightings = together.looks

    def __len__(self) -> int:
        return len(self.probability)

    def compared(self, looks: Mapping[Output, Vectors]) -> Vectors:
        """Rows whose inner products are weighted similarities."""
        return joint_vectors(looks, self._matcher.weights.of(self._matcher.registered.version))

    def similarity(self, track: SeenTrack) -> float:
        """How alike a sighting is to its group."""
        row = self._rows[track.sighting_id]
        own = self.compared({output: rows[[row]] for output, rows in self._sightings.items()})
        return float(own[0] @ self.joint[self.of[row]])

    def look_up(self, group: int) -> tuple[Floats, Flags]:
        """How alike all groups are to one, and which are surely other animals: (g,) each."""
        similarities = np.asarray(self.joint @ self.joint[group], np.float64)
        return similarities, self.ties.forbidden(np.array([group]))[0]

    def order(self, weights: Floats, best: Floats, among: Codes) -> tuple[list[int], list[int]]:
        """Which of the groups ``among`` (m,) are to be new individuals, in this order, and the others after them.

        ``weights`` and ``best`` (m,) are of these: see :func:`deertrack.domain.clustering.order_to_decide`.
        """

        def look_up(place: int) -> tuple[Floats, Flags]:
            similarities, others = self.look_up(int(among[place]))
            return similarities[among], others[among]

        matcher = self._matcher
        ratios = matcher.calibration.likelihood_ratios
        new, rest = order_to_decide(weights, best, look_up, ratios, matcher.policy)
        return among[new].tolist(), among[rest].tolist()


def gather(
    connection: Connection,
    matcher: Matcher,
    found: Sequence[SeenTrack],
    *,
    individuals: Mapping[int, int] | None = None,
    apart: Sequence[Pair] = (),
) -> Together:
    """Read what is known of some sightings.

    Args:
        individuals: who a person confirmed them to be, by sighting.
        apart: more pairs of sightings that are surely two animals.
    """
    ids = [track.sighting_id for track in found]
    place = {sighting_id: i for i, sighting_id in enumerate(ids)}
    outputs = matcher.registered.version.search_outputs
    pairs = [*apart, *tracks.side_by_side(connection, ids), *tracks.too_far_apart(connection, ids)]
    ties = Ties(
        np.array([(individuals or {}).get(sighting_id, UNKNOWN) for sighting_id in ids], np.int64),
        np.array([_SEXES[track.sex] for track in found], np.int64),
        np.array([(place[a], place[b]) for a, b in pairs], np.int64).reshape(-1, 2),
    )
    return Together(found, tracks.pooled_vectors(connection, matcher.registered, ids, outputs), ties)


def best_of(members: Sequence[SeenTrack]) -> SeenTrack:
    """The sighting with the best detection."""
    return max(members, key=lambda t: (t.confidence, t.photos, -t.sighting_id))


def make_individual(
    connection: Connection, matcher: Matcher, members: Sequence[SeenTrack], founder: SeenTrack
) -> int:
    """A new individual that looks like the mean of its sightings; returns its id."""
    registered = matcher.registered
    ids = [track.sighting_id for track in members]
    pooled = tracks.pooled_vectors(connection, registered, ids, list(registered.models))
    known = {output: rows[np.isfinite(rows[:, 0])] for output, rows in pooled.items()}
    return gallery.add_deer(
        connection,
        registered,
        sex=agreed_sex([track.sex for track in members]),
        profile_detection_id=founder.detection_id,
        vectors={output: pool(rows) for output, rows in known.items() if len(rows)},
    )


def _surest_numbers(clustering: Clustering, found: Sequence[SeenTrack]) -> Clustering:
    """The same groups, numbered by photos, best detection and first sighting: what goes first among equals."""
    count = len(clustering.probability)
    photos, confidence = np.zeros(count), np.zeros(count)
    np.add.at(photos, clustering.group, [track.photos for track in found])
    np.maximum.at(confidence, clustering.group, [track.confidence for track in found])
    order = np.lexsort((np.arange(count), -confidence, -photos))
    number = np.empty(count, np.int64)
    number[order] = np.arange(count)
    return Clustering(number[clustering.group], clustering.probability[order])
