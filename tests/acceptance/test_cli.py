"""Every command as a person types it: what it prints, and what it says when it cannot do it."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer.main

from deertrack import __version__
from deertrack.entry.cli.main import app
from deertrack.storage.migrate import rollback, schema_state
from deertrack.vision.sample_herd import HerdSummary

Cli = Callable[..., Any]


def commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield words, group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*words, name))


ALL = list(commands(typer.main.get_command(app)))


def plain(text: str) -> str:
    """Without colours and borders."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


# -- the command itself -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("words", "command"), ALL, ids=[" ".join(words) or "deertrack" for words, _ in ALL])
def test_every_command_and_option_has_a_help_text(cli: Cli, words: tuple[str, ...], command: Any) -> None:
    said = cli(*words, "--help")
    assert (said.code, said.err) == (0, "")
    text = plain(said.out)
    assert " ".join(["deertrack", *words]) in text or "Usage" in text
    assert command.help
    assert command.help.split(".")[0].split("\n")[0][:40] in text
    for parameter in command.params:
        longest = max(parameter.opts, key=len)
        if longest.startswith("--") and not parameter.hidden:  # what `serve` tells its own worker
            assert longest in text


def test_version(cli: Cli) -> None:
    assert cli("--version").out.strip() == __version__


@pytest.mark.parametrize(
    "words",
    [
        ("nosuch",),
        ("run",),
        ("run", "x", "--min-confidence", "2"),
        ("deer", "show"),
        ("run", "x", "--nosuch"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(cli: Cli, words: tuple[str, ...]) -> None:
    said = cli(*words)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("Error: ")


# -- the database, seen from a command ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://nobody@127.0.0.1:1/herd", "cannot work with the database"),
        ("postgresql://127.0.0.1:1/herd?connect_timeout=soon", "DATABASE_URL|database"),
        ("mysql://localhost/herd", "DATABASE_URL"),
        ("what?", "DATABASE_URL"),
    ],
)
def test_a_database_that_is_not_there(cli: Cli, url: str, words: str) -> None:
    for command in (("status",), ("deer", "list"), ("db", "migrate"), ("db", "status")):
        said = cli(*command, url=url)
        assert (said.code, said.out) == (1, ""), command
        assert re.search(words, said.err)


def test_an_older_schema_is_migrated_only_when_its_owner_says_so(cli: Cli, herd_url: str) -> None:
    rollback(herd_url, to="012")
    pending = schema_state(herd_url).pending
    if not pending:
        rollback(herd_url, to="011")
        pending = schema_state(herd_url).pending
    said = cli("deer", "list", url=herd_url)
    assert said.code == 1
    assert f"lacks {len(pending)} migrations" in said.err
    assert "db migrate" in said.err
    assert schema_state(herd_url).pending == pending
    assert f"Would apply {pending[0]}" in cli("db", "migrate", "--dry-run", url=herd_url).out
    assert f"Applied {pending[0]}" in cli("db", "migrate", url=herd_url).out
    assert "up to date" in cli("db", "migrate", url=herd_url).out
    assert cli("deer", "list", url=herd_url).code == 0


def test_rollback_asks_and_a_dry_run_only_says(cli: Cli, herd_url: str) -> None:
    before = schema_state(herd_url)
    said = cli("db", "rollback", "--to", "010", "--dry-run", url=herd_url)
    assert (
        re.findall(r"Would roll back (\d+)", said.out)
        == sorted(re.findall(r"roll back (\d+)", said.out))[::-1]
    )
    assert "Would roll back 011_add_reid_enhancement" in said.out
    refused = cli("db", "rollback", "--to", "010", url=herd_url)  # nobody there to say yes
    assert refused.code != 0
    assert schema_state(herd_url) == before
    for wrong in ("345", "3", "abc", ""):
        said = cli("db", "rollback", "--to", wrong, "--yes", url=herd_url)
        assert (said.code, "there is no migration" in said.err) == (1, True)
    assert schema_state(herd_url) == before
    done = cli("db", "rollback", "--to", "010", "--yes", url=herd_url)
    assert "Rolled back 011_add_reid_enhancement" in done.out
    assert schema_state(herd_url).applied[-1].startswith("010")
    with psycopg.connect(herd_url) as connection:
        row = connection.execute("SELECT count(*), count(feature_vector) FROM deer").fetchone()
        assert row is not None
        assert row[0] == row[1] > 0  # names and single-layer vectors stay
    assert "Nothing to undo" in cli("db", "rollback", "--to", "010", "--yes", url=herd_url).out


def test_backup_and_restore(
    cli: Cli, herd_url: str, tmp_path: Path, catalogue_content: Callable[[str], dict[str, Any]]
) -> None:
    before = catalogue_content(herd_url)
    dump = tmp_path / "Sicherung [1].dump"
    said = cli("db", "backup", dump, url=herd_url)
    assert (said.code, dump.name in said.out) == (0, True)
    cli("deer", "rename", "1", "Somebody else", url=herd_url)
    assert catalogue_content(herd_url) != before
    assert cli("db", "restore", dump, url=herd_url).code != 0  # it asks first
    assert cli("db", "restore", dump, "--yes", url=herd_url).code == 0
    assert catalogue_content(herd_url) == before
    broken = tmp_path / "broken.dump"
    broken.write_bytes(dump.read_bytes()[:5000])
    for file in (broken, tmp_path / "missing", tmp_path):
        said = cli("db", "restore", file, "--yes", url=herd_url)
        assert (said.code, said.out) == (1, "")
        assert said.err.startswith("Error: ")
    assert cli("db", "backup", tmp_path / "no" / "where.dump", url=herd_url).code == 1
    assert catalogue_content(herd_url) == before


def test_url_and_status_of_an_external_server(cli: Cli, herd_url: str) -> None:
    assert cli("db", "url", url=herd_url).out.strip() == herd_url
    facts = json.loads(cli("db", "status", "--json", url=herd_url).out)
    assert facts["pending"] == []
    assert re.match(r"\d{3}_", facts["schema"])
    assert facts["schema"] in cli("db", "status", url=herd_url).out
    for command in ("start", "stop"):
        said = cli("db", command, url=herd_url)
        assert (said.code, "DATABASE_URL is set" in said.err) == (1, True)


# -- individuals --------------------------------------------------------------------------------------------


def test_the_individuals_of_a_herd(cli: Cli, herd_url: str) -> None:
    known = json.loads(cli("deer", "list", "--json", url=herd_url).out)
    assert known
    table = cli("deer", "list", url=herd_url).out
    for deer in known:
        assert deer["name"] in table
        assert deer["sighting_count"] >= 1
    first = known[0]
    for which in (first["name"], first["name"].lower(), first["number"]):
        shown = json.loads(cli("deer", "show", which, "--json", url=herd_url).out)
        assert shown["individual"] == first
        assert len(shown["sightings"]) == first["sighting_count"]
        assert sum(len(s["photos"]) for s in shown["sightings"]) == first["photos"]
    text = cli("deer", "show", first["number"], url=herd_url).out
    for sighting in shown["sightings"]:
        assert sighting["station"] in text
    assert Path(shown["sightings"][0]["photos"][0]["paths"][0]).name in text.replace("\n", "")


def test_renaming(cli: Cli, herd_url: str) -> None:
    known = json.loads(cli("deer", "list", "--json", url=herd_url).out)
    said = cli("deer", "rename", known[0]["name"], "Bob [red]the buck[/] 鹿", url=herd_url)
    assert said.code == 0
    assert "Bob [red]the buck[/] 鹿" in plain(said.out)
    assert "Bob [red]the buck[/] 鹿" in plain(cli("deer", "list", url=herd_url).out)
    assert "Bob [red]the buck[/] 鹿" in plain(cli("deer", "show", "1", url=herd_url).out)
    for which, name in (("Nobody", "Ann"), ("1", ""), ("1", "12"), ("2", "BOB [RED]THE BUCK[/] 鹿")):
        said = cli("deer", "rename", which, name, url=herd_url)
        assert (said.code, said.out) == (1, "")


def test_nobody_yet(cli: Cli, url: str) -> None:
    assert "Nobody yet" in cli("deer", "list", url=url).out
    assert json.loads(cli("deer", "list", "--json", url=url).out) == []
    said = cli("deer", "show", "1", url=url)
    assert (said.code, "no individual" in said.err, "deer list" in said.err) == (1, True, True)


# -- stations -----------------------------------------------------------------------------------------------


def test_stations(cli: Cli, herd_url: str) -> None:
    def stations() -> dict[str, Any]:
        return {row["name"]: row for row in json.loads(cli("stations", "list", "--json", url=herd_url).out)}

    name = next(iter(stations()))
    before = stations()[name]["first_photo"]
    said = cli("stations", "shift", name, "--by=-1h30m", url=herd_url)
    assert (said.code, name in said.out) == (0, True)
    assert stations()[name]["first_photo"] < before
    cli("stations", "shift", name, "--by", "01:30", url=herd_url)
    assert stations()[name]["first_photo"] == before
    assert cli("stations", "set", name, "--timezone", "America/Chicago", url=herd_url).code == 0
    place = ("--latitude", "43.07", "--longitude", "-89.4")
    assert cli("stations", "set", name, *place, url=herd_url).code == 0
    assert "43.07000, -89.40000" in cli("stations", "list", url=herd_url).out
    assert (stations()[name]["timezone"], stations()[name]["latitude"]) == ("America/Chicago", 43.07)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("shift", "Nowhere", "--by", "1h"), "no station 'Nowhere'"),
        (("shift", "{name}", "--by", "soon"), "clock shift"),
        (("set", "{name}", "--timezone", "Mars/Olympus"), "Mars/Olympus"),
        (("set", "{name}", "--latitude", "10"), "latitude and longitude"),
        (("set", "{name}", "--latitude", "100", "--longitude", "0"), "90"),
        (("import", "/nowhere.csv"), "/nowhere.csv"),
    ],
)
def test_stations_that_cannot_be_so(cli: Cli, herd_url: str, words: tuple[str, ...], complaint: str) -> None:
    name = json.loads(cli("stations", "list", "--json", url=herd_url).out)[0]["name"]
    said = cli("stations", *(word.format(name=name) for word in words), url=herd_url)
    assert (said.code > 0, said.out) == (True, "")
    assert complaint in said.err


