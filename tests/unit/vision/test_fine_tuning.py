"""What training is made of: batches, augmentation, a loss that falls."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch: Any = pytest.importorskip("torch", reason="the extra `models` is not installed: no torch")
pytest.importorskip("onnx", reason="the extra `models` is not installed")

from deertrack.vision.fine_tuning import augment, batches  # noqa: E402


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 6), max_size=60), st.integers(1, 5), st.integers(0, 9))
def test_no_batch_shows_an_animal_twice_from_one_encounter(keys: list[int], size: int, seed: int) -> None:
    found = list(batches(keys, size, np.random.default_rng(seed)))
    shown = [row for batch in found for row in batch]
    assert len(set(shown)) == len(shown)
    for batch in found:
        assert len({keys[row] for row in batch}) == len(batch) == size
    left = [keys[row] for row in range(len(keys)) if row not in shown]
    assert len(set(left)) < size  # what is left fills no batch
    assert len(found) <= len(keys) // size


def test_augmented_pictures_are_pictures_and_other_ones() -> None:
    crops = torch.randint(0, 256, (24, 60, 80, 3), dtype=torch.uint8)
    torch.manual_seed(4)
    one = augment(crops, (48, 64))
    assert one.shape == (24, 3, 48, 64)
    assert one.dtype == torch.float32
    assert 0 <= float(one.min()) <= float(one.max()) <= 255
    assert torch.isfinite(one).all()
    assert not torch.equal(one, augment(crops, (48, 64)))
    torch.manual_seed(4)
    assert torch.equal(one, augment(crops, (48, 64)))
    grey = (one.amax(1) - one.amin(1)).amax((1, 2)) < 60
    assert 0 < int(grey.sum()) < 24  # some at night
