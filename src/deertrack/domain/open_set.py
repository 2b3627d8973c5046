"""Known or new? Some animals are taken out of the gallery; a threshold on the best score must turn them away.

BAKS: share of the sightings of known animals that are accepted and named rightly; BAUS: share of those of unknown
animals that are called new. Both are means over animals, so that the most photographed one does not decide.

Source: the metrics of the wildlife-datasets toolkit (Čermák et al. 2024) and the AnimalCLEF 2025 challenge.
"""

from dataclasses import dataclass

import numpy as np

from deertrack.domain.evaluation import Floats, Results
from deertrack.domain.pairs import Codes
from deertrack.domain.separation import Estimate, estimate

_SPLITS = 20
_THRESHOLDS = 101


@dataclass(frozen=True, slots=True)
class OpenSet:
    """Over a sweep of t thresholds: ``baks``, ``baus`` and their geometric mean, each (t,), means over splits.

    ``figures``: baks, baus and geometric_mean at ``threshold``, where that mean is highest: chosen on the same
    animals, as challenges do it.
    """

    thresholds: tuple[float, ...]
    baks: tuple[float, ...]
    baus: tuple[float, ...]
    geometric_mean: tuple[float, ...]
    threshold: float
    figures: dict[str, Estimate]


def open_set(results: Results, draws: Floats, rng: np.random.Generator) -> OpenSet | None:
    """Split the identities into known and unknown halves again and again, and sweep the threshold.

    Known animals ask if they have a sighting in another encounter. None where no split has both kinds.
    """
    everyone = np.unique(results.asked_by)
    finite = results.best[np.isfinite(results.best)]
    # From where everything is accepted to where nothing is, most of them where first answers lie.
    tops = np.quantile(results.best[results.counted].max(axis=1), np.linspace(0, 1, _THRESHOLDS))
    thresholds = np.unique([finite.min(), *tops, np.nextafter(finite.max(), np.inf)])
    # Sums over splits, by identity: its share of right answers at each threshold, and how often it took part.
    known_sums, unknown_sums = np.zeros((2, results.identities, len(thresholds)))
    known_times, unknown_times = np.zeros((2, results.identities))
    for _ in range(_SPLITS):
        known = np.zeros(results.identities, bool)
        known[rng.permutation(everyone)[: (len(everyone) + 1) // 2]] = True
        top = np.where(known, results.best, -np.inf)
        first, score = top.argmax(axis=1), top.max(axis=1)
        accepted = np.searchsorted(thresholds, score, side="right")  # at so many of the lowest thresholds
        asks = results.counted & known[results.asked_by] & np.isfinite(score)
        right = asks & (first == results.asked_by)
        shares, took_part = _shares(results.asked_by, accepted, right, asks, known_sums.shape)
        known_sums += shares
        known_times += took_part
        stranger = ~known[results.asked_by]
        shares, took_part = _shares(results.asked_by, accepted, stranger, stranger, known_sums.shape)
        unknown_sums += took_part[:, None] - shares
        unknown_times += took_part
    if not (known_times.any() and unknown_times.any()):
        return None

    def at(weights: Floats) -> tuple[Floats, Floats, Floats]:
        with np.errstate(invalid="ignore", divide="ignore"):
            baks = weights @ known_sums / (weights @ known_times)[:, None]
            baus = weights @ unknown_sums / (weights @ unknown_times)[:, None]
        return baks, baus, np.sqrt(baks * baus)

    whole = [curve[0] for curve in at(np.ones((1, results.identities)))]
    best = int(whole[2].argmax())
    names = ("baks", "baus", "geometric_mean")
    figures = {
        name: estimate(float(curve[best]), resampled[:, best])
        for name, curve, resampled in zip(names, whole, at(draws), strict=True)
    }
    baks, baus, mean = (tuple(map(float, curve)) for curve in whole)
    return OpenSet(tuple(map(float, thresholds)), baks, baus, mean, float(thresholds[best]), figures)


def _shares(
    asked_by: Codes, accepted: Codes, hits: Floats, asks: Floats, shape: tuple[int, int]
) -> tuple[Floats, Floats]:
    """For each identity the share of its queries (``asks``) that are ``hits`` and accepted, at each threshold.

    Returns:
        (identities, t), 0 where an identity does not ask, and whether it does (identities,).
    """
    identities, t = shape
    cells = asked_by[hits] * (t + 1) + accepted[hits]
    counts = np.bincount(cells, minlength=identities * (t + 1)).reshape(identities, t + 1)
    above = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1][:, 1:]
    queries = np.bincount(asked_by[asks], minlength=identities)
    return above / np.maximum(queries, 1)[:, None], (queries > 0).astype(np.float64)
