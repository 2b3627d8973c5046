"""``deertrack run`` from outside: what it prints, what it leaves, and how it ends when it cannot do its work."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from deertrack.storage.server import EmbeddedServer
from deertrack.vision.sample_herd import HerdSummary

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Cli = Callable[..., Any]
Content = Callable[[str], dict[str, Any]]


def test_one_json_document_and_nothing_else_on_stdout(
    deertrack: Run, url: str, herd: HerdSummary, herd_options: list[str], tmp_path: Path
) -> None:
    done = deertrack("run", *herd_options, "--json", "--home", tmp_path / "h", DATABASE_URL=url)
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    counts = (
        "photos_found photos_new photos_known duplicates unreadable without_detections detections embedded "
        "encounters tracks matched new review"
    ).split()
    assert {key: type(report[key]) for key in counts} == dict.fromkeys(counts, int)
    assert report["photos_found"] == report["photos_new"] == herd.photos
    assert report["detections"] == report["embedded"] == herd.animals
    assert report["matched"] + report["new"] + report["review"] == report["tracks"]
    assert report["new"] == report["catalogue"]["individuals"] >= 1
    assert all(isinstance(seconds, float) for seconds in report["seconds"].values())
    assert (report["problems"], report["nothing_new"]) == ([], False)
    assert report["home"] == str(tmp_path / "h")


def test_a_second_run_says_that_nothing_is_new_and_changes_nothing(
    cli: Cli, herd_url: str, herd: HerdSummary, herd_options: list[str], catalogue_content: Content
) -> None:
    before = catalogue_content(herd_url)
    again = cli("run", *herd_options, url=herd_url)
    assert again.code == 0
    assert "Nothing new" in again.out
    report = json.loads(cli("run", herd.cards, "--json", url=herd_url).out)
    assert report["nothing_new"]
    assert (report["photos_new"], report["photos_known"], report["embedded"]) == (0, herd.photos, 0)
    assert catalogue_content(herd_url) == before


def test_the_table_a_person_reads(
    cli: Cli, url: str, herd: HerdSummary, herd_options: list[str], tmp_path: Path
) -> None:
    said = cli("run", *herd_options, "--home", tmp_path / "my home", url=url)
    lines = {" ".join(line.split()) for line in said.out.splitlines()}
    assert {f"Photos found {herd.photos}", f"Detections {herd.animals}", "unreadable 0"} <= lines
    for words in ("Encounters", "Tracks", "matched", "new", "review", "Time:", "embed", "deertrack report"):
        assert words in said.out


def test_two_runs_at_once_end_as_one(
    url: str,
    herd_url: str,
    herd_options: list[str],
    catalogue_content: Content,
    kill_resume: Any,
    start: Callable[..., "subprocess.Popen[str]"],
) -> None:
    runs = [start("run", *herd_options, "--json", DATABASE_URL=url) for _ in range(2)]
    said = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    reports = [json.loads(out) for out, _ in said]
    content = catalogue_content(url)
    assert kill_resume.differences(catalogue_content(herd_url), content) == []
    assert sum(r["photos_new"] for r in reports) == len(content["photos"])
    assert sum(r["tracks"] for r in reports) == len(content["sightings"])
    assert sum(r["matched"] + r["new"] + r["review"] for r in reports) == len(content["decisions"])


# -- problems -----------------------------------------------------------------------------------------------


@pytest.fixture
def one_bad(tmp_path: Path) -> Path:
    folder = tmp_path / "cards"
    folder.mkdir()
    (folder / "bad [red]photo [1].jpg").write_text("not a photo")
    return folder


def test_problems_are_listed_and_strict_makes_them_count(cli: Cli, url: str, one_bad: Path) -> None:
    said = cli("run", one_bad, "--whole-photo", url=url)
    assert said.code == 0
    assert "1 thing could not be used" in said.err
    assert f"{one_bad / 'bad [red]photo [1].jpg'}: not a JPEG" in said.err
    strict = cli("run", one_bad, "--whole-photo", "--strict", "--json", url=url)
    assert strict.code == 3
    (problem,) = json.loads(strict.out)["problems"]
    assert problem.keys() == {"path", "reason"}
    assert problem["path"] == str(one_bad / "bad [red]photo [1].jpg")


def test_strict_without_problems(cli: Cli, herd_url: str, herd: HerdSummary) -> None:
    assert cli("run", herd.cards, "--strict", url=herd_url).code == 0


def test_a_dry_run_changes_nothing(cli: Cli, url: str, herd: HerdSummary, catalogue_content: Content) -> None:
    before = catalogue_content(url)
    plan = json.loads(cli("run", herd.cards, "--dry-run", "--json", url=url).out)
    assert (plan["photos_found"], plan["photos_known"], len(plan["stations"])) == (herd.photos, 0, 2)
    assert sum(plan["stations"].values()) == herd.photos
    assert catalogue_content(url) == before


# -- what cannot be done ------------------------------------------------------------------------------------


def test_every_misuse_is_a_sentence_and_leaves_nothing(
    cli: Cli, url: str, herd: HerdSummary, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    broken = tmp_path / "broken.json"
    broken.write_text('{"images": [')
    other = tmp_path / "other.json"
    other.write_text('{"photos": []}')
    stations = tmp_path / "stations.csv"
    stations.write_text("station,timezone\nCreek,Mars\n")
    whole = ("run", herd.cards, "--whole-photo")
    for words, complaint in (
        (("run", herd.cards), "nobody has said yet where the animals are"),
        ((*whole, "--detections", herd.detections), "exclude each other"),
        ((*whole, "--timezone", "Mars/Olympus"), "Mars/Olympus"),
        ((*whole, "--timezone", "America/Chicgo"), "America/Chicago"),
        (("run", tmp_path / "nowhere", "--whole-photo"), "there is no such file or folder"),
        (("run", tmp_path / "empty", "--whole-photo"), "no photos in"),
        (("run", herd.cards, "--detections", broken), "broken.json, line 1, column"),
        (("run", herd.cards, "--detections", other), "other.json: expected a MegaDetector"),
        (("run", herd.cards, "--detections", tmp_path / "none.json"), "no such file"),
        (("run", herd.cards, "--detections", tmp_path), "cannot be read"),
        ((*whole, "--stations", stations), "row 2, column timezone"),
        ((*whole, "--class-map", broken, "--detections", herd.detections), "exclude"),
        ((*whole, "--calibration", broken), "broken.json"),
        (("run", herd.cards, "--detections", herd.detections, "--class-map", broken), "class map"),
    ):
        said = cli(*words, url=url)
        assert (said.code, said.out) == (1, ""), words
        assert said.err.startswith("Error: ")
        assert complaint in said.err, words
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM deer").fetchone()
    assert row == (0,)


def test_the_ways_to_get_detections_are_named(cli: Cli, url: str, herd: HerdSummary) -> None:
    said = cli("run", herd.cards, url=url)
    for way in ("--detections FILE", "--whole-photo", "MegaDetector", "pip install"):
        assert way in said.err


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({"url": "postgresql://nobody@127.0.0.1:1/herd"}, "cannot work with the database"),
        ({"DEERTRACK_ENGINE": "tensorflow"}, "environment variable DEERTRACK_ENGINE"),
        ({"DEERTRACK_THREADS": "-2"}, "environment variable DEERTRACK_THREADS"),
    ],
)
def test_an_environment_that_cannot_work(
    cli: Cli, herd: HerdSummary, environment: dict[str, str], complaint: str, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    said = cli("run", herd.cards, "--whole-photo", "--home", home, **environment)
    assert (said.code, said.out) == (1, "")
    assert complaint in said.err
    assert not home.exists()


# -- being stopped ------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT to send")
def test_ctrl_c_and_going_on(
    start: Callable[..., "subprocess.Popen[str]"],
    deertrack: Run,
    url: str,
    herd_url: str,
    herd_options: list[str],
    catalogue_content: Content,
    kill_resume: Any,
) -> None:
    process = start("run", *herd_options, "--json", DATABASE_URL=url)
    with psycopg.connect(url, autocommit=True) as connection:
        while connection.execute("SELECT 1 FROM detections LIMIT 1").fetchone() is None:
            assert process.poll() is None
            time.sleep(0.01)
    process.send_signal(signal.SIGINT)  # while the model loads or works
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "Stopped. What is done is kept" in err
    assert "Traceback" not in err
    assert deertrack("run", *herd_options, DATABASE_URL=url).returncode == 0
    assert kill_resume.differences(catalogue_content(herd_url), catalogue_content(url)) == []


# -- the embedded server ------------------------------------------------------------------------------------


def test_a_home_of_its_own_from_first_run_to_last(cli: Cli, home: Path, one_bad: Path) -> None:
    """Without DATABASE_URL: the server starts on demand, ends with the command, and can be kept running."""
    server = EmbeddedServer(home)
    facts = json.loads(cli("db", "status", "--json", "--home", home).out)
    assert (facts["running"], facts["url"], home.exists()) == (False, None, False)
    said = cli("run", one_bad, "--whole-photo", DEERTRACK_HOME=str(home))
    assert (said.code, str(home) in said.out) == (0, True)
    assert not server.status().running
    failed = cli("deer", "show", "Nobody", "--home", home)
    assert (failed.code, server.status().running) == (1, False)

    url = cli("db", "url", "--home", home).out.strip()
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM files").fetchone()
    assert row == (1,)
    assert cli("deer", "list", "--home", home).code == 0
    assert server.status().running  # `db url` keeps it
    assert json.loads(cli("db", "status", "--json", "--home", home).out)["url"] == url
    assert cli("db", "stop", "--home", home).out.strip() == "Stopped."
    assert cli("db", "stop", "--home", home).out.strip() == "It was not running."


def test_psql(deertrack: Run, herd_url: str, herd: HerdSummary) -> None:
    said = deertrack("db", "psql", "--", "-Atc", "SELECT count(*) FROM images", DATABASE_URL=herd_url)
    assert (said.returncode, said.stdout.strip()) == (0, str(herd.photos))
    said = deertrack("db", "psql", "--", "-c", "SELECT nonsense", DATABASE_URL=herd_url)
    assert (said.returncode, said.stdout) == (1, "")
