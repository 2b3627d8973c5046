"""Calibration files: what they say comes back, and what is wrong with them is named."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deertrack.domain.calibration import Calibration
from deertrack.domain.embedding import EmbeddingVersion, Output
from deertrack.domain.errors import FingerprintMismatchError, InputError
from deertrack.formats.calibration import (
    CalibrationFile,
    Curve,
    as_json,
    from_json,
    read_calibration,
    write_calibration,
)
from deertrack.vision.model_packs import builtin_pack

PRINTS = {output: f"{i:064x}" for i, output in enumerate(Output, start=1)}
VERSION = EmbeddingVersion("v3_test", 3, "test", PRINTS)
CURVE = Curve(Calibration((0.25, 0.5), (-1.5, 3.0)), (PRINTS[Output.MULTISCALE], PRINTS[Output.PARTNER]))
FILE = CalibrationFile("40 does of Südtirol", {"v3_test": CURVE})


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    write_calibration(path, FILE)
    assert read_calibration(path) == FILE
    assert "Südtirol" in path.read_text(encoding="utf-8")
    assert from_json(as_json(FILE), "x") == FILE


knots = st.lists(st.integers(-100, 100), min_size=2, max_size=24, unique=True).map(sorted)


@given(knots=knots, rise=st.lists(st.integers(0, 50), min_size=24, max_size=24))
def test_any_rising_curve_comes_back(knots: list[int], rise: list[int]) -> None:
    logs = [sum(rise[: i + 1]) / 8 - 9 for i in range(len(knots))]
    curve = Curve(Calibration(tuple(k / 100 for k in knots), tuple(logs)), ("a", "b"))
    file = CalibrationFile("", {"v": curve})
    assert from_json(json.loads(json.dumps(as_json(file))), "x") == file


def test_the_curve_of_a_version() -> None:
    assert FILE.curve_for(VERSION) is CURVE.calibration
    with pytest.raises(InputError, match=r"'v2_test' \(there is: v3_test\)"):
        FILE.curve_for(EmbeddingVersion("v2_test", 2, "test", PRINTS))


@pytest.mark.parametrize("output", [Output.MULTISCALE, Output.PARTNER])
def test_a_curve_of_another_model_is_an_error(output: Output) -> None:
    other = EmbeddingVersion("v3_test", 3, "test", {**PRINTS, output: "f" * 64})
    with pytest.raises(FingerprintMismatchError, match="belongs to other models") as caught:
        FILE.curve_for(other)
    assert "reid calibrate" in caught.value.hint


def test_what_the_version_does_not_search_does_not_count() -> None:
    assert FILE.curve_for(EmbeddingVersion("v3_test", 3, "test", {**PRINTS, Output.SINGLE: "f" * 64}))


@pytest.mark.parametrize(
    "change",
    [
        {"curves": None},
        {"curves": []},
        {"curves": {"v": None}},
        {"curves": {"v": {"similarities": [0, 1], "log_ratios": [0, 1]}}},
        {"curves": {"v": {"similarities": [0, "x"], "log_ratios": [0, 1], "fingerprints": []}}},
        {"curves": {"v": {"similarities": [0, 1, 2], "log_ratios": [0, 1], "fingerprints": []}}},
        {"curves": {"v": {"similarities": [0], "log_ratios": [0], "fingerprints": []}}},
        {"curves": {"v": {"similarities": [1, 0], "log_ratios": [0, 1], "fingerprints": []}}},
        {"curves": {"v": {"similarities": [0, 1], "log_ratios": [1, 0], "fingerprints": []}}},
        {"curves": {"v": {"similarities": [0, 1], "log_ratios": [0, float("nan")], "fingerprints": []}}},
        {"fitted_on": ...},
    ],
)
def test_what_is_wrong_is_named_with_the_file(tmp_path: Path, change: dict[str, Any]) -> None:
    document = {key: value for key, value in {**as_json(FILE), **change}.items() if value is not ...}
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError) as caught:
        read_calibration(path)
    assert caught.value.message.startswith(str(path))
    assert caught.value.hint


@pytest.mark.parametrize("text", ["", "{", "[]", "17", '{"curves": {}}'])
def test_no_such_document(tmp_path: Path, text: str) -> None:
    path = tmp_path / "calibration.json"
    with pytest.raises(InputError, match="no such file"):
        read_calibration(path)
    path.write_text(text)
    with pytest.raises(InputError, match=r"calibration\.json"):
        read_calibration(path)


def test_the_shipped_packs_curves_belong_to_its_models() -> None:
    pack = builtin_pack()
    file = read_calibration(pack.directory / "calibration.json")
    for version in pack.versions:
        assert file.curve_for(version).similarities
    assert file.fitted_on
