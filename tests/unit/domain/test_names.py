import hashlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deertrack.domain import names
from deertrack.domain.errors import InputError
from deertrack.domain.names import friendly_name

FIRST_ROUND = 4096
PINNED = [
    "Arctic Acorn",
    "Mighty Flint",
    "Curious Pumice",
    "Indigo Orchard",
    "Arctic Flint",
    "Indigo Dandelion",
    "Arctic Acorn 2",
    "Arctic Acorn 3",
]
DIGEST = "6cd842f15b0c0ab28468026326d5fc3a8ee6af7abd9b2f1707b3ed7fa9d3d89f"


def edits(a: str, b: str) -> int:
    """Levenshtein distance, the slow plain way."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (x != y)))
    return row[-1]


def test_names_never_change() -> None:
    """If this fails, animals in existing catalogues would be confused: put the lists back."""
    assert [friendly_name(n) for n in (1, 2, 3, 64, 65, 4096, 4097, 8193)] == PINNED
    first_round = "\n".join(friendly_name(n) for n in range(1, FIRST_ROUND + 1))
    assert hashlib.sha256(first_round.encode()).hexdigest() == DIGEST


def test_every_number_has_its_own_name() -> None:
    assert len({friendly_name(n) for n in range(1, 3 * FIRST_ROUND + 1)}) == 3 * FIRST_ROUND


def test_first_round_has_two_words_and_no_numeral() -> None:
    for n in range(1, FIRST_ROUND + 1):
        assert friendly_name(n).replace(" ", "", 1).isalpha()


def test_animals_met_together_share_no_word() -> None:
    words = [set(friendly_name(n).split()) for n in range(1, FIRST_ROUND + 1)]
    for distance in range(1, 63):
        assert all(a.isdisjoint(b) for a, b in zip(words, words[distance:], strict=False))


@pytest.mark.parametrize("words", [names._FIRST, names._SECOND])
def test_words_are_easy_to_tell_apart(words: tuple[str, ...]) -> None:
    for a, b in itertools.combinations(words, 2):
        assert a[:3].lower() != b[:3].lower(), (a, b)
        assert edits(a.lower(), b.lower()) >= 3, (a, b)


def test_words_do_not_repeat_and_mislead_nobody() -> None:
    words = {word.lower() for word in (*names._FIRST, *names._SECOND)}
    assert len(words) == 128
    assert words.isdisjoint(
        {"buck", "doe", "stag", "hind", "fawn", "roe", "hart", "antler", "velvet", "spike"}
    )


@given(st.integers(min_value=1, max_value=10**12))
def test_any_number_has_a_name_with_the_numeral_of_its_round(number: int) -> None:
    name, rounds = friendly_name(number), (number - 1) // FIRST_ROUND
    plain = friendly_name((number - 1) % FIRST_ROUND + 1)
    assert name == (plain if rounds == 0 else f"{plain} {rounds + 1}")


@pytest.mark.parametrize("number", [0, -1])
def test_refuses_numbers_below_one(number: int) -> None:
    with pytest.raises(InputError, match=f"from 1 up, got {number}"):
        friendly_name(number)
