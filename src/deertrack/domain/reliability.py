"""Does "90 % sure" come true nine times in ten? And how often would the machine decide alone, and rightly?

Every sighting asks, those of animals without another encounter too: for them any answer is wrong, as for an animal
that was never met.

Sources: Naeini, Cooper & Hauskrecht (2015), "Obtaining well calibrated probabilities using Bayesian binning"
(expected calibration error; here in bins of equal mass); Brier (1950), "Verification of forecasts expressed in
terms of probability"; Wilson (1927), "Probable inference, the law of succession, and statistical inference".
"""

from dataclasses import dataclass

import numpy as np

from deertrack.domain.evaluation import Floats, Results, by_identity, ratio
from deertrack.domain.separation import Estimate, estimate

_BINS = 10
_LEAST_A_BIN = 10
_Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True, slots=True)
class Bin:
    """Queries of like probability: how many, their mean probability, and how often the answer was right."""

    queries: int
    probability: float
    right: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """``figures``: ece, brier, and automatic_precision and automatic_coverage at ``assign_at``.

    ``automatic`` matches would be made without a person, out of ``queries``.
    """

    figures: dict[str, Estimate]
    curve: tuple[Bin, ...]
    assign_at: float
    automatic: int
    queries: int


def reliability(results: Results, draws: Floats, *, assign_at: float) -> Reliability | None:
    """How true the matcher's probabilities are; None where it says none.

    The interval of the precision of automatic matches is never narrower than Wilson's: a dozen right ones out of a
    dozen prove little.
    """
    said = np.isfinite(results.probability)
    if not said.any():
        return None
    p, right = np.where(said, results.probability, 0.0), results.right_first & said
    order = np.flatnonzero(said)[np.argsort(p[said], kind="stable")]
    bins = max(1, min(_BINS, len(order) // _LEAST_A_BIN))
    members = [part for part in np.array_split(order, bins) if len(part)]
    gaps = np.zeros((results.identities, len(members)))
    for column, part in enumerate(members):
        gaps[:, column] = np.bincount(results.asked_by[part], (p - right)[part], results.identities)
    counts = np.bincount(results.asked_by[order], minlength=results.identities)

    def ece(weights: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            error: Floats = np.abs(weights @ gaps).sum(axis=1) / (weights @ counts)
        return error

    automatic = said & (p >= assign_at)
    precision = ratio(by_identity(results, right & automatic, automatic), draws)
    figures = {
        "ece": estimate(float(ece(np.ones((1, results.identities)))[0]), ece(draws)),
        "brier": ratio(by_identity(results, np.where(said, (p - right) ** 2, 0.0), said), draws),
        "automatic_precision": _at_least_wilson(
            precision, int((right & automatic).sum()), int(automatic.sum())
        ),
        "automatic_coverage": ratio(by_identity(results, automatic, said), draws),
    }
    curve = tuple(Bin(len(part), float(p[part].mean()), float(right[part].mean())) for part in members)
    return Reliability(figures, curve, assign_at, int(automatic.sum()), len(order))


def _at_least_wilson(found: Estimate, hits: int, trials: int) -> Estimate:
    if not trials:
        return found
    share, spread = hits / trials, _Z**2 / trials
    centre = share + spread / 2
    half = float(_Z * np.sqrt(share * (1 - share) / trials + spread / trials / 4))
    low, high = (centre - half) / (1 + spread), (centre + half) / (1 + spread)
    return Estimate(
        found.value,
        low if found.low is None else min(low, found.low),
        high if found.high is None else max(high, found.high),
    )
