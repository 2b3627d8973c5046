"""How well similarities tell pairs of one animal from pairs of two, and how sure that is.

A similarity is worth what it separates, not how high it is: these figures do not change when every similarity
rises alike. Uncertainty comes from resampling identities, not pairs: the pairs of one animal resemble each
other, and so do the pairs of one animal with the rest, so counting pairs would promise far too much.

Sources: Green & Swets (1966), "Signal Detection Theory and Psychophysics" (d′); Hanley & McNeil (1982), "The
meaning and use of the area under a ROC curve", Radiology 143; ISO/IEC 19795-1 (accept rates); Bolle, Ratha &
Pankanti (2004), "Error analysis of pattern recognition systems – the subsets bootstrap", CVIU 93.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deertrack.domain.pairs import PairSet

Floats = NDArray[np.float64]

_ROUNDING = 1e-12  # allowed when a rate is compared with the rate asked for
_SAME = 1e-9  # similarities nearer than this are the same
_SPLITS = 20
_LEAST_REPLICATES = 20  # fewer have no 2.5 % tail to speak of


class Figures(NamedTuple):
    """What similarities separate. Rates and AUC in [0, 1]; ``threshold`` and the means are similarities.

    ``tar_1``, ``tar_5`` and ``tar``: share of pairs of one animal that are accepted where 1 %, 5 % and the
    chosen share of pairs of two animals are; ``threshold`` belongs to the chosen share.
    """

    auc: float
    d_prime: float
    tar_1: float
    tar_5: float
    tar: float
    threshold: float
    mean_same: float
    mean_different: float


class Scores:
    """Similarities of labelled pairs, ready to be weighed again and again.

    Args:
        same: (s,) similarities of pairs of one animal, one or more.
        different: (d,) similarities of pairs of two animals, one or more.
        levels: None compares every two values exactly; a number puts them into at most so many bins, which is
            quicker to repeat.
    """

    def __init__(self, same: Floats, different: Floats, *, levels: int | None = None) -> None:
        self.same, self.different = np.asarray(same, np.float64), np.asarray(different, np.float64)
        values = np.unique(np.concatenate([self.same, self.different]))
        if levels is not None and len(values) > levels:
            # Half of them evenly, half where false accepts are rare: low rates are read there.
            even = values[np.linspace(0, len(values) - 1, levels // 2).astype(np.int64)]
            tail = np.quantile(self.different, 1 - np.geomspace(1e-5, 0.2, levels - levels // 2))
            values = np.unique(np.concatenate([even, tail]))
        # One level more than there are values: where nothing is accepted.
        self.thresholds = np.append(values, np.nextafter(values[-1], np.inf))
        self._kinds = _Kind(self.different, values), _Kind(self.same, values)

    def accepted(self) -> tuple[Floats, Floats]:
        """At each of ``thresholds`` (rising): the share of pairs of two and of one at or above it."""
        false, true = (_share_above(kind.counts(None)) for kind in self._kinds)
        return false, true

    def figures(
        self, far: float, same_weights: Floats | None = None, different_weights: Floats | None = None
    ) -> Figures:
        """All figures, every pair weighed alike or as given; NaN where the weights leave nothing."""
        of_two, of_one = self._kinds
        two, one = of_two.counts(different_weights), of_one.counts(same_weights)
        if not (two.any() and one.any()):
            return Figures(*[float("nan")] * len(Figures._fields))
        false, true = _share_above(two), _share_above(one)
        places = np.searchsorted(-false, -(np.array([0.01, 0.05, far]) + _ROUNDING))
        mean_same, var_same = of_one.moments(one)
        mean_different, var_different = of_two.moments(two)
        return Figures(
            auc=float(np.sum(-np.diff(false) * (true[:-1] + true[1:]) / 2)),
            d_prime=_d_prime(mean_same - mean_different, (var_same + var_different) / 2),
            tar_1=float(true[places[0]]),
            tar_5=float(true[places[1]]),
            tar=float(true[places[2]]),
            threshold=float(self.thresholds[places[2]]),
            mean_same=mean_same,
            mean_different=mean_different,
        )

    def false_accepts(self, threshold: float) -> float:
        """The share of pairs of two animals at or above a similarity."""
        return float(np.mean(self.different >= threshold))


class _Kind:
    """Pairs of one kind sorted into levels (L values, rising). A level is worth the mean of what lies in it."""

    def __init__(self, similarities: Floats, values: Floats) -> None:
        self._size = len(values) + 1
        self._level = np.searchsorted(values, similarities, side="right") - 1
        # About the overall mean, so that small variances keep their digits.
        self._centre = float(similarities.mean())
        off = similarities - self._centre
        members = np.maximum(self.counts(None), 1)
        self._off, self._squares = self.counts(off) / members, self.counts(off**2) / members

    def counts(self, weights: Floats | None) -> Floats:
        """What lies in each level: (L + 1,), the last one empty."""
        return np.bincount(self._level, weights, self._size).astype(np.float64)

    def moments(self, counts: Floats) -> tuple[float, float]:
        """Mean and variance."""
        total = counts.sum()
        shift = float(counts @ self._off / total)
        return self._centre + shift, max(float(counts @ self._squares / total) - shift**2, 0.0)


def _share_above(counts: Floats) -> Floats:
    above = np.cumsum(counts[::-1])[::-1]
    share: Floats = above / above[0]
    return share


def _d_prime(gap: float, variance: float) -> float:
    """Distance of the means in standard deviations; infinite where neither kind varies and they differ."""
    if variance > _SAME**2:
        return gap / float(np.sqrt(variance))
    return float(np.sign(gap) * np.inf) if abs(gap) > _SAME else 0.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % bootstrap interval; None where resampling could not tell."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure of two versions, and their paired difference new - old.

    ``better`` is the share of resamples in which the new version's figure is the larger one.
    """

    old: Estimate
    new: Estimate
    difference: Estimate
    better: float


