"""Gathers the catalogue into a report page."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from deertrack.domain.errors import PhotoError
from deertrack.reporting.report import (
    Dot,
    IndividualCard,
    Picture,
    ReportPage,
    Suggestion,
    WaitingCard,
    render_report,
)
from deertrack.services.individuals import overview
from deertrack.services.progress import SILENT, Progress
from deertrack.storage import catalogue
from deertrack.storage.catalogue import Individual, Sighting, SightingPhoto
from deertrack.storage.db import Database
from deertrack.vision.thumbnails import thumbnail

_PORTRAIT, _SHEET = 420, 150  # pixels
_SUGGESTIONS = 3
_READERS = 4


def make_report(
    db: Database, *, photos_each: int = 24, waiting: int = 200, progress: Progress = SILENT
) -> str:
    """The whole catalogue as one HTML page.

    Args:
        photos_each: photos at most on an individual's contact sheet, spread over all its sightings.
        waiting: sightings at most of those that wait for a person.
    """
    seen = overview(db)
    with db.transaction() as connection:
        individuals = catalogue.list_individuals(connection)
        sightings = catalogue.list_sightings(connection)
    of_deer: dict[int | None, list[Sighting]] = {}
    for sighting in sightings:
        of_deer.setdefault(sighting.deer_id, []).append(sighting)
    open_ones = [s for s in of_deer.get(None, []) if s.state == "review"]
    progress.start("Drawing the report", len(individuals) + min(len(open_ones), waiting))
    with ThreadPoolExecutor(_READERS, thread_name_prefix="report") as pool:
        cards, portraits = [], {}
        for deer in individuals:
            card = _individual(deer, of_deer.get(deer.id, []), photos_each, pool)
            cards.append(card)
            portraits[deer.id] = (deer.name, card.portrait)
            progress.advance()
        waiting_cards = []
        for sighting in open_ones[:waiting]:
            waiting_cards.append(_waiting(sighting, portraits, pool))
            progress.advance()
    return render_report(
        ReportPage(
            made_at=datetime.now(UTC),
            totals=seen.totals,
            version=seen.version or "",
            drawn=seen.drawn,
            individuals=sorted(cards, key=lambda c: (-c.sightings, c.number)),
            waiting=waiting_cards,
            waiting_total=len(open_ones),
            problems=seen.problems,
        )
    )


def _individual(
    deer: Individual, sightings: list[Sighting], photos_each: int, pool: ThreadPoolExecutor
) -> IndividualCard:
    placed = [(sighting, photo) for sighting in sightings for photo in sighting.photos]
    best = [p for p in placed if p[1].detection_id == deer.profile_detection_id] or placed[:1]
    portrait = _picture(*best[0], side=_PORTRAIT) if best else Picture(b"", "no photo of it is catalogued")
    step = max(1, -(-len(placed) // photos_each))
    return IndividualCard(
        number=deer.number,
        name=deer.name,
        sex=deer.sex,
        sightings=deer.sighting_count,
        photos=deer.photos,
        portrait=portrait,
        dots=tuple(
            Dot(s.station, s.started_at.astimezone(ZoneInfo(s.timezone)).replace(tzinfo=None), _when(s))
            for s in sightings
            if s.started_at
        ),
        sheet=tuple(_pictures(placed[::step], pool)),
    )


def _waiting(
    sighting: Sighting, portraits: dict[int, tuple[str, Picture]], pool: ThreadPoolExecutor
) -> WaitingCard:
    likely = [c for c in sighting.candidates if c["deer_id"] in portraits][:_SUGGESTIONS]
    return WaitingCard(
        where=sighting.station,
        when=_when(sighting),
        photos=tuple(_pictures([(sighting, photo) for photo in sighting.photos[:4]], pool)),
        suggestions=tuple(
            Suggestion(portraits[c["deer_id"]][0], c["probability"], portraits[c["deer_id"]][1])
            for c in likely
        ),
    )


def _pictures(
    placed: Iterable[tuple[Sighting, SightingPhoto]], pool: ThreadPoolExecutor
) -> Iterable[Picture]:
    return pool.map(lambda pair: _picture(*pair, side=_SHEET), placed)


def _picture(sighting: Sighting, photo: SightingPhoto, *, side: int) -> Picture:
    caption = f"{_when(sighting)} · {sighting.station}"
    path = next((path for path in photo.paths if path.exists()), None)
    if path is None:
        return Picture(b"", f"{caption} · the photo's file is gone")
    try:
        return Picture(thumbnail(path, photo.box, side=side), caption)
    except (PhotoError, OSError):
        return Picture(b"", f"{caption} · the photo cannot be read")


def _when(sighting: Sighting) -> str:
    if sighting.started_at is None:
        return "time unknown"
    return sighting.started_at.astimezone(ZoneInfo(sighting.timezone)).strftime("%Y-%m-%d %H:%M")
