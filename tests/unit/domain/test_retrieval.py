import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deertrack.domain.embedding import Vectors
from deertrack.domain.pairs import SightingCodes
from deertrack.domain.retrieval import answerable, ask


def codes(identity: list[int], encounter: list[int], sex: list[int] | None = None) -> SightingCodes:
    return SightingCodes(
        np.array(identity, np.int64),
        np.array(encounter, np.int64),
        np.array(sex or [0] * len(identity), np.int64),
    )


def towards(similarities: list[float]) -> Vectors:
    """Plane vectors at these cosines to the first axis."""
    x = np.array(similarities, np.float32)
    return np.stack([x, np.sqrt(1 - x**2)], axis=1)


def test_a_hand_checked_ranking() -> None:
    # The query is row 0 (animal 0). In order come: right 0.9, wrong 0.8, right 0.7, wrong 0.1.
    sightings = codes([0, 0, 1, 0, 2], [0, 1, 2, 3, 4])
    vectors = towards([1.0, 0.9, 0.8, 0.7, 0.1])
    answers = ask(vectors, vectors, sightings, np.array([0]))
    assert answers.rank_1.tolist() == [True]
    assert answers.precision[0] == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert (answers.best_same[0], answers.best_other[0]) == (1, 2)
    assert (answers.same_similarity[0], answers.other_similarity[0]) == pytest.approx((0.9, 0.8))


def test_the_same_encounter_does_not_answer() -> None:
    # Row 1 shows the same animal in the same visit: nearly the same picture, so it would be far too easy.
    sightings = codes([0, 0, 1, 0], [7, 7, 8, 9])
    vectors = towards([1.0, 0.99, 0.8, 0.5])
    answers = ask(vectors, vectors, sightings, np.array([0]))
    assert answers.rank_1.tolist() == [False]
    assert answers.precision[0] == pytest.approx(1 / 2)


def test_the_other_sex_does_not_answer_and_an_unknown_one_does() -> None:
    vectors = towards([1.0, 0.9, 0.5])
    for sex, first in ((2, True), (1, False), (0, False)):
        sightings = codes([0, 1, 0, 2], [0, 1, 2, 3], [1, sex, 1, 0])
        answers = ask(
            np.vstack([vectors, towards([0.1])]),
            np.vstack([vectors, towards([0.1])]),
            sightings,
            np.array([0]),
        )
        assert answers.rank_1[0] == first


def test_ties_count_against_the_right_animal() -> None:
    sightings = codes([0, 0, 1], [0, 1, 2])
    vectors = towards([1.0, 0.5, 0.5])
    answers = ask(vectors, vectors, sightings, np.array([0]))
    assert not answers.rank_1[0]
    assert answers.rank_5[0]
    assert answers.precision[0] == 0.5


def test_rank_five_is_the_first_five() -> None:
    for wrong, found in ((4, True), (5, False)):
        sightings = codes([0, 0, *range(1, wrong + 1)], list(range(wrong + 2)))
        vectors = towards([1.0, 0.5, *[0.9] * wrong])
        assert ask(vectors, vectors, sightings, np.array([0])).rank_5[0] == found


def test_only_sightings_with_a_right_and_a_wrong_answer_ask() -> None:
    assert answerable(codes([0, 0, 1], [0, 1, 2])).tolist() == [0, 1]
    assert answerable(codes([0, 0, 1], [5, 5, 6])).tolist() == []
    assert answerable(codes([0, 0], [0, 1])).tolist() == []


@given(st.integers(3, 30), st.integers(0, 2**32 - 1))
def test_precision_is_what_its_definition_says(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sightings = codes(list(rng.integers(0, 4, n)), list(rng.integers(0, n, n)))
    vectors = rng.normal(size=(n, 8)).astype(np.float32)
    queries = answerable(sightings)
    answers = ask(vectors, vectors, sightings, queries)
    for place, query in enumerate(queries):
        order = [
            j
            for j in np.argsort(-(vectors @ vectors[query]))
            if sightings.encounter[j] != sightings.encounter[query]
        ]
        right = [sightings.identity[j] == sightings.identity[query] for j in order]
        precisions = [sum(right[: i + 1]) / (i + 1) for i, hit in enumerate(right) if hit]
        assert answers.precision[place] == pytest.approx(np.mean(precisions))
        assert answers.rank_1[place] == right[0]
        assert answers.rank_5[place] == any(right[:5])
