import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deertrack.domain.embedding import DIMENSIONS, EmbeddingVersion, Output, Vectors, norm_error, normalise
from deertrack.domain.errors import InputError
from deertrack.domain.fusion import Weights, joint_vectors, weighted_query

seeds = st.integers(0, 2**32 - 1)
weights = st.floats(0, 1).map(lambda w: Weights(w, 1 - w))


def version(stage: int) -> EmbeddingVersion:
    return EmbeddingVersion(f"v{stage}", stage, "x", {output: output.value for output in Output})


def animals(n: int, seed: int) -> dict[Output, Vectors]:
    rng = np.random.default_rng(seed)
    return {output: normalise(rng.normal(size=(n, DIMENSIONS))) for output in Output}


def one(vectors: dict[Output, Vectors], row: int) -> dict[Output, Vectors]:
    return {output: rows[row] for output, rows in vectors.items()}


def similarity(a: dict[Output, Vectors], b: dict[Output, Vectors], shares: dict[Output, float]) -> float:
    """By the definition: the weighted sum of cosines of unit vectors."""
    return sum(
        share * float(a[o].astype(np.float64) @ b[o].astype(np.float64)) for o, share in shares.items()
    )


def test_shares_follow_the_stage_of_the_version() -> None:
    given_weights = Weights(0.7, 0.3)
    assert given_weights.of(version(1)) == {Output.SINGLE: 1.0}
    assert given_weights.of(version(2)) == {Output.MULTISCALE: 1.0}
    assert given_weights.of(version(3)) == {Output.MULTISCALE: 0.7, Output.PARTNER: 0.3}
    assert Weights().of(version(3)) == {Output.MULTISCALE: 0.6, Output.PARTNER: 0.4}  # spec


@given(seeds, weights, st.sampled_from([1, 2, 3]))
def test_the_query_against_the_concatenation_is_the_weighted_similarity(
    seed: int, chosen: Weights, stage: int
) -> None:
    shares = chosen.of(version(stage))
    herd = animals(2, seed)
    gallery, query = one(herd, 0), one(herd, 1)
    concatenated = np.concatenate([gallery[output] for output in shares])
    inner = float(concatenated @ weighted_query(query, shares))
    assert inner == pytest.approx(similarity(gallery, query, shares), abs=1e-5)


@given(seeds, weights)
def test_joint_vectors_are_unit_and_their_inner_products_are_the_similarities(
    seed: int, chosen: Weights
) -> None:
    shares = chosen.of(version(3))
    herd = animals(4, seed)
    joint = joint_vectors(herd, shares)
    assert joint.shape == (4, 2 * DIMENSIONS)
    assert norm_error(joint).max() < 1e-5
    expected = [[similarity(one(herd, a), one(herd, b), shares) for b in range(4)] for a in range(4)]
    np.testing.assert_allclose(joint @ joint.T, expected, atol=1e-5)


@given(seeds, weights)
def test_an_animal_is_wholly_similar_to_itself(seed: int, chosen: Weights) -> None:
    itself = one(animals(1, seed), 0)
    assert similarity(itself, itself, chosen.of(version(3))) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("multiscale", "partner"), [(0.6, 0.5), (0.5, 0.4), (-0.1, 1.1), (1.1, -0.1), (0.0, 0.0)]
)
def test_weights_that_are_no_shares_are_refused(multiscale: float, partner: float) -> None:
    with pytest.raises(InputError, match="two weights ≥ 0 that sum to 1"):
        Weights(multiscale, partner)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(bad: float) -> None:
    with pytest.raises(InputError):
        Weights(bad, 0.4)
