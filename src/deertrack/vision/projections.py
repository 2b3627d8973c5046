"""Fitting a pack's projections to the animals at hand: PCA-whitening of what comes before the projection."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from deertrack.domain.embedding import DIMENSIONS, Output
from deertrack.domain.errors import InputError, PhotoError
from deertrack.domain.records import Box
from deertrack.vision.crops import crop, shrink_for
from deertrack.vision.embedder import normalise_pixels
from deertrack.vision.engines import Engine, load_engine
from deertrack.vision.image_io import Photo, Pixels
from deertrack.vision.model_packs import Graph, Pack
from deertrack.vision.pack_building import copy_notices, extra, file_sha256, write_card

LEAST_CROPS = 600  # 512 directions need more than 512 crops
RIDGE = 100.0

Features = NDArray[np.float32]
Array = NDArray[np.float64]
PhotoBoxes = tuple[Path, Sequence[Box]]

_PHOTOS_AT_ONCE = 16
_CROPS_AT_ONCE = 16


def insist_on_crops(count: int) -> None:
    """Insist on enough crops to fit a projection.

    Raises:
        InputError: fewer than 600.
    """
    if count < LEAST_CROPS:
        raise InputError(
            f"expected at least {LEAST_CROPS} crops to fit a projection, got {count}",
            hint="Add photos to the catalogue, or stay with the projection that the pack has.",
        )


def read_features(
    pack: Pack, photos: Sequence[PhotoBoxes], *, advance: Callable[[int], None]
) -> dict[Output, Features]:
    """What each output of a pack is projected from, for every box of every photo that can be read.

    Args:
        advance: called with the number of photos that were read since the last call.

    Returns:
        for each output (n, d): n is the number of boxes, d the output's own.

    Raises:
        InputError: fewer than 600 boxes could be read.
        PackError: the extra ``models`` is not installed.
    """
    building = extra("deertrack.vision.graph_building")
    found: dict[Output, list[Features]] = {output: [] for output in pack.fingerprints}
    with TemporaryDirectory() as temporary, ThreadPoolExecutor() as pool:
        open_graphs: list[tuple[Graph, Engine, dict[str, str]]] = []
        for graph in pack.card.graphs:
            path = Path(temporary, graph.file)
            names = building.expose_features(pack.directory / graph.file, graph.outputs.values(), path)
            open_graphs.append((graph, load_engine(path), names))
        rest = iter(photos)
        while chunk := list(islice(rest, _PHOTOS_AT_ONCE)):
            crops = chain.from_iterable(pool.map(partial(_crops, pack), chunk))
            while batch := list(islice(crops, _CROPS_AT_ONCE)):
                for i, (graph, engine, names) in enumerate(open_graphs):
                    pixels = np.stack([of_graphs[i] for of_graphs in batch])
                    given = engine.run(normalise_pixels(pixels, graph.normalisation))
                    for ours, theirs in graph.outputs.items():
                        found[ours].append(given[names[theirs]].reshape(len(batch), -1))
            advance(len(chunk))
    insist_on_crops(sum(map(len, next(iter(found.values())))))
    return {output: np.concatenate(rows) for output, rows in found.items()}


def fit_projections(
    pack: Pack, features: Mapping[Output, Features], directory: Path, *, name: str, versions: dict[str, int]
) -> None:
    """Write a pack whose outputs are those of ``pack``, each projected by a map fitted to ``features``.

    Args:
        features: for each output of the pack (n, d), as :func:`read_features` gives them.
        directory: where the files of the new pack go.

    Raises:
        InputError: fewer than 600 rows, or rows that hardly differ.
        PackError: the extra ``models`` is not installed.
    """
    building = extra("deertrack.vision.graph_building")
    count = len(next(iter(features.values())))
    graphs = []
    for graph in pack.card.graphs:
        names = {ours: f"deertrack_{ours.value}" for ours in graph.outputs}
        tails = []
        for ours, theirs in graph.outputs.items():
            mean, matrix = whitening(features[ours])
            tails.append(building.Tail(theirs, names[ours], matrix, shift=mean))
        building.project(pack.directory / graph.file, tails, directory / graph.file)
        fitted = (
            f"PCA-whitening in the graph, fitted on {count:,} crops; ridge {RIDGE:g} times the mean variance"
        )
        new_hash = file_sha256(directory / graph.file)
        # A head was fitted to the outputs that are replaced here.
        graphs.append(replace(graph, sha256=new_hash, outputs=names, projection=fitted, head=None))
    description = f"{pack.card.name}, with projections fitted on {count:,} crops from one catalogue."
    card = replace(pack.card, name=name, description=description, versions=versions, graphs=tuple(graphs))
    write_card(directory, card)
    copy_notices(pack, directory)


def whitening(rows: Features, *, ridge: float = RIDGE) -> tuple[Array, Array]:
    """PCA-whitening with a ridge: what to subtract, (d,), and what to multiply by, (d, 512).

    What all rows have in common is subtracted, and the directions in which they vary most count for less. The
    ridge, so many times the mean variance of the 512 directions, keeps those that hold little but noise from
    drowning the rest: figures in docs/adr/0008. With fewer than 512 numbers, d, the last columns are zero.

    Raises:
        InputError: fewer than 600 rows, or rows that hardly differ.
    """
    insist_on_crops(len(rows))
    mean = rows.mean(axis=0, dtype=np.float64)
    centred = rows - mean
    # The crops' inner products hold all that matters and are fewer than those of the features' numbers.
    squares, vectors = np.linalg.eigh(centred @ centred.T)
    kept = min(DIMENSIONS, rows.shape[1])
    squares, vectors = squares[::-1][:kept], vectors[:, ::-1][:, :kept]
    if not squares[-1] > 1e-7 * squares[0]:
        raise InputError(
            f"the crops differ in fewer than {kept} ways, too few to fit a projection",
            hint="Are they copies of a few photos? Add others to the catalogue.",
        )
    variances = squares / (len(rows) - 1)
    matrix = np.zeros((rows.shape[1], DIMENSIONS))
    matrix[:, :kept] = centred.T @ (vectors / np.sqrt(squares * (variances + ridge * variances.mean())))
    return mean, matrix


def _crops(pack: Pack, photo: PhotoBoxes) -> list[list[Pixels]]:
    """For each box the pixels for each graph of the pack; none if the photo cannot be read."""
    path, boxes = photo
    try:
        opened = Photo(path.read_bytes(), path)
        decode = cache(opened.decode)
        return [
            [
                crop(
                    decode(shrink_for(box, opened.width, opened.height, graph.input_hw)),
                    box,
                    graph.crop,
                    graph.input_hw,
                )
                for graph in pack.card.graphs
            ]
            for box in boxes
        ]
    except (PhotoError, OSError):
        return []
