"""What can be said of decisions in production: rates, differences, drift, and whether there is enough data to tell.

Sightings of one encounter share light, place and animals, so they are not independent; encounters are, and an A/B
test deals whole encounters. Every interval of a rate here therefore goes by encounters: their spread says how many
independent sightings these are worth, and the textbook's interval is taken with that number.

Sources: Wilson (1927), "Probable inference, the law of succession, and statistical inference", JASA 22; Newcombe
(1998), "Interval estimation for the difference between independent proportions", Statistics in Medicine 17,
method 10; Rao & Scott (1992), "A simple method for the analysis of clustered binary data", Biometrics 48;
Yurdakul & Naranjo (2020), "Statistical properties of the population stability index", Journal of Risk Model
Validation 14.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from deertrack.domain.separation import Estimate, estimate

_NORMAL = NormalDist()
_Z = _NORMAL.inv_cdf(0.975)  # all intervals are 95 % intervals
_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Tally:
    """Yes-or-no outcomes of items that come in clusters: the sums over clusters that a rate and its interval need.

    ``clusters`` that hold ``items`` in all, of which ``hits`` are a yes; the sums over clusters of items squared,
    hits squared, and hits times items.
    """

    clusters: int = 0
    items: int = 0
    hits: int = 0
    items_squared: int = 0
    hits_squared: int = 0
    hits_items: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.clusters + other.clusters,
            self.items + other.items,
            self.hits + other.hits,
            self.items_squared + other.items_squared,
            self.hits_squared + other.hits_squared,
            self.hits_items + other.hits_items,
        )

    @property
    def share(self) -> float:
        """Hits per item, in [0, 1]; 0 without items."""
        return self.hits / self.items if self.items else 0.0

    @property
    def worth(self) -> float:
        """How many independent items tell as much (Rao & Scott): at most ``items``.

        Where all items agree, their spread says nothing, and each cluster counts once.
        """
        p = self.share
        if self.clusters < 2 or p in (0.0, 1.0):
            return float(self.clusters)
        # The variance of a ratio of two sums over clusters, held against that of independent items.
        spread = max(self.hits_squared - 2 * p * self.hits_items + p * p * self.items_squared, 0.0)
        variance = self.clusters / (self.clusters - 1) * spread / self.items**2
        independent = p * (1 - p) / (self.items - 1)
        return self.items / max(variance / independent, 1.0)


def rate(tally: Tally) -> Estimate | None:
    """The share of hits with its Wilson interval; None without items."""
    if not tally.items:
        return None
    return Estimate(tally.share, *_wilson(tally))


def difference(before: Tally, after: Tally) -> Estimate | None:
    """By how much the second share is the larger, in [-1, 1], with Newcombe's interval; None without items."""
    if not (before.items and after.items):
        return None
    (low_before, high_before), (low_after, high_after) = _wilson(before), _wilson(after)
    p, q = before.share, after.share
    return Estimate(
        q - p,
        q - p - sqrt((q - low_after) ** 2 + (high_before - p) ** 2),
        q - p + sqrt((high_after - q) ** 2 + (p - low_before) ** 2),
    )


def chance_of_rise(before: Tally, after: Tally) -> float:
    """How probable so large a rise of the share, or a larger one, is by mere chance (two-proportion z test)."""
    n, m = before.worth, after.worth
    if not (n and m):
        return 1.0
    pooled = (before.share * n + after.share * m) / (n + m)
    variance = pooled * (1 - pooled) * (1 / n + 1 / m)
    if variance <= 0:
        return 1.0
    return 1 - _NORMAL.cdf((after.share - before.share) / sqrt(variance))


def misses(tally: Tally) -> Tally:
    """The same outcomes with yes and no exchanged."""
    return Tally(
        tally.clusters,
        tally.items,
        tally.items - tally.hits,
        tally.items_squared,
        tally.items_squared - 2 * tally.hits_items + tally.hits_squared,
        tally.items_squared - tally.hits_items,
    )


def stability_index(reference: Sequence[int], recent: Sequence[int]) -> float:
    """Population stability index of two histograms over the same bins; 0 where they are alike.

    Args:
        reference, recent: counts (b,). Half an item is added to each bin, so that an empty one is no infinity.
    """
    p, q = (_shares(counts) for counts in (reference, recent))
    return float(np.sum((q - p) * np.log(q / p)))


def index_by_chance(reference: int, recent: int, bins: int, chance: float) -> float:
    """The stability index that two samples of one population pass with this probability (Yurdakul & Naranjo).

    Args:
        reference, recent: items in each sample.
        chance: in (0, 1).
    """
    if not (reference and recent):
        return inf
    # The quantile of χ² by Wilson & Hilferty (1931), right to 2 %; scipy's is slow to import.
    k = bins - 1
    quantile = k * (1 - 2 / (9 * k) + _NORMAL.inv_cdf(1 - chance) * sqrt(2 / (9 * k))) ** 3
    return quantile * (1 / reference + 1 / recent)


def enough(gap: Estimate | None, margin: float) -> bool:
    """Whether a difference is told from 0, or its interval is narrower than ``margin``, so that it hardly matters.

    Args:
        margin: the least difference that matters, above 0, in the difference's unit.
    """
    if gap is None or gap.low is None or gap.high is None:
        return False
    return gap.low > 0 or gap.high < 0 or gap.high - gap.low < margin


def clusters_wanted(clusters: int, gap: Estimate | None, margin: float) -> int:
    """How many clusters make the interval of a difference narrower than ``margin``, dealt as they were so far.

    With so many, a true difference of ``margin`` is found (the interval excludes 0) with a probability of 0.975.

    Args:
        clusters: behind ``gap``. Intervals narrow with the root of their number.
        gap: None while there are no data: then two shares at even odds are meant, of one item a cluster.
    """
    if gap is None or gap.low is None or gap.high is None:
        return ceil((2 * _Z / margin) ** 2)
    return ceil(clusters * ((gap.high - gap.low) / margin) ** 2)


@dataclass(frozen=True, slots=True)
class Spread:
    """Values of clusters as a histogram: ``values`` (b,), rising, and how many clusters have each (b,)."""

    values: NDArray[np.float64]
    counts: NDArray[np.int64]

    @property
    def median(self) -> float:
        """The middle value; NaN without any."""
        return float(_medians(self.values, self.counts[None])[0])


def median_difference(control: Spread, enhanced: Spread, rng: np.random.Generator) -> Estimate | None:
    """By how much the second median is the larger, with its bootstrap interval over clusters; None without any."""
    if not (control.counts.sum() and enhanced.counts.sum()):
        return None
    drawn = [
        _medians(s.values, rng.multinomial(s.counts.sum(), s.counts / s.counts.sum(), size=_RESAMPLES))
        for s in (control, enhanced)
    ]
    return estimate(enhanced.median - control.median, drawn[1] - drawn[0])


def _wilson(tally: Tally) -> tuple[float, float]:
    p, n = tally.share, tally.worth
    middle = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def _shares(counts: Sequence[int]) -> NDArray[np.float64]:
    padded = np.asarray(counts, np.float64) + 0.5
    shares: NDArray[np.float64] = padded / padded.sum()
    return shares


def _medians(values: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The median of each histogram: counts (r, b), result (r,)."""
    below = np.cumsum(counts, axis=1)
    if not below.size or not below[:, -1].all():
        return np.full(len(counts), np.nan)
    medians: NDArray[np.float64] = values[np.argmax(2 * below >= below[:, -1:], axis=1)]
    return medians
