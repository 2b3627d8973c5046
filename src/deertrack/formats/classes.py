"""What a classifier's labels say of sex and age: "buck", "adult female", "Hirsch"…"""

import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from deertrack.domain.errors import InputError
from deertrack.domain.records import AgeClass, Sex
from deertrack.formats.files import read_json, read_toml

Meaning = tuple[Sex, AgeClass]
Choice = TypeVar("Choice", bound=StrEnum)

_HINT = 'Write one line for each label, such as: hirsch = { sex = "male", age_class = "adult" }'


def _words(label: str) -> list[str]:
    return re.findall(r"[^\W_]+", label.casefold())


@dataclass(frozen=True)
class ClassMap:
    """Labels and what they mean. Letter case, hyphens and underscores do not count."""

    meanings: Mapping[str, Meaning]

    def __post_init__(self) -> None:
        plain = {" ".join(_words(label)): meaning for label, meaning in self.meanings.items()}
        object.__setattr__(self, "meanings", plain)

    def look_up(self, label: str) -> Meaning:
        """Sex and age class of a label.

        The whole label counts first, then its words ("white-tailed deer, adult male"). Words that contradict
        each other, and labels without a known word, give ``UNKNOWN``.
        """
        words = _words(label)
        if (whole := " ".join(words)) in self.meanings:
            return self.meanings[whole]
        known = [self.meanings[word] for word in words if word in self.meanings]
        sexes = {sex for sex, _ in known} - {Sex.UNKNOWN}
        ages = {age for _, age in known} - {AgeClass.UNKNOWN}
        return (
            sexes.pop() if len(sexes) == 1 else Sex.UNKNOWN,
            ages.pop() if len(ages) == 1 else AgeClass.UNKNOWN,
        )


def _all(words: str, sex: Sex, age_class: AgeClass) -> dict[str, Meaning]:
    return dict.fromkeys(words.split(), (sex, age_class))


# "Antlerless" is missing on purpose: a doe, a fawn or a buck after shedding.
DEFAULT_CLASSES = ClassMap(
    {
        **_all("buck bucks stag stags hart bull bulls ram rams antlered", Sex.MALE, AgeClass.ADULT),
        **_all("doe does hind hinds cow cows ewe ewes", Sex.FEMALE, AgeClass.ADULT),
        **_all("fawn fawns calf calves lamb kid juvenile young", Sex.UNKNOWN, AgeClass.FAWN),
        **_all("male males m", Sex.MALE, AgeClass.UNKNOWN),
        **_all("female females f", Sex.FEMALE, AgeClass.UNKNOWN),
        **_all("adult adults", Sex.UNKNOWN, AgeClass.ADULT),
        **_all("unknown deer", Sex.UNKNOWN, AgeClass.UNKNOWN),
        "button buck": (Sex.MALE, AgeClass.FAWN),
    }
)


def read_class_map(path: Path) -> ClassMap:
    """The default map with the labels of a TOML (or, by its name, JSON) file laid over it.

    Each label holds a table with ``sex`` (male, female, unknown) and ``age_class`` (adult, fawn, unknown);
    one may be left out and is then unknown.

    Raises:
        InputError: not such a file; names every label that is wrong.
    """
    reader = read_json if path.suffix.lower() == ".json" else read_toml
    table = reader(path, "a class map", hint=_HINT)
    if not isinstance(table, dict):
        raise InputError(f"{path}: expected a class map, a table of labels, got a {type(table).__name__}")
    meanings: dict[str, Meaning] = {}
    problems = []
    for label, entry in table.items():
        try:
            meanings[label] = _meaning(entry)
        except InputError as error:
            problems.append(f"{label}: {error.message}")
    if problems:
        raise InputError("\n  ".join([f"{path}: these labels cannot be used:", *problems]), hint=_HINT)
    overlay = ClassMap(meanings)
    return ClassMap({**DEFAULT_CLASSES.meanings, **overlay.meanings})


def _meaning(entry: object) -> Meaning:
    if not isinstance(entry, dict) or not entry or not entry.keys() <= {"sex", "age_class"}:
        raise InputError(f"expected a table with sex, age_class or both, got {reprlib.repr(entry)}")
    return _choice(Sex, entry, "sex"), _choice(AgeClass, entry, "age_class")


def _choice(kind: type[Choice], entry: Mapping[str, object], key: str) -> Choice:
    value = entry.get(key, "unknown")
    try:
        return kind(str(value).casefold())
    except ValueError:
        raise InputError(
            f"expected {key} to be one of {', '.join(kind)}, got {reprlib.repr(value)}"
        ) from None
