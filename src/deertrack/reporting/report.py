"""The catalogue as one self-contained HTML page: no network, no files beside it."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape


@dataclass(frozen=True, slots=True)
class Picture:
    """A photo on the page. ``jpeg`` is empty where the photo could not be read; then only ``caption`` shows."""

    jpeg: bytes
    caption: str

    @property
    def data_url(self) -> str:
        """The picture as text inside the page."""
        return "data:image/jpeg;base64," + base64.b64encode(self.jpeg).decode("ascii")


@dataclass(frozen=True, slots=True)
class Dot:
    """One sighting on the time line; ``when`` on the station's own clock."""

    station: str
    when: datetime
    label: str


@dataclass(frozen=True, slots=True)
class IndividualCard:
    """One individual: its facts, its best photo, its time line, and a contact sheet."""

    number: int
    name: str
    sex: str
    sightings: int
    photos: int
    portrait: Picture
    dots: tuple[Dot, ...]
    sheet: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Whom a waiting sighting may show, and how probable that is (0 to 1)."""

    name: str
    probability: float
    portrait: Picture


@dataclass(frozen=True, slots=True)
class WaitingCard:
    """A sighting that waits for a person."""

    where: str
    when: str
    photos: tuple[Picture, ...]
    suggestions: tuple[Suggestion, ...]


@dataclass(frozen=True, slots=True)
class ReportPage:
    """Everything on the page. ``waiting_total`` may exceed the cards shown."""

    made_at: datetime
    totals: dict[str, int]
    version: str
    drawn: bool
    individuals: Sequence[IndividualCard]
    waiting: Sequence[WaitingCard]
    waiting_total: int
    problems: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class TimeLine:
    """Dots placed on a strip: ``left`` in percent of the span, a row for each station."""

    first: datetime
    last: datetime
    rows: tuple[tuple[str, tuple[tuple[float, str], ...]], ...]


def time_line(dots: Sequence[Dot], first: datetime, last: datetime) -> TimeLine:
    """Place sightings between ``first`` and ``last``, stations by name."""
    span = max((last - first).total_seconds(), 1.0)
    rows = []
    for station in sorted({dot.station for dot in dots}):
        placed = [
            (100 * (d.when - first).total_seconds() / span, d.label) for d in dots if d.station == station
        ]
        rows.append((station, tuple(placed)))
    return TimeLine(first, last, tuple(rows))


def render_report(page: ReportPage) -> str:
    """The page as HTML. Every name and path in it is escaped."""
    environment = Environment(
        loader=PackageLoader("deertrack.reporting"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    times = [dot.when for card in page.individuals for dot in card.dots]
    lines = {card.number: time_line(card.dots, min(times), max(times)) for card in page.individuals if times}
    return environment.get_template("report.html").render(page=page, lines=lines)
