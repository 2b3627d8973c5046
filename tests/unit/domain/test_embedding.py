import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from deertrack.domain.embedding import (
    DIMENSIONS,
    EmbeddingVersion,
    Output,
    Vectors,
    check_vectors,
    norm_error,
    normalise,
    pool,
)
from deertrack.domain.errors import InputError

ALL = {output: output.value for output in Output}


def unit_rows(n: int, seed: int = 0) -> Vectors:
    return normalise(np.random.default_rng(seed).normal(size=(n, DIMENSIONS)))


@given(arrays(np.float64, (3, 7), elements=st.floats(-1e6, 1e6)))
def test_normalised_rows_have_length_one_and_keep_their_direction(rows: np.ndarray) -> None:
    lengths = np.linalg.norm(rows, axis=1)
    if (lengths == 0).any():
        with pytest.raises(InputError, match="no direction"):
            normalise(rows)
        return
    unit = normalise(rows)
    assert unit.dtype == np.float32
    assert norm_error(unit).max() < 1e-6
    np.testing.assert_allclose(unit * lengths[:, None], rows, rtol=1e-5, atol=1e-6 * lengths.max())


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf, -np.inf])
def test_one_row_without_direction_is_refused(bad: float) -> None:
    rows = np.ones((3, DIMENSIONS))
    rows[1] = bad
    with pytest.raises(InputError, match="no direction"):
        normalise(rows)


def test_norm_error_is_the_distance_from_length_one() -> None:
    rows = np.zeros((3, DIMENSIONS), np.float32)
    rows[0, 0], rows[1, 0], rows[2, :4] = 1.0, 0.75, 1.0
    np.testing.assert_allclose(norm_error(rows), [0, 0.25, 1], atol=1e-7)


def test_good_vectors_pass_even_none_at_all() -> None:
    check_vectors(unit_rows(20))
    check_vectors(unit_rows(1)[:0])


@pytest.mark.parametrize(("scale", "passes"), [(1 + 5e-5, True), (1 + 2e-4, False), (1 - 2e-4, False)])
def test_the_norm_may_be_off_by_less_than_one_in_ten_thousand(scale: float, passes: bool) -> None:
    rows = unit_rows(4)
    rows[2] *= np.float32(scale)
    if passes:
        check_vectors(rows)
    else:
        with pytest.raises(InputError, match="unit vectors"):
            check_vectors(rows)


@pytest.mark.parametrize(
    "rows",
    [
        unit_rows(4)[0],
        unit_rows(4)[:, :511],
        unit_rows(4)[None],
        unit_rows(4).astype(np.float64),
        unit_rows(4).astype(np.float16),
    ],
    ids=["one dimension", "511 numbers", "three dimensions", "double", "half"],
)
def test_another_shape_or_type_is_refused(rows: Vectors) -> None:
    with pytest.raises(InputError, match=r"expected \(n, 512\) float32"):
        check_vectors(rows)


def test_nan_is_no_unit_vector() -> None:
    rows = unit_rows(2)
    rows[1, 3] = np.nan
    with pytest.raises(InputError, match="unit vectors"):
        check_vectors(rows)


def test_pooling_is_the_direction_of_the_mean() -> None:
    rows = np.zeros((3, DIMENSIONS), np.float32)
    rows[0, 0] = rows[1, 0] = rows[2, 1] = 1
    expected = np.zeros(DIMENSIONS)
    expected[:2] = np.array([2, 1]) / np.sqrt(5)
    np.testing.assert_allclose(pool(rows), expected, atol=1e-7)


@given(st.integers(1, 6), st.randoms())
def test_pooling_one_photo_changes_nothing_and_order_does_not_matter(n: int, random: object) -> None:
    rows = unit_rows(n)
    np.testing.assert_allclose(pool(rows[:1]), rows[0], atol=1e-6)
    shuffled = list(range(n))
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    np.testing.assert_allclose(pool(rows[shuffled]), pool(rows), atol=1e-6)
    check_vectors(pool(rows)[None])


def test_opposite_photos_have_no_common_direction() -> None:
    row = unit_rows(1)
    with pytest.raises(InputError, match="no direction"):
        pool(np.concatenate([row, -row]))


@pytest.mark.parametrize(
    ("stage", "searched"),
    [(1, {Output.SINGLE}), (2, {Output.MULTISCALE}), (3, {Output.MULTISCALE, Output.PARTNER})],
)
def test_a_stage_says_what_is_searched(stage: int, searched: set[Output]) -> None:
    assert set(EmbeddingVersion("v_x", stage, "x", ALL).search_outputs) == searched
    assert set(EmbeddingVersion("v_x", stage, "x", {o: o for o in searched}).search_outputs) == searched
    for lacking in searched:
        with pytest.raises(InputError, match=lacking.value):
            EmbeddingVersion("v_x", stage, "x", {o: f for o, f in ALL.items() if o is not lacking})


@pytest.mark.parametrize(
    ("name", "stage"), [("", 1), ("n" * 21, 1), ("v_x", 0), ("v_x", 4)], ids=["empty", "long", "0", "4"]
)
def test_a_version_without_a_good_name_or_stage_is_refused(name: str, stage: int) -> None:
    with pytest.raises(InputError):
        EmbeddingVersion(name, stage, "x", ALL)


def test_the_output_values_are_the_columns_of_the_specification() -> None:
    assert [o.value for o in Output] == [
        "feature_vector",
        "feature_vector_multiscale",
        "feature_vector_efficientnet",
    ]
