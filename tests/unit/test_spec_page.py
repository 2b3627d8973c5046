"""docs/spec.md names only what exists, and leaves no section of the specification out."""

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PAGE = (CHECKOUT / "docs" / "spec.md").read_text("utf-8")
SPECIFICATION = CHECKOUT.parent / "shared" / "spec" / "data-model.md"

NAMED = sorted(set(re.findall(r"`((?:src|tests|scripts|benchmarks|docs)/[\w./]+(?:::\w+)?)`", PAGE)))


@pytest.mark.parametrize("named", NAMED)
def test_what_it_names_exists(named: str) -> None:
    path, _, test = named.partition("::")
    assert (CHECKOUT / path).is_file()
    assert not test or f"\ndef {test}(" in (CHECKOUT / path).read_text("utf-8")


def test_every_section_of_the_specification_is_there() -> None:
    if not SPECIFICATION.is_file():
        pytest.skip(f"the specification is not at {SPECIFICATION}")
    headings = re.findall(r"^##+ (.+)$", SPECIFICATION.read_text("utf-8"), re.MULTILINE)
    headings.remove("Overview")
    assert len(headings) > 25
    assert [h for h in headings if h not in PAGE] == []
