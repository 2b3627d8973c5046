"""How well a matcher finds the right animal: ranks, average precision, accept rates, each with its uncertainty.

Every sighting asks and those that the protocol allows answer. An identity scores as its best sighting does. Ties
count against the right animal. Intervals come from resampling identities: the sightings of one animal succeed
and fail together, so resampling sightings would promise too much.

Sources: Manning, Raghavan & Schütze (2008), "Introduction to Information Retrieval", chapter 8 (average
precision); ISO/IEC 19795-1 (CMC, accept rates); Bolle, Ratha & Pankanti (2004), "Error analysis of pattern
recognition systems – the subsets bootstrap", CVIU 93.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray

from deertrack.domain.calibration import Calibration
from deertrack.domain.decision import Belief
from deertrack.domain.errors import InputError
from deertrack.domain.pairs import Codes, blocks
from deertrack.domain.protocols import Protocol, Sightings, identity_folds
from deertrack.domain.separation import Estimate, Scores, estimate

Floats = NDArray[np.float64]

RANKS = (1, 5, 10, 20)
FOLDS = 5
FALSE_ACCEPTS = (0.01, 0.001)

_BLOCK = 256  # queries scored together
_MOST_PAIRS = 1_000_000  # of two animals: more would change no digit
_LEVELS = 2_048  # of scores, when accept rates are resampled
_ROUNDING = 1e-12


class Matcher(Interface):
    """Something that says how alike two sightings look. Higher scores are more alike; their scale is its own."""

    @property
    def name(self) -> str:
        """What it is called in a table."""
        ...

    @property
    def calibration(self) -> Calibration | None:
        """What the scores mean; None where nobody measured that."""
        ...

    def fit(self, train: Sightings) -> "Matcher":
        """The matcher that has learned from these sightings; itself, where there is nothing to learn."""
        ...

    def scores(self, queries: Sightings, gallery: Sightings) -> NDArray[np.floating]:
        """Every query against every sighting of the gallery: (q, g), finite."""
        ...

    def believe(self, scores: Floats) -> Belief | None:
        """What the scores (i,) of known individuals with one sighting make probable; candidates are named by
        their places 0 … i-1. None where nobody measured what the scores mean.
        """
        ...


@dataclass(frozen=True, slots=True)
class Results:
    """What q sightings got for an answer; every field but the last three has q rows.

    ``best`` (q, i) is the score of each identity's best comparable sighting, -inf where it has none. ``rank`` says
    how many other identities score at least as high as the right one; it and ``precision`` count where
    ``counted``: the animal and another one are there in another encounter. ``same_row`` and ``other_row`` are the
    best sightings of the right animal and of another one. ``probability``: that the identity with the highest
    score is the right one; NaN where the matcher does not say. ``same`` and ``different`` are scores of pairs of
    one and two animals with the identity that asked, as rows (score, identity); ``pairs_total`` counts those of
    two animals before sampling.
    """

    sightings: Sightings
    best: Floats
    rank: Codes
    precision: Floats
    counted: NDArray[np.bool_]
    same_row: Codes
    other_row: Codes
    probability: Floats
    same: Floats
    different: Floats
    pairs_total: int

    @property
    def identities(self) -> int:
        """How many identity codes there are."""
        return int(self.best.shape[1])

    @property
    def asked_by(self) -> Codes:
        """The identity of each query: (q,)."""
        return self.sightings.identity

    @property
    def right_first(self) -> NDArray[np.bool_]:
        """Whether the identity with the highest score is the right one, (q,): never, where it has no other."""
        first: NDArray[np.bool_] = self.counted & (self.rank == 0)
        return first


def ask_all(
    matcher: Matcher,
    sightings: Sightings,
    protocol: Protocol,
    *,
    identities: int,
    rng: np.random.Generator,
) -> Results:
    """Let every sighting ask.

    In an identity-disjoint protocol the matcher learns on four fifths of the identities and the sightings of the
    others ask. The gallery is always all sightings, learned from or not: as many animals to be confused with as in
    the other protocols, so that figures can be held against each other.

    Args:
        identities: number of identity codes, for the columns of ``Results.best``.

    Raises:
        InputError: nothing to compare: no animal with a second encounter, or one animal only.
    """
    nothing = InputError(
        f"nothing to compare under the protocol {protocol}: it needs two or more animals, and one that was met "
        "in two or more encounters" + (" showing one flank" if protocol.same_flank else ""),
        hint="That is as the set's encounters, stations, times and flanks have it: docs/data.md, Labelled sets.",
    )
    if len(np.unique(sightings.identity)) < 2:
        raise nothing  # and a matcher could learn nothing
    answers = _Answers(sightings, identities, rng)
    for asked, rows in _asked_by_fold(matcher, sightings, protocol, rng):
        for part in blocks(rows, _BLOCK):
            answers.add(part, asked, np.asarray(asked.scores(sightings.take(part), sightings), np.float64))
    results = answers.results()
    if not results.counted.any():
        raise nothing
    return results


def _asked_by_fold(
    matcher: Matcher, sightings: Sightings, protocol: Protocol, rng: np.random.Generator
) -> Iterator[tuple[Matcher, Codes]]:
    if not protocol.folds:
        yield matcher, np.arange(len(sightings))
        return
    for learned, asking in identity_folds(sightings, FOLDS, rng):
        yield matcher.fit(sightings.take(learned)), asking


class _Answers:
    """Collects the answers block by block; of the scores of all pairs a bounded number is kept."""

    def __init__(self, sightings: Sightings, identities: int, rng: np.random.Generator) -> None:
        n = len(sightings)
        self._sightings, self._rng = sightings, rng
        self._keep = _MOST_PAIRS / max(n * n, 1)
        self._by_identity = np.argsort(sightings.identity, kind="stable")
        present, self._starts = np.unique(sightings.identity[self._by_identity], return_index=True)
        self._present = present
        self._best = np.full((n, identities), -np.inf)
        self._rank, self._precision = np.zeros(n, np.int64), np.zeros(n)
        self._same_row, self._other_row = np.zeros(n, np.int64), np.zeros(n, np.int64)
        self._probability = np.full(n, np.nan)
        self._same: list[Floats] = [np.empty((2, 0))]
        self._different: list[Floats] = [np.empty((2, 0))]
        self._total = 0

    def add(self, rows: Codes, matcher: Matcher, scores: Floats) -> None:
        """The scores (r, s) of the queries ``rows`` with all sightings."""
        who = self._sightings.identity
        comparable = self._sightings.comparable(rows)
        same = who[rows, None] == who
        of_same = np.where(comparable & same, scores, -np.inf)
        of_other = np.where(comparable & ~same, scores, -np.inf)
        allowed = np.maximum(of_same, of_other)[:, self._by_identity]
        self._best[rows[:, None], self._present] = np.maximum.reduceat(allowed, self._starts, axis=1)
        right = self._best[rows, who[rows]]
        self._rank[rows] = (self._best[rows] >= right[:, None]).sum(axis=1) - 1
        self._same_row[rows], self._other_row[rows] = of_same.argmax(axis=1), of_other.argmax(axis=1)
        others = np.sort(of_other, axis=1)
        for i, row in enumerate(rows.tolist()):
            if np.isfinite(right[i]):
                self._precision[row] = _average_precision(of_same[i], others[i])
            self._probability[row] = _sure_of_best(matcher, self._best[row])
        self._keep_pairs(rows, scores, comparable & same, self._same)
        different = comparable & ~same
        self._total += int(different.sum())
        if self._keep < 1:
            different &= self._rng.random(different.shape) < self._keep
        self._keep_pairs(rows, scores, different, self._different)

    def _keep_pairs(self, rows: Codes, scores: Floats, chosen: NDArray[np.bool_], kept: list[Floats]) -> None:
        query, answer = np.nonzero(chosen)
        kept.append(np.stack([scores[query, answer], self._sightings.identity[rows[query]]]))

    def results(self) -> Results:
        right = self._best[np.arange(len(self._best)), self._sightings.identity]
        counted = np.isfinite(right) & (np.isfinite(self._best).sum(axis=1) > 1)
        return Results(
            sightings=self._sightings,
            best=self._best,
            rank=self._rank,
            precision=self._precision,
            counted=counted,
            same_row=self._same_row,
            other_row=self._other_row,
            probability=self._probability,
            same=np.concatenate(self._same, axis=1),
            different=np.concatenate(self._different, axis=1),
            pairs_total=self._total,
        )


def _average_precision(of_same: Floats, others: Floats) -> float:
    """Mean, over the sightings of the right animal, of the share of right ones down to each.

    Args:
        of_same: (s,) scores of the right animal's sightings, -inf for all else.
        others: (s,) scores of other animals' sightings, rising, -inf for all else.
    """
    right = np.sort(of_same[np.isfinite(of_same)])[::-1]
    wrong_above = len(others) - np.searchsorted(others, right, side="left")
    found = np.searchsorted(-right, -right, side="right")
    return float(np.mean(found / (found + wrong_above)))


def _sure_of_best(matcher: Matcher, best: Floats) -> float:
    scores = best[np.isfinite(best)]
    belief = matcher.believe(scores) if len(scores) else None
    return belief.candidates[0].probability if belief and belief.candidates else float("nan")


def draw_identities(identities: int, times: int, rng: np.random.Generator) -> Floats:
    """How often each of ``times`` bootstrap samples drew each identity: (times, identities)."""
    draws: Floats = rng.multinomial(identities, np.full(identities, 1 / identities), times).astype(np.float64)
    return draws


def by_identity(results: Results, *columns: NDArray[np.generic]) -> Floats:
    """Sums of columns (q,) over each identity's queries: (identities, columns)."""
    return np.stack([np.bincount(results.asked_by, c, results.identities) for c in columns], axis=1)


