import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deertrack.domain.pairs import Pairs, PairSet, SightingCodes, pick_pairs
from deertrack.domain.separation import Scores, compared, estimate, held_out_false_accepts, resample

SAME, DIFFERENT = np.array([0.9, 0.8, 0.4]), np.array([0.7, 0.5, 0.3, 0.1])

# On a grid, so that a monotone map keeps ties and order exactly.
similarities = st.lists(st.integers(-20, 20).map(lambda i: i / 20), min_size=1, max_size=25).map(np.array)
seeds = st.integers(0, 2**32 - 1)


def codes(
    identity: list[int], encounter: list[int] | None = None, sex: list[int] | None = None
) -> SightingCodes:
    n = len(identity)
    return SightingCodes(
        np.array(identity, np.int64),
        np.array(encounter if encounter is not None else range(n), np.int64),
        np.array(sex if sex is not None else [0] * n, np.int64),
    )


def random_codes(n: int, seed: int, identities: int = 5) -> SightingCodes:
    rng = np.random.default_rng(seed)
    _, identity = np.unique(rng.integers(0, identities, n), return_inverse=True)
    sex_of = rng.integers(0, 3, identities)
    return SightingCodes(identity.astype(np.int64), rng.integers(0, n, n), sex_of[identity])


def test_a_hand_checked_example() -> None:
    figures = Scores(SAME, DIFFERENT).figures(far=0.25)
    assert figures.auc == pytest.approx(10 / 12)  # 0.9 and 0.8 beat all four, 0.4 beats two
    assert figures.d_prime == pytest.approx(0.3 / math.sqrt((0.14 / 3 + 0.2 / 4) / 2))
    assert (figures.tar, figures.threshold) == (pytest.approx(2 / 3), 0.7)  # one of four at or above 0.7
    assert figures.tar_1 == figures.tar_5 == pytest.approx(2 / 3)  # none of four: above 0.7
    assert (figures.mean_same, figures.mean_different) == (pytest.approx(0.7), pytest.approx(0.4))


def test_ties_count_half() -> None:
    assert Scores(np.array([0.5, 0.5]), np.array([0.5])).figures(0.01).auc == 0.5
    assert Scores(np.array([0.5, 0.9]), np.array([0.5, 0.1])).figures(0.01).auc == pytest.approx(3.5 / 4)


def test_a_threshold_accepts_nothing_where_the_most_similar_pair_is_a_wrong_one() -> None:
    figures = Scores(np.array([0.1, 0.2]), np.array([0.9] + [0.0] * 9)).figures(far=0.05)
    assert figures.tar == 0
    assert figures.threshold > 0.9


def test_accept_rates_of_a_hundred() -> None:
    different = np.arange(100) / 100  # 0.00 … 0.99
    same = np.array([0.99, 0.97, 0.94, 0.5])
    figures = Scores(same, different).figures(far=0.01)
    assert (figures.tar_1, figures.threshold) == (0.25, 0.99)
    assert figures.tar_5 == 0.5  # five of a hundred lie at or above 0.95


def test_without_any_spread_d_prime_is_nought_or_infinite() -> None:
    assert Scores(np.array([0.6, 0.6]), np.array([0.6])).figures(0.01).d_prime == 0
    assert Scores(np.array([0.6, 0.6]), np.array([0.2])).figures(0.01).d_prime == math.inf
    assert Scores(np.array([0.1]), np.array([0.2])).figures(0.01).d_prime == -math.inf


@given(similarities, similarities)
def test_auc_is_the_share_of_comparisons_that_come_out_right(same: np.ndarray, different: np.ndarray) -> None:
    right = np.sign(same[:, None] - different[None, :])
    assert Scores(same, different).figures(0.01).auc == pytest.approx(np.mean((right + 1) / 2))


@given(similarities, similarities)
def test_auc_and_accept_rates_survive_any_rising_map(same: np.ndarray, different: np.ndarray) -> None:
    plain = Scores(same, different).figures(0.1)
    bent = Scores(np.exp(3 * same) - 7, np.exp(3 * different) - 7).figures(0.1)
    assert bent.auc == pytest.approx(plain.auc)
    assert (bent.tar_1, bent.tar_5, bent.tar) == pytest.approx((plain.tar_1, plain.tar_5, plain.tar))


@given(similarities, similarities, st.floats(0.1, 5), st.floats(-3, 3))
def test_d_prime_survives_shift_and_scale(
    same: np.ndarray, different: np.ndarray, scale: float, shift: float
) -> None:
    plain = Scores(same, different).figures(0.1).d_prime
    moved = Scores(scale * same + shift, scale * different + shift).figures(0.1).d_prime
    assert moved == pytest.approx(plain, abs=1e-6)


