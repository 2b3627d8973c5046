"""The catalogue in tables: what the machine decides, what people do, and who was seen where and when."""

import logging
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from deertrack.domain.errors import DeertrackError, InputError, NotFoundError
from deertrack.domain.separation import Estimate
from deertrack.services.lifecycle.ab import compare_arms
from deertrack.services.lifecycle.monitor import BINS, By, Monitored, monitor
from deertrack.storage import dashboard
from deertrack.storage.dashboard import Limits
from deertrack.storage.db import Database

_log = logging.getLogger(__name__)
_KEPT_SECONDS = 60
_KEPT_TIMES = 20  # as long as it took to count
_KEPT_EACH = 16
_ANSWERED_DAYS = 90
_CURVE_POINTS = 200


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the dashboard: each row has one value a column (text, number, date or None)."""

    name: str
    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """What to show. ``limits`` go by when photos were taken; decisions count since the day ``decided`` (UTC)."""

    limits: Limits = field(default_factory=Limits)
    by: By = By.MONTH
    decided: date | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    """Tables that are counted together: how, and what of a question they depend on."""

    names: tuple[str, ...]
    count: Callable[[Database, Asked], list[Table]]
    depends_on: Callable[[Asked], Hashable]


@dataclass(frozen=True, slots=True)
class _Counted:
    """Tables by name, and until when (monotonic seconds) they are shown."""

    tables: dict[str, Table]
    until: float


class Dashboard:
    """One catalogue's tables. Those that are slow to count are kept for longer, and none for less than a minute.

    Whoever asks for tables that are older gets them as they were, and they are counted anew meanwhile: nobody waits
    twice for the same.
    """

    def __init__(self, db: Database, *, seconds: float = _KEPT_SECONDS) -> None:
        self._db, self._seconds = db, seconds
        self._kept: dict[tuple[str, ...], dict[Hashable, _Counted]] = {part.names: {} for part in _PARTS}
        self._counting = {part.names: threading.Lock() for part in _PARTS}

    def table(self, name: str, asked: Asked) -> Table:
        """One table by name.

        Raises:
            NotFoundError: there is none of that name.
            InputError: a period that ends before it begins.
        """
        part = next((part for part in _PARTS if name in part.names), None)
        if part is None:
            raise NotFoundError(f"there is no table {name!r}", hint=f"There are {', '.join(NAMES)}.")
        return self._part(part, asked)[name]

    def tables(self, asked: Asked) -> dict[str, Table]:
        """All tables by name.

        Raises:
            InputError: a period that ends before it begins.
        """
        return {name: table for part in _PARTS for name, table in self._part(part, asked).items()}

    def stations(self) -> list[str]:
        """All stations by name."""
        with self._db.transaction() as connection:
            return dashboard.station_names(connection)

    def _part(self, part: _Part, asked: Asked) -> dict[str, Table]:
        limits = asked.limits
        if limits.since and limits.until and limits.until < limits.since:
            raise InputError(
                f"expected a period that ends after it begins, got {limits.since} to {limits.until}"
            )
        key, kept = part.depends_on(asked), self._kept[part.names]
        known = kept.get(key)
        if known is None:
            with self._counting[part.names]:  # who asks the same meanwhile waits for the answer
                return kept[key].tables if key in kept else self._count(part, asked)
        if time.monotonic() >= known.until:
            if not self._seconds:
                return self._count(part, asked)
            threading.Thread(target=self._renew, args=(part, asked), daemon=True).start()
        return known.tables

    def _renew(self, part: _Part, asked: Asked) -> None:
        lock = self._counting[part.names]
        if lock.acquire(blocking=False):  # else somebody counts already
            try:
                self._count(part, asked)
            except DeertrackError as error:
                _log.warning("the dashboard could not be counted: %s", error.message)
            finally:
                lock.release()

    def _count(self, part: _Part, asked: Asked) -> dict[str, Table]:
        kept, began = self._kept[part.names], time.monotonic()
        tables = {table.name: table for table in part.count(self._db, asked)}
        now = time.monotonic()
        lasts = max(self._seconds, _KEPT_TIMES * (now - began)) if self._seconds else 0
        key = part.depends_on(asked)
        kept.pop(key, None)
        while len(kept) >= _KEPT_EACH:
            del kept[next(iter(kept))]
        kept[key] = _Counted(tables, now + lasts)
        return tables


def _seen(db: Database, asked: Asked) -> list[Table]:
    with db.transaction() as connection:
        return _of_sightings(dashboard.Sightings(connection, asked.limits), asked)


def _of_sightings(seen: dashboard.Sightings, asked: Asked) -> list[Table]:
    return [
        _table(
            "population",
            "Individuals seen",
            "Different individuals with a sighting in each period, those seen for the first time ever, and all "
            "that were known by then. Sightings without a time or a name are not among them.",
            ("period", "sightings", "individuals", "new", "known"),
            seen.individuals_by_period(asked.by),
        ),
        _table(
            "discovery",
            "Discovery curve",
            "Individuals known after so many named sightings. While it climbs, there are more to be met.",
            ("day", "sightings", "individuals"),
            _thinned(seen.discovery()),
        ),
        _table(
            "activity",
            "Sightings by hour of the day",
            "By the clock of each station.",
            ("station", "hour", "sightings"),
            seen.by_hour(),
        ),
        _table(
            "visits",
            "Sightings by station and time",
            "Every animal through one encounter counts once, named or not.",
            ("station", "period", "sightings", "individuals"),
            seen.by_station(asked.by),
        ),
        _table(
            "composition",
            "Sex and age",
            "Active individuals, as people and detectors said.",
            ("sex", "age_class", "individuals"),
            seen.composition(),
        ),
        _table(
            "nights",
            "Nights with photos",
            "A night lasts from noon to noon. Without it, few sightings may mean few deer or an empty battery.",
            ("station", "period", "nights", "photos"),
            seen.nights(asked.by),
        ),
    ]


def _people(db: Database, _: Asked) -> list[Table]:
    since = datetime.now(UTC) - timedelta(days=_ANSWERED_DAYS)
    with db.transaction() as connection:
        waiting, answered = dashboard.waiting(connection), dashboard.answered(connection, since)
    return [
        _table(
            "waiting",
            "Waiting for review",
            "Sightings that wait for a person, by the week in which they came.",
            ("week", "waiting"),
            waiting,
        ),
        _table(
            "answered",
            "Answers by people",
            f"Decisions a day (UTC) in the last {_ANSWERED_DAYS} days.",
            ("day", "answers", "people"),
            answered,
        ),
    ]


def _decisions(db: Database, asked: Asked) -> list[Table]:
    since = datetime.combine(asked.decided, datetime.min.time(), UTC) if asked.decided else None
    found = monitor(db, by=asked.by, since=since)
    return [_assignment(found), _similarities(found), _errors(found), _versions(found)]


def _assignment(found: Monitored) -> Table:
    return Table(
        "assignment",
        "Assignment rate",
        "The machine's first word on each sighting: the share that it matched to a known individual, with its 95 % "
        "interval by encounters.",
        ("period", "version", "arm", "sightings", "matched", "new", "review", "rate", "low", "high"),
        tuple(
            (
                p.start.date(),
                p.line.version,
                p.line.arm,
                p.outcomes.sightings,
                p.outcomes.matched,
                p.outcomes.new,
                p.outcomes.review,
                *_estimate(p.outcomes.rate),
            )
            for p in found.periods
        ),
    )


def _similarities(found: Monitored) -> Table:
    rows = [
        (s.line.version, s.line.arm, s.outcome, (n - 1) / BINS if n else None, n / BINS, count)
        for s in found.similarities
        if s.outcome
        for n, count in enumerate(s.histogram)
        if count
    ]
    return Table(
        "similarities",
        "Similarity of the best candidate",
        "Raw similarities by what was decided. What they mean as probabilities is the calibration's business.",
        ("version", "arm", "outcome", "from", "to", "sightings"),
        tuple(rows),
    )


def _errors(found: Monitored) -> Table:
    rows = [
        (r.line.version, r.line.arm, *row)
        for r in found.reviews
        for row in (
            ("wrong matches", r.matches, r.reviewed_matches, r.wrong_matches, *_estimate(r.false_positives)),
            ("new, but known before", r.new, r.reviewed_new, r.wrong_new, *_estimate(r.missed)),
        )
    ]
    return Table(
        "errors",
        "Errors among what people reviewed",
        "Shares with 95 % intervals. People look where they doubt: what nobody looked at is better than this.",
        ("version", "arm", "measure", "decisions", "reviewed", "wrong", "share", "low", "high"),
        tuple(rows),
    )


def _versions(found: Monitored) -> Table:
    times = {t.line: t.percentiles for t in found.times}
    similar = {s.line: s for s in found.similarities if s.outcome is None}
    rows = []
    for review in found.reviews:
        own = [p.outcomes for p in found.periods if p.line == review.line]
        spent, alike = times.get(review.line, {}), similar.get(review.line)
        rows.append(
            (
                review.line.version,
                review.line.arm,
                sum(o.sightings for o in own),
                sum(o.matched for o in own),
                sum(o.new for o in own),
                sum(o.review for o in own),
                alike.percentiles["p50"] if alike else None,
                spent.get("p50"),
                spent.get("p95"),
                *_estimate(review.first_right),
            )
        )
    return Table(
        "versions",
        "By embedding version",
        "Decisions, median similarity, milliseconds of a decision, and how often the first candidate was the right "
        "one where a person said so.",
        (
            "version", "arm", "sightings", "matched", "new", "review", "median_similarity", "ms_median", "ms_p95",
            "first_right", "low", "high",
        ),
        tuple(rows),
    )  # fmt: skip


def _arms(db: Database, _: Asked) -> list[Table]:
    columns = ("measure", "difference", "low", "high", "enough", "in_words")
    title = "A/B test"
    try:
        compared = compare_arms(db)
    except InputError:
        return [Table("ab", title, "There never was an A/B test here.", columns, ())]
    state = "under way" if compared.under_way else "ended"
    versions = f"{compared.enhanced.version} against {compared.control.version}"
    note = f"{versions}, since {compared.since:%Y-%m-%d}, {state}."
    rows = [(c.measure, *_estimate(c.difference), c.enough, c.sentence) for c in compared.contrasts]
    return [Table("ab", title, note, columns, tuple(rows))]


def _estimate(estimate: Estimate | None) -> tuple[float | None, float | None, float | None]:
    return (estimate.value, estimate.low, estimate.high) if estimate else (None, None, None)


def _thinned(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """At most so many points of a curve, the last one among them."""
    step = -(-len(rows) // _CURVE_POINTS) or 1
    return list(rows[::-1][::step][::-1])


def _table(
    name: str, title: str, note: str, columns: tuple[str, ...], rows: Sequence[Mapping[str, Any]]
) -> Table:
    return Table(name, title, note, columns, tuple(tuple(_plain(row[c]) for c in columns) for row in rows))


def _plain(value: Any) -> Any:
    return value.date() if isinstance(value, datetime) else value


_PARTS = (
    _Part(
        ("population", "discovery", "activity", "visits", "composition", "nights"),
        _seen,
        lambda asked: (asked.limits, asked.by),
    ),
    _Part(("waiting", "answered"), _people, lambda _: ()),
    _Part(
        ("assignment", "similarities", "errors", "versions"),
        _decisions,
        lambda asked: (asked.decided, asked.by),
    ),
    _Part(("ab",), _arms, lambda _: ()),
)
NAMES = tuple(name for part in _PARTS for name in part.names)
