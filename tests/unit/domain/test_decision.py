import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deertrack.domain.calibration import Calibration
from deertrack.domain.decision import Belief, Candidate, Decision, Outcome, Policy, believe, decide
from deertrack.domain.errors import InputError

# ln(likelihood ratio) = 20 · similarity - 10, up to 10.
CURVE = Calibration((0.0, 1.0), (-10.0, 10.0))
STEEP = Calibration((0.0, 1.0), (-60.0, 60.0))
POLICY = Policy()


def belief_of(*probabilities: float, new: float) -> Belief:
    others = max(1 - new - sum(probabilities), 0)
    return Belief(tuple(Candidate(i + 1, 0.5, p) for i, p in enumerate(probabilities)), new, others)


@st.composite
def beliefs(draw: st.DrawFn) -> Belief:
    """Anything that a search may make probable, overwhelming certainty included."""
    similarities = sorted(draw(st.lists(st.floats(-0.2, 1.0), max_size=10)), reverse=True)
    return believe(
        [(i + 1, s) for i, s in enumerate(similarities)],
        gallery_size=len(similarities) + draw(st.integers(0, 1_000)),
        calibration=draw(st.sampled_from([CURVE, STEEP])),
        unmet=draw(st.floats(0.01, 1_000)),
    )


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    assign_at = draw(st.floats(0.51, 1.0))
    return Policy(assign_at=assign_at, new_at=draw(st.floats(1.001 - assign_at, 1.0)))


vetoes = st.frozensets(st.integers(1, 10))


# Beliefs ------------------------------------------------------------------------------------------------


def test_an_empty_gallery_makes_a_new_animal_certain() -> None:
    belief = believe([], gallery_size=0, calibration=CURVE, unmet=25)
    assert belief == Belief((), 1.0)
    assert decide(belief, POLICY) == Decision(Outcome.NEW, belief, None)


def test_a_belief_is_bayes_over_the_known_and_the_unmet() -> None:
    # Ratios e², 1 and e^-2; 5 more individuals count e^-2 each, 25 unmet animals 1 each.
    belief = believe([(7, 0.6), (3, 0.5), (9, 0.4)], gallery_size=8, calibration=CURVE, unmet=25)
    total = 25 + math.e**2 + 1 + math.e**-2 + 5 * math.e**-2
    assert [c.deer_id for c in belief.candidates] == [7, 3, 9]
    assert [c.similarity for c in belief.candidates] == [0.6, 0.5, 0.4]
    assert [c.probability for c in belief.candidates] == pytest.approx(
        [math.e**2 / total, 1 / total, math.e**-2 / total]
    )
    assert belief.new == pytest.approx(25 / total)


def test_those_not_searched_count_at_most_one_each() -> None:
    belief = believe([(1, 0.9)], gallery_size=101, calibration=CURVE, unmet=25)
    assert belief.new == pytest.approx(25 / (25 + math.e**8 + 100))


@given(beliefs(), vetoes)
def test_probabilities_are_probabilities_whatever_is_vetoed(belief: Belief, vetoed: frozenset[int]) -> None:
    """The database refuses anything beyond 0…1, and a refusal would end the whole run."""
    for checked in (belief, decide(belief, POLICY, vetoed=vetoed).belief):
        parts = [c.probability for c in checked.candidates] + [checked.new]
        assert all(0 <= p <= 1 for p in parts)
        assert sum(parts) <= 1 + 1e-9


@given(st.floats(-0.2, 1.0), st.floats(0.01, 1_000))
def test_with_the_only_known_animal_vetoed_a_new_one_is_certain(similarity: float, unmet: float) -> None:
    # Two animals in one photo while one individual is known: the most common veto of all.
    belief = believe([(1, similarity)], gallery_size=1, calibration=CURVE, unmet=unmet)
    decision = decide(belief, POLICY, vetoed=frozenset({1}))
    assert decision.outcome is Outcome.NEW
    assert decision.belief.candidates == ()
    assert decision.belief.new == pytest.approx(1)
    assert decision.belief.new <= 1


