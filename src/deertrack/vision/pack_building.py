"""Making packs: the card, and a pack out of any ONNX graph that somebody exported."""

import hashlib
import importlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deertrack.domain.embedding import DIMENSIONS, Output
from deertrack.domain.errors import InputError, PackError
from deertrack.vision.crops import CropRule
from deertrack.vision.engines import Engine, load_engine
from deertrack.vision.model_packs import CARD, Card, Graph, Normalisation, Pack
from deertrack.vision.pack_checks import drawn_pictures

CALIBRATION = "calibration.json"  # of a pack whose makers measured what its similarities mean
IMAGENET = Normalisation(scale=1.0, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
SEEDED = "orthonormal map in the graph, fitted on nothing: QR of a Gaussian matrix, numpy PCG64, seed {}"

_IMPORT_SEED = 1
_STAGE_OUTPUTS = {1: Output.SINGLE, 2: Output.MULTISCALE}


def extra(module: str) -> Any:
    """A module that needs the extra ``models``.

    Raises:
        PackError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise PackError(
            f"this needs the Python package {error.name!r}, which is not installed here",
            hint="Install deertrack with its extra: pip install 'deertrack[models]'. Only building a pack needs "
            "it; a pack that was built elsewhere comes in with `deertrack models install`.",
        ) from error


def file_sha256(path: Path) -> str:
    """Hash of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_card(directory: Path, card: Card) -> None:
    """Write ``pack.json``: the inverse of how ``load_pack`` reads it."""
    document = {
        "name": card.name,
        "description": card.description,
        "limits": card.limits,
        "versions": card.versions,
        "graphs": [
            {
                "file": graph.file,
                "sha256": graph.sha256,
                "input": list(graph.input_hw),
                "normalisation": {
                    "scale": graph.normalisation.scale,
                    "mean": list(graph.normalisation.mean),
                    "std": list(graph.normalisation.std),
                },
                "crop": graph.crop.value,
                "outputs": {ours.value: theirs for ours, theirs in graph.outputs.items()},
                "projection": graph.projection,
                "licence": graph.licence,
                "provenance": graph.provenance,
                **({"mirrored": True} if graph.mirrored else {}),
                **({"head": asdict(graph.head)} if graph.head else {}),
            }
            for graph in card.graphs
        ],
    }
    text = json.dumps(document, indent=2, ensure_ascii=False)
    (directory / CARD).write_text(text + "\n", encoding="utf-8")


def copy_notices(pack: Pack, directory: Path) -> None:
    """Copy what lies beside a pack's card but shapes nothing: the makers' notices go where their weights go."""
    graphs = pack.card.graphs
    shaping = {CARD, CALIBRATION, *(g.file for g in graphs), *(g.head.file for g in graphs if g.head)}
    for file in pack.directory.iterdir():
        if file.is_file() and file.name not in shaping:
            copyfile(file, directory / file.name)


def import_graph(
    source: Path,
    directory: Path,
    *,
    name: str,
    version: str,
    stage: int,
    input_hw: tuple[int, int],
    normalisation: Normalisation,
    crop: CropRule,
    output: str | None,
    licence: str,
    provenance: str,
) -> None:
    """Make a pack of one embedding version out of an ONNX file.

    An output of 512 numbers of length 1 is taken as it is, the file byte for byte. Any other (n, d) output is
    projected to 512 by a seeded orthonormal map and brought to unit length, inside the graph.

    Args:
        source: the graph: one input (n, 3, height, width) float32, an output (n, d) or (n, d, 1, 1).
        directory: where the pack's files go.
        stage: 1 fills ``feature_vector``, 2 ``feature_vector_multiscale``.
        output: the graph's name for it; None if it has only one.

    Raises:
        InputError: no such file, a stage other than 1 or 2, or an output that the graph lacks.
        PackError: the file is no such graph, or needs changes and the extra ``models`` is not installed.
    """
    if stage not in _STAGE_OUTPUTS:
        raise InputError(
            f"expected stage 1 or 2, got {stage}", hint="Stage 3 needs the outputs of two graphs."
        )
    if not source.is_file():
        raise InputError(f"{source}: no such file")
    given, free_batch = _probe(source, input_hw)
    if output is None and len(given) > 1:
        raise InputError(
            f"{source}: has {len(given)} outputs", hint=f"Name one with --output: {', '.join(given)}"
        )
    output = output or next(iter(given))
    if output not in given:
        raise InputError(f"{source}: has no output {output!r}; it has {', '.join(given)}")
    rows = given[output]
    width = rows.shape[1] if rows.ndim == 2 or rows.shape[2:] == (1, 1) else 0
    if not width:
        raise PackError(
            f"{source}: expected {output!r} of shape (n, d), got {rows.shape}",
            hint="Export the network up to its pooled features, one vector for each picture.",
        )
    target = directory / f"{name}.onnx"
    lengths = np.linalg.norm(rows.reshape(len(rows), -1), axis=1)
    if rows.shape[1:] == (DIMENSIONS,) and free_batch and (abs(lengths - 1) < 1e-3).all():
        copyfile(source, target)
        projection = "none: the graph's own output"
    else:
        output, projection = _finish(source, target, output, width)
    graph = Graph(
        file=target.name,
        sha256=file_sha256(target),
        input_hw=input_hw,
        normalisation=normalisation,
        crop=crop,
        outputs={_STAGE_OUTPUTS[stage]: output},
        projection=projection,
        licence=licence,
        provenance=f"{provenance}; imported from {source.name}, sha256 {file_sha256(source)}",
    )
    write_card(
        directory,
        Card(
            name=name,
            description=f"Imported from {source.name}: {provenance}",
            limits="Not measured by deertrack.",
            versions={version: stage},
            graphs=(graph,),
        ),
    )


def _finish(source: Path, target: Path, output: str, width: int) -> tuple[str, str]:
    """Write the graph with its output projected; returns the new output's name and what was done, in words."""
    building = extra("deertrack.vision.graph_building")
    name = "deertrack_vector"
    tail = building.Tail(output, name, building.orthonormal(width, _IMPORT_SEED))
    try:
        building.project(source, [tail], target)
    except Exception as error:  # onnx's errors share no base class
        raise PackError(f"{source}: cannot be changed: {_first_line(error)}") from error
    if width > DIMENSIONS:
        return name, f"{width} numbers by an {SEEDED.format(_IMPORT_SEED)}"
    return (
        name,
        f"{width} numbers of its own, then zeros" if width < DIMENSIONS else "only brought to unit length",
    )


def _probe(source: Path, input_hw: tuple[int, int]) -> tuple[Mapping[str, NDArray[np.float32]], bool]:
    """What the graph gives for pictures, and whether it takes more than one at once."""
    engine: Engine = load_engine(source, engine="onnxruntime")
    pictures = drawn_pictures(input_hw, IMAGENET)
    try:
        return engine.run(pictures), True
    except Exception:  # noqa: BLE001 (the engines' errors share no base class; the second attempt speaks)
        try:
            return engine.run(pictures[:1]), False
        except Exception as error:
            raise PackError(
                f"{source}: takes no pictures of {input_hw[0]} × {input_hw[1]} pixels: {_first_line(error)}",
                hint="Give the input's height and width as --input HxW, as it was when the graph was exported.",
            ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
