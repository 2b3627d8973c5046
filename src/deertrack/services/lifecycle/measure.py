"""Two embedding versions measured on the same pairs, the same queries and the same resamples."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deertrack.domain.embedding import Output
from deertrack.domain.fusion import Weights
from deertrack.domain.pairs import Codes, Pairs
from deertrack.domain.retrieval import Answers, answerable, ask
from deertrack.domain.separation import Compared, Estimate, Figures, Scores, compared, estimate, resample
from deertrack.services.lifecycle.evidence import Evidence, Side
from deertrack.services.progress import Progress

Floats = NDArray[np.float64]

_MOST_QUERIES = 2_000
_LEVELS = 4_096  # bins of similarity in a resample: finer than any interval
_WEIGHT_RESAMPLES = 300
_BARS = 48
_ROC_POINTS = 200

# The verdict rests on the first two.
_BOTH = ("auc", "d_prime")
_FIGURES = (*_BOTH, "tar_1", "tar_5", "threshold", "rank_1", "rank_5", "map")


@dataclass(frozen=True, slots=True)
class Scored:
    """One version on the bench. ``same`` and ``different``: cosines of each output on those pairs, (m,) each."""

    shares: Mapping[Output, float]
    same: Mapping[Output, Floats]
    different: Mapping[Output, Floats]
    scores: Scores
    answers: Answers


@dataclass(frozen=True, slots=True)
class Bench:
    """What both versions are measured on: pairs, and queries out of ``queries_total`` that could ask.

    ``identity_of`` is the identity code of each sighting (n,).
    """

    pairs: Pairs
    identity_of: Codes
    identities: int
    queries_total: int
    old: Scored
    new: Scored


@dataclass(frozen=True, slots=True)
class ThresholdRow:
    """Where to set the threshold for a false accept rate. ``tar`` is the share of true matches it lets through.

    ``per_search``: how often a search among all these animals would meet at least one false accept, if
    comparisons were independent.
    """

    far: float
    threshold: Estimate
    tar: float
    old_threshold: float
    old_tar: float
    per_search: float


@dataclass(frozen=True, slots=True)
class WeightRow:
    """The new version with another share of the multi-scale vector: 1 is that alone, 0 its partner alone."""

    multiscale: float
    auc: float
    d_prime: float
    tar: float
    mean_same: float
    mean_different: float


@dataclass(frozen=True, slots=True)
class WeightSearch:
    """All shares by tenths, the one in use, the one with the best AUC, and what AUC it would add."""

    rows: tuple[WeightRow, ...]
    used: float
    best: float
    gain: Estimate


@dataclass(frozen=True, slots=True)
class Histograms:
    """Shares of pairs in bars of similarity between ``edges`` (b + 1); each list (b,) sums to 1."""

    edges: tuple[float, ...]
    old_same: tuple[float, ...]
    old_different: tuple[float, ...]
    new_same: tuple[float, ...]
    new_different: tuple[float, ...]


def set_up(
    evidence: Evidence, pairs: Pairs, weights: Weights, *, rng: np.random.Generator, progress: Progress
) -> Bench:
    """Let both versions score the pairs (one or more of either kind) and answer queries."""
    queries = answerable(evidence.codes)
    total = len(queries)
    if total > _MOST_QUERIES:
        queries = np.sort(rng.choice(queries, _MOST_QUERIES, replace=False))
    progress.start("Comparing", 2)

    def score(side: Side) -> Scored:
        shares = weights.of(side.registered.version)
        same, different = side.cosines(pairs.same), side.cosines(pairs.different)
        answers = ask(*side.joint(shares), evidence.codes, queries)
        progress.advance()
        return Scored(shares, same, different, Scores(fuse(same, shares), fuse(different, shares)), answers)

    codes = evidence.codes
    return Bench(pairs, codes.identity, codes.identities, total, score(evidence.old), score(evidence.new))


def fuse(cosines: Mapping[Output, Floats], shares: Mapping[Output, float]) -> Floats:
    """The weighted similarity of each pair: (m,)."""
    total: Floats = np.sum([share * cosines[output] for output, share in shares.items()], axis=0)
    return total


def measure(
    bench: Bench, far: float, times: int, rng: np.random.Generator, progress: Progress
) -> tuple[dict[str, Compared], float]:
    """Every figure of both versions with bootstrap intervals over animals.

    Returns:
        By name (auc, d_prime, rank_1, rank_5, map, tar_1, tar_5, threshold), and the share of resamples in
        which AUC and d′ are both better.
    """
    sides = (bench.old, bench.new)
    quick = [Scores(side.scores.same, side.scores.different, levels=_LEVELS) for side in sides]
    hits = [_sums_by_identity(bench, side.answers) for side in sides]
    progress.start("Resampling", times)

    def both(drawn: Floats) -> Floats:
        weights = bench.pairs.weights(drawn)
        progress.advance()
        return np.concatenate(
            [_row(q.figures(far, *weights), drawn @ h) for q, h in zip(quick, hits, strict=True)]
        )

    exact = [_row(side.scores.figures(far), h.sum(axis=0)) for side, h in zip(sides, hits, strict=True)]
    old, new = np.split(resample(both, bench.identities, times, rng), 2, axis=1)
    better = (new > old)[:, : len(_BOTH)].all(axis=1)
    figures = {
        name: compared(exact[0][i], exact[1][i], old[:, i], new[:, i]) for i, name in enumerate(_FIGURES)
    }
    return figures, float(better.mean())


def _row(figures: Figures, sums: Floats) -> Floats:
    """The figures in the order of their names; ``sums`` are hits, hits, precisions and their count."""
    with np.errstate(invalid="ignore"):
        ranks = sums[:3] / sums[3]
    separate = (figures.auc, figures.d_prime, figures.tar_1, figures.tar_5, figures.threshold)
    return np.concatenate([separate, ranks])


def _sums_by_identity(bench: Bench, answers: Answers) -> Floats:
    """Rank-1 hits, rank-5 hits, precision and number of each identity's queries: (identities, 4)."""
    asked_by = bench.identity_of[answers.query]
    columns = (answers.rank_1, answers.rank_5, answers.precision, np.ones(len(answers.query)))
    return np.stack([np.bincount(asked_by, c, bench.identities) for c in columns], axis=1)


