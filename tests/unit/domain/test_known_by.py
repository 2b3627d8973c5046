"""By what an individual is known: compared with the same said plainly, pair by pair."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deertrack.domain.known_by import KnownBy, compare
from deertrack.domain.protocols import Sightings

SEEN = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 1)), min_size=1, max_size=14)


def sightings(rows: list[tuple[int, int, int]]) -> Sightings:
    identity, encounter, side = np.array(rows, np.int64).T
    return Sightings(tuple(np.array([i]) for i in range(len(rows))), identity, encounter, side)


def looks(count: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, 6))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@given(SEEN, st.sampled_from(list(KnownBy)), st.integers(0, 99))
def test_every_sighting_scores_as_its_individual_does(
    rows: list[tuple[int, int, int]], known_by: KnownBy, seed: int
) -> None:
    seen, vectors = sightings(rows), looks(len(rows), seed)
    scores = compare(vectors, vectors, seen, seen, known_by)
    assert scores.shape == (len(rows), len(rows))
    assert np.isfinite(scores).all()
    assert abs(scores).max() <= 1 + 1e-6
    for q, (_, encounter, side) in enumerate(rows):
        for g, (identity, other, answering) in enumerate(rows):
            if other == encounter or answering != side:
                continue  # nobody may compare these
            own = [
                i for i, (who, when, flank) in enumerate(rows)
                if (who, flank) == (identity, answering) and when != encounter
            ]  # fmt: skip
            mean = vectors[own].astype(np.float64).mean(axis=0)
            expected = {
                KnownBy.MEAN: vectors[q] @ mean / np.linalg.norm(mean),
                KnownBy.BEST: vectors[q] @ vectors[g],
                KnownBy.FIRST: vectors[q] @ vectors[own[0]],
            }[known_by]
            assert scores[q, g] == pytest.approx(expected, abs=1e-5)


def test_what_was_seen_in_the_same_encounter_is_no_help() -> None:
    """Two photos of one visit look alike; the animal's other sighting does not look like them at all."""
    visit, other = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]
    vectors = np.array([visit, visit, other], np.float32)
    seen = sightings([(0, 7, 0), (0, 7, 0), (0, 8, 0)])
    assert compare(vectors, vectors, seen, seen, KnownBy.MEAN)[0].max() == pytest.approx(0)


def test_the_mean_says_nothing_where_nothing_may_be_compared() -> None:
    seen = sightings([(0, 1, 0), (1, 2, 0)])
    scores = compare(looks(2, 1), looks(2, 1), seen, seen, KnownBy.MEAN)
    assert scores[0, 0] == scores[1, 1] == -1
