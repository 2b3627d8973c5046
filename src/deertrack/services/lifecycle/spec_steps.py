"""The specification's own steps: known deer, and pairs of different deer of one sex, drawn by the seed.

Source: spec, "Phase 3: Validation", steps 1 and 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from deertrack.domain import verdict as rules
from deertrack.domain.pairs import Codes
from deertrack.domain.separation import Estimate, estimate
from deertrack.domain.verdict import Criterion, Shift
from deertrack.services.lifecycle.evidence import Evidence
from deertrack.services.lifecycle.measure import Bench

_KNOWN_SIGHTINGS = 5  # spec: "20 deer with 5+ sightings"
_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class KnownDeer:
    """A deer with many sightings: the mean similarity of its true matches, old and new version."""

    deer: str
    sightings: int
    pairs: int
    old: float
    new: float


@dataclass(frozen=True, slots=True)
class DeerPair:
    """Two different deer that a search could confuse: the mean similarity of their sightings, old and new."""

    first: str
    second: str
    pairs: int
    old: float
    new: float


def known_deer(
    evidence: Evidence, bench: Bench, wanted: int, rng: np.random.Generator
) -> tuple[KnownDeer, ...]:
    """Spec, step 1: deer with five or more sightings, drawn by the seed."""
    deer = bench.pairs.same.first
    pairs = np.bincount(deer, minlength=bench.identities)
    sightings = np.bincount(bench.identity_of, minlength=bench.identities)
    able = np.flatnonzero((sightings >= _KNOWN_SIGHTINGS) & (pairs > 0))
    drawn = np.sort(rng.permutation(able)[:wanted])
    old, new = (
        np.bincount(deer, side.scores.same, bench.identities) / np.maximum(pairs, 1)
        for side in (bench.old, bench.new)
    )
    return tuple(
        KnownDeer(evidence.names[i], int(sightings[i]), int(pairs[i]), float(old[i]), float(new[i]))
        for i in drawn
    )


def rise_of(known: Sequence[KnownDeer], overall: Shift, wanted: int, rng: np.random.Generator) -> Criterion:
    """Every deer counts alike; the interval comes from resampling them."""
    if not known:
        return rules.judge_rise(overall, Estimate(0.0, None, None), 0, wanted)
    means = np.array([[deer.old, deer.new] for deer in known])
    old, new = means.mean(axis=0)
    draws = means[rng.integers(len(known), size=(_RESAMPLES, len(known)))].mean(axis=1)
    shift = replace(overall, same_old=float(old), same_new=float(new))
    interval = estimate(float(new / old - 1), draws[:, 1] / draws[:, 0] - 1)
    return rules.judge_rise(shift, interval, len(known), wanted)


def deer_pairs_of_one_sex(
    evidence: Evidence, bench: Bench, wanted: int, rng: np.random.Generator
) -> tuple[DeerPair, ...]:
    """Spec, step 2: pairs of different deer of one sex, drawn by the seed; of any, where no sex is known."""
    pairs, sex = bench.pairs.different, _sex_of_identity(evidence)
    usable = (sex[pairs.first] == sex[pairs.second]) & (sex[pairs.first] > 0)
    if not usable.any():
        usable = np.ones(len(pairs), bool)
    low, high = np.minimum(pairs.first, pairs.second), np.maximum(pairs.first, pairs.second)
    keys, place = np.unique((low * bench.identities + high)[usable], return_inverse=True)
    count = np.bincount(place)
    old, new = (np.bincount(place, side.scores.different[usable]) / count for side in (bench.old, bench.new))
    return tuple(
        DeerPair(
            evidence.names[keys[i] // bench.identities],
            evidence.names[keys[i] % bench.identities],
            int(count[i]),
            float(old[i]),
            float(new[i]),
        )
        for i in np.sort(rng.permutation(len(keys))[:wanted])
    )


def _sex_of_identity(evidence: Evidence) -> Codes:
    sex = np.zeros(evidence.codes.identities, np.int64)
    sex[evidence.codes.identity] = evidence.codes.sex
    return sex
