"""What a similarity says: how much more often one animal shows it than two animals do.

A likelihood ratio holds for any herd size, which a probability fitted on one herd does not. It is the ratio of
two histograms (pairs of one animal, pairs of two), forced to rise with similarity: isotonic calibration as in
Zadrozny & Elkan (2002), "Transforming classifier scores into accurate multiclass probability estimates". Pairs
come from different encounters only: one burst shares light, pose and place.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deertrack.domain.errors import InputError

# Each bin holds about so many pairs of one animal: enough to count, few enough to see the tail.
_PAIRS_A_BIN = 20
_MOST_BINS = 24


@dataclass(frozen=True, slots=True)
class Calibration:
    """The curve ``ln(likelihood ratio)`` over similarity: straight between its knots, level beyond them.

    Raises:
        InputError: fewer than two knots, or knots that do not rise.
    """

    similarities: tuple[float, ...]
    log_ratios: tuple[float, ...]

    def __post_init__(self) -> None:
        x, y = np.array(self.similarities), np.array(self.log_ratios)
        if len(x) != len(y) or len(x) < 2 or not np.isfinite([*x, *y]).all():
            raise InputError(f"expected two or more finite knots, got {len(x)} and {len(y)}")
        if (np.diff(x) <= 0).any() or (np.diff(y) < 0).any():
            raise InputError("expected knots whose similarity rises and whose likelihood ratio never falls")

    def likelihood_ratios(self, similarities: ArrayLike) -> NDArray[np.float64]:
        """For each similarity in [-1, 1]: how many times as often one animal shows it as two do, in (0, ∞)."""
        logs = np.interp(np.asarray(similarities, dtype=np.float64), self.similarities, self.log_ratios)
        ratios: NDArray[np.float64] = np.exp(logs)
        return ratios

    def similarity_at(self, likelihood_ratio: float) -> float:
        """The least similarity with at least this likelihood ratio; infinity if the curve never gets there."""
        wanted = float(np.log(likelihood_ratio))
        if wanted > self.log_ratios[-1]:
            return float("inf")
        return float(np.interp(wanted, _strictly_rising(self.log_ratios), self.similarities))


def fit(similarities: ArrayLike, same: ArrayLike) -> Calibration:
    """The curve of labelled pairs.

    Args:
        similarities: (n,) floats in [-1, 1].
        same: (n,) booleans: one animal or two.

    Raises:
        InputError: fewer than 40 pairs of either kind.
    """
    from scipy.optimize import isotonic_regression  # slow to import, and only fitting needs it

    x = np.asarray(similarities, dtype=np.float64)
    y = np.asarray(same, dtype=bool)
    positives, negatives = int(y.sum()), int((~y).sum())
    if min(positives, negatives) < 2 * _PAIRS_A_BIN:
        raise InputError(
            f"expected {2 * _PAIRS_A_BIN} or more pairs of one animal and of two, got {positives} and {negatives}"
        )
    bins = min(_MOST_BINS, positives // _PAIRS_A_BIN)
    # Each bin ends at a pair of one animal, so none is empty however many pairs are equally similar.
    edges = np.unique(np.quantile(x[y], np.linspace(0, 1, bins + 1)[1:], method="inverted_cdf"))[:-1]
    bins = len(edges) + 1
    place = np.searchsorted(edges, x)
    of_one, of_two = np.bincount(place[y], minlength=bins), np.bincount(place[~y], minlength=bins)
    # Half a pair more in every bin: what was never seen is rare, not impossible.
    log_ratio = np.log((of_one + 0.5) / (positives + 0.5 * bins)) - np.log(
        (of_two + 0.5) / (negatives + 0.5 * bins)
    )
    rising = isotonic_regression(log_ratio, weights=of_one + of_two + 1.0).x
    centres = np.array([np.median(x[y & (place == i)]) for i in range(bins)])
    return Calibration(tuple(map(float, centres)), tuple(map(float, rising)))


def _strictly_rising(values: Sequence[float]) -> NDArray[np.float64]:
    """The same values, level stretches tilted by a hair towards their beginning."""
    tilted: NDArray[np.float64] = np.asarray(values) + np.arange(len(values)) * 1e-12
    return tilted