def threshold_rows(bench: Bench, chosen: float, interval: Estimate) -> tuple[ThresholdRow, ...]:
    """Thresholds for 0.1, 1, 5 % and the chosen share of false accepts, as far as the pairs can tell.

    Args:
        interval: the threshold for the ``chosen`` share, as resampled.
    """
    rows = []
    for far in sorted({0.001, 0.01, 0.05, chosen}):
        if far != chosen and far * len(bench.pairs.different) < 1:
            continue  # not one pair may be accepted: that says nothing about so low a rate
        old, new = bench.old.scores.figures(far), bench.new.scores.figures(far)
        threshold = interval if far == chosen else Estimate(new.threshold, None, None)
        alone = 1 - (1 - far) ** max(bench.identities - 1, 0)
        rows.append(ThresholdRow(far, threshold, new.tar, old.threshold, old.tar, alone))
    return tuple(rows)


def search_weights(bench: Bench, far: float, times: int, rng: np.random.Generator) -> WeightSearch | None:
    """The new version's ensemble at every weight; None where it compares one vector only."""
    new = bench.new
    if len(new.shares) < 2:
        return None

    def at(multiscale: float) -> Scores:
        shares = Weights(multiscale, 1 - multiscale)
        parts = {Output.MULTISCALE: shares.multiscale, Output.PARTNER: shares.partner}
        return Scores(fuse(new.same, parts), fuse(new.different, parts), levels=_LEVELS)

    tried = {round(i / 10, 1): at(i / 10) for i in range(11)}
    rows = []
    for multiscale, scores in tried.items():
        f = scores.figures(far)
        rows.append(WeightRow(multiscale, f.auc, f.d_prime, f.tar, f.mean_same, f.mean_different))
    best = max(rows, key=lambda row: row.auc).multiscale
    used = new.shares[Output.MULTISCALE]
    rivals = (at(used), tried[best])

    def gain(drawn: Floats) -> Floats:
        weights = bench.pairs.weights(drawn)
        in_use, other = (scores.figures(far, *weights).auc for scores in rivals)
        return np.array([other - in_use])

    replicates = resample(gain, bench.identities, min(times, _WEIGHT_RESAMPLES), rng)[:, 0]
    value = rivals[1].figures(far).auc - rivals[0].figures(far).auc
    return WeightSearch(tuple(rows), used, best, estimate(value, replicates))


def histograms(bench: Bench) -> Histograms:
    """Both versions over one axis, so that a shift is seen as one."""
    parts = [
        bench.old.scores.same,
        bench.old.scores.different,
        bench.new.scores.same,
        bench.new.scores.different,
    ]
    everything = np.concatenate(parts)
    edges = np.linspace(everything.min(), max(everything.max(), everything.min() + 1e-6), _BARS + 1)
    shares = [tuple((np.histogram(part, edges)[0] / len(part)).tolist()) for part in parts]
    return Histograms(tuple(edges.tolist()), *shares)


def roc_points(scores: Scores) -> tuple[tuple[float, float], ...]:
    """The curve of (false accepts, true accepts), thinned to what an eye can tell, rising."""
    false, true = scores.accepted()
    wanted = np.concatenate([np.geomspace(max(false[false > 0].min(), 1e-5), 1, _ROC_POINTS), [0.0]])
    places = np.unique(np.searchsorted(-false, -wanted))
    return tuple((float(false[i]), float(true[i])) for i in reversed(places))