def test_a_certain_candidate_that_is_vetoed_leaves_the_rest_in_proportion() -> None:
    # The vetoed one is so sure that 1 minus its probability is 0 in floating point.
    steep = Calibration((0.0, 1.0), (0.0, 60.0))
    belief = believe([(1, 1.0), (2, 0.05)], gallery_size=2, calibration=steep, unmet=1.0)
    assert belief.candidates[0].probability == 1.0
    after = decide(belief, POLICY, vetoed=frozenset({1})).belief
    assert after.candidates[0].probability == pytest.approx(math.e**3 / (1 + math.e**3))
    assert after.new == pytest.approx(1 / (1 + math.e**3))


@given(st.floats(-0.2, 1), st.floats(-0.2, 1), st.floats(0.01, 100), st.integers(1, 500))
def test_more_similar_is_never_less_probable(a: float, b: float, unmet: float, size: int) -> None:
    low, high = sorted((a, b))
    less, more = (believe([(1, s)], gallery_size=size, calibration=CURVE, unmet=unmet) for s in (low, high))
    # With others in the gallery, whose ratio follows the last candidate up to 1, only then it need not rise.
    if size == 1 or low >= 0.5:
        assert less.candidates[0].probability <= more.candidates[0].probability + 1e-12
    assert less.new + 1e-12 >= more.new


@given(st.floats(0.01, 100), st.floats(0.01, 100), st.floats(0, 1))
def test_the_more_animals_were_never_met_the_likelier_a_new_one(a: float, b: float, s: float) -> None:
    few, many = (
        believe([(1, s)], gallery_size=10, calibration=CURVE, unmet=unmet) for unmet in sorted((a, b))
    )
    assert few.new <= many.new + 1e-12


# Decisions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("best", "new", "outcome"),
    [
        (0.95, 0.05, Outcome.ASSIGN),  # exactly at the threshold
        (0.9499, 0.05, Outcome.REVIEW),
        (0.5, 0.5, Outcome.NEW),
        (0.3, 0.4999, Outcome.REVIEW),
        (0.0, 1.0, Outcome.NEW),
    ],
)
def test_the_rules_at_their_edges(best: float, new: float, outcome: Outcome) -> None:
    decision = decide(belief_of(best, new=new), POLICY)
    assert decision.outcome is outcome
    assert decision.deer_id == (1 if outcome is Outcome.ASSIGN else None)


def test_a_veto_hands_the_share_to_all_others_in_proportion() -> None:
    decision = decide(belief_of(0.6, 0.2, 0.1, new=0.1), POLICY, vetoed=frozenset({1}))
    assert [(c.deer_id, c.probability) for c in decision.belief.candidates] == [
        (2, pytest.approx(0.5)),
        (3, pytest.approx(0.25)),
    ]
    assert decision.belief.new == pytest.approx(0.25)
    assert decision.outcome is Outcome.REVIEW
    assert decide(belief_of(0.6, 0.39, new=0.01), POLICY, vetoed=frozenset({1})).deer_id == 2


def test_with_everybody_vetoed_the_animal_is_new_unless_it_may_be_one_further_down_or_unseen() -> None:
    alone = decide(belief_of(0.69, 0.3, new=0.01), POLICY, vetoed=frozenset({1, 2}))
    assert (alone.outcome, alone.deer_id) == (Outcome.NEW, None)
    crowd = decide(belief_of(0.5, 0.3, new=0.01), POLICY, vetoed=frozenset({1, 2}))
    assert (crowd.outcome, crowd.deer_id) == (Outcome.REVIEW, None)


def test_a_threshold_keeps_the_machine_from_assigning_what_looks_too_little_alike() -> None:
    belief = Belief((Candidate(7, 0.61, 0.99),), 0.01)
    assert decide(belief, Policy(min_similarity=0.6)).deer_id == 7
    assert decide(belief, Policy(min_similarity=0.62)).outcome is Outcome.REVIEW


