"""``deertrack evaluate`` as a person and a script see it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deertrack.vision.sample_herd import HerdSummary

CLI = Callable[..., Any]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home for all tests of this file, so that the herd is embedded once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def truth(herd: HerdSummary) -> Path:
    """The drawn herd's truth file; detections.json and cards/ lie beside it."""
    return herd.truth


def test_a_table_with_versions_as_columns_and_the_leaky_figure_beside(
    cli: CLI, kept: Path, truth: Path
) -> None:
    said = cli("evaluate", truth, "--home", kept, "--bootstrap", 100)
    assert said.code == 0, said.err
    assert "v1_lite" in said.out
    assert "v3_lite" in said.out
    for words in (
        "encounter-disjoint",
        "Right animal first",
        "random split, leaky",
        "inflation",
        "B-cubed F1",
    ):
        assert words in said.out
    assert not (kept / "postgres").exists()  # no catalogue was made for it


def test_one_document_for_scripts(cli: CLI, kept: Path, truth: Path) -> None:
    said = cli("evaluate", truth, "--home", kept, "--version", "v2_lite", "--json", "--bootstrap", 100)
    document = json.loads(said.out)
    assert document["protocol"] == "encounter-disjoint"
    for name in ("rank1", "rank5", "rank10", "rank20", "mAP", "tar_at_far_1e-2", "tar_at_far_1e-3", "auc"):
        assert set(document[name]) == {"value", "low", "high"}, name
        assert 0 <= document[name]["value"] <= 1
    assert list(document["versions"]) == ["v2_lite"]
    assert document["random"]["leaky"] is True
    assert document["set"]["identities"] == 4
    assert document["pipeline"]["individuals_true"] == 4
    assert said.err == ""


def test_protocols_can_be_chosen_and_the_leaky_one_is_never_alone(cli: CLI, kept: Path, truth: Path) -> None:
    options = ["--home", kept, "--version", "v1_lite", "--bootstrap", 100]
    document = json.loads(cli("evaluate", truth, *options, "--protocol", "identity-disjoint", "--json").out)
    assert (document["protocol"], document["leaky"]) == ("identity-disjoint", False)
    document = json.loads(cli("evaluate", truth, *options, "--protocol", "random", "--json").out)
    assert (document["protocol"], document["leaky"]) == ("random", True)
    assert document["other_protocols"]["encounter-disjoint"]["leaky"] is False


def test_a_page_with_the_worst_errors(cli: CLI, kept: Path, truth: Path, tmp_path: Path) -> None:
    page = tmp_path / "pages" / "evaluation.html"
    said = cli("evaluate", truth, "--home", kept, "--html", page, "--bootstrap", 100)
    assert said.code == 0, said.err
    text = page.read_text(encoding="utf-8")
    for words in ("How well are these animals recognised?", "Worst errors: v3_lite", "leaky", "Known or new"):
        assert words in text
    assert 'src="http' not in text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("photo,name\n1.jpg,A\n", "file (or path) and identity are missing"),
        ("file,identity\n1.jpg,A\n", "not one of its 1 photos can be read"),
        ("", "got an empty file"),
    ],
)
def test_what_cannot_be_used_is_said_plainly(
    cli: CLI, kept: Path, tmp_path: Path, content: str, words: str
) -> None:
    table = tmp_path / "set.csv"
    table.write_text(content, encoding="utf-8")
    said = cli("evaluate", table, "--home", kept)
    assert said.code == 1
    assert words in said.err


def test_an_unknown_version_is_named(cli: CLI, kept: Path, truth: Path) -> None:
    said = cli("evaluate", truth, "--home", kept, "--version", "v9")
    assert said.code == 1
    assert "'v9'" in said.err


def test_the_catalogues_own_sightings(cli: CLI, kept: Path, truth: Path, herd_url: str) -> None:
    said = cli("evaluate", "--home", kept, url=herd_url)
    assert said.code == 1
    assert "confirmed by a person" in said.err
    done = cli("review", "import", truth, "--home", kept, url=herd_url)
    assert done.code == 0, done.err
    said = cli("evaluate", "--json", "--bootstrap", 100, "--home", kept, url=herd_url)
    assert said.code == 0, said.err
    document = json.loads(said.out)
    assert document["set"]["identities"] == 4
    assert "v3_lite" in document["versions"]
