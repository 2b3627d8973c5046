"""From photos and boxes to vectors: read ahead in threads, one pass per full batch across photos."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deertrack.domain.embedding import DIMENSIONS, Output, Vectors
from deertrack.domain.errors import PackError, PhotoError
from deertrack.domain.learned import Head
from deertrack.domain.records import Box
from deertrack.vision.crops import CropRule, crop, shrink_for
from deertrack.vision.engines import Engine, EngineName, Precision, load_engine
from deertrack.vision.heads import read_heads
from deertrack.vision.image_io import Photo, Pixels
from deertrack.vision.model_packs import Graph, Normalisation, Pack

_View = tuple[CropRule, tuple[int, int]]  # how a crop is made: graphs that agree on it share the crop


@dataclass(frozen=True, slots=True)
class EmbedTask:
    """One photo and all the animals detected in it. ``key`` comes back with the result."""

    key: int
    path: Path
    boxes: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vectors of one photo: for each output of the pack, (number of boxes, 512) unit rows.

    ``error`` is empty when all went well, else the reason; then ``vectors`` is empty.
    """

    key: int
    vectors: dict[Output, Vectors]
    error: str = ""


@dataclass(slots=True)
class _Open:
    """A photo on its way: read, and not all of its vectors computed yet."""

    task: EmbedTask
    crops: dict[_View, list[Pixels]] = field(default_factory=dict)
    vectors: dict[Output, Vectors] = field(default_factory=dict)
    missing: int = 0
    error: str = ""

    def result(self) -> Embedded:
        return Embedded(self.task.key, {} if self.error else self.vectors, self.error)


