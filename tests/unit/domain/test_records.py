import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deertrack.domain.errors import InputError
from deertrack.domain.records import WHOLE_PHOTO, Box, Sex

corners = st.floats(0, 0.98)
lengths = st.floats(0.01, 1)
boxes = st.builds(Box, corners, corners, lengths, lengths)


@pytest.mark.parametrize("sex", Sex)
def test_unknown_sex_fits_everything_and_named_sexes_only_themselves(sex: Sex) -> None:
    assert sex.compatible(sex)
    assert sex.compatible(Sex.UNKNOWN)
    assert Sex.UNKNOWN.compatible(sex)
    assert not Sex.MALE.compatible(Sex.FEMALE)
    assert not Sex.FEMALE.compatible(Sex.MALE)


def test_a_box_inside_the_photo_stays_as_it_is() -> None:
    box = Box(0.25, 0.5, 0.5, 0.25)
    assert (box.x, box.y, box.width, box.height, box.area) == (0.25, 0.5, 0.5, 0.25, 0.125)


def test_a_box_that_sticks_out_is_clipped() -> None:
    assert Box(-0.25, -0.5, 0.75, 1.0) == Box(0.0, 0.0, 0.5, 0.5)
    assert Box(0.75, 0.5, 0.75, 2.0) == Box(0.75, 0.5, 0.25, 0.5)
    assert Box(-1, -1, 5, 5) == WHOLE_PHOTO


@pytest.mark.parametrize(
    ("x", "y", "width", "height"),
    [
        (0.5, 0.5, 0.0, 0.1),
        (0.5, 0.5, 0.1, 0.0),
        (0.5, 0.5, -0.1, 0.1),
        (1.0, 0.0, 0.5, 0.5),  # outside
        (0.0, -0.5, 0.5, 0.5),
        (math.nan, 0, 1, 1),
        (0, 0, math.nan, 1),
        (0, 0, 1, math.nan),
    ],
)
def test_a_box_without_area_in_the_photo_is_refused(x: float, y: float, width: float, height: float) -> None:
    with pytest.raises(InputError, match=r"expected a box \[x, y, width, height\]"):
        Box(x, y, width, height)


@given(*[st.floats(allow_nan=True, allow_infinity=True)] * 4)
def test_whatever_comes_a_box_is_inside_the_photo_or_refused(
    x: float, y: float, width: float, height: float
) -> None:
    try:
        box = Box(x, y, width, height)
    except InputError:
        return
    assert 0 <= box.x < 1
    assert 0 <= box.y < 1
    assert 0 < box.width <= 1
    assert 0 < box.height <= 1
    # The database insists on this.
    assert box.x + box.width <= 1.000001
    assert box.y + box.height <= 1.000001


def test_overlap_by_hand() -> None:
    left, right = Box(0, 0, 0.5, 1), Box(0.25, 0, 0.5, 1)
    assert left.overlap(right) == pytest.approx(1 / 3)  # 0.25 shared of 0.75
    assert left.overlap(Box(0.5, 0, 0.5, 1)) == 0  # they only touch
    assert left.overlap(WHOLE_PHOTO) == pytest.approx(0.5)


@given(boxes, boxes)
def test_overlap_is_symmetric_within_bounds_and_whole_with_itself(a: Box, b: Box) -> None:
    assert a.overlap(b) == pytest.approx(b.overlap(a))
    assert 0 <= a.overlap(b) <= 1 + 1e-9
    assert a.overlap(a) == pytest.approx(1)