def test_stations_from_a_file_with_names_that_look_like_markup(cli: Cli, url: str, tmp_path: Path) -> None:
    table = tmp_path / "st[a]tions.csv"
    table.write_text("station,timezone\n[/b]North [red],Europe/Berlin\nSüdhang 🦌,\n", encoding="utf-8")
    said = cli("stations", "import", table, "--timezone", "Asia/Tokyo", url=url)
    assert (said.code, str(table) in said.out.replace("\n", "")) == (0, True)
    listed = plain(cli("stations", "list", url=url).out)
    assert "[/b]North [red]" in listed
    assert "Südhang 🦌" in listed
    for command in (("shift", "--by", "1h"), ("set", "--timezone", "UTC")):
        said = cli("stations", command[0], "[/b]North [red]", *command[1:], url=url)
        assert (said.code, "[/b]North [red]" in said.out) == (0, True)
    table.write_text("station,timezone\nCreek,Mars\nPond,\nPond,\n")
    said = cli("stations", "import", table, url=url)
    assert said.code == 1
    assert "row 2, column timezone" in said.err
    assert "row 4, column station" in said.err


# -- status, sample, report ---------------------------------------------------------------------------------


def test_status(cli: Cli, herd_url: str, herd: HerdSummary) -> None:
    facts = json.loads(cli("status", "--json", url=herd_url).out)
    assert (facts["photos"], facts["detections"], facts["stations"]) == (herd.photos, herd.animals, 2)
    assert facts["individuals"] >= 1
    assert facts["problems"] == []
    text = cli("status", url=herd_url).out
    for words in ("Photos", str(herd.photos), "Individuals", facts["version"]):
        assert words in text
    assert "drawn" in text.lower()  # a sample herd is never shown without saying so


def test_sample(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "a [b] herd"
    said = cli("sample", folder, "--individuals", "150")
    assert said.code > 0
    assert not folder.exists()
    (folder / "mine").mkdir(parents=True)
    said = cli("sample", folder)
    assert (said.code, said.out) == (1, "")
    assert str(folder) in said.err
    assert list(folder.iterdir()) == [folder / "mine"]


def test_report_is_written_where_asked(cli: Cli, herd_url: str, tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "a [b] report.html"
    said = cli("report", file, "--photos-each", "1", url=herd_url)
    assert (said.code, file.name in said.out) == (0, True)
    assert file.read_text(encoding="utf-8").startswith("<!doctype html>")
    for wrong in (tmp_path, file / "below a file.html"):
        said = cli("report", wrong, url=herd_url)
        assert (said.code, said.out) == (1, "")
        assert "cannot be written" in said.err