def ratio(sums: Floats, draws: Floats) -> Estimate:
    """A mean with its interval, from each identity's sum and count (identities, 2)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        whole, part = sums.sum(axis=0), draws @ sums
        return estimate(float(whole[0] / whole[1]), part[:, 0] / part[:, 1])


@dataclass(frozen=True, slots=True)
class ClosedSet:
    """Figures among animals that are all known. ``figures`` by name: rank1 …, mAP, auc, tar_at_far_1e-2 ….

    ``cmc``: share of queries whose animal is among the first k identities, k from 1. ``roc``: (false, true) accept
    rates, rising. ``queries`` were counted.
    """

    figures: dict[str, Estimate]
    cmc: tuple[Estimate, ...]
    roc: tuple[tuple[float, float], ...]
    queries: int


def closed_set(results: Results, draws: Floats, *, ranks_only: bool = False) -> ClosedSet:
    """Ranks, mean average precision and, unless ``ranks_only``, accept rates.

    Args:
        draws: bootstrap samples (b, identities); matchers that are compared get the same.
    """
    counted = results.counted
    asked = counted.astype(np.float64)
    places = range(1, max(RANKS) + 1)
    cmc = tuple(ratio(by_identity(results, counted & (results.rank < k), asked), draws) for k in places)
    figures = {f"rank{k}": cmc[k - 1] for k in RANKS}
    figures["mAP"] = ratio(by_identity(results, np.where(counted, results.precision, 0.0), asked), draws)
    accepted, roc = ({}, ()) if ranks_only else _accept_rates(results, draws)
    return ClosedSet(figures | accepted, cmc, roc, int(counted.sum()))


def difference(base: Results, other: Results, draws: Floats) -> dict[str, Estimate]:
    """By how much rank 1, rank 20 and mAP of ``other`` are above those of ``base``, on the same questions and
    resamples.
    """

    def sums(results: Results) -> Floats:
        counted = results.counted
        first, among_20 = counted & (results.rank == 0), counted & (results.rank < 20)
        return by_identity(results, first, among_20, np.where(counted, results.precision, 0.0), counted)

    def gaps(weights: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            ends = [
                weighed[:, :3] / weighed[:, 3:] for weighed in (weights @ sums(base), weights @ sums(other))
            ]
        gap: Floats = ends[1] - ends[0]
        return gap

    value, resampled = gaps(np.ones((1, base.identities)))[0], gaps(draws)
    return {
        name: estimate(float(value[i]), resampled[:, i]) for i, name in enumerate(("rank1", "rank20", "mAP"))
    }


def _accept_rates(
    results: Results, draws: Floats
) -> tuple[dict[str, Estimate], tuple[tuple[float, float], ...]]:
    """AUC and true accepts at low false accepts, over pairs of sightings; resampled by the animal that asks."""
    (same, same_by), (different, different_by) = results.same, results.different
    exact = Scores(same, different)
    levels = Scores(same, different, levels=_LEVELS).thresholds[:-1]
    size = len(levels) + 1

    def above(scores: Floats, asked_by: Floats) -> Floats:
        level = np.maximum(np.searchsorted(levels, scores, side="right") - 1, 0)
        cells = asked_by.astype(np.int64) * size + level
        counts = np.bincount(cells, minlength=results.identities * size).reshape(-1, size)
        weighed = np.cumsum((draws @ counts)[:, ::-1], axis=1)[:, ::-1]
        with np.errstate(invalid="ignore"):
            share: Floats = weighed / weighed[:, :1]
        return share

    false, true = above(different, different_by), above(same, same_by)
    aucs = np.sum(-np.diff(false, axis=1) * (true[:, :-1] + true[:, 1:]) / 2, axis=1)
    figures = {"auc": estimate(exact.figures(FALSE_ACCEPTS[0]).auc, aucs)}
    for far in FALSE_ACCEPTS:
        place = (false > far + _ROUNDING).sum(axis=1)
        name = f"tar_at_far_1e{round(np.log10(far))}"
        figures[name] = estimate(exact.figures(far).tar, true[np.arange(len(draws)), place])
    return figures, _curve(*exact.accepted())


def _curve(false: Floats, true: Floats) -> tuple[tuple[float, float], ...]:
    """The ROC curve, thinned to what an eye can tell."""
    wanted = np.concatenate([np.geomspace(1e-5, 1, 160), [0.0]])
    places = np.unique(np.searchsorted(-false, -(wanted + _ROUNDING)))
    return tuple((float(false[i]), float(true[i])) for i in reversed(places))