class Embedder:
    """Computes every output of a pack for detections in photos.

    Args:
        pack: the model.
        engine, precision, threads: as ``load_engine``.
        batch_size: crops in one pass.

    Raises:
        PackError: a graph cannot be loaded, or lacks an output that the card names.
    """

    def __init__(
        self,
        pack: Pack,
        *,
        engine: EngineName = "auto",
        precision: Precision = "f32",
        threads: int | None = None,
        batch_size: int = 16,
    ) -> None:
        self._batch_size = batch_size
        # Each reader may hold one decoded photo; more than these would only cost memory.
        self._readers = min(threads or os.cpu_count() or 1, 16)
        self._graphs: list[tuple[Graph, Engine]] = [
            (
                graph,
                load_engine(pack.directory / graph.file, engine=engine, precision=precision, threads=threads),
            )
            for graph in pack.card.graphs
        ]
        self._views: set[_View] = {(graph.crop, graph.input_hw) for graph in pack.card.graphs}
        for graph, loaded in self._graphs:
            _check_outputs(pack.directory / graph.file, graph, loaded)
        self._heads: dict[Output, Head] = {}
        for graph in pack.card.graphs:
            if graph.head:
                self._heads |= read_heads(pack.directory / graph.head.file, graph.outputs)
        self.engine = self._graphs[0][1].name

    def embed(self, tasks: Iterable[EmbedTask]) -> Iterator[Embedded]:
        """Embed photos, in the order of ``tasks``.

        Each file is read once. A photo that cannot be read gives an ``error`` and stops no other. What is in
        memory is bounded by a few batches, whatever the number of tasks, which are drawn as they are needed.
        """
        unfinished: deque[_Open] = deque()
        waiting: deque[tuple[_Open, int]] = deque()
        for photo in self._read_ahead(tasks):
            unfinished.append(photo)
            waiting.extend((photo, i) for i in range(photo.missing))
            while len(waiting) >= self._batch_size:
                self._run([waiting.popleft() for _ in range(self._batch_size)])
            while unfinished and not unfinished[0].missing:
                yield unfinished.popleft().result()
        if waiting:
            self._run(list(waiting))
        for photo in unfinished:
            yield photo.result()

    def _read_ahead(self, tasks: Iterable[EmbedTask]) -> Iterator[_Open]:
        source = iter(tasks)
        pool = ThreadPoolExecutor(self._readers, thread_name_prefix="photo-reader")
        try:
            ahead: deque[Future[_Open]] = deque(
                pool.submit(self._read, task) for task in islice(source, self._batch_size + self._readers)
            )
            while ahead:
                yield ahead.popleft().result()
                ahead.extend(pool.submit(self._read, task) for task in islice(source, 1))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _read(self, task: EmbedTask) -> _Open:
        """Read and crop one photo; runs in a reader thread."""
        opened = _Open(task)
        try:
            if task.boxes:
                opened.crops = self._crops(Photo(task.path.read_bytes(), task.path), task.boxes)
        except PhotoError as error:
            opened.error = error.message
        except OSError as error:
            opened.error = f"{task.path}: cannot be read ({error.strerror})"
        except MemoryError:
            opened.error = f"{task.path}: not enough memory to decode it"
        else:
            opened.missing = len(task.boxes)
            for graph, _ in self._graphs:
                for output in graph.outputs:
                    opened.vectors[output] = np.empty((len(task.boxes), DIMENSIONS), dtype=np.float32)
        return opened

    def _crops(self, photo: Photo, boxes: tuple[Box, ...]) -> dict[_View, list[Pixels]]:
        decoded: dict[int, Pixels] = {}
        crops: dict[_View, list[Pixels]] = {}
        for view in self._views:
            rule, input_hw = view
            crops[view] = []
            for box in boxes:
                shrink = shrink_for(box, photo.width, photo.height, input_hw)
                if shrink not in decoded:
                    decoded[shrink] = photo.decode(shrink)
                crops[view].append(crop(decoded[shrink], box, rule, input_hw))
        return crops

    def _run(self, rows: list[tuple[_Open, int]]) -> None:
        for graph, engine in self._graphs:
            pixels = np.stack([photo.crops[graph.crop, graph.input_hw][i] for photo, i in rows])
            given = [engine.run(normalise_pixels(pixels, graph.normalisation))]
            if graph.mirrored:
                given.append(engine.run(normalise_pixels(pixels[:, :, ::-1], graph.normalisation)))
            for ours, theirs in graph.outputs.items():
                vectors, *mirror_images = (outputs[theirs].astype(np.float64) for outputs in given)
                for seen in mirror_images:
                    vectors = _direction(vectors) + _direction(seen)
                if ours in self._heads:
                    vectors = self._heads[ours].project(_direction(vectors))
                self._store(rows, ours, vectors)
        for photo, _ in rows:
            photo.missing -= 1

    @staticmethod
    def _store(rows: list[tuple[_Open, int]], output: Output, vectors: NDArray[np.float64]) -> None:
        # The graph ends in unit vectors; once more here, because bf16 rounds them by more than we store.
        lengths = np.linalg.norm(vectors, axis=1)
        for (photo, i), vector, length in zip(rows, vectors, lengths, strict=True):
            if np.isfinite(length) and length > 0:
                photo.vectors[output][i] = vector / length
            else:
                photo.error = f"{photo.task.path}: the model gives no direction for box {i + 1}"


def _direction(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows (n, 512) of length 1; those that have no direction become NaN, which ``_store`` reports."""
    with np.errstate(invalid="ignore", divide="ignore"):
        unit: NDArray[np.float64] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def _check_outputs(path: Path, graph: Graph, engine: Engine) -> None:
    """One pass over a blank picture: does the graph take this input and give what the card names?"""
    try:
        given = engine.run(np.zeros((1, 3, *graph.input_hw), dtype=np.float32))
    except Exception as error:  # the engines' errors share no base class
        raise PackError(f"{path}: takes no input of {graph.input_hw} pixels ({error})") from error
    for name in graph.outputs.values():
        if name not in given:
            raise PackError(f"{path}: the card names the output {name!r}, the graph has {sorted(given)}")
        if given[name].shape != (1, DIMENSIONS):
            raise PackError(f"{path}: expected {name!r} of shape (1, {DIMENSIONS}), got {given[name].shape}")


def normalise_pixels(pixels: Pixels, rule: Normalisation) -> NDArray[np.float32]:
    """(n, h, w, 3) uint8 to (n, 3, h, w) float32."""
    factor = rule.scale / np.asarray(rule.std, dtype=np.float64)
    shift = np.asarray(rule.mean, dtype=np.float64) / np.asarray(rule.std, dtype=np.float64)
    planes = pixels.transpose(0, 3, 1, 2).astype(np.float32, order="C")
    planes *= factor.astype(np.float32)[:, None, None]
    planes -= shift.astype(np.float32)[:, None, None]
    return planes
