"""`deertrack reid recluster` on a drawn herd, as a person and as a script meet it."""

import json
from collections.abc import Callable
from typing import Any

import psycopg

Cli = Callable[..., Any]
Content = Callable[[str], dict[str, Any]]


def test_a_herd_is_grouped_anew_once(cli: Cli, herd_url: str, catalogue_content: Content) -> None:
    imported = json.loads(cli("reid", "recluster", "--dry-run", "--json", url=herd_url).out)
    assert imported["sightings"] > 5
    assert imported["moves"] == []
    assert "Nothing to change" in cli("reid", "recluster", url=herd_url).out

    # As if one sighting after another had been called new, which is how it was before sightings were grouped.
    cli("reid", "policy", "--wrong-at-most", "45", url=herd_url)
    before = catalogue_content(herd_url)
    planned = json.loads(cli("reid", "recluster", "--dry-run", "--json", url=herd_url).out)
    assert catalogue_content(herd_url) == before
    assert planned["moves"]
    table = cli("reid", "recluster", "--dry-run", url=herd_url).out
    assert "Nothing was changed" in table
    assert planned["moves"][0]["after"] in table

    done = json.loads(cli("reid", "recluster", "--json", url=herd_url).out)
    assert done == planned
    after = catalogue_content(herd_url)
    assert after != before
    checked = cli("db", "check", url=herd_url)
    assert checked.code == 0, checked.out
    listed = json.loads(cli("deer", "list", "--json", url=herd_url).out)
    assert not {name for name, _ in done["united"]} & {deer["name"] for deer in listed}
    assert "Nothing to change" in cli("reid", "recluster", url=herd_url).out
    assert catalogue_content(herd_url) == after


def test_a_persons_word_is_not_touched(cli: Cli, herd_url: str) -> None:
    cli("review", "new", 1, "--name", "Limpy", url=herd_url)
    cli("reid", "policy", "--wrong-at-most", "45", url=herd_url)
    assert cli("reid", "recluster", url=herd_url).code == 0
    with psycopg.connect(herd_url) as connection:
        found = connection.execute(
            "SELECT r.name, r.status FROM sightings g JOIN deer r ON r.id = g.deer_id WHERE g.id = 1"
        ).fetchall()
    assert found == [("Limpy", "active")]
