"""Vectors of a labelled set without a catalogue: embedded in memory, kept in files for the next time.

A kept vector is found by all that shapes it: the model's fingerprint, the photo's content and the box.
"""

import hashlib
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deertrack.domain.embedding import DIMENSIONS, NORM_TOLERANCE, Output, Vectors, norm_error
from deertrack.services.evaluation.labelled_set import SetPhoto
from deertrack.services.progress import SILENT, Progress
from deertrack.vision.embedder import Embedder, EmbedTask
from deertrack.vision.model_packs import Pack

_KEY = 32  # bytes
_RECORD = np.dtype([("key", f"V{_KEY}"), ("vector", "<f4", (DIMENSIONS,))])
_KEEP_EVERY = 256  # crops: what an interruption costs at most


class VectorFiles:
    """A folder with one file of vectors for each fingerprint; each record is a key and a (512,) float32 row."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, fingerprint: str, keys: Sequence[bytes]) -> dict[bytes, Vectors]:
        """The vectors that are kept, by key. What is torn or is no unit vector counts as not kept."""
        try:
            content = np.fromfile(self._file(fingerprint), dtype=_RECORD)
        except OSError:
            return {}
        place = {key.tobytes(): row for row, key in enumerate(content["key"])}
        rows = {key: place[key] for key in keys if key in place}
        vectors = content["vector"][list(rows.values())]
        sound = norm_error(vectors) < NORM_TOLERANCE if rows else ()
        return {key: vector for key, vector, good in zip(rows, vectors, sound, strict=True) if good}

    def add(self, fingerprint: str, keys: Sequence[bytes], vectors: Vectors) -> None:
        """Keep vectors (n, 512). A folder that cannot be written to costs time the next time, nothing else."""
        records = np.zeros(len(keys), dtype=_RECORD)
        records["key"] = np.array(keys, dtype=f"V{_KEY}")
        records["vector"] = vectors
        path = self._file(fingerprint)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                file.truncate(
                    file.tell() // _RECORD.itemsize * _RECORD.itemsize
                )  # what a kill left half done
                file.write(records.tobytes())
        except OSError:
            return

    def _file(self, fingerprint: str) -> Path:
        return self._folder / f"{fingerprint[:32]}.vectors"


def embed_photos(
    photos: Sequence[SetPhoto],
    pack: Pack,
    make_embedder: Callable[[], Embedder],
    kept: VectorFiles,
    *,
    progress: Progress = SILENT,
) -> tuple[dict[Output, Vectors], dict[int, str]]:
    """Every output of a pack for n photos. The model is loaded only if something is missing.

    Returns:
        Per output (n, 512), zeros where a photo cannot be embedded; and the reasons by row.
    """
    keys = [_key(photo) for photo in photos]
    found = {output: kept.read(name, keys) for output, name in pack.fingerprints.items()}
    # Several rows may mean one box of one photo; it is embedded once.
    todo: dict[Path, dict[bytes, SetPhoto]] = {}
    for key, photo in zip(keys, photos, strict=True):
        if any(key not in vectors for vectors in found.values()):
            todo.setdefault(photo.path, {})[key] = photo
    reasons: dict[Path, str] = {}
    if todo:
        progress.start(f"Embedding ({pack.card.name})", sum(map(len, todo.values())))
        for batch in _embed(make_embedder(), todo, reasons, progress):
            for output, fingerprint in pack.fingerprints.items():
                rows = np.stack([vectors[output] for vectors in batch.values()])
                kept.add(fingerprint, list(batch), rows)
                found[output].update(zip(batch, rows, strict=True))
    nothing = np.zeros(DIMENSIONS, np.float32)
    stacked = {o: np.stack([by_key.get(key, nothing) for key in keys]) for o, by_key in found.items()}
    return stacked, {row: reasons[p.path] for row, p in enumerate(photos) if p.path in reasons}


def _embed(
    embedder: Embedder,
    todo: Mapping[Path, Mapping[bytes, SetPhoto]],
    reasons: dict[Path, str],
    progress: Progress,
) -> Iterator[dict[bytes, dict[Output, NDArray[np.float32]]]]:
    """Embed, and hand over a batch of vectors by key from time to time."""
    paths = list(todo)
    tasks = (EmbedTask(i, path, tuple(p.box for p in todo[path].values())) for i, path in enumerate(paths))
    batch: dict[bytes, dict[Output, NDArray[np.float32]]] = {}
    for done in embedder.embed(tasks):
        path = paths[done.key]
        progress.advance(len(todo[path]))
        if done.error:
            reasons[path] = done.error.removeprefix(f"{path}: ")
            continue
        for i, key in enumerate(todo[path]):
            batch[key] = {output: rows[i] for output, rows in done.vectors.items()}
        if len(batch) >= _KEEP_EVERY:
            yield batch
            batch = {}
    if batch:
        yield batch


def _key(photo: SetPhoto) -> bytes:
    box = photo.box
    place = struct.pack("<4d", box.x, box.y, box.width, box.height)
    return hashlib.sha256(photo.sha256 + place).digest()
