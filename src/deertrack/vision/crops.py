"""From a photo and a box to the pixels a network sees."""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deertrack.domain.records import Box

# Part of every fingerprint: raise it when the same photo, box and rule come to give other pixels.
REVISION = 1


class CropRule(StrEnum):
    """How a box of any shape becomes the network's input."""

    STRETCH = "stretch"  # both sides scaled on their own
    PAD = "pad"  # the shape kept, the rest filled with grey


_GREY = (127, 127, 127)


def shrink_for(box: Box, width: int, height: int, input_hw: tuple[int, int]) -> int:
    """The coarsest scale 1, 2, 4 or 8 at which the box still has at least the input's pixels on both sides.

    It depends on the box and the photo's size (pixels, after rotation) alone, so that a detection's vector
    never depends on what else was detected in the photo.
    """
    high, wide = input_hw
    for shrink in (8, 4, 2):
        if box.width * width >= wide * shrink and box.height * height >= high * shrink:
            return shrink
    return 1


def crop(pixels: NDArray[np.uint8], box: Box, rule: CropRule, input_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Cut a box out of a photo and scale it to the input.

    Args:
        pixels: (height, width, 3) RGB, at any scale: the box is in fractions.
        box: what to cut; at least one pixel is taken.
        rule: how the box's shape meets the input's.
        input_hw: height and width of the input, in pixels.

    Returns:
        (input height, input width, 3) uint8 RGB.
    """
    high, wide = input_hw
    rows, columns = pixels.shape[:2]
    left, top = box.x * columns, box.y * rows
    right = min(max(left + box.width * columns, left + 1), columns)
    bottom = min(max(top + box.height * rows, top + 1), rows)
    region = (min(left, right - 1), min(top, bottom - 1), right, bottom)
    image = Image.fromarray(pixels)
    if rule is CropRule.STRETCH:
        return np.asarray(image.resize((wide, high), Image.Resampling.BILINEAR, box=region))
    scale = min(wide / (region[2] - region[0]), high / (region[3] - region[1]))
    size = (
        max(1, min(wide, round(scale * (region[2] - region[0])))),
        max(1, min(high, round(scale * (region[3] - region[1])))),
    )
    canvas = Image.new("RGB", (wide, high), _GREY)
    canvas.paste(
        image.resize(size, Image.Resampling.BILINEAR, box=region),
        ((wide - size[0]) // 2, (high - size[1]) // 2),
    )
    return np.asarray(canvas)
