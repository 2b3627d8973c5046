"""Figures on sets whose right answer is known by construction."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from deertrack.domain.calibration import Calibration
from deertrack.domain.decision import Belief, Policy, believe
from deertrack.domain.errors import InputError
from deertrack.domain.evaluation import Results, ask_all, closed_set, difference, draw_identities
from deertrack.domain.open_set import open_set
from deertrack.domain.protocols import LabelledPhotos, Protocol, Sightings, identity_folds, make_sightings
from deertrack.domain.reliability import reliability
from deertrack.domain.replay import replay

CURVE = Calibration((0.2, 0.5, 0.9), (-8.0, 0.0, 9.0))


def photos(
    identity: Sequence[int],
    encounter: Sequence[int],
    flank: Sequence[int] | None = None,
    image: Sequence[int] | None = None,
) -> LabelledPhotos:
    n = len(identity)
    columns = (identity, encounter, flank or [0] * n, image or range(n))
    return LabelledPhotos(*(np.array(column, np.int64) for column in columns))


@dataclass
class Looks:
    """A matcher by the mean vectors of photos (n, d); says probabilities by a curve if it has one."""

    vectors: NDArray[np.float64]
    curve: Calibration | None = None
    unmet: float = 1e-6
    name: str = "looks"
    learned: list[set[int]] = field(default_factory=list)

    def fit(self, train: Sightings) -> "Looks":
        self.learned.append(set(train.identity.tolist()))
        return self

    def scores(self, queries: Sightings, gallery: Sightings) -> NDArray[np.float64]:
        asking, answering = (
            np.stack([self.vectors[rows].mean(axis=0) for rows in side.photos]) for side in (queries, gallery)
        )
        return asking @ answering.T

    @property
    def calibration(self) -> Calibration | None:
        return self.curve

    def believe(self, scores: NDArray[np.float64]) -> Belief | None:
        if self.curve is None:
            return None
        order = np.argsort(-scores, kind="stable")
        matches = [(int(i), float(scores[i])) for i in order]
        return believe(matches, gallery_size=len(scores), calibration=self.curve, unmet=self.unmet)


@dataclass
class Table(Looks):
    """A matcher by a table of scores (n, n) of photos that are sightings of their own."""

    def scores(self, queries: Sightings, gallery: Sightings) -> NDArray[np.float64]:
        rows, columns = ([int(p[0]) for p in side.photos] for side in (queries, gallery))
        return self.vectors[np.ix_(rows, columns)]


def ask(matcher: Looks, labelled: LabelledPhotos, protocol: Protocol = Protocol.ENCOUNTER) -> Results:
    sightings = make_sightings(labelled, protocol)
    identities = int(labelled.identity.max()) + 1
    return ask_all(matcher, sightings, protocol, identities=identities, rng=np.random.default_rng(0))


def draws_for(results: Results, times: int = 200) -> NDArray[np.float64]:
    return draw_identities(results.identities, times, np.random.default_rng(1))


def units(n: int, seed: int = 0, d: int = 64) -> NDArray[np.float64]:
    rows = np.random.default_rng(seed).normal(size=(n, d))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_animals_that_look_like_themselves_alone_are_all_found() -> None:
    identity = [0, 0, 1, 1, 1]
    results = ask(Looks(np.eye(2)[identity]), photos(identity, range(5)))
    figures = closed_set(results, draws_for(results)).figures
    assert {name: f.value for name, f in figures.items()} == dict.fromkeys(figures, 1.0)
    assert all(f.low == f.high == 1.0 for f in figures.values())


def test_bursts_leak_into_a_random_split_and_nowhere_else() -> None:
    """Photos of one encounter look alike, animals do not: a random split finds all, an honest one guesses."""
    encounter = np.repeat(np.arange(120), 3)
    identity = encounter % 20
    labelled, matcher = photos(identity.tolist(), encounter.tolist()), Looks(units(120)[encounter])
    leaky, honest = (ask(matcher, labelled, p) for p in (Protocol.RANDOM, Protocol.ENCOUNTER))
    assert closed_set(leaky, draws_for(leaky)).figures["rank1"].value == 1.0
    figures = closed_set(honest, draws_for(honest)).figures
    assert len(honest.sightings) == 120
    assert figures["rank1"].value < 0.15  # 1 in 20 by chance
    assert figures["auc"].value == pytest.approx(0.5, abs=0.06)


def test_an_animal_met_once_answers_but_is_not_counted() -> None:
    results = ask(Looks(units(3)), photos([0, 0, 1], [0, 1, 2]))
    assert results.counted.tolist() == [True, True, False]
    assert np.isinf(results.best[2, 1])


def test_ranks_count_animals_and_precision_counts_sightings() -> None:
    # Animal 0 asks (row 0). In order of score: 1, 1, 1, 0, 2, 0.
    table = np.zeros((7, 7))
    table[0] = [9.0, 0.5, 0.3, 0.9, 0.8, 0.7, 0.4]
    results = ask(Table(table), photos([0, 0, 0, 1, 1, 1, 2], range(7)))
    assert results.rank[0] == 1  # behind one animal, though behind three of its sightings
    assert results.precision[0] == pytest.approx((1 / 4 + 2 / 6) / 2)
    assert (results.same_row[0], results.other_row[0]) == (1, 3)


def test_ties_count_against_the_right_animal() -> None:
    results = ask(Table(np.ones((4, 4))), photos([0, 0, 1, 1], range(4)))
    assert results.rank.tolist() == [1] * 4
    assert results.precision.tolist() == [pytest.approx(1 / 3)] * 4


def test_a_sighting_is_all_photos_of_one_animal_in_one_encounter() -> None:
    labelled = photos([0, 0, 0, 1, 1], [5, 5, 6, 5, 7], flank=[0, 1, 0, -1, 1])
    together = make_sightings(labelled, Protocol.ENCOUNTER)
    assert [rows.tolist() for rows in together.photos] == [[0, 1], [2], [3], [4]]
    by_flank = make_sightings(labelled, Protocol.SAME_FLANK)
    assert [rows.tolist() for rows in by_flank.photos] == [[0], [1], [2], [4]]
    assert by_flank.comparable(np.array([0])).tolist() == [[False, False, True, False]]
    assert len(make_sightings(labelled, Protocol.RANDOM)) == 5


def test_same_flank_compares_like_with_like() -> None:
    """Each flank has a pattern of its own; the other animal's same flank would win among mixed flanks."""
    identity, flank = [0, 0, 0, 0, 1, 1, 1, 1], [0, 1, 0, 1] * 2
    pattern = np.array([0, 1, 0, 1, 2, 3, 2, 3])
    labelled = photos(identity, [0, 0, 1, 1, 2, 2, 3, 3], flank=flank)
    results = ask(Looks(np.eye(4)[pattern]), labelled, Protocol.SAME_FLANK)
    assert results.counted.all()
    assert (results.rank == 0).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(4, 30))
