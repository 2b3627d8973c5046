"""A/B arms: stable, in proportion, and dealt anew by another test."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deertrack.domain.trial import Arm, arm_of


@given(st.integers(min_value=1), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_only_moves_encounters_to_the_enhanced_arm(
    encounter: int, one: float, other: float
) -> None:
    small, large = sorted((one, other))
    if arm_of(encounter, test="t", share=small) is Arm.ENHANCED:
        assert arm_of(encounter, test="t", share=large) is Arm.ENHANCED


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_the_enhanced_arm_gets_its_share(share: float) -> None:
    dealt = [arm_of(i, test="2026-01-01", share=share) for i in range(4000)]
    assert dealt.count(Arm.ENHANCED) / 4000 == pytest.approx(share, abs=0.03)


def test_arms_are_the_same_for_ever_and_dealt_anew_by_another_test() -> None:
    """The first line is what every release must answer, or a running test would deal its encounters anew."""
    assert "".join(arm_of(i, test="a", share=0.5)[0] for i in range(24)) == "ceeeceeccceccccceceeceee"
    other = [arm_of(i, test="b", share=0.5) for i in range(1000)]
    same = sum(arm_of(i, test="a", share=0.5) is arm for i, arm in enumerate(other))
    assert 400 < same < 600