def resample(
    measure: Callable[[Floats], Floats], identities: int, times: int, rng: np.random.Generator
) -> Floats:
    """Bootstrap samples of identities.

    Args:
        measure: (f,) figures of one sample, from how often it drew each identity (identities,).

    Returns:
        The figures of every sample, (times, f).
    """
    draws = (rng.integers(identities, size=identities) for _ in range(times))
    return np.array([measure(np.bincount(draw, minlength=identities).astype(np.float64)) for draw in draws])


def estimate(value: float, replicates: Floats) -> Estimate:
    """The percentile interval of (times,) replicates about a value; what is not finite is left out."""
    usable = replicates[np.isfinite(replicates)]
    if len(usable) < _LEAST_REPLICATES:
        return Estimate(float(value), None, None)
    low, high = np.quantile(usable, [0.025, 0.975])
    return Estimate(float(value), float(low), float(high))


def compared(old: float, new: float, old_replicates: Floats, new_replicates: Floats) -> Compared:
    """Both estimates and that of their difference, from paired replicates (times,)."""
    gaps = new_replicates - old_replicates
    usable = gaps[np.isfinite(gaps)]
    return Compared(
        estimate(old, old_replicates),
        estimate(new, new_replicates),
        estimate(new - old, gaps),
        float(np.mean(usable > 0)) if len(usable) else 0.0,
    )


def held_out_false_accepts(
    similarities: Floats, pairs: PairSet, far: float, rng: np.random.Generator
) -> float | None:
    """The share of false accepts that a threshold really gives: set for ``far`` on half of the animals, counted
    on the other half, the mean over seeded splits. None where the halves hold no pairs.

    Args:
        similarities: (d,) of ``pairs``, which show two animals each.
    """
    found = []
    for _ in range(_SPLITS):
        half = rng.random(int(max(pairs.first.max(), pairs.second.max())) + 1) < 0.5
        one, other = half[pairs.first] & half[pairs.second], ~(half[pairs.first] | half[pairs.second])
        for fitted, counted in ((one, other), (other, one)):
            if fitted.any() and counted.any():
                values = similarities[fitted]
                threshold = Scores(values, values).figures(far).threshold
                found.append(np.mean(similarities[counted] >= threshold))
    return float(np.mean(found)) if found else None
