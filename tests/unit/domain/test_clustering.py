"""Grouping many sightings at once: whatever their order, never against what is known, and right where looks are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deertrack.domain.calibration import Calibration
from deertrack.domain.clustering import (
    UNKNOWN,
    Clustering,
    Codes,
    Likeness,
    Looks,
    Table,
    Ties,
    cluster,
    order_to_decide,
)
from deertrack.domain.decision import Policy
from deertrack.domain.embedding import Vectors, normalise

CURVE = Calibration((0.3, 0.5, 0.7, 0.9), (-8.0, -4.0, 3.5, 9.0))
POLICY = Policy()
Herd = tuple[Vectors, Codes, Ties]


def ties(n: int, *, individual: object = None, sex: object = None, apart: object = ()) -> Ties:
    nobody = np.full(n, UNKNOWN)
    return Ties(
        nobody if individual is None else np.asarray(individual, np.int64),
        nobody if sex is None else np.asarray(sex, np.int64),
        np.array(apart, np.int64).reshape(-1, 2),
    )


def table(n: int, default: float, **pairs: float) -> Table:
    """Similarities of n sightings: ``ab=0.9`` for the first two."""
    similarities = np.full((n, n), default)
    for name, value in pairs.items():
        a, b = (ord(letter) - ord("a") for letter in name)
        similarities[a, b] = similarities[b, a] = value
    return Table(similarities)


def grouped(likeness: Likeness, known: Ties, policy: Policy = POLICY) -> list[int]:
    return cluster(likeness, known, CURVE.likelihood_ratios, policy).group.tolist()


def partition(group: Codes) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(group == g).tolist()) for g in set(group.tolist())}


@st.composite
def herds(draw: st.DrawFn) -> Herd:
    """Animals of any likeness to themselves and each other, with all kinds of ties between their sightings."""
    n = draw(st.integers(1, 24))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    animals, common = draw(st.integers(1, 6)), draw(st.sampled_from([0.0, 0.5, 1.0]))
    likeness = draw(st.sampled_from([0.8, 0.9, 0.95, 0.99]))
    who = rng.integers(0, animals, n)
    own = normalise(rng.normal(size=(animals, 64)) + common * rng.normal(size=64))
    noise = normalise(rng.normal(size=(n, 64)))
    vectors = normalise(likeness * own[who] + np.sqrt(1 - likeness**2) * noise)
    individual = np.where(rng.random(n) < draw(st.sampled_from([0, 0.4])), rng.integers(0, 3, n), UNKNOWN)
    sex = np.where(rng.random(n) < draw(st.sampled_from([0, 0.5])), rng.integers(0, 2, n), UNKNOWN)
    apart = [(int(a), int(b)) for a, b in rng.integers(0, n, (draw(st.integers(0, 8)), 2)) if a != b]
    return vectors, who, ties(n, individual=individual, sex=sex, apart=apart)


def ask(vectors: Vectors, known: Ties) -> Clustering:
    return cluster(Looks(vectors), known, CURVE.likelihood_ratios, POLICY)


@settings(deadline=None, max_examples=60)
@given(herds(), st.integers(0, 2**32))
def test_the_order_of_sightings_does_not_matter(herd: Herd, seed: int) -> None:
    vectors, _, known = herd
    order = np.random.default_rng(seed).permutation(len(vectors))
    place = np.argsort(order)
    shuffled = Ties(known.individual[order], known.sex[order], place[known.apart][:, ::-1])
    before, after = ask(vectors, known), ask(vectors[order], shuffled)
    assert partition(before.group) == partition(after.group[place])
    assert sorted(before.probability) == pytest.approx(sorted(after.probability))


@settings(deadline=None, max_examples=60)
@given(herds())
def test_what_is_surely_two_animals_is_never_one(herd: Herd) -> None:
    vectors, _, known = herd
    group = ask(vectors, known).group
    said = known.individual
    for a, b in known.apart.tolist():
        assert group[a] != group[b] or said[a] == said[b] != UNKNOWN
    for members in map(list, partition(group)):
        assert len(set(said[members].tolist()) - {UNKNOWN}) <= 1
        free = [m for m in members if said[m] == UNKNOWN]
        assert len(set(known.sex[free].tolist()) - {UNKNOWN}) <= 1


@settings(deadline=None, max_examples=60)
@given(herds())
def test_whom_a_person_confirmed_to_be_one_stays_together(herd: Herd) -> None:
    vectors, _, known = herd
    group = ask(vectors, known).group
    for individual in set(known.individual.tolist()) - {UNKNOWN}:
        assert len(set(group[known.individual == individual].tolist())) == 1


@settings(deadline=None, max_examples=60)
@given(herds())
def test_a_table_of_similarities_tells_the_same_as_vectors(herd: Herd) -> None:
    vectors, _, known = herd
    by_table = cluster(Table(vectors @ vectors.T), known, CURVE.likelihood_ratios, POLICY)
    assert by_table.group.tolist() == ask(vectors, known).group.tolist()


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 2**32))
def test_perfect_looks_give_the_true_grouping(n: int, animals: int, seed: int) -> None:
    who = np.random.default_rng(seed).integers(0, animals, n)
    vectors = np.eye(animals, dtype=np.float32)[who]
    found = ask(vectors, ties(n))
    assert partition(found.group) == partition(who)
    assert (found.probability >= POLICY.assign_at).all()


@settings(deadline=None, max_examples=60)
@given(herds())
def test_every_merge_is_as_sure_as_the_policy_asks(herd: Herd) -> None:
    vectors, _, known = herd
    found = ask(vectors, known)
    assert ((found.probability >= POLICY.assign_at - 1e-9) & (found.probability <= 1)).all()
    assert found.group[0] == 0
    assert set(found.group.tolist()) == set(range(len(found.probability)))


# -- rules, one by one ---------------------------------------------------------------------------------------


def test_nobody_and_one_alone() -> None:
    assert grouped(Looks(np.empty((0, 4), np.float32)), ties(0)) == []
    assert grouped(Looks(np.ones((1, 1), np.float32)), ties(1)) == [0]


def test_the_mean_of_all_pairs_counts_and_not_the_best_one() -> None:
    """a–b and b–c are alike enough, a–c not at all: a chain is no animal."""
    assert grouped(table(3, 0.0, ab=0.95, bc=0.9), ties(3)) == [0, 0, 1]
    assert grouped(table(3, 0.0, ab=0.95, bc=0.9, ac=0.85), ties(3)) == [0, 0, 0]


def test_one_of_two_in_a_photo_is_nobody_elses_sure_match() -> None:
    """b and c share a photo and look just as like a: it is a toss. With c clearly less alike it is none."""
    twins = table(3, 0.1, ab=0.9, ac=0.89, bc=0.9)
    assert grouped(twins, ties(3, apart=[(1, 2)])) == [0, 1, 2]
    clear = table(3, 0.1, ab=0.9, ac=0.6, bc=0.9)
    assert grouped(clear, ties(3, apart=[(1, 2)])) == [0, 0, 1]


def test_sightings_of_one_animal_do_not_compete() -> None:
    """By "at most one of them" ten sightings of one animal would leave the eleventh with a tenth each."""
    assert grouped(table(11, 0.95), ties(11)) == [0] * 11


def test_rivals_that_go_elsewhere_are_rivals_no_more() -> None:
    """c, beside b in a photo, keeps a and b apart until it proves to be d, whom a does not resemble."""
    rest = {"cd": 0.99, "ad": 0.0, "bd": 0.0}
    assert grouped(table(4, 0.0, ab=0.9, ac=0.88, **rest), ties(4, apart=[(1, 2)])) == [0, 0, 1, 1]
    assert grouped(table(3, 0.0, ab=0.9, ac=0.88), ties(3, apart=[(1, 2)])) == [0, 1, 2]


def test_two_confirmed_individuals_compete_for_a_sighting() -> None:
    alike = table(3, 0.1, ac=0.9, bc=0.89)
    assert grouped(alike, ties(3, individual=[7, 9, UNKNOWN])) == [0, 1, 2]


def test_groups_are_counted_as_they_are_in_the_end() -> None:
    """A hundred sightings of two animals are judged among two, not among a hundred."""
    similarity = CURVE.similarity_at(19 * (POLICY.unmet + 1) * 1.1)
    who = np.repeat([0, 1], 50)
    likeness = np.where(who[:, None] == who, similarity, 0.0)
    assert grouped(Table(likeness), ties(100)) == who.tolist()
    alone = np.arange(100)
    assert grouped(Table(likeness[::50, ::50]), ties(2)) == [0, 1]
    many = np.where(alone[:, None] // 2 == alone // 2, similarity, 0.0)  # fifty pairs: fifty animals to be
    assert grouped(Table(many), ties(100)) == alone.tolist()


def test_more_known_individuals_make_a_merge_less_sure() -> None:
    pair = CURVE.similarity_at(19 * 60)
    few = cluster(table(2, pair), ties(2), CURVE.likelihood_ratios, POLICY, known=30)
    many = cluster(table(2, pair), ties(2), CURVE.likelihood_ratios, POLICY, known=40)
    assert (few.group.tolist(), many.group.tolist()) == ([0, 0], [0, 1])
    assert few.probability[0] == pytest.approx(19 * 60 / (19 * 60 + 30 + 25))


def test_a_threshold_of_similarity_holds_too() -> None:
    assert grouped(table(2, 0.92), ties(2), Policy(min_similarity=0.95)) == [0, 1]
    assert grouped(table(2, 0.96), ties(2), Policy(min_similarity=0.95)) == [0, 0]


# -- the order of decisions ----------------------------------------------------------------------------------


def test_who_is_least_like_the_others_is_new_first() -> None:
    """0 founds by rank; of 1 (somewhat like it) and 2 (not at all) 2 is surer to be new; 3 is surely 0."""
    similar = np.array([[1, 0.55, 0, 0.9], [0.55, 1, 0, 0], [0, 0, 1, 0], [0.9, 0, 0, 1]])
    nobody = np.zeros(4, bool)
    new, rest = order_to_decide(
        np.full(4, 25.0),
        np.zeros(4),
        lambda g: (similar[g].astype(np.float64), nobody),
        CURVE.likelihood_ratios,
        POLICY,
    )
    assert (new, rest) == ([0, 2, 1], [3])


def test_the_known_come_last_the_most_alike_first() -> None:
    weights, best = 25 + np.array([0.0, 500, 9000, 100]), np.array([0.0, 500, 9000, 100])
    new, rest = order_to_decide(
        weights, best, lambda g: (np.zeros(4), np.zeros(4, bool)), CURVE.likelihood_ratios, POLICY
    )
    assert (new, rest) == ([0], [2, 1, 3])
