"""How well a grouping of sightings into individuals agrees with the truth.

Three views of one comparison, because none suffices alone. Pairwise scores weigh an animal by the square of
its sightings, B-cubed weighs each sighting once, the adjusted Rand index takes off what chance would reach.
Precision falls when two animals are called one, recall when one animal is called two.

Sources: Amigó, Gonzalo, Artiles & Verdejo (2009), "A comparison of extrinsic clustering evaluation metrics
based on formal constraints", Information Retrieval 12; Hubert & Arabie (1985), "Comparing partitions",
Journal of Classification 2.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deertrack.domain.errors import InputError

Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """Precision and recall, each in [0, 1]."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, in [0, 1]; 0 when both are 0."""
        total = self.precision + self.recall
        return 2.0 * self.precision * self.recall / total if total else 0.0


@dataclass(frozen=True, slots=True)
class Agreement:
    """A predicted grouping held against the truth.

    ``items`` sightings were compared; ``true_groups`` and ``predicted_groups`` count the distinct labels.
    ``adjusted_rand`` is 1 for identical groupings, about 0 for chance and at worst negative (≥ -1).
    """

    items: int
    true_groups: int
    predicted_groups: int
    pairwise: PrecisionRecall
    b_cubed: PrecisionRecall
    adjusted_rand: float


def compare_groupings(truth: Sequence[Hashable], predicted: Sequence[Hashable]) -> Agreement:
    """Compare two groupings of the same n items; memory and time grow with n, never with n².

    Args:
        truth: n labels, such as the identity of each sighting. Only their equality counts, not their value.
        predicted: n labels in the same order. Give an undecided sighting a label of its own: it is a group of
            one. ``None`` is a label like any other and would make one animal of all undecided sightings.

    Edge cases: with no predicted pair (all singletons) pairwise precision is 1, because nothing was linked
    wrongly; with no true pair pairwise recall is 1, because nothing was missed. Two groupings that are both
    all singletons, or both one group, are identical, so their adjusted Rand index is 1 (its formula is 0/0).

    Raises:
        InputError: the lengths differ, or there is nothing to compare.
    """
    if len(truth) != len(predicted):
        raise InputError(
            f"expected as many predicted labels as true ones ({len(truth)}), got {len(predicted)}"
        )
    if not truth:
        raise InputError("expected at least one item to compare, got none")

    true_codes, pred_codes = _codes(truth), _codes(predicted)
    true_sizes, pred_sizes = np.bincount(true_codes), np.bincount(pred_codes)
    # The non-empty cells of the contingency table: how many items share this true and this predicted group.
    cells, shared = np.unique(true_codes * len(pred_sizes) + pred_codes, return_counts=True)
    cell_true, cell_pred = np.divmod(cells, len(pred_sizes))
    both, true, linked = _pairs(shared), _pairs(true_sizes), _pairs(pred_sizes)
    n = len(truth)

    return Agreement(
        items=n,
        true_groups=len(true_sizes),
        predicted_groups=len(pred_sizes),
        pairwise=PrecisionRecall(
            precision=both / linked if linked else 1.0,
            recall=both / true if true else 1.0,
        ),
        # Amigó et al. 2009, section 4.1: an item's precision is the share of its predicted group that has its
        # true label; all items of one cell have the same, hence the square.
        b_cubed=PrecisionRecall(
            precision=float((shared**2 / pred_sizes[cell_pred]).sum() / n),
            recall=float((shared**2 / true_sizes[cell_true]).sum() / n),
        ),
        adjusted_rand=_adjusted_rand(both, true, linked, n * (n - 1) // 2),
    )


def _codes(labels: Sequence[Hashable]) -> Codes:
    """Number the labels 0, 1, … in order of appearance: (n,) int64."""
    seen: dict[Hashable, int] = {}
    return np.fromiter((seen.setdefault(label, len(seen)) for label in labels), np.int64, len(labels))


def _pairs(sizes: NDArray[np.integer]) -> int:
    """How many unordered pairs lie within groups of these sizes. A Python int: products of it pass 2⁶³."""
    return int((sizes * (sizes - 1) // 2).sum())


def _adjusted_rand(both: int, true: int, linked: int, everything: int) -> float:
    """Hubert & Arabie 1985, equation 5, multiplied through by twice the pairs so that it is exact."""
    by_chance = 2 * true * linked
    ceiling = (true + linked) * everything
    return 1.0 if ceiling == by_chance else (2 * both * everything - by_chance) / (ceiling - by_chance)
