"""Embedding goes on where it was stopped, marks what is damaged, and waits for what is missing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deertrack.domain.embedding import Output
from deertrack.domain.records import WHOLE_PHOTO, Box, DetectedAnimal
from deertrack.services import embed as service
from deertrack.services.detections import take_whole_photos
from deertrack.services.embed import EmbedOutcome, embed_pending
from deertrack.services.ingest import Ingested, StationRules, find_photos, ingest
from deertrack.services.progress import Silent
from deertrack.storage import images
from deertrack.storage.db import Database
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.vision.embedder import Embedder, EmbedTask

MakePhoto = Callable[..., Path]
Ask = Callable[..., Any]


class StoppedAfter(Silent):
    """Somebody presses Ctrl-C after so many detections."""

    def __init__(self, detections: int) -> None:
        self.left = detections

    def advance(self, steps: int = 1) -> None:
        self.left -= steps
        if self.left <= 0:
            raise KeyboardInterrupt


@pytest.fixture
def cards(tmp_path: Path, make_photo: MakePhoto) -> Path:
    for n in range(10):
        make_photo(tmp_path / "cards" / "Creek" / f"{n}.jpg", seed=n)
    return tmp_path / "cards"


@pytest.fixture
def take_in(db: Database) -> Callable[[Path], Ingested]:
    def run(folder: Path) -> Ingested:
        ingested = ingest(db, find_photos([folder]), StationRules())
        take_whole_photos(db, ingested.catalogued)
        return ingested

    return run


@pytest.fixture
def run(db: Database, lite: RegisteredVersion, embedder: Embedder) -> Callable[..., EmbedOutcome]:
    return lambda **options: embed_pending(db, lambda: embedder, lite, **options)


@pytest.fixture
def vectors(rows: Callable[..., list[dict[str, Any]]]) -> Callable[[], dict[tuple[str, str], Any]]:
    """Every stored vector by the photo's file name and the output."""

    def ask() -> dict[tuple[str, str], Any]:
        found = rows(
            "SELECT f.path, m.output, e.embedding::real[] AS vector FROM detection_embeddings e "
            "JOIN models m ON m.id = e.model_id JOIN detections d ON d.id = e.detection_id "
            "JOIN files f ON f.image_id = d.image_id"
        )
        return {(Path(r["path"]).name, r["output"]): np.array(r["vector"]) for r in found}

    return ask


def test_every_detection_gets_unit_vectors_of_every_model(
    cards: Path, take_in: Callable[[Path], Ingested], run: Callable[..., EmbedOutcome], vectors: Ask
) -> None:
    take_in(cards)
    outcome = run()
    assert (outcome.photos, outcome.detections, outcome.problems) == (10, 10, [])
    stored = vectors()
    assert stored.keys() == {(f"{n}.jpg", output.value) for n in range(10) for output in Output}
    assert np.linalg.norm(list(stored.values()), axis=1) == pytest.approx(1, abs=1e-4)


def test_the_model_is_loaded_only_if_there_is_something_to_embed(
    db: Database, lite: RegisteredVersion, cards: Path, take_in: Callable[[Path], Ingested], run: Ask
) -> None:
    take_in(cards)
    run()

    def never() -> Embedder:
        raise AssertionError("loaded the model for nothing")

    assert embed_pending(db, never, lite) == EmbedOutcome()


