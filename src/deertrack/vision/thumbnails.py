"""Small pictures of detected animals, for pages that people look at."""

from io import BytesIO
from pathlib import Path

from PIL import Image

from deertrack.domain.records import Box
from deertrack.vision.image_io import Photo

_MARGIN = 0.08  # of the box's size, so that ears and antlers are not cut


def thumbnail(path: Path, box: Box, *, side: int, quality: int = 78) -> bytes:
    """A JPEG of the animal in ``box`` with a little around it, its longer side ``side`` pixels.

    Raises:
        PhotoError: the photo cannot be decoded.
        OSError: the file cannot be opened.
    """
    photo = Photo(path.read_bytes(), path)
    wanted = max(box.width * photo.width, box.height * photo.height)
    shrink = next((s for s in (8, 4, 2) if wanted >= side * s), 1)
    image = Image.fromarray(photo.decode(shrink))
    left, top = box.x - _MARGIN * box.width, box.y - _MARGIN * box.height
    right, bottom = box.x + box.width * (1 + _MARGIN), box.y + box.height * (1 + _MARGIN)
    cut = image.crop(
        (
            round(max(left, 0) * image.width),
            round(max(top, 0) * image.height),
            round(min(right, 1) * image.width),
            round(min(bottom, 1) * image.height),
        )
    )
    cut.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    cut.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()
