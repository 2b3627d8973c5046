"""The catalogue gathered into a page: real database, real thumbnails."""

import base64
import io
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from deertrack.domain.encounters import Grouping
from deertrack.services.detections import take_whole_photos
from deertrack.services.embed import embed_pending
from deertrack.services.identify import Matcher, alone, identify
from deertrack.services.individuals import list_individuals, rename
from deertrack.services.ingest import StationRules, find_photos, ingest
from deertrack.services.report import make_report
from deertrack.storage.db import Database
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.vision.embedder import Embedder
from deertrack.vision.model_packs import builtin_pack
from deertrack.wiring import make_matcher

DAWN = datetime(2025, 11, 2, 23, 30)  # noqa: DTZ001 - a camera's own clock has no zone
Pictures = list[Image.Image]


@pytest.fixture
def cards(tmp_path: Path, make_photo: Callable[..., Path]) -> Path:
    for n in range(4):
        path = tmp_path / "cards" / "<i>Creek" / f"IMG_{n}.JPG"
        make_photo(path, when=DAWN + timedelta(seconds=2 * n), seed=n, size=(640, 480))
    return tmp_path / "cards"


@pytest.fixture
def fill(db: Database, lite: RegisteredVersion, embedder: Embedder, cards: Path) -> Callable[[], None]:
    def do() -> None:
        rules = StationRules(timezone="America/Chicago")
        take_whole_photos(db, ingest(db, find_photos([cards]), rules).catalogued)
        embed_pending(db, lambda: embedder, lite)
        identify(db, alone(make_matcher(db, builtin_pack())))

    return do


def pictures(html: str) -> Pictures:
    found = re.findall(r"data:image/jpeg;base64,([^\"]+)", html)
    return [Image.open(io.BytesIO(base64.b64decode(text))) for text in found]


def test_a_burst_becomes_one_card_with_its_photos(
    db: Database, cards: Path, fill: Callable[[], None]
) -> None:
    fill()
    (deer,) = list_individuals(db)
    html = make_report(db)
    assert f"<h3>{deer.name}</h3>" in html
    portrait, *sheet = pictures(html)
    assert max(portrait.size) == 420
    assert [max(picture.size) for picture in sheet] == [150] * 4
    assert "&lt;i&gt;Creek" in html
    assert "<i>Creek" not in html
    assert "2025-11-02 23:30" in html  # the station's own clock, not UTC
    assert "Nothing waits." in html


def test_fewer_photos_than_there_are(db: Database, fill: Callable[[], None]) -> None:
    fill()
    html = make_report(db, photos_each=2)
    assert len(pictures(html)) == 3
    assert "2 of 4 photos shown" in html


def test_photos_that_are_gone_or_damaged_leave_a_note(
    db: Database, cards: Path, fill: Callable[[], None]
) -> None:
    fill()
    first, second, *_ = sorted((cards / "<i>Creek").iterdir())
    first.unlink()
    second.write_bytes(b"overwritten")
    html = make_report(db)
    assert html.count("the photo&#39;s file is gone") >= 1
    assert html.count("the photo cannot be read") >= 1
    assert 2 <= len(pictures(html)) <= 3


def test_an_individual_without_photos_is_still_on_the_page(db: Database, fill: Callable[[], None]) -> None:
    """As after rolling the schema back beyond the sightings and forth again."""
    fill()
    with db.transaction() as connection:
        connection.execute("UPDATE detections SET sighting_id = NULL")
        connection.execute("DELETE FROM decisions")
        connection.execute("DELETE FROM sightings")
    html = make_report(db)
    assert list_individuals(db)[0].name in html
    assert "no photo of it is catalogued" in html


def test_names_are_escaped(db: Database, fill: Callable[[], None]) -> None:
    fill()
    rename(db, "1", "<script>alert('x')</script>", actor="test")
    html = make_report(db)
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in html


def test_problems_are_listed(db: Database, cards: Path, fill: Callable[[], None]) -> None:
    (cards / "<i>no photo.jpg").write_text("text")
    fill()
    html = make_report(db)
    assert "&lt;i&gt;no photo.jpg" in html
    assert "not a JPEG, PNG, WebP or HEIC photo" in html


def test_what_waits_is_shown_with_whom_it_resembles(
    db: Database, stage: Any, seen: Any, matcher: Matcher
) -> None:
    for n, likeness in enumerate((1, 0.74, 0.73, 0.72)):
        stage.photo("Creek", n * 3600, seen(1, likeness=likeness))
    assert identify(db, alone(matcher)).review == 3
    html = make_report(db, waiting=2)
    (deer,) = list_individuals(db)
    waiting = html[html.index('id="waiting"') :]
    assert waiting.count(f"<b>{deer.name}</b>") == 2
    assert "2 of 3 shown" in waiting
    assert re.search(r"\b\d\d %", waiting)


def test_an_empty_catalogue_has_a_page_too(db: Database) -> None:
    html = make_report(db)
    assert "Nobody yet." in html
    assert "Drawn sample" not in html


def test_individuals_with_most_sightings_come_first(
    db: Database, stage: Any, seen: Any, matcher: Matcher
) -> None:
    for hour, animal in enumerate((1, 2, 2)):
        stage.photo("Creek", hour * 3600, seen(animal))
        identify(db, alone(Matcher(matcher.registered, matcher.calibration, grouping=Grouping())))
    html = make_report(db)
    assert re.findall(r'data-number="(\d)" data-sightings="(\d)"', html) == [("2", "2"), ("1", "1")]
