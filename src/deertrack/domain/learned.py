"""Learned heads: linear maps of a network's vectors under which photos of one animal lie closer together.

Two ways to fit one. PCA-whitening needs no names: directions in which all photos vary count for less. LDA needs
names: directions in which photos of one animal vary count for less than those in which animals differ.

Sources: Jégou & Chum (2012), "Negative evidences and co-occurrences in image retrieval: the benefit of PCA and
whitening"; Fisher (1936), "The use of multiple measurements in taxonomic problems"; Friedman (1989), "Regularized
discriminant analysis" (the shrinkage).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from deertrack.domain.embedding import DIMENSIONS, Vectors
from deertrack.domain.errors import InputError

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

_NOTHING = 1e-9  # of the greatest variance: a direction with less holds rounding errors


class Method(StrEnum):
    """How a head is fitted."""

    LDA = "lda"
    WHITENING = "whitening"


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """What is subtracted from a vector, ``mean`` (512,), and what the rest is multiplied by, ``matrix`` (512, k).

    Raises:
        InputError: other shapes, k outside 1 … 512, or numbers that are not finite.
    """

    mean: Floats
    matrix: Floats

    def __post_init__(self) -> None:
        rows, columns = self.matrix.shape if self.matrix.ndim == 2 else (0, 0)
        if self.mean.shape != (DIMENSIONS,) or rows != DIMENSIONS or not 0 < columns <= DIMENSIONS:
            raise InputError(
                f"expected a head's mean ({DIMENSIONS},) and map ({DIMENSIONS}, 1 to {DIMENSIONS}), "
                f"got {self.mean.shape} and {self.matrix.shape}"
            )
        if not (np.isfinite(self.mean).all() and np.isfinite(self.matrix).all()):
            raise InputError("expected a head of finite numbers")

    def project(self, vectors: NDArray[np.floating]) -> Floats:
        """Vectors (n, 512) as the head sees them: (n, 512), zeros after the k-th column, not of unit length."""
        found = np.zeros((len(vectors), DIMENSIONS))
        # Row by row: how a matrix product rounds depends on how many rows it has.
        for row, vector in zip(found, vectors, strict=True):
            row[: self.matrix.shape[1]] = (vector - self.mean) @ self.matrix
        return found


def fit_head(method: Method, vectors: Vectors, classes: Codes) -> Head:
    """Fit a head to vectors (n, 512) of labelled photos; ``classes`` (n,) says which show one side of one animal.

    Raises:
        InputError: too few photos or animals.
    """
    return fit_lda(vectors, classes) if method is Method.LDA else fit_whitening(vectors)


def fit_whitening(vectors: Vectors, *, components: int = 256, ridge: float = 1.0) -> Head:
    """PCA-whitening: the strongest ``components`` directions, each divided by the root of its variance.

    ``ridge`` times their mean variance is added to each variance, so that weak directions, noise mostly, stay weak.

    Raises:
        InputError: fewer than three vectors, or vectors that do not differ.
    """
    rows = np.asarray(vectors, dtype=np.float64)
    if len(rows) < 3 or not np.ptp(rows, axis=0).any():
        raise InputError(f"expected three or more different photos to fit a head to, got {len(rows)}")
    mean = rows.mean(axis=0)
    _, lengths, axes = np.linalg.svd(rows - mean, full_matrices=False)
    variances = lengths[:components] ** 2 / len(rows)
    variances = variances[variances > _NOTHING * variances[0]]
    return Head(mean, axes[: len(variances)].T / np.sqrt(variances + ridge * variances.mean()))


def fit_lda(vectors: Vectors, classes: Codes, *, components: int = 128, shrinkage: float = 0.5) -> Head:
    """Linear discriminant analysis: at most ``components`` directions, those that part the classes best.

    Args:
        vectors: (n, 512).
        classes: (n,), the class of each vector, for example an animal's flank.
        shrinkage: in (0, 1]: how far the scatter within classes is moved towards that of a ball. A herd has too
            few photos of each animal to know it in 512 directions.

    Raises:
        InputError: fewer than three classes, or none with two different vectors.
    """
    rows = np.asarray(vectors, dtype=np.float64)
    names, place, counts = np.unique(classes, return_inverse=True, return_counts=True)
    if len(names) < 3 or counts.max() < 2:
        raise InputError(
            f"expected three or more animals to learn from, some in several photos; got {len(names)} in "
            f"{len(rows)} photos"
        )
    sums = np.zeros((len(names), DIMENSIONS))
    np.add.at(sums, place, rows)
    centres, mean = sums / counts[:, None], rows.mean(axis=0)
    inside = rows - centres[place]
    within = inside.T @ inside / len(rows)
    ball = np.trace(within) / DIMENSIONS
    if not ball > 0:
        raise InputError("expected animals in several different photos to learn from, got copies of one each")
    apart = (centres - mean) * np.sqrt(counts / len(rows))[:, None]
    within = (1 - shrinkage) * within + shrinkage * ball * np.eye(DIMENSIONS)
    # Once the scatter within classes is a ball, the directions asked for are those in which the centres lie apart.
    root = np.linalg.cholesky(within)
    _, _, axes = np.linalg.svd(np.linalg.solve(root, apart.T).T, full_matrices=False)
    return Head(mean, np.linalg.solve(root.T, axes[: min(components, len(names) - 1)].T))


def classes_of(identity: Codes, flank: Codes) -> Codes:
    """One number for each identity and flank (n,): the two sides of an animal show different marks.

    ``flank`` is -1 where nobody tells, which is a class of the animal's own.
    """
    pairs = np.stack([identity, flank], axis=1)
    numbered: Codes = np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return numbered


def describe(method: Method, heads: Sequence[Head]) -> str:
    """A method in words, with how many numbers are left."""
    left = ", ".join(str(head.matrix.shape[1]) for head in heads)
    names = {Method.LDA: "LDA", Method.WHITENING: "PCA-whitening"}
    return f"{names[method]} to {left} numbers"
