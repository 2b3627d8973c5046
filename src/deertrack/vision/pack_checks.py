"""Does a pack do what it says? Files, engines, and vectors that can be trusted."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deertrack.domain.embedding import DIMENSIONS
from deertrack.domain.errors import DeertrackError, PackError
from deertrack.vision.embedder import normalise_pixels
from deertrack.vision.engines import load_engine
from deertrack.vision.heads import read_heads
from deertrack.vision.model_packs import Graph, Normalisation, load_pack

LEAST_AGREEMENT = 0.999  # cosine of two engines' vectors of one picture
_SAME = 0.99999  # cosine of one engine's vectors of one picture
_ENGINES: tuple[Literal["openvino", "onnxruntime"], ...] = ("openvino", "onnxruntime")

Batch = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked: what, whether it is as it should be, the details, what to do if not."""

    what: str
    ok: bool
    detail: str
    hint: str = ""


def drawn_pictures(input_hw: tuple[int, int], normalisation: Normalisation, *, count: int = 2) -> Batch:
    """Smooth random pictures (always the same), ready for a network: (count, 3, height, width) float32."""
    high, wide = input_hw
    coarse = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    pixels = [np.asarray(Image.fromarray(p).resize((wide, high), Image.Resampling.BICUBIC)) for p in coarse]
    return normalise_pixels(np.stack(pixels), normalisation)


def check_pack(directory: Path) -> list[Finding]:
    """Check the card, the files' hashes, and for each graph on each engine that it gives sound vectors.

    Sound: 512 numbers, finite, of length 1 (to 0.001), the same again and alone as in company, another vector
    for another picture, and the same on both engines (cosine at least 0.999).
    """
    what = "card and files"
    try:
        pack = load_pack(directory)
    except PackError as error:
        return [Finding(what, False, error.message, error.hint)]
    findings = [Finding(what, True, f"{len(pack.card.graphs)} graphs, sha256 as on the card")]
    for graph in pack.card.graphs:
        findings += _check_graph(directory / graph.file, graph)
        if graph.head:
            findings.append(_check_head(directory / graph.head.file, graph))
    return findings


def _check_head(path: Path, graph: Graph) -> Finding:
    try:
        heads = read_heads(path, graph.outputs)
    except PackError as error:
        return Finding(path.name, False, error.message, "Install the pack again.")
    widths = ", ".join(str(head.matrix.shape[1]) for head in heads.values())
    return Finding(path.name, True, f"a learned head to {widths} numbers")


def _check_graph(path: Path, graph: Graph) -> list[Finding]:
    findings: list[Finding] = []
    vectors: list[dict[str, Batch]] = []
    for engine in _ENGINES:
        what = f"{graph.file} on {engine}"
        try:
            vectors.append(_vectors(path, graph, engine))
            findings.append(Finding(what, True, "unit vectors, the same twice"))
        except DeertrackError as error:
            findings.append(Finding(what, False, error.message, error.hint))
        except Exception as error:  # noqa: BLE001 (the engines' errors share no base class)
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            hint = "It has to take (n, 3, height, width) float32 with a free n. Build or export it again."
            findings.append(Finding(what, False, f"cannot run: {reason}", hint))
    if len(vectors) == len(_ENGINES):
        least = min(_cosine(vectors[0][name], vectors[1][name]) for name in graph.outputs.values())
        agree = least >= LEAST_AGREEMENT
        hint = "" if agree else "Choose one engine for good (DEERTRACK_ENGINE), or use another pack."
        findings.append(Finding(f"{graph.file}: engines agree", agree, f"least cosine {least:.6f}", hint))
    return findings


def _vectors(path: Path, graph: Graph, engine: Literal["openvino", "onnxruntime"]) -> dict[str, Batch]:
    """The graph's vectors of two pictures.

    Raises:
        PackError: they are not sound.
    """
    loaded = load_engine(path, engine=engine)
    pictures = drawn_pictures(graph.input_hw, graph.normalisation)
    first, again, alone = loaded.run(pictures), loaded.run(pictures), loaded.run(pictures[:1])
    for name in graph.outputs.values():
        if name not in first:
            raise PackError(f"the card names the output {name!r}, the graph has {sorted(first)}")
        rows = first[name]
        if rows.shape != (len(pictures), DIMENSIONS):
            raise PackError(f"expected {name!r} of shape ({len(pictures)}, {DIMENSIONS}), got {rows.shape}")
        lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
        if not (abs(lengths - 1) < 1e-3).all():
            raise PackError(f"expected {name!r} of length 1, got {lengths.round(4).tolist()}")
        if not (_cosine(rows, again[name]) > _SAME and _cosine(rows[:1], alone[name]) > _SAME):
            raise PackError(f"{name!r} is not the same for the same picture, given again or alone")
        if _cosine(rows[:1], rows[1:]) > _SAME:
            raise PackError(f"{name!r} is the same for different pictures")
    return first


def _cosine(a: Batch, b: Batch) -> float:
    """The least cosine of rows with rows."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(((a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())