@pytest.mark.parametrize("matches", [[], [(1, 0.1)]], ids=["nobody to compare", "somebody else"])
def test_animals_that_cannot_be_compared_make_a_new_one_less_likely(matches: list[tuple[int, float]]) -> None:
    """It may be any of them: with many, the machine asks instead of making one of them anew."""
    flat = Calibration((0.0, 1.0), (0.0, 0.0))
    outcomes = [
        decide(
            believe(matches, gallery_size=len(matches), calibration=flat, unmet=25, unseen=unseen), Policy()
        )
        for unseen in (0, 3, 40)
    ]
    assert [d.outcome for d in outcomes] == [Outcome.NEW, Outcome.NEW, Outcome.REVIEW]
    assert [round(d.belief.new, 3) for d in outcomes] == [
        round(25 / (25 + unseen + len(matches)), 3) for unseen in (0, 3, 40)
    ]


@given(beliefs(), vetoes, policies())
def test_what_a_decision_may_be(belief: Belief, vetoed: frozenset[int], policy: Policy) -> None:
    decision = decide(belief, policy, vetoed=vetoed)
    left = decision.belief.candidates
    assert [c.deer_id for c in left] == [c.deer_id for c in belief.candidates if c.deer_id not in vetoed]
    assert [c.similarity for c in left] == [
        c.similarity for c in belief.candidates if c.deer_id not in vetoed
    ]
    match decision.outcome:
        case Outcome.ASSIGN:
            assert decision.deer_id == left[0].deer_id
            assert decision.deer_id not in vetoed
            assert left[0].probability >= policy.assign_at
        case Outcome.NEW:
            assert decision.deer_id is None
            assert not left or (
                decision.belief.new >= policy.new_at and left[0].probability < policy.assign_at
            )
        case Outcome.REVIEW:
            assert decision.deer_id is None
            assert not left or left[0].probability < policy.assign_at
            assert decision.belief.new < policy.new_at


@given(beliefs(), st.floats(0.51, 1), st.floats(0.51, 1))
def test_a_stricter_policy_never_assigns_more(belief: Belief, a: float, b: float) -> None:
    lax, strict = (decide(belief, Policy(assign_at=at, new_at=0.5)) for at in sorted((a, b)))
    if strict.outcome is Outcome.ASSIGN:
        assert lax == strict


@pytest.mark.parametrize(
    ("assign_at", "new_at", "unmet"),
    [
        (0.0, 0.5, 25),
        (1.01, 0.5, 25),
        (0.95, 0.0, 25),
        (0.95, 1.5, 25),
        (0.5, 0.5, 25),  # both could be reached
        (0.95, 0.5, 0),
        (0.95, 0.5, -3),
        (math.nan, 0.5, 25),
        (0.95, 0.5, math.nan),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(assign_at: float, new_at: float, unmet: float) -> None:
    with pytest.raises(InputError):
        Policy(assign_at, new_at, unmet)


def test_assigned_is_right_as_often_as_promised_when_the_curve_is_right() -> None:
    """Simulated meetings with animals whose similarities follow the curve: the promise of ``assign_at``."""
    rng = np.random.default_rng(5)
    # Two normal distributions, so that ln(ratio) = (m1 - m0)/s²·(x - (m1 + m0)/2) is exact.
    m1, m0, s = 0.75, 0.3, 0.1
    slope, middle = (m1 - m0) / s**2, (m1 + m0) / 2
    curve = Calibration((-1.0, 2.0), (slope * (-1 - middle), slope * (2 - middle)))
    known, unmet, right, assigned, wrongly_new, new = 30, 10, 0, 0, 0, 0
    for _ in range(4_000):
        who = int(rng.integers(known + unmet))
        similarities = rng.normal(m0, s, known)
        if who < known:
            similarities[who] = rng.normal(m1, s)
        order = np.argsort(-similarities)[:10]
        belief = believe(
            [(int(i), float(similarities[i])) for i in order],
            gallery_size=known,
            calibration=curve,
            unmet=unmet,
        )
        decision = decide(belief, Policy(assign_at=0.9, new_at=0.6, unmet=unmet))
        if decision.outcome is Outcome.ASSIGN:
            assigned += 1
            right += decision.deer_id == who
        elif decision.outcome is Outcome.NEW:
            new += 1
            wrongly_new += who < known
    assert assigned > 2_000
    assert right / assigned > 0.97  # on average well above the least that is asked for
    assert new > 600
    assert wrongly_new / new < 0.2
