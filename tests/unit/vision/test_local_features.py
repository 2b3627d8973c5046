"""Local features on real photos: what is the same is found again, what is not is not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from deertrack.vision.local_features import find_features, match_features

WHO = Path("nyala/cards/Camp/100MEDIA")


@pytest.fixture(scope="session")
def open_photo(test_data: Path) -> Callable[[str], Image.Image]:
    return lambda name: Image.open(test_data / name).convert("RGB")


def features(image: Image.Image):
    return find_features(np.asarray(image))


def errors(pairs, where) -> np.ndarray:
    """How far each pair's spot in b is from where it should be, in fractions of b."""
    return np.array([np.hypot(*(np.subtract(pair.b, where(*pair.a)))) for pair in pairs])


def test_a_shifted_photo_is_found_again(open_photo: Callable[[str], Image.Image]) -> None:
    image = open_photo(f"{WHO}/IMG_0001.JPG")
    width, height = image.size
    cut = image.crop((40, 30, width, height))
    pairs = match_features(features(image), features(cut))
    off = errors(pairs, lambda x, y: ((x * width - 40) / cut.width, (y * height - 30) / cut.height))
    assert len(pairs) > 100
    assert (off < 0.01).mean() > 0.95
    assert [pair.score for pair in pairs] == sorted((pair.score for pair in pairs), reverse=True)
    assert all(0 < pair.score <= 1 for pair in pairs)


def test_a_turned_and_darkened_photo_is_found_again(open_photo: Callable[[str], Image.Image]) -> None:
    image = open_photo(f"{WHO}/IMG_0001.JPG")
    dark = ImageEnhance.Brightness(image).enhance(0.25)
    pairs = match_features(features(image), features(dark.transpose(Image.Transpose.ROTATE_90)))
    off = errors(pairs, lambda x, y: (y, 1 - x))
    assert len(pairs) > 100
    assert (off < 0.01).mean() > 0.9


def test_a_night_photo_is_found_again(open_photo: Callable[[str], Image.Image]) -> None:
    image = open_photo("camtrapr/full_size_for_ocr/StationA/mousedeer.JPG")
    image.thumbnail((640, 640))
    smaller = image.resize((image.width * 3 // 4, image.height * 3 // 4))
    pairs = match_features(features(image), features(smaller))
    assert len(pairs) > 300
    assert (errors(pairs, lambda x, y: (x, y)) < 0.01).mean() > 0.9


def test_other_animals_hardly_match(open_photo: Callable[[str], Image.Image]) -> None:
    first = features(open_photo(f"{WHO}/IMG_0001.JPG"))
    counts = [len(match_features(first, features(open_photo(f"{WHO}/IMG_000{n}.JPG")))) for n in (3, 5, 7, 9)]
    assert max(counts) <= 10
    assert np.median(counts) == 0


def test_a_mirrored_photo_is_another_flank(open_photo: Callable[[str], Image.Image]) -> None:
    image = open_photo(f"{WHO}/IMG_0001.JPG")
    mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert len(match_features(features(image), features(mirrored))) <= 10


def test_a_blank_picture_has_nothing_to_match(open_photo: Callable[[str], Image.Image]) -> None:
    blank = features(Image.new("RGB", (64, 48), "grey"))
    assert (blank.width, blank.height, blank.points.shape) == (64, 48, (0, 2))
    assert match_features(blank, features(open_photo(f"{WHO}/IMG_0001.JPG"))) == []
    assert match_features(features(open_photo(f"{WHO}/IMG_0001.JPG")), blank) == []
