"""The report page: one file, nothing outside it, and every word of a user escaped."""

import re
import shutil
import subprocess
from datetime import datetime, timedelta
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deertrack.reporting.report import (
    Dot,
    IndividualCard,
    Picture,
    ReportPage,
    Suggestion,
    WaitingCard,
    render_report,
    time_line,
)

FIRST = datetime(2025, 9, 22, 6, 30)  # noqa: DTZ001 - a station's own clock
NASTY = "<script>alert('x')</script> & \"Söhne\" 鹿"


def jpeg(colour: str = "olive") -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (40, 30), colour).save(buffer, "JPEG")
    return buffer.getvalue()


def dots(*days: float, station: str = "Creek") -> tuple[Dot, ...]:
    return tuple(Dot(station, FIRST + timedelta(days=day), f"day {day}") for day in days)


def card(number: int, name: str, **change: object) -> IndividualCard:
    facts = {
        "number": number,
        "name": name,
        "sex": "female",
        "sightings": 2,
        "photos": 3,
        "portrait": Picture(jpeg(), "portrait"),
        "dots": dots(0, 3),
        "sheet": (Picture(jpeg("red"), "one"), Picture(b"", "gone")),
    }
    return IndividualCard(**{**facts, **change})  # type: ignore[arg-type]


def page(*cards: IndividualCard, **change: object) -> ReportPage:
    facts = {
        "made_at": FIRST,
        "totals": {"individuals": len(cards), "tracks": 5, "waiting": 1, "photos": 1234, "stations": 2},
        "version": "v3_test",
        "drawn": False,
        "individuals": cards,
        "waiting": (),
        "waiting_total": 0,
        "problems": (),
    }
    return ReportPage(**{**facts, **change})  # type: ignore[arg-type]


class Reader(HTMLParser):
    """Tags with their attributes, and the text between them as a browser shows it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def full_page() -> ReportPage:
    waiting = WaitingCard(
        f"Pond {NASTY}",
        "2025-09-24 17:02",
        (Picture(jpeg("blue"), NASTY),),
        (Suggestion(f"Ann {NASTY}", 0.62, Picture(jpeg(), "Ann")),),
    )
    return page(
        card(1, "Quiet Fern", dots=(*dots(0, 10), *dots(5, station=NASTY))),
        card(2, f"Bob {NASTY}", sightings=1, photos=1, dots=()),
        drawn=True,
        waiting=(waiting,),
        waiting_total=7,
        problems=((f"/cards/{NASTY}.jpg", f"damaged {NASTY}"),),
    )


def test_nothing_is_outside_the_file() -> None:
    html = render_report(full_page())
    for tag, attributes in Reader(html).tags:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name, value in attributes.items():
            if name in ("src", "href", "srcset", "data", "action", "poster"):
                assert value is not None
                assert value.startswith("data:image/jpeg;base64,")
            assert not name.startswith("on")
    assert not re.search(r"https?:|@import|url\(", html)


def test_every_individual_is_there_with_its_facts() -> None:
    reader = Reader(render_report(full_page()))
    cards = [a for tag, a in reader.tags if tag == "article" and a.get("data-name")]
    assert [a["data-name"] for a in cards] == ["Quiet Fern", f"Bob {NASTY}"]
    for words in (
        "Quiet Fern No. 1 · female · 2 sightings · 3 photos",
        "No. 2 · female · 1 sighting · 1 photo",
        "1,234 photos",
        "2 of 3 photos shown",
        "embedding version v3_test",
        f"Bob {NASTY}",
        f"Pond {NASTY}",
        f"Ann {NASTY}",
        "62 %",
        "1 of 7 shown",
        f"/cards/{NASTY}.jpg",
        f"damaged {NASTY}",
    ):
        assert words in reader.text


@given(name=st.text(min_size=1, max_size=60), path=st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_no_name_or_path_becomes_markup(name: str, path: str) -> None:
    plain = Reader(render_report(page(card(1, "x"), problems=(("x", "y"),))))
    odd = Reader(render_report(page(card(1, name), problems=((path, "y"),))))
    assert [tag for tag, _ in odd.tags] == [tag for tag, _ in plain.tags]
    (found,) = [a["data-name"] for tag, a in odd.tags if tag == "article"]
    lines = str.maketrans({"\r": "\n"})
    assert (found or "").translate(lines) == name.translate(lines)


@pytest.mark.parametrize("drawn", [True, False])
def test_the_banner_is_there_if_and_only_if_the_animals_are_drawn(drawn: bool) -> None:
    assert ("Drawn sample." in Reader(render_report(page(card(1, "x"), drawn=drawn))).text) is drawn


def test_a_photo_that_cannot_be_shown_leaves_its_caption() -> None:
    reader = Reader(render_report(page(card(1, "x", portrait=Picture(b"", "the file is gone")))))
    assert "the file is gone" in reader.text
    assert len([tag for tag, _ in reader.tags if tag == "img"]) == 1


def test_times_lie_on_one_line_for_all() -> None:
    html = render_report(page(card(1, "a", dots=dots(0, 5)), card(2, "b", dots=dots(10))))
    assert re.findall(r"left:([\d.]+)%", html) == ["0.00", "50.00", "100.00"]
    line = time_line(dots(1, 2) + dots(3, station="Alder"), FIRST, FIRST + timedelta(days=4))
    assert [(name, [left for left, _ in placed]) for name, placed in line.rows] == [
        ("Alder", [75.0]),
        ("Creek", [25.0, 50.0]),
    ]
    assert time_line(dots(0), FIRST, FIRST).rows[0][1][0][0] == 0  # a single instant


def test_no_time_at_all() -> None:
    assert "Quiet Fern" in render_report(page(card(1, "Quiet Fern", dots=())))
    assert "Nobody yet." in render_report(page())


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (Debian: apt install chromium)")
def test_a_real_browser_shows_it_without_a_complaint(tmp_path: Path) -> None:
    file, shot = tmp_path / "report.html", tmp_path / "report.png"
    file.write_text(render_report(full_page()), encoding="utf-8")
    command = [
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--enable-logging=stderr",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=1200,1400",
        f"--screenshot={shot}",
        file.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert console == []
    with Image.open(shot) as image:
        assert image.size == (1200, 1400)
        colours = image.convert("RGB").getcolors(maxcolors=1 << 24)
        assert colours is not None
        assert len(colours) > 20  # not a blank page
