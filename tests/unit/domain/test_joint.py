"""Sightings of one photo, named together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deertrack.domain.decision import Belief, Candidate, Outcome, Policy, decide
from deertrack.domain.joint import reconcile


def belief(new: float, others: float = 0.0, **probabilities: float) -> Belief:
    """Candidates by number: ``_1=0.7`` is individual 1."""
    candidates = [Candidate(int(name[1:]), 0.5, p) for name, p in probabilities.items()]
    return Belief(tuple(sorted(candidates, key=lambda c: -c.probability)), new, others)


def all_clash(n: int) -> list[set[int]]:
    return [set(range(n)) - {i} for i in range(n)]


def of(found: Belief, deer_id: int) -> float:
    return next(c.probability for c in found.candidates if c.deer_id == deer_id)


def test_two_that_look_like_one_animal_share_it_out_by_bayes() -> None:
    """By hand: (1, new), (new, 1) and (new, new) are left of four ways."""
    one, two = reconcile([belief(0.2, _1=0.8), belief(0.4, _1=0.6)], all_clash(2))
    total = 0.8 * 0.4 + 0.2 * 0.6 + 0.2 * 0.4
    assert of(one, 1) == pytest.approx(0.32 / total)
    assert of(two, 1) == pytest.approx(0.12 / total)
    assert two.new == pytest.approx(1 - 0.12 / total)


def test_the_second_best_wins_where_the_best_is_taken() -> None:
    """Greedily, the first sighting would take 1 (its best), and leave the second, who is surely 1, with nothing."""
    beliefs = [belief(0.0002, _1=0.5, _2=0.4998), belief(0.0001, _1=0.9999)]
    decisions = [decide(b, Policy()) for b in reconcile(beliefs, all_clash(2))]
    assert [(d.outcome, d.deer_id) for d in decisions] == [(Outcome.ASSIGN, 2), (Outcome.ASSIGN, 1)]


def test_sightings_that_never_share_a_photo_may_be_one_animal() -> None:
    beliefs = [belief(0.01, _1=0.99), belief(0.5, _2=0.5), belief(0.01, _1=0.99)]
    found = reconcile(beliefs, [{1}, {0, 2}, {1}])
    assert of(found[0], 1) == of(found[2], 1) == pytest.approx(0.99)


def test_alone_nothing_changes_and_a_crowd_is_left_to_its_order() -> None:
    single = [belief(0.3, 0.2, _1=0.5)]
    assert reconcile(single, [set()]) == single
    crowd = [belief(0.5, _1=0.5)] * 13
    assert reconcile(crowd, all_clash(13)) == crowd


def test_all_surely_the_same_is_left_as_it_was() -> None:
    impossible = [belief(0.0, _1=1.0), belief(0.0, _1=1.0)]
    assert reconcile(impossible, all_clash(2)) == impossible


@st.composite
def searched(draw: st.DrawFn) -> Belief:
    ids = draw(st.lists(st.integers(1, 5), unique=True, max_size=5))
    weights = [draw(st.floats(0.001, 1)) for _ in range(len(ids) + 2)]
    total = sum(weights)
    candidates = sorted(zip(ids, weights, strict=False), key=lambda pair: -pair[1])
    return Belief(
        tuple(Candidate(i, 0.5, w / total) for i, w in candidates), weights[-1] / total, weights[-2] / total
    )


@given(st.lists(searched(), min_size=1, max_size=5))
def test_what_comes_out_is_still_a_belief(beliefs: list[Belief]) -> None:
    for before, after in zip(beliefs, reconcile(beliefs, all_clash(len(beliefs))), strict=True):
        assert {c.deer_id for c in after.candidates} == {c.deer_id for c in before.candidates}
        assert after.new + after.others + sum(c.probability for c in after.candidates) == pytest.approx(1)
        probabilities = [c.probability for c in after.candidates]
        assert probabilities == sorted(probabilities, reverse=True)


@given(st.lists(searched(), min_size=2, max_size=4), st.permutations(range(4)))
def test_the_order_of_sightings_does_not_matter(beliefs: list[Belief], order: list[int]) -> None:
    order = [i for i in order if i < len(beliefs)]
    plain = reconcile(beliefs, all_clash(len(beliefs)))
    shuffled = reconcile([beliefs[i] for i in order], all_clash(len(beliefs)))
    for place, i in enumerate(order):
        assert shuffled[place].new == pytest.approx(plain[i].new)


@given(st.lists(searched(), min_size=2, max_size=5))
def test_two_in_one_photo_are_never_assigned_one_animal(beliefs: list[Belief]) -> None:
    decided = [decide(b, Policy(assign_at=0.6)).deer_id for b in reconcile(beliefs, all_clash(len(beliefs)))]
    named = [deer_id for deer_id in decided if deer_id is not None]
    assert len(named) == len(set(named))
