"""From the bytes of a photo to what it says of itself (header only) and to its pixels.

Nothing here guesses: a time that the camera did not write stays unknown, and a photo that is damaged anywhere
is an error, never a partial picture.
"""

import hashlib
import re
import struct
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from deertrack.domain.errors import PhotoError
from deertrack.domain.records import PhotoFacts

Pixels = NDArray[np.uint8]

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif"})
MAX_PIXELS = 250_000_000
SHRINKS = (1, 2, 4, 8)

_JPEG = ("JPEG", "MPO")  # MPO: a JPEG that carries a second picture; the first one is the photo

# Every photo is checked against MAX_PIXELS here before it is decoded. Pillow's own limit is lower, and warns.
Image.MAX_IMAGE_PIXELS = None

# Pillow warns of damaged EXIF on stderr, in words about its own lines; such a photo merely has no clock.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

# What image libraries raise on damaged input, besides UnidentifiedImageError (an OSError).
_DAMAGE: tuple[type[Exception], ...] = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    LookupError,
    EOFError,
    RuntimeError,
    ArithmeticError,
    struct.error,
    zlib.error,
)

# libjpeg complains, yet no pixel is lost: padding before the end marker, and a header slip of some cameras.
_HARMLESS_JPEG = ("extraneous bytes before marker 0xd9", "Invalid SOS parameters")

# EXIF tags (CIPA DC-008): for each clock its date, fraction of a second, and offset from UTC.
_EXIF_IFD = 0x8769
_CLOCKS = ((0x9003, 0x9291, 0x9011), (0x9004, 0x9292, 0x9012), (0x0132, 0x9290, 0x9010))
_MAKE, _MODEL, _ORIENTATION, _OWNER, _SERIAL = 0x010F, 0x0110, 0x0112, 0xA430, 0xA431

_DATE = re.compile(r"(\d{4})[:/-](\d\d)[:/-](\d\d)[ T](\d\d):(\d\d):(\d\d)")
_OFFSET = re.compile(r"([+-])(\d\d):(\d\d)")

# EXIF orientation → how to turn the stored pixels into the picture the viewer sees.
_TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: p[::-1].swapaxes(0, 1),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: p[:, ::-1].swapaxes(0, 1),
}


