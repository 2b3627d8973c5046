"""kill -9 at any moment, then the same command again: the catalogue ends as if nothing had happened."""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from deertrack.storage.server import EmbeddedServer
from deertrack.vision.sample_herd import HerdPlan, draw_herd

PHOTOS = 150  # a little more than one commit of the embedding holds

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the embedded server needs Linux or macOS")


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """``deertrack run`` on real photos where they are, else on a drawn herd."""
    given = os.environ.get("DEERTRACK_TEST_DATA")
    data = (Path(given) if given else Path(__file__).parents[3] / "shared" / "data") / "nyala"
    if data.is_dir():
        cards, detections = tmp_path / "cards", tmp_path / "detections.json"
        document = json.loads((data / "detections.json").read_text())
        # From every station's beginning, where the same animals come again.
        names = sorted((image["file"] for image in document["images"]), key=lambda n: (n.split("/")[-1], n))
        chosen = set(names[:PHOTOS])
        for name in chosen:
            (cards / name).parent.mkdir(parents=True, exist_ok=True)
            (cards / name).symlink_to(data / "cards" / name)
        document["images"] = [image for image in document["images"] if image["file"] in chosen]
        detections.write_text(json.dumps(document))
        options = []
    else:
        herd = draw_herd(tmp_path / "herd", HerdPlan(seed=5, individuals=6, visits=36))
        cards, detections = herd.cards, herd.detections
        options = ["--calibration", str(herd.calibration)]
    return [
        *(sys.executable, "-m", "deertrack", "run", str(cards), "--json"),
        *("--detections", str(detections), *options),
    ]


@pytest.fixture
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Path]]:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    both = tmp_path / "undisturbed", tmp_path / "killed"
    yield both
    for home in both:
        EmbeddedServer(home).stop(mode="immediate")


def test_killed_in_every_stage(command: list[str], homes: tuple[Path, Path], kill_resume: Any) -> None:
    undisturbed, killed = homes
    expected = kill_resume.run_to_the_end(command, undisturbed)
    assert len(expected["decisions"]) == len(expected["sightings"]) > 20
    states = Counter(row[4] for row in expected["sightings"])
    assert states["assigned"] > 0

    for table, at_least in (("images", 1), ("detection_embeddings", 1), ("decisions", 5)):
        assert kill_resume.run_and_kill(command, killed, lambda rows, t=table, n=at_least: rows[t] >= n), (
            f"it ended before it could be killed at {table}"
        )
    assert kill_resume.differences(expected, kill_resume.run_to_the_end(command, killed)) == []


def test_the_comparison_sees_every_kind_of_difference(
    herd_url: str, kill_resume: Any, catalogue_content: Any
) -> None:
    """A comparison that finds nothing must be able to find something."""
    expected = catalogue_content(herd_url)
    assert kill_resume.differences(expected, expected) == []
    with psycopg.connect(herd_url, autocommit=True) as connection:
        for table, change in (
            ("stations", "UPDATE stations SET clock_shift = '1 hour'"),
            ("photos", "UPDATE images SET error = 'x' WHERE id = (SELECT min(id) FROM images)"),
            ("files", "UPDATE files SET size = size + 1"),
            ("detections", "UPDATE detections SET confidence = confidence / 2"),
            (
                "sightings",
                "UPDATE detections SET sighting_id = NULL WHERE id = (SELECT min(id) FROM detections)",
            ),
            ("deer", "UPDATE deer SET name = name || '!'"),
            ("decisions", "DELETE FROM decisions WHERE id = (SELECT max(id) FROM decisions)"),
            ("vectors", "DELETE FROM detection_embeddings WHERE detection_id = 1"),
            ("events", "INSERT INTO events (actor, kind, subject) VALUES ('x', 'x', 'x')"),
        ):
            before = catalogue_content(herd_url)
            connection.execute(change)  # type: ignore[call-overload]
            found = kill_resume.differences(before, catalogue_content(herd_url))
            assert any(line.startswith(table) for line in found), table
