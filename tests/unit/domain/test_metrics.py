import itertools
import math
import random
import time
from collections.abc import Hashable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deertrack.domain.errors import InputError
from deertrack.domain.metrics import Agreement, PrecisionRecall, compare_groupings

labels = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=24)


def by_definition(truth: Sequence[Hashable], predicted: Sequence[Hashable]) -> dict[str, float]:
    """The same figures straight from their definitions, over all pairs of items."""
    n = len(truth)
    pairs = list(itertools.combinations(range(n), 2))
    true = {(i, j) for i, j in pairs if truth[i] == truth[j]}
    linked = {(i, j) for i, j in pairs if predicted[i] == predicted[j]}

    def b_cubed(groups: Sequence[Hashable], other: Sequence[Hashable]) -> float:
        shares = []
        for i in range(n):
            mates = [j for j in range(n) if groups[j] == groups[i]]
            shares.append(sum(other[j] == other[i] for j in mates) / len(mates))
        return sum(shares) / n

    expected = len(true) * len(linked) / len(pairs) if pairs else 0.0
    ceiling = (len(true) + len(linked)) / 2
    return {
        "pairwise precision": len(true & linked) / len(linked) if linked else 1.0,
        "pairwise recall": len(true & linked) / len(true) if true else 1.0,
        "b-cubed precision": b_cubed(predicted, truth),
        "b-cubed recall": b_cubed(truth, predicted),
        "adjusted rand": 1.0
        if math.isclose(ceiling, expected)
        else (len(true & linked) - expected) / (ceiling - expected),
    }


def figures(agreement: Agreement) -> dict[str, float]:
    return {
        "pairwise precision": agreement.pairwise.precision,
        "pairwise recall": agreement.pairwise.recall,
        "b-cubed precision": agreement.b_cubed.precision,
        "b-cubed recall": agreement.b_cubed.recall,
        "adjusted rand": agreement.adjusted_rand,
    }


def test_hand_worked_example() -> None:
    # Truth {1,2,3} {4,5} {6}; predicted {1,2} {3,4,5} {6}.
    # Pairs: true 3+1 = 4, predicted 1+3 = 4, in both {1,2} and {4,5} = 2, of 15.
    # B-cubed precision: items 1,2: 1; 3: 1/3; 4,5: 2/3; 6: 1. Recall: 1,2: 2/3; 3: 1/3; 4,5: 1; 6: 1.
    # Rand: expected 4·4/15, (2 - 16/15) / (4 - 16/15) = 14/44.
    got = compare_groupings(["ada", "ada", "ada", "bo", "bo", "cy"], [7, 7, 8, 8, 8, 9])
    assert (got.items, got.true_groups, got.predicted_groups) == (6, 3, 3)
    assert got.pairwise == PrecisionRecall(0.5, 0.5)
    assert got.b_cubed.precision == pytest.approx((1 + 1 + 1 / 3 + 2 / 3 + 2 / 3 + 1) / 6)
    assert got.b_cubed.recall == pytest.approx((2 / 3 + 2 / 3 + 1 / 3 + 1 + 1 + 1) / 6)
    assert got.adjusted_rand == pytest.approx(14 / 44)


def test_calling_two_animals_one_costs_precision_and_splitting_one_costs_recall() -> None:
    merged = compare_groupings("aabb", "xxxx")
    assert merged.pairwise == PrecisionRecall(2 / 6, 1.0)
    assert merged.b_cubed == PrecisionRecall(0.5, 1.0)
    split = compare_groupings("xxxx", "aabb")
    assert split.pairwise == PrecisionRecall(1.0, 2 / 6)
    assert split.b_cubed == PrecisionRecall(1.0, 0.5)
    assert merged.adjusted_rand == split.adjusted_rand == 0.0


def test_all_singletons_link_nothing_wrongly_and_miss_every_pair() -> None:
    got = compare_groupings("aaab", "wxyz")
    assert got.pairwise == PrecisionRecall(1.0, 0.0)
    assert got.pairwise.f1 == 0.0
    assert got.b_cubed == PrecisionRecall(1.0, (3 * 1 / 3 + 1) / 4)


@pytest.mark.parametrize("same", ["a", "aaaa", "abcd"])
def test_identical_trivial_groupings_agree_fully(same: str) -> None:
    got = compare_groupings(same, same)
    assert got.pairwise.f1 == got.b_cubed.f1 == got.adjusted_rand == 1.0


def test_adjusted_rand_can_be_worse_than_chance() -> None:
    assert compare_groupings("aabb", "xyxy").adjusted_rand == pytest.approx(-0.5)


def test_f1_is_the_harmonic_mean() -> None:
    assert PrecisionRecall(0.5, 1.0).f1 == pytest.approx(2 / 3)
    assert PrecisionRecall(0.0, 0.0).f1 == 0.0


@given(labels)
def test_matches_the_definitions(items: list[tuple[int, int]]) -> None:
    truth, predicted = [t for t, _ in items], [p for _, p in items]
    assert figures(compare_groupings(truth, predicted)) == pytest.approx(by_definition(truth, predicted))


@given(labels, st.permutations(range(6)), st.randoms(use_true_random=False))
def test_neither_names_nor_order_matter(
    items: list[tuple[int, int]], names: list[int], dice: random.Random
) -> None:
    before = compare_groupings([t for t, _ in items], [p for _, p in items])
    dice.shuffle(items)
    after = compare_groupings([f"deer {t}" for t, _ in items], [(names[p], None) for _, p in items])
    assert figures(after) == pytest.approx(figures(before))


@given(labels)
def test_swapping_truth_and_prediction_swaps_precision_and_recall(items: list[tuple[int, int]]) -> None:
    truth, predicted = [t for t, _ in items], [p for _, p in items]
    there, back = compare_groupings(truth, predicted), compare_groupings(predicted, truth)
    assert there.pairwise == PrecisionRecall(back.pairwise.recall, back.pairwise.precision)
    assert there.b_cubed.precision == pytest.approx(back.b_cubed.recall)
    assert there.b_cubed.recall == pytest.approx(back.b_cubed.precision)
    assert there.adjusted_rand == back.adjusted_rand


def test_a_large_catalogue_needs_neither_square_memory_nor_overflows() -> None:
    dice = random.Random(5)
    truth = [dice.randrange(500) for _ in range(200_000)]
    started = time.perf_counter()
    perfect = compare_groupings(truth, [f"deer {t}" for t in truth])
    chance = compare_groupings(truth, [dice.randrange(3) for _ in truth])
    assert time.perf_counter() - started < 5
    assert perfect.adjusted_rand == perfect.pairwise.f1 == 1.0
    assert abs(chance.adjusted_rand) < 1e-3


def test_refuses_what_cannot_be_compared() -> None:
    with pytest.raises(InputError, match=r"as many predicted labels as true ones \(2\), got 3"):
        compare_groupings("ab", "abc")
    with pytest.raises(InputError, match="at least one item"):
        compare_groupings([], [])