class Photo:
    """One photo whose header has been read. ``width`` and ``height`` are pixels after EXIF rotation.

    Raises:
        PhotoError: empty, not a photo, or more than ``MAX_PIXELS``.
    """

    def __init__(self, data: bytes, path: Path) -> None:
        self._data, self._path = data, path
        if not data:
            raise PhotoError(f"{path}: the file is empty")
        with self._open() as image:
            stored = image.size
            self._format = image.format
            self._tags = _read_exif(image.info.get("exif"))
        if stored[0] * stored[1] > MAX_PIXELS:
            limit = f"at most {MAX_PIXELS // 10**6} million are read"
            raise PhotoError(f"{path}: too large, {stored[0]} × {stored[1]} pixels; {limit}")
        self._stored = stored
        turned = self._tags.get(_ORIENTATION) in (5, 6, 7, 8)
        self.width, self.height = stored[::-1] if turned else stored

    def _open(self) -> Image.Image:
        formats = ["JPEG", "PNG", "WEBP"]
        if self._data[4:8] == b"ftyp":  # HEIC's library is loaded only when such a photo comes
            _load_heif(self._path)
            formats = ["HEIF"]
        try:
            return Image.open(BytesIO(self._data), formats=formats)
        except UnidentifiedImageError:
            raise PhotoError(
                f"{self._path}: not a JPEG, PNG, WebP or HEIC photo, or damaged from its start"
            ) from None
        except _DAMAGE as error:
            raise PhotoError(f"{self._path}: damaged header ({error})") from error

    def facts(self) -> PhotoFacts:
        """What the photo says of itself. See ``read_facts``."""
        clock, offset = _read_clock(self._tags)
        make, model = _text(self._tags.get(_MAKE)), _text(self._tags.get(_MODEL))
        return PhotoFacts(
            sha256=hashlib.sha256(self._data).digest(),
            size=len(self._data),
            width=self.width,
            height=self.height,
            clock=clock,
            offset_minutes=offset,
            station_tag=_text(self._tags.get(_OWNER)) or _text(self._tags.get(_SERIAL)),
            camera=model if model.startswith(make) else f"{make} {model}".strip(),
        )

    @property
    def upright_jpeg(self) -> bytes | None:
        """The file itself where it is a JPEG that needs no turning."""
        return self._data if self._format in _JPEG and self._tags.get(_ORIENTATION, 1) not in _TURNS else None

    def decode(self, shrink: int = 1) -> Pixels:
        """The pixels. See ``decode``."""
        if shrink not in SHRINKS:
            raise ValueError(f"expected shrink in {SHRINKS}, got {shrink}")
        pixels = self._decode_jpeg(shrink) if self._format in _JPEG else None
        if pixels is None:
            pixels = self._decode_pillow(shrink)
        turn = _TURNS.get(self._tags.get(_ORIENTATION, 1))
        return np.ascontiguousarray(turn(pixels)) if turn else pixels

    def _decode_jpeg(self, shrink: int) -> Pixels | None:
        """The fast way; None where Pillow has to do it (CMYK, and what libjpeg merely frowns at)."""
        width, height = (-(-side // shrink) for side in self._stored)
        try:
            if simplejpeg.decode_jpeg_header(self._data)[2] == "CMYK":
                return None
            pixels: Pixels = simplejpeg.decode_jpeg(
                self._data, "RGB", min_height=height, min_width=width, strict=True
            )
        except ValueError as error:
            if any(harmless in str(error) for harmless in _HARMLESS_JPEG):
                return None
            raise self._damaged(error) from error
        return pixels if pixels.shape[:2] == (height, width) else None

    def _decode_pillow(self, shrink: int) -> Pixels:
        width, height = self._stored
        try:
            with self._open() as image:
                if self._format in _JPEG:
                    image.draft(None, (max(1, width // shrink), max(1, height // shrink)))
                    return np.asarray(_as_rgb(image))
                rgb = _as_rgb(image)
                if rgb.size != self._stored:  # a damaged HEIC may decode to another size than it claims
                    raise PhotoError(
                        f"{self._path}: damaged photo (claims {width} × {height} pixels, "
                        f"holds {rgb.width} × {rgb.height})"
                    )
                return np.asarray(rgb.reduce(shrink) if shrink > 1 else rgb)
        except _DAMAGE as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> PhotoError:
        said = str(error)
        cut = any(word in said.lower() for word in ("truncated", "premature", "unexpected end"))
        return PhotoError(f"{self._path}: {'truncated' if cut else 'damaged'} photo ({said})")


def read_facts(data: bytes, path: Path) -> PhotoFacts:
    """What a photo's header says; no pixel is decoded, and neither the file's date nor today's is ever used.

    ``clock`` is EXIF DateTimeOriginal, else DateTimeDigitized, else DateTime, with its fraction of a second;
    a blank or impossible date counts as absent. ``offset_minutes`` is the offset from UTC that belongs to it.
    ``camera`` is make and model. ``station_tag`` is the camera owner's name (the one field that cameras let a
    person type) or else the body's serial number; ImageDescription and UserComment are not used, because makers
    fill them with constants and exposure data.

    Args:
        data: the whole file.
        path: names the photo in messages; it is not read.

    Raises:
        PhotoError: empty file, not a photo, damaged header, or more than ``MAX_PIXELS``.
    """
    return Photo(data, path).facts()


def _load_heif(path: Path) -> None:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:  # an extra: its wheels carry GPL code, which must not come along unasked
        raise PhotoError(f"{path}: HEIC photos need another package: pip install pillow-heif") from None
    register_heif_opener()


def decode(data: bytes, path: Path, *, shrink: int = 1) -> Pixels:
    """A photo's pixels as the viewer sees them: (height, width, 3) uint8 RGB, EXIF rotation applied.

    ``shrink`` 2, 4 or 8 gives ``ceil(side / shrink)`` pixels a side; a JPEG is then decoded at that scale,
    which is faster. Grey, CMYK, palette and 16-bit photos become RGB; what is transparent becomes white.

    Raises:
        PhotoError: as ``read_facts``, or truncated or damaged anywhere.
    """
    return Photo(data, path).decode(shrink)


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion would clip it
        deep = np.asarray(image)
        return Image.fromarray((deep >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        seen = image.convert("RGBA")
        white = Image.new("RGBA", seen.size, "white")
        return Image.alpha_composite(white, seen).convert("RGB")
    return image.convert("RGB")


def _read_exif(raw: Any) -> dict[int, Any]:
    """The tags of the two EXIF blocks we use; none if the block is absent or damaged."""
    tags: dict[int, Any] = {}
    if isinstance(raw, bytes):
        exif = Image.Exif()
        with suppress(*_DAMAGE):
            exif.load(raw)
            tags.update(exif)
            tags.update(exif.get_ifd(_EXIF_IFD))
    return tags


def _read_clock(tags: dict[int, Any]) -> tuple[datetime | None, int | None]:
    for date_tag, fraction_tag, offset_tag in _CLOCKS:
        found = _DATE.match(_text(tags.get(date_tag)))
        if not found:
            continue
        year, month, day, hour, minute, second = map(int, found.groups())
        digits = re.match(r"\d*", _text(tags.get(fraction_tag)))
        microsecond = int(f"{digits.group() if digits else '':0<6.6}")
        try:
            clock = datetime(year, month, day, hour, minute, second, microsecond)  # noqa: DTZ001
        except ValueError:
            continue
        return clock, _read_offset(_text(tags.get(offset_tag)))
    return None, None


def _read_offset(text: str) -> int | None:
    found = _OFFSET.match(text)
    if not found:
        return None
    sign, hours, minutes = found[1], int(found[2]), int(found[3])
    total = (60 * hours + minutes) * (-1 if sign == "-" else 1)
    return total if abs(total) <= 15 * 60 and minutes < 60 else None


def _text(value: Any) -> str:
    """An EXIF value as text: up to the first NUL, without padding; empty for anything that is not text."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value.split("\0")[0].strip() if isinstance(value, str) else ""
