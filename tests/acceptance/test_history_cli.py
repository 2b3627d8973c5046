"""Describing, merging, moving and undoing from the command line."""

import json
from collections.abc import Callable
from typing import Any

Cli = Callable[..., Any]


def ask(cli: Cli, url: str, *words: object) -> Any:
    answer = cli(*words, "--json", url=url)
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def test_merge_split_and_undo_from_the_command_line(
    cli: Cli, herd_url: str, catalogue_content: Callable[[str], dict[str, Any]]
) -> None:
    known = ask(cli, herd_url, "deer", "list")
    one, two = known[0], known[1]
    described = cli("deer", "describe", one["number"], "--sex", "female", "--age", "adult", "--notes", "torn ear",
                    "--alias", "Limpy", url=herd_url)  # fmt: skip
    assert "female · adult · active" in described.out
    assert "deertrack history undo 1" in described.out
    assert ask(cli, herd_url, "deer", "show", "limpy")["individual"]["number"] == one["number"]

    before = catalogue_content(herd_url)
    planned = cli("deer", "merge", two["name"], "Limpy", "--dry-run", url=herd_url)
    assert f"Would move {two['sighting_count']} sighting" in planned.out
    assert catalogue_content(herd_url) == before
    merged = ask(cli, herd_url, "deer", "merge", two["name"], "Limpy")
    assert merged["sightings"] == two["sighting_count"]
    met = ask(cli, herd_url, "deer", "show", "Limpy")["sightings"]
    split = ask(cli, herd_url, "deer", "move", met[0]["id"], "--name", "Lefty")
    assert split["to"][1] == "Lefty"
    assert "a person" in cli("deer", "show", "Lefty", url=herd_url).out

    told = cli("history", "list", url=herd_url).out
    assert "Lefty" in told
    assert "sightings merged" in told
    assert "Would put back" in cli("history", "undo", split["edit"], "--dry-run", url=herd_url).out
    for edit in (split["edit"], merged["edit"]):
        assert ask(cli, herd_url, "history", "undo", edit)["kept"] == []
    again = {deer["number"]: deer["sighting_count"] for deer in ask(cli, herd_url, "deer", "list")}
    assert again == {deer["number"]: deer["sighting_count"] for deer in known}
    assert cli("db", "check", url=herd_url).code == 0

    refused = cli("history", "undo", merged["edit"], url=herd_url)
    assert (refused.code, "undone already" in refused.err) == (1, True)
    refused = cli("history", "undo", 9999, url=herd_url)
    assert (refused.code, "there is no change 9999" in refused.err) == (1, True)


def test_what_cannot_be_told(cli: Cli, herd_url: str) -> None:
    assert "cannot be told." in cli("review", "unidentifiable", 1, url=herd_url).out
    assert "as a person said before" in cli("review", "unidentifiable", 1, url=herd_url).out
    assert 1 not in [s["id"] for s in ask(cli, herd_url, "review", "list")["sightings"]]
    assert cli("db", "check", url=herd_url).code == 0
