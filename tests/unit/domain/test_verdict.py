import pytest

from deertrack.domain.separation import Compared, Estimate
from deertrack.domain.verdict import (
    Outcome,
    Shift,
    judge,
    judge_false_positives,
    judge_non_matches,
    judge_rise,
    percent,
    what_is_missing,
)


def change(old: float, new: float, low: float, high: float) -> Compared:
    gap = Estimate(new - old, low, high)
    return Compared(Estimate(old, None, None), Estimate(new, None, None), gap, 1.0 if low > 0 else 0.4)


BETTER = change(0.7, 0.8, 0.05, 0.15)
UNSURE = change(0.7, 0.71, -0.02, 0.04)
WORSE = change(0.8, 0.7, -0.15, -0.05)
RISEN, FALLEN, STILL = Shift(0.5, 0.6, 0.3, 0.5), Shift(0.9, 0.5, 0.8, 0.2), Shift(0.5, 0.5, 0.3, 0.3)


def verdict(auc: Compared, d_prime: Compared, shift: Shift):
    return judge(auc, d_prime, shift, old="v1_x", new="v3_x", confidence=0.9)


@pytest.mark.parametrize(
    "figures", [(WORSE, WORSE), (UNSURE, UNSURE), (BETTER, UNSURE), (UNSURE, BETTER), (BETTER, WORSE)]
)
@pytest.mark.parametrize("shift", [RISEN, FALLEN, STILL])
def test_only_a_sure_gain_of_both_passes(figures: tuple[Compared, Compared], shift: Shift) -> None:
    assert verdict(*figures, shift).outcome is Outcome.FAILED
    assert verdict(BETTER, BETTER, shift).outcome is Outcome.PASSED


def test_a_rise_without_separation_fails_and_says_why() -> None:
    sentence = verdict(WORSE, WORSE, RISEN).sentence
    assert "rose by 20 %" in sentence
    assert "v3_x tells animals apart worse than v1_x" in sentence
    assert "100 % of the rise is mere shift" in sentence
    assert sentence.endswith("Higher similarity is not better recognition.")


def test_separation_without_a_rise_passes_and_explains() -> None:
    sentence = verdict(BETTER, BETTER, FALLEN).sentence
    assert sentence.startswith("v3_x tells animals apart better than v1_x")
    assert "not up as the specification expects" in sentence
    assert "mere shift" not in sentence


def test_no_rise_and_no_gain_says_nothing_of_shifts() -> None:
    sentence = verdict(UNSURE, UNSURE, STILL).sentence
    assert "no better, as far as these data tell, than v1_x" in sentence
    assert "shift" not in sentence


def test_without_intervals_nothing_passes() -> None:
    blind = Compared(*[Estimate(0.5, None, None)] * 2, Estimate(0.3, None, None), 1.0)
    assert verdict(blind, blind, RISEN).outcome is Outcome.FAILED


def test_mere_shift_is_what_different_animals_share() -> None:
    assert Shift(0.5, 0.6, 0.3, 0.35).mere_shift == pytest.approx(0.5)
    assert Shift(0.5, 0.6, 0.3, 0.2).mere_shift == 0
    assert Shift(0.5, 0.6, 0.3, 0.9).mere_shift == 1
    assert Shift(0.5, 0.4, 0.3, 0.2).mere_shift is None
    assert Shift(-0.1, 0.4, 0.3, 0.2).relative is None


@pytest.mark.parametrize(
    ("new", "outcome"), [(0.549, Outcome.FAILED), (0.5501, Outcome.PASSED), (0.9, Outcome.PASSED)]
)
def test_the_rise_that_the_specification_expects(new: float, outcome: Outcome) -> None:
    interval = Estimate(new / 0.5 - 1, 0.01, 0.2)
    assert judge_rise(Shift(0.5, new, 0.3, 0.3), interval, 20, 20).outcome is outcome
    assert judge_rise(Shift(0.5, new, 0.3, 0.3), interval, 19, 20).outcome is Outcome.UNKNOWN


def test_non_matches_below_the_ceiling() -> None:
    assert judge_non_matches(0, 20, 20, 0.1, 0.01).outcome is Outcome.PASSED
    assert judge_non_matches(1, 20, 20, 0.1, 0.01).outcome is Outcome.FAILED  # one of 20 is 5 %, not less
    assert judge_non_matches(1, 40, 40, 0.1, 0.01).outcome is Outcome.PASSED
    assert judge_non_matches(0, 19, 20, 0.1, 0.01).outcome is Outcome.UNKNOWN


def test_false_positives_below_five_percent() -> None:
    assert judge_false_positives(0.049, 0.01, 0.5).outcome is Outcome.PASSED
    criterion = judge_false_positives(0.05, 0.01, 0.5)
    assert criterion.outcome is Outcome.FAILED
    assert "50 %" in criterion.remark
    assert judge_false_positives(None, 0.01, 0.5).outcome is Outcome.UNKNOWN


def test_what_is_missing_is_said() -> None:
    assert what_is_missing(10, 30, 100) == ""
    sentence = what_is_missing(9, 30, 99)
    assert "10 animals" in sentence
    assert "(9 there are)" in sentence
    assert "100 pairs of different animals (99 there are)" in sentence


def test_percent() -> None:
    assert (percent(0.05), percent(0.123), percent(0.1, "+"), percent(-0.05, "+")) == (
        "5 %",
        "12.3 %",
        "+10 %",
        "-5 %",
    )
