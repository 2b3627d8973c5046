"""Everything that anybody changed, page by page or whole."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from deertrack.domain.errors import InputError
from deertrack.storage import audit
from deertrack.storage.audit import Line, Place, Wanted
from deertrack.storage.db import Database

_BATCH = 5000


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Lines, newest first, and where the next page begins; None where this is the last."""

    lines: tuple[Line, ...]
    next: str | None


def read_page(db: Database, wanted: Wanted, *, before: str | None, limit: int) -> AuditPage:
    """Lines older than the one that a former page ended with (``before``, its ``next``).

    Raises:
        InputError: ``before`` is no such text.
    """
    start = _place(before) if before else None
    with db.transaction() as connection:
        lines = audit.read_lines(connection, wanted, before=start, limit=limit + 1)
    more = lines[limit - 1].place if len(lines) > limit else None
    return AuditPage(tuple(lines[:limit]), _text(more) if more else None)


def read_all(db: Database, wanted: Wanted) -> Iterator[Line]:
    """All lines, newest first. A batch is in memory, and no connection is held while somebody reads slowly."""
    start: Place | None = None
    while True:
        with db.transaction() as connection:
            lines = audit.read_lines(connection, wanted, before=start, limit=_BATCH)
        yield from lines
        if len(lines) < _BATCH:
            return
        start = lines[-1].place


def _text(place: Place) -> str:
    return f"{place.at.isoformat()}_{place.log}_{place.id}_{place.item}"


def _place(text: str) -> Place:
    try:
        at, log, number, item = text.replace(" ", "+").split("_")
        place = Place(datetime.fromisoformat(at), log, int(number), int(item))
    except ValueError:
        raise InputError(f"expected before= as a former answer's next, got {text[:80]!r}") from None
    if place.at.tzinfo is None or not (0 <= place.id < 1 << 63 and 0 <= place.item < 1 << 31):
        raise InputError(f"expected before= as a former answer's next, got {text[:80]!r}")
    return place