@given(similarities, similarities, seeds)
def test_the_order_of_pairs_does_not_matter(same: np.ndarray, different: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shuffled = Scores(rng.permutation(same), rng.permutation(different)).figures(0.1)
    assert shuffled == pytest.approx(Scores(same, different).figures(0.1))


@given(similarities, similarities)
def test_same_and_different_change_places(same: np.ndarray, different: np.ndarray) -> None:
    auc = Scores(same, different).figures(0.1).auc
    assert Scores(different, same).figures(0.1).auc == pytest.approx(1 - auc)


@given(similarities, similarities, seeds)
def test_a_weight_is_a_repetition(same: np.ndarray, different: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ws, wd = rng.integers(0, 4, len(same)), rng.integers(0, 4, len(different))
    weighed = Scores(same, different).figures(0.1, ws.astype(float), wd.astype(float))
    if not (ws.any() and wd.any()):
        assert np.isnan(weighed).all()
        return
    repeated = Scores(np.repeat(same, ws), np.repeat(different, wd)).figures(0.1)
    kept = ("auc", "tar_1", "tar_5", "tar", "mean_same", "mean_different")
    assert [getattr(weighed, k) for k in kept] == pytest.approx([getattr(repeated, k) for k in kept])
    if math.isfinite(repeated.d_prime):
        assert weighed.d_prime == pytest.approx(repeated.d_prime, abs=1e-6)


def test_bins_change_next_to_nothing() -> None:
    rng = np.random.default_rng(1)
    same, different = rng.normal(0.6, 0.1, 5_000), rng.normal(0.4, 0.1, 50_000)
    exact, binned = Scores(same, different).figures(0.01), Scores(same, different, levels=4_096).figures(0.01)
    assert binned == pytest.approx(exact, abs=2e-3)


@given(st.integers(2, 40), seeds)
def test_all_pairs_are_of_different_encounters_and_none_is_forgotten(n: int, seed: int) -> None:
    sightings = random_codes(n, seed)
    pairs = pick_pairs(sightings, np.random.default_rng(seed))
    found = {
        (int(a), int(b))
        for p in (pairs.same, pairs.different)
        for a, b in zip(p.later, p.earlier, strict=True)
    }
    sex = sightings.sex
    expected = {
        (i, j)
        for i in range(n)
        for j in range(i)
        if sightings.encounter[i] != sightings.encounter[j] and (sex[i] == sex[j] or 0 in (sex[i], sex[j]))
    }
    assert found == expected
    assert len(pairs.same) + len(pairs.different) == len(found) == pairs.same.total + pairs.different.total
    assert (pairs.same.first == pairs.same.second).all()
    assert (pairs.different.first != pairs.different.second).all()


def test_too_many_pairs_are_sampled_and_counted() -> None:
    sightings = codes([0] * 30 + [1] * 2 + [2] * 40)
    pairs = pick_pairs(sightings, np.random.default_rng(0), same_each=50, most_same=80, most_different=200)
    assert pairs.same.total == 435 + 1 + 780
    assert len(pairs.same) == 80
    assert np.bincount(pairs.same.first).max() <= 50
    assert pairs.different.total == 60 + 1200 + 80
    assert 60 < len(pairs.different) < 200
    assert len(set(zip(pairs.different.later, pairs.different.earlier, strict=True))) == len(pairs.different)
    again = pick_pairs(sightings, np.random.default_rng(0), same_each=50, most_same=80, most_different=200)
    assert (again.different.later == pairs.different.later).all()


def test_an_animal_drawn_twice_counts_twice_with_itself_and_fourfold_with_another_drawn_twice() -> None:
    pairs = pick_pairs(codes([0, 0, 1, 1, 2]), np.random.default_rng(0))
    same, different = pairs.weights(np.array([2.0, 2.0, 0.0]))
    assert same.tolist() == [2, 2]
    between = (pairs.different.first < 2) & (pairs.different.second < 2)
    assert set(different[between]) == {4}
    assert set(different[~between]) == {0}


def test_an_interval_covers_animals_not_pairs() -> None:
    # Two kinds of animals, easy and hard, with thousands of pairs each: what is uncertain is which animals came.
    identity = np.repeat(np.arange(20), 500)
    same = np.where(identity % 2 == 0, 0.9, 0.5) + np.random.default_rng(0).normal(0, 0.01, len(identity))
    empty = np.zeros(2, np.int64)
    pairs = Pairs(
        PairSet(identity, identity, identity, identity, len(identity)),
        PairSet(empty, empty, empty, empty + 1, 2),
    )
    scores = Scores(same, np.array([0.6, 0.7]))

    def auc(drawn: np.ndarray) -> np.ndarray:
        return np.array([scores.figures(0.1, pairs.weights(drawn)[0]).auc])

    found = estimate(scores.figures(0.1).auc, resample(auc, 20, 400, np.random.default_rng(0))[:, 0])
    assert found.value == pytest.approx(0.5, abs=0.01)
    assert found.low is not None
    assert found.high is not None
    assert 0.2 < found.low < 0.35  # half of 20 animals: a standard error of 0.11
    assert 0.65 < found.high < 0.8


def test_a_difference_is_paired() -> None:
    noise = np.random.default_rng(0).normal(0, 1, 500)
    found = compared(1.0, 1.1, 1 + noise, 1.1 + noise)
    assert found.difference.low == pytest.approx(0.1)
    assert found.difference.high == pytest.approx(0.1)
    assert found.better == 1
    assert compared(1.0, 1.0, noise, noise).better == 0


def test_what_cannot_be_resampled_has_no_interval() -> None:
    assert estimate(0.5, np.full(100, np.nan)).low is None


def test_a_threshold_keeps_its_promise_on_animals_that_it_has_not_seen() -> None:
    rng = np.random.default_rng(2)
    sightings = codes(list(np.repeat(np.arange(40), 5)))
    pairs = pick_pairs(sightings, rng).different
    found = held_out_false_accepts(rng.normal(0, 1, len(pairs)), pairs, 0.01, rng)
    assert found == pytest.approx(0.01, abs=0.004)
    # Where a few animals make all the high similarities, a threshold set without them lets many through.
    looks_alike = (pairs.first < 6) & (pairs.second < 6)
    worse = held_out_false_accepts(rng.normal(0, 1, len(pairs)) + 9 * looks_alike, pairs, 0.01, rng)
    assert worse is not None
    assert found is not None
    assert worse > found
