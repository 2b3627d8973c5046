"""`deertrack review` as a person and as a script meet it: real animals get their names, and answers are kept."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

STATION = "Camp"
Cli = Callable[..., Any]


@pytest.fixture
def camp(cli: Cli, url: str, test_data: Path, tmp_path: Path) -> str:
    """A catalogue of one station's real photos."""
    document = json.loads((test_data / "nyala" / "detections.json").read_text("utf-8"))
    document["images"] = [i for i in document["images"] if i["file"].startswith(f"{STATION}/")]
    detections = tmp_path / "detections.json"
    detections.write_text(json.dumps(document), "utf-8")
    cards = test_data / "nyala" / "cards" / STATION
    done = cli("run", cards, "--detections", detections, "--json", url=url)
    assert done.code == 0, done.err
    return url


def test_the_animals_of_a_station_get_their_names(
    cli: Cli, camp: str, test_data: Path, catalogue_content: Callable[[str], dict[str, Any]]
) -> None:
    truth = test_data / "nyala" / "truth.csv"
    with truth.open(encoding="utf-8", newline="") as file:
        here = [row for row in csv.DictReader(file) if row["file"].startswith(f"{STATION}/")]
    encounters = {row["encounter"]: row["identity"] for row in here}
    before = catalogue_content(camp)
    waiting = json.loads(cli("review", "list", "--json", url=camp).out)
    assert waiting["total"] == len(waiting["sightings"]) > 0
    oldest = waiting["sightings"][0]
    table = cli("review", "list", "--limit", "1", url=camp).out
    for words in (STATION, oldest["candidates"][0]["name"], f"{waiting['total']} sightings in all"):
        assert words in table
    assert f"review assign {oldest['id']}" in table
    assert Path(oldest["photos"][0]["paths"][0]).name in "".join(table.split())

    planned = cli("review", "import", truth, "--dry-run", url=camp)
    assert (planned.code, "nothing was changed" in planned.out) == (0, True)
    assert catalogue_content(camp) == before

    done = json.loads(cli("review", "import", truth, "--json", url=camp).out)
    assert done["unmatched"] == done["rows"] - len(here)
    assert done["moved"] + done["confirmed"] == len(before["sightings"]) == len(encounters)
    assert (done["known"], done["mixed"], done["clashing"]) == (0, [], [])
    named = json.loads(cli("deer", "list", "--json", url=camp).out)
    expected = {name: list(encounters.values()).count(name) for name in encounters.values()}
    assert {d["name"]: d["sighting_count"] for d in named} == expected
    assert len(done["made"]) + len(done["renamed"]) == len(expected)
    assert done["consequences"]["unseen"] == 0
    assert "Nothing waits" in cli("review", "list", url=camp).out
    checked = cli("db", "check", url=camp)
    assert checked.code == 0, checked.out

    after = catalogue_content(camp)
    again = json.loads(cli("review", "import", truth, "--json", url=camp).out)
    assert (again["moved"], again["confirmed"], again["known"]) == (0, 0, len(encounters))
    assert (again["made"], again["renamed"], again["consequences"]["retired"]) == ([], [], [])
    assert catalogue_content(camp) == after


def test_a_person_answers_one_by_one(cli: Cli, herd_url: str, tmp_path: Path) -> None:
    sighting = 1
    said = cli("review", "new", sighting, "--name", "Bob [red]the buck[/]", url=herd_url)
    assert (said.code, "Bob [red]the buck[/]" in said.out) == (0, True)
    assert "as a person said before" in cli("review", "new", sighting, url=herd_url).out
    bob = json_answer(cli, herd_url, "new", sighting)["number"]
    known = json.loads(cli("deer", "list", "--json", url=herd_url).out)
    other = next(deer for deer in known if deer["number"] != bob)
    answered = json_answer(cli, herd_url, "assign", sighting, other["number"])
    assert answered["name"] == other["name"]
    assert answered["before"] == "Bob [red]the buck[/]"
    assert answered["recorded"]
    assert not json_answer(cli, herd_url, "assign", sighting, other["name"].upper())["recorded"]
    assert cli("db", "check", url=herd_url).code == 0
    for words in (("assign", "999999", "1"), ("assign", "1", "Nobody"), ("new", "999999")):
        refused = cli("review", *words, url=herd_url)
        assert (refused.code, refused.out) == (1, "")
        assert refused.err.startswith("Error: ")
    assert cli("review", "assign", "first", "1", url=herd_url).code == 2
    table = tmp_path / "known.csv"
    table.write_text("file,identity\nnowhere/IMG_1.JPG,A\n", "utf-8")
    refused = cli("review", "import", table, url=herd_url)
    assert (refused.code, "names no photo" in refused.err) == (1, True)


def json_answer(cli: Cli, url: str, *words: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cli("review", *words, "--json", url=url).out)
    return found
