"""Pictures of animals and photos for people: made from the catalogued files, kept small on disk."""

import hashlib
import os
import threading
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np

from deertrack.domain.errors import NotFoundError
from deertrack.storage import pictures as sources
from deertrack.storage.db import Database
from deertrack.storage.pictures import PictureSource
from deertrack.vision import local_features
from deertrack.vision.image_io import Photo
from deertrack.vision.local_features import Features, Pair
from deertrack.vision.thumbnails import REVISION, cut_out, jpeg, whole

_MOST_BYTES = 2 << 30
_REMEMBERED = 64  # animals' local features, up to a megabyte each
_END_OF_JPEG = b"\xff\xd9"


@dataclass(frozen=True, slots=True)
class Order:
    """A picture that can be made: what of, and its longer side in pixels at most (None: full resolution).

    ``tag`` names its content: two pictures with one tag are the same bytes.
    """

    source: PictureSource
    side: int | None
    is_crop: bool
    tag: str = field(init=False)

    def __post_init__(self) -> None:
        box = self.source.box
        said = (REVISION, self.is_crop, self.side, box.x, box.y, box.width, box.height)
        digest = hashlib.sha256(self.source.sha256 + repr(said).encode()).hexdigest()
        object.__setattr__(self, "tag", digest)


@dataclass(frozen=True, slots=True)
class Matched:
    """Spots that look alike on two crops; :mod:`deertrack.vision.local_features` says what that is worth.

    ``a`` and ``b`` are the sizes of the crops in pixels (width, height). ``pairs`` come best first.
    """

    a: tuple[int, int]
    b: tuple[int, int]
    pairs: tuple[Pair, ...]


class Pictures:
    """Pictures out of the catalogue. Several processes may share ``folder``.

    Args:
        folder: keeps pictures that were asked for with a side; what was not looked at for longest goes first.
        most_bytes: about how much it may hold.
        at_once: photos that are decoded at a time; the largest take a gigabyte each.
    """

    def __init__(
        self, db: Database, folder: Path, *, most_bytes: int = _MOST_BYTES, at_once: int | None = None
    ) -> None:
        self._db = db
        self._kept = _Kept(folder, most_bytes)
        self._features: OrderedDict[int, Features] = OrderedDict()
        self._remembering = threading.Lock()
        self._decoding = threading.BoundedSemaphore(at_once or min(4, os.cpu_count() or 1))

    def crop(self, detection_id: int, *, side: int) -> Order:
        """The animal of a detection with a little around it.

        Raises:
            NotFoundError: there is no such detection.
        """
        with self._db.transaction() as connection:
            return Order(sources.source_of_detection(connection, detection_id), side, is_crop=True)

    def photo(self, image_id: int, *, side: int | None) -> Order:
        """A whole photo, upright.

        Raises:
            NotFoundError: there is no such photo.
        """
        with self._db.transaction() as connection:
            return Order(sources.source_of_image(connection, image_id), side, is_crop=False)

    def make(self, order: Order) -> bytes:
        """The picture as a JPEG file.

        Raises:
            NotFoundError: no file holds the photo any more.
            PhotoError: it cannot be decoded.
        """
        if order.side is not None and (kept := self._kept.get(order.tag)):
            return kept
        with self._decoding:
            photo = _open(order.source)
            if order.side is None or not order.is_crop:
                made = whole(photo, side=order.side)
            else:
                made = jpeg(cut_out(photo, order.source.box, side=order.side), quality=82)
        if order.side is not None:
            self._kept.put(order.tag, made)
        return made

    def matches(self, detection_a: int, detection_b: int) -> Matched:
        """What the eye may compare on two animals; it decides nothing.

        Raises:
            NotFoundError: there is no such detection, or no file holds its photo any more.
            PhotoError: a photo cannot be decoded.
        """
        a, b = self._features_of(detection_a), self._features_of(detection_b)
        pairs = local_features.match_features(a, b)
        return Matched((a.width, a.height), (b.width, b.height), tuple(pairs))

    def _features_of(self, detection_id: int) -> Features:
        with self._remembering:
            if found := self._features.get(detection_id):
                self._features.move_to_end(detection_id)
                return found
        order = self.crop(detection_id, side=local_features.SIDE)
        with self._decoding:
            cut = cut_out(_open(order.source), order.source.box, side=local_features.SIDE)
            found = local_features.find_features(np.asarray(cut))
        with self._remembering:
            self._features[detection_id] = found
            if len(self._features) > _REMEMBERED:
                self._features.popitem(last=False)
        return found


def _open(source: PictureSource) -> Photo:
    """The photo out of the first file that still holds it; messages name the file, never its folder."""
    seen = "is gone"
    for path in source.paths:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            seen = f"cannot be read ({error.strerror})"
            continue
        if hashlib.sha256(data).digest() == source.sha256:
            return Photo(data, Path(path.name))
        seen = "holds another photo by now"
    name = source.paths[0].name if source.paths else "no file"
    others = f" (and {len(source.paths) - 1} more)" if len(source.paths) > 1 else ""
    raise NotFoundError(
        f"{name}{others}: the photo's file {seen}",
        hint="Put it back where it was, or import it again from where it is now.",
    )


class _Kept:
    """Files by tag in a folder that is shared and bounded. Its failures cost time, and never a picture."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder, self._most = folder, most_bytes
        self._since_sweep = most_bytes  # the first thing that is put sweeps
        self._lock = threading.Lock()

    def get(self, tag: str) -> bytes | None:
        path = self._path(tag)
        with suppress(OSError):
            data = path.read_bytes()
            if data.endswith(_END_OF_JPEG):  # a power cut may leave a file of the right name without its end
                os.utime(path)
                return data
        return None

    def put(self, tag: str, data: bytes) -> None:
        path = self._path(tag)
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(dir=path.parent, delete=False) as file:
                file.write(data)
            Path(file.name).replace(path)
        with self._lock:
            self._since_sweep += len(data)
            if due := self._since_sweep > self._most / 32:
                self._since_sweep = 0
        if due:
            self._sweep()

    def _path(self, tag: str) -> Path:
        return self._folder / tag[:2] / f"{tag}.jpg"

    def _sweep(self) -> None:
        """Down to nine tenths of the bound where it is passed. Temporary files of the killed age like the rest."""
        files: list[tuple[float, int, str]] = []
        for folder, _, names in os.walk(self._folder):
            for name in names:
                with suppress(OSError):  # another process swept it
                    path = os.path.join(folder, name)  # noqa: PTH118 (a hundred thousand of them)
                    stat = os.stat(path)  # noqa: PTH116
                    files.append((stat.st_mtime, stat.st_size, path))
        held = sum(size for _, size, _ in files)
        if held <= self._most:
            return
        for _, size, path in sorted(files):
            with suppress(OSError):
                Path(path).unlink()
            held -= size
            if held <= self._most * 0.9:
                return
