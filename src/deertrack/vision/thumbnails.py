"""Pictures of detected animals and whole photos, for pages that people look at."""

from io import BytesIO
from pathlib import Path

from PIL import Image

from deertrack.domain.records import WHOLE_PHOTO, Box
from deertrack.vision.image_io import SHRINKS, Photo

# Part of every picture's ETag: raise it when the same photo, box and side come to give another picture.
REVISION = 1

_MARGIN = 0.08  # of the box's size, so that ears and antlers are not cut


def thumbnail(path: Path, box: Box, *, side: int, quality: int = 78) -> bytes:
    """A JPEG of the animal in ``box`` with a little around it, its longer side ``side`` pixels at most.

    Raises:
        PhotoError: the photo cannot be decoded.
        OSError: the file cannot be opened.
    """
    return jpeg(cut_out(Photo(path.read_bytes(), path), box, side=side), quality=quality)


def cut_out(photo: Photo, box: Box, *, side: int) -> Image.Image:
    """The animal in ``box`` with a little around it, RGB, its longer side ``side`` pixels at most.

    Raises:
        PhotoError: the photo cannot be decoded.
    """
    image = Image.fromarray(photo.decode(_shrink_for(photo, box, side)))
    left, top = box.x - _MARGIN * box.width, box.y - _MARGIN * box.height
    right, bottom = box.x + box.width * (1 + _MARGIN), box.y + box.height * (1 + _MARGIN)
    # One pixel is cut from the smallest of boxes.
    x, y = (
        min(round(max(at, 0) * size), size - 1) for at, size in ((left, image.width), (top, image.height))
    )
    edge_x, edge_y = round(min(right, 1) * image.width), round(min(bottom, 1) * image.height)
    cut = image.crop((x, y, max(edge_x, x + 1), max(edge_y, y + 1)))
    cut.thumbnail((side, side), Image.Resampling.LANCZOS)
    return cut


def whole(photo: Photo, *, side: int | None) -> bytes:
    """A JPEG of the whole photo, upright, its longer side ``side`` pixels at most; None: full resolution.

    A JPEG that is upright already is given as it lies.

    Raises:
        PhotoError: the photo cannot be decoded.
    """
    if photo.upright_jpeg is not None and (side is None or max(photo.width, photo.height) <= side):
        return photo.upright_jpeg
    if side is None:
        return jpeg(Image.fromarray(photo.decode()), quality=90)
    image = Image.fromarray(photo.decode(_shrink_for(photo, WHOLE_PHOTO, side)))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return jpeg(image, quality=85)


def jpeg(image: Image.Image, *, quality: int) -> bytes:
    """The picture as a JPEG file."""
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def _shrink_for(photo: Photo, box: Box, side: int) -> int:
    """The coarsest scale at which the box's longer side still has ``side`` pixels."""
    wanted = max(box.width * photo.width, box.height * photo.height)
    return next((shrink for shrink in reversed(SHRINKS) if wanted >= side * shrink), 1)