@pytest.mark.parametrize("stop_after", [1, 5, 9])
def test_stopped_midway_and_called_again_gives_the_same_vectors(
    cards: Path,
    take_in: Callable[[Path], Ingested],
    run: Callable[..., EmbedOutcome],
    vectors: Ask,
    one: Ask,
    monkeypatch: pytest.MonkeyPatch,
    stop_after: int,
    embedder: Embedder,
) -> None:
    monkeypatch.setattr(service, "_COMMIT_EVERY", 2)
    take_in(cards)
    with pytest.raises(KeyboardInterrupt):
        run(progress=StoppedAfter(stop_after))
    kept = vectors()
    assert len(kept) == 3 * 2 * ((stop_after - 1) // 2)  # whole commits, nothing by halves
    outcome = run()
    assert outcome.detections == 10 - len(kept) // 3
    stored = vectors()
    assert len(stored) == 30
    assert all((stored[key] == kept[key]).all() for key in kept)
    for (name, output), vector in expected_vectors(embedder, cards).items():  # in one go
        assert stored[name, output] == pytest.approx(vector, abs=1e-5)


def expected_vectors(embedder: Embedder, cards: Path) -> dict[tuple[str, str], Any]:
    paths = sorted((cards / "Creek").iterdir())
    tasks = [EmbedTask(n, path, (WHOLE_PHOTO,)) for n, path in enumerate(paths)]
    return {
        (paths[done.key].name, output.value): vectors[0]
        for done in embedder.embed(tasks)
        for output, vectors in done.vectors.items()
    }


def test_a_truncated_photo_is_marked_and_never_tried_again(
    db: Database,
    lite: RegisteredVersion,
    cards: Path,
    take_in: Callable[[Path], Ingested],
    run: Callable[..., EmbedOutcome],
    one: Ask,
) -> None:
    path = cards / "Creek" / "3.jpg"
    path.write_bytes(path.read_bytes()[:-400])  # its header is whole, so only decoding can tell
    assert take_in(cards).problems == []
    outcome = run()
    assert (outcome.photos, [(p.path) for p in outcome.problems]) == (9, [str(path)])
    assert "truncated" in outcome.problems[0].reason
    assert str(path) not in outcome.problems[0].reason
    assert one("SELECT error FROM images WHERE error IS NOT NULL") == outcome.problems[0].reason
    assert embed_pending(db, lambda: pytest.fail("tried again"), lite) == EmbedOutcome()
    again = take_in(cards)  # and it is still listed
    assert [(p.path, p.reason) for p in again.problems] == [(str(path), outcome.problems[0].reason)]


def test_a_missing_file_is_listed_and_tried_the_next_time(
    cards: Path, take_in: Callable[[Path], Ingested], run: Callable[..., EmbedOutcome], one: Ask
) -> None:
    take_in(cards)
    path = cards / "Creek" / "3.jpg"
    away = path.rename(cards.parent / "away.jpg")
    for detections in (9, 0):
        outcome = run()
        assert outcome.detections == detections
        assert [(p.path, p.reason) for p in outcome.problems] == [
            (str(path), "the file is gone; bring it back and run again")
        ]
    away.rename(path)
    assert (run().detections, run().problems) == (1, [])
    assert one("SELECT count(*) FROM images WHERE error IS NOT NULL") == 0


def test_a_file_that_cannot_be_opened_now_is_tried_the_next_time(
    cards: Path, take_in: Callable[[Path], Ingested], run: Callable[..., EmbedOutcome], one: Ask
) -> None:
    take_in(cards)
    path = cards / "Creek" / "3.jpg"
    away = path.rename(cards.parent / "away.jpg")
    path.mkdir()  # there, but not to be read: as without permission, which does not stop root
    assert [p.path for p in run().problems] == [str(path)]
    assert one("SELECT count(*) FROM images WHERE error IS NOT NULL") == 0
    path.rmdir()
    away.rename(path)
    assert (run().detections, run().problems) == (1, [])


def test_a_photo_is_read_from_wherever_it_is_now(
    cards: Path, take_in: Callable[[Path], Ingested], run: Callable[..., EmbedOutcome]
) -> None:
    take_in(cards)
    take_in(cards.rename(cards.with_name("archive")))
    outcome = run()
    assert (outcome.detections, outcome.problems) == (10, [])


def test_a_photo_whose_file_was_replaced_is_listed(
    cards: Path, take_in: Callable[[Path], Ingested], run: Callable[..., EmbedOutcome], make_photo: MakePhoto
) -> None:
    """Interrupted before the embedding, then another photo put in its place: no file holds the first one."""
    take_in(cards)
    make_photo(cards / "Creek" / "3.jpg", seed=99)
    take_in(cards)
    outcome = run()
    assert outcome.detections == 10
    assert ["its file holds another photo now" in p.reason for p in outcome.problems] == [True]


def test_several_animals_in_one_photo(
    db: Database, lite: RegisteredVersion, run: Callable[..., EmbedOutcome], cards: Path, rows: Ask
) -> None:
    ingested = ingest(db, find_photos([cards]), StationRules())
    boxes = [Box(0, 0, 0.5, 1), Box(0.5, 0, 0.5, 1), Box(0.25, 0.25, 0.5, 0.5)]
    with db.transaction() as connection:
        for file in ingested.catalogued.values():
            animals = [DetectedAnimal(box, 0.9) for box in boxes]
            images.add_detections(connection, file.image_id, "test", animals)
    assert (run().detections, run().detections) == (30, 0)
    found = rows(
        "SELECT count(*) AS n, count(DISTINCT embedding) AS d FROM detection_embeddings GROUP BY model_id"
    )
    assert [(row["n"], row["d"]) for row in found] == [(30, 30)] * 3  # each box has looks of its own
