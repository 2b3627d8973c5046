"""Embeddings: unit vectors of 512 numbers, and the versions and fingerprints that say who made them.

Source: spec, "Data Types: Vector Embeddings"; rules 1–3 of docs/architecture.md.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from deertrack.domain.errors import InputError

DIMENSIONS = 512
NORM_TOLERANCE = 1e-4  # spec, "L2 Normalization Validation"

Vectors = NDArray[np.float32]


class Output(StrEnum):
    """The three vectors of a deer. The value is the column of ``deer`` that holds it (spec)."""

    SINGLE = "feature_vector"
    MULTISCALE = "feature_vector_multiscale"
    PARTNER = "feature_vector_efficientnet"


@dataclass(frozen=True, slots=True)
class EmbeddingVersion:
    """A named way of embedding: ``v1_resnet50``, ``v3_lite``…  Code asks for the stage, never the name.

    ``stage`` 1 searches the single-layer vector, 2 the multi-scale one, 3 the ensemble of multi-scale and
    partner. ``fingerprints`` maps each output that the pack produces to the hash of all that shapes it
    (weights, projection, input size, normalisation, crop rule).
    """

    name: str
    stage: int
    pack: str
    fingerprints: dict[Output, str]

    def __post_init__(self) -> None:
        if not 0 < len(self.name) <= 20:
            raise InputError(f"an embedding version's name has 1 to 20 characters, got {self.name!r}")
        missing = [o for o in self.search_outputs if o not in self.fingerprints]
        if missing:
            raise InputError(f"embedding version {self.name} (stage {self.stage}) lacks {missing}")

    @property
    def search_outputs(self) -> tuple[Output, ...]:
        """The outputs that a search with this version compares."""
        stages = {1: (Output.SINGLE,), 2: (Output.MULTISCALE,), 3: (Output.MULTISCALE, Output.PARTNER)}
        if self.stage not in stages:
            raise InputError(f"embedding version {self.name}: expected stage 1, 2 or 3, got {self.stage}")
        return stages[self.stage]


def normalise(rows: NDArray[np.floating]) -> Vectors:
    """Scale each row of an (n, d) array to length 1, as float32.

    Raises:
        InputError: a row is all zeros or holds NaN or infinity: it has no direction.
    """
    rows = np.asarray(rows, dtype=np.float64)
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    if not np.isfinite(lengths).all() or (lengths == 0).any():
        raise InputError("expected finite vectors other than zero, which have no direction")
    unit: Vectors = (rows / lengths).astype(np.float32)
    return unit


def norm_error(rows: Vectors) -> NDArray[np.float64]:
    """How far each row of an (n, d) array is from length 1, in [0, ∞)."""
    error: NDArray[np.float64] = np.abs(1.0 - np.linalg.norm(rows.astype(np.float64), axis=-1))
    return error


def check_vectors(rows: Vectors) -> None:
    """Insist on (n, 512) float32 unit vectors before they are stored.

    Raises:
        InputError: another shape, or a norm off by more than 1e-4.
    """
    if rows.ndim != 2 or rows.shape[1] != DIMENSIONS or rows.dtype != np.float32:
        raise InputError(f"expected (n, {DIMENSIONS}) float32 vectors, got {rows.shape} {rows.dtype}")
    worst = float(norm_error(rows).max(initial=0.0))
    if not worst < NORM_TOLERANCE:
        raise InputError(
            f"expected unit vectors, got a norm error of {worst:.2g} (< {NORM_TOLERANCE} needed)"
        )


def pool(rows: Vectors) -> Vectors:
    """One unit vector (d,) for several photos of one animal: the direction of their mean (n, d)."""
    pooled: Vectors = normalise(rows.mean(axis=0, dtype=np.float64)[None])[0]
    return pooled