def test_figures_agree_with_counting_them_one_by_one(seed: int, animals: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    identity = np.concatenate([np.arange(animals), rng.integers(animals, size=n)])
    encounter = rng.integers(n, size=len(identity)) + 100 * identity
    labelled = photos(identity.tolist(), encounter.tolist())
    _, first = np.unique(encounter, return_index=True)
    labelled = photos(identity[np.sort(first)].tolist(), encounter[np.sort(first)].tolist())
    table = rng.integers(0, 12, size=(len(labelled), len(labelled))) / 10  # many ties
    try:
        results = ask(Table(table), labelled)
    except InputError:
        assert np.bincount(labelled.identity).max() < 2
        return
    same, different = [], []
    for i, who in enumerate(labelled.identity):
        allowed = labelled.encounter != labelled.encounter[i]
        right = table[i][allowed & (labelled.identity == who)]
        wrong = table[i][allowed & (labelled.identity != who)]
        same += right.tolist()
        different += wrong.tolist()
        assert results.counted[i] == bool(len(right) and len(wrong))
        if not results.counted[i]:
            continue
        others = {
            a: table[i][allowed & (labelled.identity == a)].max() for a in set(labelled.identity) - {who}
        }
        assert results.rank[i] == sum(score >= right.max() for score in others.values())
        precisions = [(right >= s).sum() / ((right >= s).sum() + (wrong >= s).sum()) for s in right]
        assert results.precision[i] == pytest.approx(np.mean(precisions))
    figures = closed_set(results, draws_for(results)).figures
    pairs = [(s > d) + (s == d) / 2 for s in same for d in different]
    assert figures["auc"].value == pytest.approx(np.mean(pairs))
    allowed_scores = [t for t in [*same, 99.0] if np.mean(np.array(different) >= t) <= 0.01]
    assert figures["tar_at_far_1e-2"].value == pytest.approx(np.mean(np.array(same) >= min(allowed_scores)))


def test_cmc_rises_to_one_and_its_steps_are_the_ranks() -> None:
    identity = np.arange(120) % 15
    closed = closed_set(results := ask(Looks(units(120)), photos(identity, range(120))), draws_for(results))
    curve = [figure.value for figure in closed.cmc]
    assert curve == sorted(curve)
    assert curve[14] == 1.0  # there are fifteen animals
    assert (curve[0], curve[4], curve[9]) == tuple(closed.figures[f"rank{k}"].value for k in (1, 5, 10))


def test_intervals_come_from_animals_not_sightings() -> None:
    """Two animals of many sightings, one always found and one never: all that is known is 'one of two'."""
    identity = [0] * 40 + [1] * 40
    table = np.zeros((80, 80))
    table[:, :40] = 1.0  # everything looks like animal 0
    results = ask(Table(table), photos(identity, range(80)))
    rank1 = closed_set(results, draws_for(results)).figures["rank1"]
    assert (rank1.value, rank1.low, rank1.high) == (0.5, 0.0, 1.0)


def test_resampled_rates_agree_with_their_exact_values() -> None:
    identity = np.arange(300) % 30
    looks = 0.6 * units(30, seed=3)[identity] + 0.4 * units(300, seed=4)
    results = ask(Looks(looks), photos(identity, range(300)))
    figures = closed_set(results, np.ones((50, 30))).figures  # every "sample" is the set itself
    for name in ("rank1", "mAP", "auc", "tar_at_far_1e-2", "tar_at_far_1e-3"):
        assert figures[name].low == pytest.approx(figures[name].value, abs=0.01), name


def test_what_is_learned_is_asked_about_other_animals_only() -> None:
    identity = np.arange(60) % 12
    matcher = Looks(units(60))
    results = ask(matcher, photos(identity, range(60)), Protocol.IDENTITY)
    everyone = set(range(12))
    assert len(matcher.learned) == 5
    assert all(learned < everyone for learned in matcher.learned)
    held_out = [animal for learned in matcher.learned for animal in everyone - learned]
    assert sorted(held_out) == sorted(everyone)
    assert results.counted.all()  # every sighting asked, among all animals


def test_learning_by_heart_does_not_help_with_other_animals() -> None:
    identity = np.arange(200) % 20

    class ByHeart(Looks):
        known: frozenset[int] = frozenset()

        def fit(self, train: Sightings) -> "ByHeart":
            learned = ByHeart(self.vectors)
            learned.known = frozenset(train.identity.tolist())
            return learned

        def scores(self, queries: Sightings, gallery: Sightings) -> NDArray[np.float64]:
            same = queries.identity[:, None] == gallery.identity
            known = np.isin(queries.identity, list(self.known))[:, None]
            return super().scores(queries, gallery) + 10 * (same & known)

    matcher, labelled = ByHeart(units(200)), photos(identity, range(200))
    cheating = matcher.fit(make_sightings(labelled, Protocol.ENCOUNTER))
    on_itself = ask(cheating, labelled)
    honest = ask(matcher, labelled, Protocol.IDENTITY)
    assert on_itself.right_first.mean() == 1.0
    assert honest.right_first.mean() < 0.15


def test_folds_part_identities_whole() -> None:
    sightings = make_sightings(photos([0, 0, 1, 1, 2], range(5)), Protocol.IDENTITY)
    folds = list(identity_folds(sightings, 5, np.random.default_rng(0)))
    assert len(folds) == 3
    for learned, asking in folds:
        assert not set(sightings.identity[learned]) & set(sightings.identity[asking])
        assert sorted([*learned, *asking]) == list(range(5))


@pytest.mark.parametrize(
    ("identity", "encounter"),
    [([0, 0, 0], [0, 1, 2]), ([0, 0, 1], [0, 0, 1])],
    ids=["one animal", "one visit"],
)
def test_a_set_without_questions_says_so(identity: list[int], encounter: list[int]) -> None:
    with pytest.raises(InputError, match="nothing to compare under the protocol encounter-disjoint"):
        ask(Looks(units(3)), photos(identity, encounter))


def test_known_and_unknown_are_told_apart_where_scores_do() -> None:
    identity = np.repeat(np.arange(16), 3)
    results = ask(Looks(np.eye(16)[identity]), photos(identity, range(48)))
    opened = open_set(results, draws_for(results), np.random.default_rng(0))
    assert opened is not None
    assert {name: f.value for name, f in opened.figures.items()} == dict.fromkeys(opened.figures, 1.0)
    assert 0 < opened.threshold <= 1


def test_the_sweep_goes_from_all_accepted_to_all_turned_away() -> None:
    identity = np.repeat(np.arange(16), 4)
    looks = 0.5 * units(16)[identity] + 0.5 * units(64, seed=1)
    results = ask(Looks(looks), photos(identity, range(64)))
    opened = open_set(results, draws_for(results), np.random.default_rng(0))
    assert opened is not None
    assert (opened.baus[0], opened.baus[-1], opened.baks[-1]) == (0.0, 1.0, 0.0)
    assert list(opened.baks) == sorted(opened.baks, reverse=True)
    assert list(opened.baus) == sorted(opened.baus)
    assert opened.figures["geometric_mean"].value == pytest.approx(max(opened.geometric_mean))


def test_open_set_accuracy_is_balanced_over_animals() -> None:
    """One animal is met thirty times and never found, seven are met twice and always found."""
    identity = np.array([0] * 30 + [a for a in range(1, 8) for _ in range(2)])
    looks = np.eye(8)[identity]
    looks[identity == 0] = np.eye(8)[1]  # it looks like animal 1
    looks[identity == 1] = np.eye(8)[0]
    looks[np.flatnonzero(identity == 1)] = np.eye(8)[1]
    results = ask(Looks(looks), photos(identity, range(len(identity))))
    opened = open_set(results, draws_for(results), np.random.default_rng(0))
    assert opened is not None
    assert opened.baks[0] > 0.7  # by sightings it would be about a third


def make_results(probability: Sequence[float], right: Sequence[bool], animals: Sequence[int]) -> Results:
    """Results of which only probability and correctness matter."""
    q = len(right)
    labelled = photos(animals, range(q))
    identities = max(animals) + 1
    nothing = np.zeros(q, np.int64)
    return Results(
        sightings=make_sightings(labelled, Protocol.ENCOUNTER),
        best=np.zeros((q, identities)),
        rank=np.where(right, 0, 1),
        precision=np.zeros(q),
        counted=np.ones(q, bool),
        same_row=nothing,
        other_row=nothing,
        probability=np.array(probability),
        same=np.zeros((2, 0)),
        different=np.zeros((2, 0)),
        pairs_total=0,
    )


def test_probabilities_that_come_true_have_no_calibration_error() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(size=4000)
    results = make_results(p.tolist(), (rng.uniform(size=4000) < p).tolist(), (np.arange(4000) % 50).tolist())
    found = reliability(results, draws_for(results), assign_at=0.95)
    assert found is not None
    assert found.figures["ece"].value < 0.03
    assert found.figures["brier"].value == pytest.approx(1 / 6, abs=0.02)
    assert [b.queries for b in found.curve] == [400] * 10


def test_overconfidence_is_measured() -> None:
    right = ([True] * 6 + [False] * 4) * 10
    results = make_results([0.9] * 100, right, [i % 10 for i in range(100)])
    found = reliability(results, draws_for(results), assign_at=0.9)
    assert found is not None
    assert found.figures["brier"].value == pytest.approx(0.6 * 0.01 + 0.4 * 0.81)
    assert found.figures["automatic_precision"].value == pytest.approx(0.6)
    assert found.figures["automatic_coverage"].value == 1.0
    assert found.automatic == 100


def test_a_few_right_automatic_matches_prove_little() -> None:
    results = make_results([0.99] * 6 + [0.1] * 54, [True] * 60, [i % 6 for i in range(60)])
    found = reliability(results, draws_for(results), assign_at=0.95)
    assert found is not None
    precision = found.figures["automatic_precision"]
    assert precision.value == 1.0
    assert precision.low == pytest.approx(0.61, abs=0.01)  # Wilson, six out of six


def test_without_probabilities_there_is_no_calibration() -> None:
    assert (
        reliability(ask(Looks(units(4)), photos([0, 0, 1, 1], range(4))), np.ones((20, 2)), assign_at=0.95)
        is None
    )


def test_the_replay_decides_as_a_catalogue_would() -> None:
    identity = [0, 1, 0, 1, 0]
    labelled = photos(identity, range(5))
    matcher = Looks(np.eye(2)[identity], curve=CURVE)
    done = replay(matcher, make_sightings(labelled, Protocol.ENCOUNTER), labelled, Policy())
    assert done is not None
    assert (done.individuals, done.assigned, done.rightly, done.waiting) == (2, 3, 3, 0)
    assert done.agreement.adjusted_rand == 1.0


def test_two_animals_of_one_photo_never_become_one() -> None:
    """They look the same; being in one photo keeps them apart."""
    labelled = photos([0, 1], [0, 0], image=[7, 7])
    sightings = make_sightings(labelled, Protocol.ENCOUNTER)
    matcher = Looks(np.ones((2, 1)), curve=CURVE)
    done = replay(matcher, sightings, labelled, Policy())
    assert done is not None
    assert (done.individuals, done.assigned) == (2, 0)
    apart = photos([0, 1], [0, 0], image=[7, 8])
    done = replay(matcher, make_sightings(apart, Protocol.ENCOUNTER), apart, Policy())
    assert done is not None
    assert (done.assigned, done.rightly) == (1, 0)


def test_an_unsure_matcher_leaves_it_to_a_person() -> None:
    labelled = photos([0, 0], [0, 1])
    looks = np.array([[1.0, 0.0], [0.6, 0.8]])
    done = replay(
        Looks(looks, curve=CURVE),
        make_sightings(labelled, Protocol.ENCOUNTER),
        labelled,
        Policy(unmet=1.0),
    )
    assert done is not None
    assert (done.individuals, done.assigned, done.waiting) == (1, 0, 1)


def test_a_gain_is_surer_than_the_figures_it_comes_from() -> None:
    """A matcher that is right a little more often on the same hard and easy animals."""
    rng = np.random.default_rng(2)
    identity = np.arange(600) % 40
    noise = np.linspace(0.2, 6.0, 40)[identity, None] * units(600, seed=5)  # animals differ in difficulty
    base, better = (
        ask(Looks(s * units(40)[identity] + noise), photos(identity, range(600))) for s in (1.0, 1.3)
    )
    draws = draw_identities(40, 500, rng)
    gain = difference(base, better, draws)
    figures = [closed_set(results, draws).figures["mAP"] for results in (base, better)]
    assert gain["mAP"].value == pytest.approx(figures[1].value - figures[0].value)
    own, of_base, of_better = (e.high - e.low for e in (gain["mAP"], *figures))  # type: ignore[operator]
    assert own < 0.9 * np.hypot(of_base, of_better)  # what they would be apart
    assert gain["mAP"].low is not None
    assert gain["mAP"].low > 0


def test_a_set_without_flanks_has_nothing_to_ask_by_flank() -> None:
    labelled = photos([0, 0, 1, 1], range(4), flank=[-1] * 4)
    for protocol in (Protocol.SAME_FLANK, Protocol.IDENTITY_SAME_FLANK):
        with pytest.raises(InputError, match="showing one flank"):
            ask(Looks(units(4)), labelled, protocol)


def test_sightings_of_one_photo_are_named_together() -> None:
    """Both animals of the last photo look most like animal 0; it can be only one of them."""
    looks = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.72, 0.69, 0.0], [0.999, 0.04, 0.0]])
    labelled = photos([0, 1, 1, 0], [0, 1, 2, 2], image=[0, 1, 2, 2])
    sharp = Calibration((0.6, 0.7, 0.9), (-6.0, 12.0, 24.0))
    matcher = Looks(looks, curve=sharp)
    done = replay(matcher, make_sightings(labelled, Protocol.ENCOUNTER), labelled, Policy())
    assert done is not None
    assert (done.individuals, done.assigned, done.rightly) == (2, 2, 2)
