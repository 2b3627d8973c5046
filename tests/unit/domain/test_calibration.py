import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from deertrack.domain.calibration import Calibration, fit
from deertrack.domain.errors import InputError

SAME, DIFFERENT, SPREAD = 0.5, 0.3, 0.15


def pairs(same: int, different: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Pairs with a likelihood ratio that is known: two normal distributions of the same spread."""
    rng = np.random.default_rng(seed)
    similarities = np.concatenate([rng.normal(SAME, SPREAD, same), rng.normal(DIFFERENT, SPREAD, different)])
    return similarities, np.repeat([True, False], [same, different])


def true_log_ratio(similarity: NDArray[np.float64]) -> NDArray[np.float64]:
    return (SAME - DIFFERENT) / SPREAD**2 * (similarity - (SAME + DIFFERENT) / 2)


@st.composite
def curves(draw: st.DrawFn) -> Calibration:
    knots = draw(st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=2, max_size=8, unique=True))
    logs = draw(st.lists(st.floats(-20, 20), min_size=len(knots), max_size=len(knots)))
    return Calibration(tuple(sorted(knots)), tuple(sorted(logs)))


@pytest.mark.parametrize(("same", "different"), [(20_000, 20_000), (4_000, 80_000), (30_000, 6_000)])
def test_fit_recovers_the_known_curve_however_many_pairs_of_each_kind(same: int, different: int) -> None:
    curve = fit(*pairs(same, different))
    where = np.linspace(0.25, 0.65, 21)
    np.testing.assert_allclose(np.log(curve.likelihood_ratios(where)), true_log_ratio(where), atol=0.35)


def test_few_pairs_are_enough_for_the_direction_but_not_for_certainty() -> None:
    curve = fit(*pairs(60, 600))
    low, high = curve.likelihood_ratios([0.1, 0.75])
    assert low < 0.5 < 2 < high
    # One animal in sixty pairs and never in six hundred: at most about their odds.
    assert high < 700


def test_similarities_that_say_nothing_leave_the_odds_alone() -> None:
    rng = np.random.default_rng(3)
    curve = fit(rng.uniform(0, 1, 20_000), rng.uniform(0, 1, 20_000) < 0.5)
    assert np.abs(np.log(curve.likelihood_ratios(np.linspace(0.05, 0.95, 19)))).max() < 0.15


def test_similarities_that_mislead_never_make_a_falling_curve() -> None:
    similarities, same = pairs(2_000, 2_000)
    ratios = fit(similarities, ~same).likelihood_ratios(np.linspace(-1, 1, 50))
    assert (np.diff(ratios) >= 0).all()
    assert ratios.max() < 3


def test_many_equal_similarities_are_no_obstacle() -> None:
    # Two photos of one moment at two stations' cards: a tenth of the pairs is exactly alike.
    similarities, same = pairs(1_000, 10_000)
    similarities[:100] = 1.0
    similarities[100:160] = 0.25
    curve = fit(similarities, same)
    low, middle, top = curve.likelihood_ratios([0.2, 0.5, 1.0])
    assert low < 1 < middle < 15 < top


def test_only_two_different_similarities_are_two_knots() -> None:
    curve = fit([0.9] * 40 + [0.1] * 80, [True] * 60 + [False] * 60)
    assert curve.similarities == (0.1, 0.9)
    low, high = curve.likelihood_ratios([0.1, 0.9])
    assert low == pytest.approx(1 / 3, rel=0.1)
    assert high > 10


def test_one_similarity_for_all_is_no_curve() -> None:
    with pytest.raises(InputError, match="two or more"):
        fit([0.5] * 100, [True, False] * 50)


@pytest.mark.parametrize(("same", "different"), [(0, 500), (500, 0), (39, 500), (500, 39)])
def test_fit_needs_enough_pairs_of_both_kinds(same: int, different: int) -> None:
    with pytest.raises(InputError, match=f"got {same} and {different}"):
        fit(*pairs(same, different))


@pytest.mark.parametrize(
    ("similarities", "log_ratios"),
    [
        ((), ()),
        ((0.5,), (0.0,)),
        ((0.1, 0.5), (0.0,)),
        ((0.1, 0.5), (0.0, math.nan)),
        ((0.1, math.inf), (0.0, 1.0)),
        ((0.5, 0.1), (0.0, 1.0)),
        ((0.5, 0.5), (0.0, 1.0)),
        ((0.1, 0.5), (1.0, 0.0)),
    ],
)
def test_knots_that_make_no_rising_curve_are_refused(
    similarities: tuple[float, ...], log_ratios: tuple[float, ...]
) -> None:
    with pytest.raises(InputError, match="knots"):
        Calibration(similarities, log_ratios)


def test_a_curve_is_straight_between_its_knots_and_level_beyond() -> None:
    curve = Calibration((0.2, 0.4, 0.8), (-2.0, 0.0, 3.0))
    np.testing.assert_allclose(
        np.log(curve.likelihood_ratios([-1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0])), [-2, -2, -1, 0, 1.5, 3, 3]
    )


@given(curves(), st.floats(-1, 1), st.floats(-1, 1))
def test_ratios_are_positive_finite_and_never_fall(curve: Calibration, a: float, b: float) -> None:
    low, high = curve.likelihood_ratios([min(a, b), max(a, b)])
    assert 0 < low < np.inf
    assert low <= high * (1 + 1e-9)


@given(curves(), st.floats(-20, 20))
def test_similarity_at_is_the_least_that_reaches_a_ratio(curve: Calibration, log_ratio: float) -> None:
    similarity = curve.similarity_at(math.exp(log_ratio))
    if similarity == math.inf:
        assert curve.log_ratios[-1] < log_ratio + 1e-9
        return
    reached = np.log(curve.likelihood_ratios(similarity))
    assert reached >= log_ratio - 1e-6
    if similarity > curve.similarities[0]:
        assert reached == pytest.approx(log_ratio, abs=1e-6)


def test_similarity_at_begins_where_a_level_stretch_begins() -> None:
    curve = Calibration((0.1, 0.3, 0.6, 0.9), (-1.0, 2.0, 2.0, 4.0))
    assert curve.similarity_at(math.exp(2.0)) == pytest.approx(0.3, abs=1e-6)
    assert curve.similarity_at(math.exp(4.0)) == pytest.approx(0.9, abs=1e-6)
    assert curve.similarity_at(math.exp(4.1)) == math.inf
