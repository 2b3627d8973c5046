from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deertrack.domain.errors import InputError
from deertrack.domain.records import AgeClass, Sex
from deertrack.formats.classes import DEFAULT_CLASSES, ClassMap, read_class_map

UNKNOWN = (Sex.UNKNOWN, AgeClass.UNKNOWN)


@pytest.mark.parametrize(
    ("label", "meaning"),
    [
        ("buck", (Sex.MALE, AgeClass.ADULT)),
        ("BUCK", (Sex.MALE, AgeClass.ADULT)),
        ("doe", (Sex.FEMALE, AgeClass.ADULT)),
        ("fawn", (Sex.UNKNOWN, AgeClass.FAWN)),
        ("male", (Sex.MALE, AgeClass.UNKNOWN)),
        ("female", (Sex.FEMALE, AgeClass.UNKNOWN)),
        ("stag", (Sex.MALE, AgeClass.ADULT)),
        ("hind", (Sex.FEMALE, AgeClass.ADULT)),
        ("white-tailed deer_buck", (Sex.MALE, AgeClass.ADULT)),
        ("Red deer, adult female", (Sex.FEMALE, AgeClass.ADULT)),
        ("male fawn", (Sex.MALE, AgeClass.FAWN)),
        ("Button-Buck", (Sex.MALE, AgeClass.FAWN)),
        ("young buck", (Sex.MALE, AgeClass.UNKNOWN)),  # its words contradict each other on age
        ("buck or doe", (Sex.UNKNOWN, AgeClass.ADULT)),
        ("bushbuck", UNKNOWN),
        ("antlerless", UNKNOWN),
        ("unknown", UNKNOWN),
        ("raccoon", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_what_labels_mean(label: str, meaning: tuple[Sex, AgeClass]) -> None:
    assert DEFAULT_CLASSES.look_up(label) == meaning


@given(st.text())
def test_any_label_has_a_meaning_whatever_its_case(label: str) -> None:
    sex, age_class = DEFAULT_CLASSES.look_up(label)
    assert isinstance(sex, Sex)
    assert isinstance(age_class, AgeClass)
    assert DEFAULT_CLASSES.look_up(label.casefold()) == (sex, age_class)


TOML = """
Hirsch = { sex = "male", age_class = "adult" }
"Alt-Tier" = { sex = "Female" }
doe = { sex = "unknown" }
"""
JSON = '{"Hirsch": {"sex": "male", "age_class": "adult"}, "Alt-Tier": {"sex": "Female"}, "doe": {"sex": "unknown"}}'


@pytest.mark.parametrize(("name", "content"), [("map.toml", TOML), ("map.json", JSON), ("map.txt", TOML)])
def test_a_file_is_laid_over_the_defaults(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content, "utf-8-sig")
    classes = read_class_map(path)
    assert classes.look_up("hirsch") == (Sex.MALE, AgeClass.ADULT)
    assert classes.look_up("Alt_Tier") == (Sex.FEMALE, AgeClass.UNKNOWN)
    assert classes.look_up("doe") == UNKNOWN
    assert classes.look_up("buck") == (Sex.MALE, AgeClass.ADULT)


def test_every_wrong_label_is_named(tmp_path: Path) -> None:
    path = tmp_path / "map.toml"
    path.write_text('hirsch = "male"\ntier = {sex = "f"}\nkalb = {age = "fawn"}\nbock = {sex = "male"}\n')
    with pytest.raises(InputError) as error:
        read_class_map(path)
    assert "hirsch: expected a table with sex, age_class or both, got 'male'" in error.value.message
    assert "tier: expected sex to be one of male, female, unknown, got 'f'" in error.value.message
    assert "kalb: expected a table" in error.value.message
    assert "bock" not in error.value.message
    assert "hirsch = {" in error.value.hint


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("map.toml", "hirsch = ?\n", r"in TOML, got: .*line 1, column 10"),
        ("map.json", "{", "line 1, column 2"),
        ("map.json", "[]", "a table of labels, got a list"),
        ("map.toml", "a = " + "[" * 10_000, "in TOML, got: "),
    ],
)
def test_a_file_that_is_no_class_map(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_class_map(path)


def test_keys_are_as_tolerant_as_labels() -> None:
    assert ClassMap({"Alt-Tier": (Sex.FEMALE, AgeClass.ADULT)}).look_up("ALT TIER")[0] is Sex.FEMALE
