import numpy as np
import pytest

from deertrack.domain.embedding import DIMENSIONS, normalise
from deertrack.domain.errors import InputError
from deertrack.domain.learned import Head, Method, classes_of, fit_head, fit_lda, fit_whitening

RNG = np.random.default_rng(3)


def herd(animals: int, photos: int) -> tuple[np.ndarray, np.ndarray]:
    """Animals that differ a little in 20 directions, in photos that differ much in 20 others (pose, light)."""
    rng = np.random.default_rng(8)
    who = np.repeat(np.arange(animals), photos)
    looks = np.zeros((animals, DIMENSIONS))
    looks[:, :20] = rng.normal(size=(animals, 20))
    rows = looks[who] + rng.normal(scale=0.05, size=(len(who), DIMENSIONS))
    rows[:, 20:40] += rng.normal(scale=5.0, size=(len(who), 20))
    return normalise(rows), who


def right_first(vectors: np.ndarray, who: np.ndarray) -> float:
    near = vectors @ vectors.T
    np.fill_diagonal(near, -2)
    return float((who[near.argmax(axis=1)] == who).mean())


@pytest.mark.parametrize("method", list(Method))
def test_a_head_helps_among_animals_that_it_did_not_learn_from(method: Method) -> None:
    vectors, who = herd(animals=80, photos=6)
    learned = who < 60
    head = fit_head(method, vectors[learned], who[learned])
    before, after = vectors[~learned], normalise(head.project(vectors[~learned]))
    assert right_first(after, who[~learned]) > right_first(before, who[~learned]) + 0.2


def test_lda_finds_what_parts_the_animals() -> None:
    vectors, who = herd(animals=60, photos=6)
    head = fit_lda(vectors, who, components=10)
    assert head.matrix.shape == (DIMENSIONS, 10)
    share = (head.matrix[:20] ** 2).sum() / (head.matrix**2).sum()
    assert share > 0.9  # of the directions, what lies where animals differ


def test_whitening_evens_the_variances_as_far_as_the_ridge_lets_it() -> None:
    spread = np.linspace(1, 5, DIMENSIONS)
    rows = (RNG.normal(size=(4000, DIMENSIONS)) * spread).astype(np.float32)
    head = fit_whitening(rows, components=50, ridge=1.0)
    made = head.project(rows)
    assert not made[:, 50:].any()
    assert np.allclose(made[:, :50].mean(axis=0), 0, atol=1e-3)
    strongest = np.sort(np.linalg.eigvalsh(np.cov(rows.T, ddof=0)))[::-1][:50]
    assert np.allclose(made[:, :50].var(axis=0), strongest / (strongest + strongest.mean()), atol=1e-3)


def test_a_vector_is_the_same_alone_and_in_company() -> None:
    vectors, who = herd(animals=30, photos=5)
    head = fit_lda(vectors, who)
    together = head.project(vectors)
    for size in (1, 3, 64):
        assert np.array_equal(head.project(vectors[:size]), together[:size])


def test_the_flanks_of_an_animal_are_classes_of_their_own() -> None:
    identity, flank = np.array([4, 4, 4, 7, 7]), np.array([0, 1, 0, -1, -1])
    classes = classes_of(identity, flank)
    assert classes.shape == (5,)
    assert len(set(classes.tolist())) == 3
    assert classes[0] == classes[2] != classes[1]
    assert classes[3] == classes[4]


def test_too_little_to_learn_from_is_told() -> None:
    vectors, who = herd(animals=4, photos=3)
    with pytest.raises(InputError, match="three or more animals"):
        fit_lda(vectors[:6], who[:6])
    with pytest.raises(InputError, match="three or more animals"):
        fit_lda(vectors[::3], who[::3])  # one photo of each
    with pytest.raises(InputError, match="several different photos"):
        fit_lda(np.repeat(vectors[::3], 2, axis=0), np.repeat(who[::3], 2))
    for rows in (vectors[:0], vectors[:1], vectors[:2], np.repeat(vectors[:1], 9, axis=0)):
        with pytest.raises(InputError, match="three or more different photos"):
            fit_whitening(rows)


@pytest.mark.parametrize(
    ("mean", "matrix"),
    [
        (np.zeros(5), np.zeros((DIMENSIONS, 3))),
        (np.zeros(DIMENSIONS), np.zeros((3, DIMENSIONS))),
        (np.zeros(DIMENSIONS), np.zeros((DIMENSIONS, 0))),
        (np.zeros(DIMENSIONS), np.zeros((DIMENSIONS, 513))),
        (np.zeros(DIMENSIONS), np.zeros(DIMENSIONS)),
        (np.full(DIMENSIONS, np.nan), np.zeros((DIMENSIONS, 3))),
        (np.zeros(DIMENSIONS), np.full((DIMENSIONS, 3), np.inf)),
    ],
)
def test_what_is_no_head_is_refused(mean: np.ndarray, matrix: np.ndarray) -> None:
    with pytest.raises(InputError, match="expected a head"):
        Head(mean, matrix)
