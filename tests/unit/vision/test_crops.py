import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deertrack.domain.records import WHOLE_PHOTO, Box
from deertrack.vision.crops import CropRule, crop, shrink_for

from .conftest import draw

INPUT = (192, 256)
fractions = st.floats(0, 0.999)


def boxes() -> st.SearchStrategy[Box]:
    return st.builds(Box, fractions, fractions, st.floats(1e-6, 1), st.floats(1e-6, 1))


def scene() -> np.ndarray:
    """A black photo, 400 × 200, with a red animal of 100 × 40 at (200, 100)."""
    pixels = np.zeros((200, 400, 3), dtype=np.uint8)
    pixels[100:140, 200:300, 0] = 255
    return pixels


ANIMAL = Box(0.5, 0.5, 0.25, 0.2)


def test_stretch_fills_the_input_with_the_box_and_nothing_else() -> None:
    seen = crop(scene(), ANIMAL, CropRule.STRETCH, INPUT)
    assert seen.shape == (192, 256, 3)
    assert (seen[5:-5, 3:-3] == [255, 0, 0]).all()  # the rim blends with the photo's next pixel


def test_pad_keeps_the_shape_and_fills_with_grey() -> None:
    seen = crop(scene(), ANIMAL, CropRule.PAD, INPUT)
    high = round(256 * 40 / 100)
    top = (192 - high) // 2
    assert (seen[:top] == 127).all()
    assert (seen[top + high :] == 127).all()
    assert (seen[top + 3 : top + high - 3, 3:-3] == [255, 0, 0]).all()


def test_the_box_is_cut_where_it_is() -> None:
    pixels = draw(400, 200)
    seen = crop(pixels, Box(0.25, 0.5, 0.5, 0.5), CropRule.STRETCH, (100, 200))
    np.testing.assert_array_equal(seen, pixels[100:200, 100:300])


@given(box=boxes(), rule=st.sampled_from(CropRule), size=st.tuples(st.integers(1, 50), st.integers(1, 50)))
def test_any_box_in_any_photo_gives_the_input(box: Box, rule: CropRule, size: tuple[int, int]) -> None:
    pixels = np.full((*size, 3), 7, dtype=np.uint8)
    seen = crop(pixels, box, rule, (32, 48))
    assert seen.shape == (32, 48, 3)
    assert seen.dtype == np.uint8
    assert (seen == 7).all(axis=2).any()


@given(box=boxes(), width=st.integers(1, 9000), height=st.integers(1, 9000))
def test_shrinking_never_loses_pixels_that_the_input_could_hold(box: Box, width: int, height: int) -> None:
    shrink = shrink_for(box, width, height, INPUT)
    wide, high = box.width * width, box.height * height
    if shrink > 1:
        assert wide / shrink >= 256
        assert high / shrink >= 192
    if shrink < 8:
        assert wide / (2 * shrink) < 256 or high / (2 * shrink) < 192


@pytest.mark.parametrize(("side", "shrink"), [(255, 1), (511, 1), (512, 2), (1024, 4), (2048, 8), (9999, 8)])
def test_shrink_steps(side: int, shrink: int) -> None:
    assert shrink_for(WHOLE_PHOTO, side, side, INPUT) == shrink


def test_a_shrunken_photo_gives_nearly_the_same_crop() -> None:
    whole, half = draw(2048, 1536), draw(2048, 1536)[::2, ::2]
    box = Box(0.1, 0.2, 0.6, 0.5)
    apart = crop(whole, box, CropRule.STRETCH, INPUT).astype(int) - crop(half, box, CropRule.STRETCH, INPUT)
    assert np.abs(apart).mean() < 1
