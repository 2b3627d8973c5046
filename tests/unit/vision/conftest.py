"""Photos for the vision tests: drawn ones, and the shared real ones where they are present."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    given = os.environ.get("DEERTRACK_TEST_DATA")
    folder = Path(given) if given else Path(__file__).parents[4] / "shared" / "data"
    if not (folder / "bad_images").is_dir():
        pytest.skip(f"the shared test photos are not at {folder}; DEERTRACK_TEST_DATA says where they are")
    return folder


def draw(width: int = 320, height: int = 240, seed: int = 0) -> Pixels:
    """A smooth random picture: hills of colour, no two corners alike."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encode(pixels: Pixels | Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """The bytes of a photo file."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 92} if kind == "JPEG" else {}) | options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def drawn_photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Six drawn JPEGs of different sizes; the large ones are decoded at a coarser scale."""
    folder = tmp_path_factory.mktemp("drawn")
    paths = []
    for seed, (width, height) in enumerate(
        [(320, 240), (640, 480), (1280, 960), (2048, 1536), (300, 900), (97, 61)]
    ):
        path = folder / f"IMG_{seed:04}.JPG"
        path.write_bytes(encode(draw(width, height, seed)))
        paths.append(path)
    return paths
