"""The ensemble: two unit vectors per animal, one weighted similarity, one inner product.

With unit vectors a, b of the gallery and qa, qb of the query, ``w1·cos(a, qa) + w2·cos(b, qb)`` is the inner
product of ``a‖b`` with ``(w1·qa)‖(w2·qb)``, so one index serves every choice of weights.
Source: spec, "Ensemble Query"; docs/architecture.md, rule 4.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from deertrack.domain.embedding import EmbeddingVersion, Output, Vectors
from deertrack.domain.errors import InputError


@dataclass(frozen=True, slots=True)
class Weights:
    """Shares of the multi-scale and the partner vector in an ensemble similarity; they sum to 1.

    Raises:
        InputError: a negative share, or a sum other than 1.
    """

    multiscale: float = 0.6  # spec
    partner: float = 0.4

    def __post_init__(self) -> None:
        if not (min(self.multiscale, self.partner) >= 0 and abs(self.multiscale + self.partner - 1) <= 1e-6):
            raise InputError(
                f"expected two weights ≥ 0 that sum to 1, got {self.multiscale} and {self.partner}"
            )

    def of(self, version: EmbeddingVersion) -> dict[Output, float]:
        """The share of each output that ``version`` compares: 1 for its only one, or these two."""
        if version.stage == 3:
            return {Output.MULTISCALE: self.multiscale, Output.PARTNER: self.partner}
        return dict.fromkeys(version.search_outputs, 1.0)


def weighted_query(vectors: Mapping[Output, Vectors], shares: Mapping[Output, float]) -> Vectors:
    """The query side of the inner product: each (512,) vector times its share, concatenated."""
    return np.concatenate([np.float32(share) * vectors[output] for output, share in shares.items()])


def joint_vectors(vectors: Mapping[Output, Vectors], shares: Mapping[Output, float]) -> Vectors:
    """Rows whose plain inner products are the weighted similarities: (n, 512) each → (n, 512·outputs), unit."""
    parts = [np.float32(np.sqrt(share)) * vectors[output] for output, share in shares.items()]
    return np.concatenate(parts, axis=1)
