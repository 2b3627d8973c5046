"""Learned heads as files of a pack, and what a pack's vectors become through them."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from deertrack.domain.embedding import Output, Vectors, normalise
from deertrack.domain.errors import InputError, PackError
from deertrack.domain.learned import Head
from deertrack.vision.model_packs import Pack


def read_heads(path: Path, outputs: Collection[Output]) -> dict[Output, Head]:
    """The head of each of these outputs: arrays NAME.mean (512,) and NAME.map (512, k).

    Raises:
        PackError: it is no such file, or lacks an output.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {
                output: Head(
                    *(arrays[f"{output.value}.{part}"].astype(np.float64) for part in ("mean", "map"))
                )
                for output in outputs
            }
    except (OSError, KeyError, ValueError, EOFError, BadZipFile, InputError) as error:
        raise PackError(f"{path}: cannot be used as a learned head ({error})") from error


def write_heads(path: Path, heads: Mapping[Output, Head]) -> None:
    """Write a file of heads: the same heads, the same bytes. Numbers are kept as float32."""
    arrays = {f"{output.value}.mean": head.mean for output, head in heads.items()}
    arrays |= {f"{output.value}.map": head.matrix for output, head in heads.items()}
    np.savez(path, allow_pickle=False, **{name: array.astype(np.float32) for name, array in arrays.items()})


def headless(pack: Pack) -> Pack:
    """The pack without its heads: what a new head is fitted to."""
    graphs = tuple(replace(graph, head=None) for graph in pack.card.graphs)
    return Pack(replace(pack.card, graphs=graphs), pack.directory)


def through_heads(pack: Pack, vectors: Mapping[Output, Vectors]) -> dict[Output, Vectors]:
    """What a pack makes of the vectors (n, 512) of its headless self.

    Raises:
        PackError: a head cannot be read.
        InputError: a vector is where its head sees no direction.
    """
    found = dict(vectors)
    for graph in pack.card.graphs:
        if graph.head:
            for output, head in read_heads(pack.directory / graph.head.file, graph.outputs).items():
                found[output] = normalise(head.project(vectors[output]))
    return found
