"""Rates of clustered decisions, their differences, drift, and how much data it takes to tell."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chi2

from deertrack.domain.monitoring import (
    Spread,
    Tally,
    chance_of_rise,
    clusters_wanted,
    difference,
    enough,
    index_by_chance,
    median_difference,
    misses,
    rate,
    stability_index,
)
from deertrack.domain.separation import Estimate

clusters = st.lists(
    st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), max_size=30
)


def independent(hits: int, items: int) -> Tally:
    """Items that are clusters of their own."""
    return Tally(items, items, hits, items, hits, hits)


def tally(found: list[tuple[int, int]]) -> Tally:
    """From (items, hits) of each cluster."""
    return Tally(
        len(found),
        sum(n for n, _ in found),
        sum(x for _, x in found),
        sum(n * n for n, _ in found),
        sum(x * x for _, x in found),
        sum(n * x for n, x in found),
    )


# -- rates --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hits", "items", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_intervals_as_published(hits: int, items: int, low: float, high: float) -> None:
    """Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I, method 3."""
    found = rate(independent(hits, items))
    assert found
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    assert found.value == hits / items


@pytest.mark.parametrize(
    ("after", "before", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_intervals_of_differences_as_published(
    after: tuple[int, int], before: tuple[int, int], low: float, high: float
) -> None:
    """Newcombe (1998), "Interval estimation for the difference", table II, method 10."""
    found = difference(independent(*before), independent(*after))
    assert found
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


def test_nothing_is_said_of_nothing() -> None:
    assert rate(Tally()) is None
    assert difference(Tally(), independent(1, 2)) is None
    assert difference(independent(1, 2), Tally()) is None
    assert chance_of_rise(Tally(), independent(9, 9)) == 1


@given(clusters)
def test_clusters_are_worth_no_more_than_their_items(found: list[tuple[int, int]]) -> None:
    t = tally(found)
    assert 0 <= t.worth <= t.items or math.isclose(t.worth, t.items)
    if figure := rate(t):
        assert figure.low is not None
        assert figure.high is not None
        assert 0 <= figure.low <= figure.value + 1e-12
        assert figure.value - 1e-12 <= figure.high <= 1


@given(st.integers(2, 200).flatmap(lambda n: st.tuples(st.integers(1, n - 1), st.just(n))))
def test_items_on_their_own_are_worth_themselves(counts: tuple[int, int]) -> None:
    assert independent(*counts).worth == pytest.approx(counts[1])


@given(clusters, clusters)
def test_tallies_add_up_and_turn_round(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    assert tally(one) + tally(other) == tally(one + other)
    assert misses(tally(one)) == tally([(n, n - x) for n, x in one])
    assert misses(misses(tally(one))) == tally(one)


def test_items_that_go_together_are_worth_one() -> None:
    """Clusters of five that agree within: as many independent items as there are clusters."""
    t = tally([(5, 5)] * 60 + [(5, 0)] * 40)
    assert t.worth == pytest.approx(99.2, abs=0.1)
    assert tally([(5, 5)] * 60).worth == 60  # their spread says nothing


def test_intervals_hold_what_they_promise_where_the_plain_ones_do_not() -> None:
    """Encounters differ: in some nearly every animal is matched, in others hardly one."""
    rng = np.random.default_rng(3)
    covered = plain = 0
    for _ in range(400):
        sizes = rng.integers(1, 8, 150)
        hits = rng.binomial(sizes, rng.beta(2, 1, 150))
        t = tally(list(zip(sizes.tolist(), hits.tolist(), strict=True)))
        ours, naive = rate(t), rate(independent(t.hits, t.items))
        assert ours
        assert naive
        covered += ours.low <= 2 / 3 <= ours.high  # type: ignore[operator]
        plain += naive.low <= 2 / 3 <= naive.high  # type: ignore[operator]
    assert 0.92 <= covered / 400 <= 0.98
    assert plain / 400 < 0.88


# -- rises --------------------------------------------------------------------------------------------------


def test_a_rise_is_told_from_chance() -> None:
    before = independent(50, 1000)
    assert chance_of_rise(before, before) == pytest.approx(0.5)
    assert chance_of_rise(before, independent(10, 200)) == pytest.approx(0.5)
    z = (0.1 - 0.05) / math.sqrt(0.0667 * 0.9333 * (1 / 1000 + 1 / 500))  # 100 of 1500 in all
    by_hand = math.erfc(z / math.sqrt(2)) / 2
    assert chance_of_rise(independent(50, 1000), independent(50, 500)) == pytest.approx(by_hand, rel=0.01)
    assert chance_of_rise(independent(50, 1000), independent(10, 500)) > 0.99
    assert chance_of_rise(independent(0, 100), independent(0, 100)) == 1


def test_clusters_make_a_rise_less_sure() -> None:
    before, after = tally([(5, 5)] * 10 + [(5, 0)] * 90), tally([(5, 5)] * 20 + [(5, 0)] * 80)
    assert chance_of_rise(before, after) > 0.02
    assert chance_of_rise(independent(50, 500), independent(100, 500)) < 0.0001


# -- drift --------------------------------------------------------------------------------------------------


def test_alike_histograms_have_no_index_and_others_the_textbooks() -> None:
    assert stability_index([100] * 10, [10] * 10) == pytest.approx(0, abs=1e-9)
    # (0.7 - 0.5) ln(0.7 / 0.5) + (0.3 - 0.5) ln(0.3 / 0.5)
    assert stability_index([5000, 5000], [7000, 3000]) == pytest.approx(0.16946, abs=2e-4)
    assert math.isfinite(stability_index([500, 0, 500], [0, 900, 100]))


@pytest.mark.parametrize("bins", [5, 10, 20])
def test_what_chance_does_to_the_index(bins: int) -> None:
    for chance in (0.05, 0.001):
        expected = chi2.isf(chance, bins - 1) * (1 / 500 + 1 / 2000)
        assert index_by_chance(2000, 500, bins, chance) == pytest.approx(expected, rel=0.02)
    assert index_by_chance(0, 10, bins, 0.05) == math.inf
    rng = np.random.default_rng(bins)
    found = [
        stability_index(
            rng.multinomial(2000, [1 / bins] * bins).tolist(),
            rng.multinomial(500, [1 / bins] * bins).tolist(),
        )
        for _ in range(2000)
    ]
    assert np.mean(np.array(found) > index_by_chance(2000, 500, bins, 0.05)) == pytest.approx(0.05, abs=0.02)


# -- enough data --------------------------------------------------------------------------------------------


def test_enough_is_told_from_nothing_or_narrow() -> None:
    assert enough(Estimate(0.1, 0.02, 0.18), 0.05)
    assert enough(Estimate(-0.1, -0.18, -0.02), 0.05)
    assert enough(Estimate(0.01, -0.01, 0.03), 0.05)
    assert not enough(Estimate(0.01, -0.04, 0.06), 0.05)
    assert not enough(Estimate(0.01, None, None), 0.05)
    assert not enough(None, 0.05)


def test_as_many_clusters_as_wanted_make_the_interval_narrow() -> None:
    one, other = [(3, 2), (2, 2), (4, 1), (1, 0)] * 20, [(3, 1), (2, 2), (4, 2), (1, 0)] * 20
    gap = difference(tally(one), tally(other))
    assert gap
    assert not enough(gap, 0.05)
    times = math.ceil(clusters_wanted(160, gap, 0.05) / 160)
    later = difference(tally(one * times), tally(other * times))
    assert later
    assert later.low is not None
    assert later.high is not None
    assert 0.04 < later.high - later.low < 0.051


def test_without_data_even_odds_are_meant() -> None:
    """Two arms of n / 2 items each at one half: the interval of the difference is 2 · 1.96 / sqrt(n) wide."""
    assert clusters_wanted(0, None, 0.05) == math.ceil((2 * 1.959964 / 0.05) ** 2)


# -- times --------------------------------------------------------------------------------------------------


def spread(values: NDArray[np.float64]) -> Spread:
    bins, counts = np.unique(np.round(values, 1), return_counts=True)
    return Spread(bins, counts)


def test_medians_and_their_difference() -> None:
    rng = np.random.default_rng(1)
    slow, quick = rng.lognormal(2.3, 0.4, 900), rng.lognormal(2.0, 0.4, 600)
    found = median_difference(spread(quick), spread(slow), np.random.default_rng(0))
    assert found
    assert found.value == pytest.approx(np.median(slow) - np.median(quick), abs=0.15)
    assert found.low is not None
    assert found.high is not None
    assert found.low < math.exp(2.3) - math.exp(2.0) < found.high
    assert found.high - found.low < 1
    assert found == median_difference(spread(quick), spread(slow), np.random.default_rng(0))


def test_no_times_no_difference() -> None:
    nothing = Spread(np.empty(0), np.empty(0, np.int64))
    assert median_difference(nothing, spread(np.ones(3)), np.random.default_rng(0)) is None
    assert math.isnan(nothing.median)
