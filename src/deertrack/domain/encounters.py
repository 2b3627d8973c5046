"""Photos of one station into encounters, and an encounter's detections into tracks (one animal each)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np

from deertrack.domain.embedding import Vectors, normalise
from deertrack.domain.records import Box, Sex

# Where an animal was a few seconds ago tells as much as half of a full agreement in looks.
_PLACE_WEIGHT = 0.5
_FORBIDDEN = -1e6


@dataclass(frozen=True, slots=True)
class Grouping:
    """How time and looks bind photos together.

    ``encounter_gap``: a pause at least this long at a station ends an encounter.
    ``burst_gap``: within this time an animal that is alone in the frame is taken to be the one before.
    ``relink_similarity``: after a longer pause inside an encounter, looks at least this similar continue a
    track (weighted cosine; above 1 means never).
    """

    encounter_gap: timedelta = timedelta(seconds=60)
    burst_gap: timedelta = timedelta(seconds=10)
    relink_similarity: float = 1.1


@dataclass(frozen=True, slots=True)
class Shot:
    """One detection as grouping sees it. ``looks`` is a unit vector; inner products are similarities."""

    detection_id: int
    image_id: int
    taken_at: datetime | None
    box: Box
    sex: Sex
    looks: Vectors


@dataclass(slots=True)
class Track:
    """One animal across an encounter: at most one shot per photo. ``sighting_id`` once it is stored."""

    shots: list[Shot] = field(default_factory=list)
    sighting_id: int | None = None

    @property
    def sex(self) -> Sex:
        """What its photos agree on; unknown when they contradict each other."""
        return agreed_sex([shot.sex for shot in self.shots])


def agreed_sex(seen: Sequence[Sex]) -> Sex:
    """The one sex that is named, or unknown when none or both are."""
    named = {sex for sex in seen if sex is not Sex.UNKNOWN}
    return named.pop() if len(named) == 1 else Sex.UNKNOWN


def split_by_pause(times: Sequence[datetime], gap: timedelta) -> list[slice]:
    """Cut ascending instants wherever the pause before one is at least ``gap``; the slices cover all."""
    cuts = [0, *(i for i in range(1, len(times)) if times[i] - times[i - 1] >= gap), len(times)]
    return [slice(a, b) for a, b in pairwise(cuts) if b > a]


def associate(shots: Sequence[Shot], grouping: Grouping, known: Sequence[Track] = ()) -> list[Track]:
    """Join the shots of one encounter into tracks, photo by photo in time.

    Within a photo every detection goes to another track (two detections in one photo are two animals); of all
    ways to do so the one with the best total of looks and place is taken (Hungarian method). Sexes that
    contradict each other never join, nor do shots after a pause unless their looks agree.

    Args:
        shots: new shots in the order in which they were taken; all with a time, or all from one photo.
        known: tracks that this encounter has already; they may grow and come first in the result.
    """
    from scipy.optimize import linear_sum_assignment  # slow to import, and `deertrack --help` is not

    tracks = [Track(list(track.shots), track.sighting_id) for track in known]
    photos: dict[int, list[Shot]] = {}
    for shot in shots:
        photos.setdefault(shot.image_id, []).append(shot)
    for image_id, seen in photos.items():
        free = [t for t in tracks if all(s.image_id != image_id for s in t.shots)]
        score = np.array([[_affinity(shot, track, grouping) for track in free] for shot in seen])
        joined: set[int] = set()
        if free:
            for row, column in zip(*linear_sum_assignment(score, maximize=True), strict=True):
                if score[row, column] > _FORBIDDEN / 2:
                    free[column].shots.append(seen[row])
                    joined.add(int(row))
        tracks += [Track([shot]) for row, shot in enumerate(seen) if row not in joined]
    return tracks


def _affinity(shot: Shot, track: Track, grouping: Grouping) -> float:
    """How well a shot continues a track; ``_FORBIDDEN`` where it cannot."""
    if not shot.sex.compatible(track.sex):
        return _FORBIDDEN
    looks = float(normalise(np.mean([s.looks for s in track.shots], axis=0)[None])[0] @ shot.looks)
    nearest = min(track.shots, key=lambda s: _pause(s, shot))
    if _pause(nearest, shot) <= grouping.burst_gap:
        return looks + _PLACE_WEIGHT * nearest.box.overlap(shot.box)
    return looks if looks >= grouping.relink_similarity else _FORBIDDEN


def _pause(a: Shot, b: Shot) -> timedelta:
    if a.taken_at is None or b.taken_at is None:
        return timedelta.max
    return abs(a.taken_at - b.taken_at)
