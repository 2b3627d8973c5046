"""How the machine does in production (spec, phase 4, "Monitoring"): rates, scores, reviews, times, alerts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import reduce
from itertools import groupby
from operator import attrgetter

from deertrack.domain.monitoring import Tally, difference, rate
from deertrack.domain.separation import Estimate
from deertrack.services.lifecycle.alerts import Alert, alerts
from deertrack.storage import monitor as log
from deertrack.storage.db import Database
from deertrack.storage.monitor import Change, Line, Rates, Scores

BINS = 20  # of a histogram of similarities over [0, 1]
SIMILARITY_PERCENTILES = {"p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95}
TIME_PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


class By(StrEnum):
    """How long a period is; all begin at midnight UTC, weeks on Mondays."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What became of sightings. ``rate`` is the share that was matched, with its 95 % interval by encounters."""

    sightings: int
    matched: int
    new: int
    review: int
    rate: Estimate | None


@dataclass(frozen=True, slots=True)
class Period:
    """Outcomes of one version and arm in one period (its first instant)."""

    start: datetime
    line: Line
    outcomes: Outcomes


@dataclass(frozen=True, slots=True)
class BeforeAfter:
    """Outcomes on either side of the last change of version, and the difference of their rates, after - before."""

    change: Change
    before: Outcomes
    after: Outcomes
    difference: Estimate | None


@dataclass(frozen=True, slots=True)
class Distribution:
    """Similarities of the best candidates, in [-1, 1], of one outcome or all (None).

    ``histogram`` has :data:`BINS` bins over [0, 1] behind one for all below.
    """

    line: Line
    outcome: str | None
    items: int
    mean: float
    percentiles: Mapping[str, float]
    histogram: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What persons made of one line's decisions.

    Only what somebody looked at is known, and people look where they doubt: these are rates among the reviewed.
    ``first_right``: of the reviewed animals that were known, those whose first candidate was the right one.
    """

    line: Line
    matches: int
    reviewed_matches: int
    wrong_matches: int
    false_positives: Estimate | None
    new: int
    reviewed_new: int
    wrong_new: int
    missed: Estimate | None
    first_right: Estimate | None


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds of a decision, search and all."""

    line: Line
    decisions: int
    percentiles: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast the runs of a period were; None where none read photos, or embedded."""

    start: datetime
    runs: int
    photos: int
    photos_per_second: float | None
    embedded: int
    ms_per_detection: float | None


@dataclass(frozen=True, slots=True)
class Monitored:
    """Everything. Times are UTC."""

    by: By
    since: datetime | None
    periods: tuple[Period, ...]
    last_change: Change | None
    around: BeforeAfter | None
    similarities: tuple[Distribution, ...]
    reviews: tuple[Reviewed, ...]
    times: tuple[Times, ...]
    speeds: tuple[Speed, ...]
    alerts: tuple[Alert, ...]


def monitor(db: Database, *, by: By = By.WEEK, since: datetime | None = None) -> Monitored:
    """Count the decision log since an instant (None: since it began): the machine's first word on each sighting.

    ``around`` is None until something was decided both before and after the last change of version.
    """
    with db.transaction() as connection:
        changes = log.changes(connection)
        first = log.FirstDecisions(connection, since)
        rates = first.rates(by=by, changes=[c.at for c in changes])
        scores = first.scores(
            similarity_shares=list(SIMILARITY_PERCENTILES.values()),
            time_shares=list(TIME_PERCENTILES.values()),
        )
        histograms = first.histograms(bins=BINS)
        reviews = first.reviews()
        runs = log.runs(connection, by=by, since=since)
    return Monitored(
        by=by,
        since=since,
        periods=_periods(rates),
        last_change=changes[-1] if changes else None,
        around=_around(rates, changes),
        similarities=tuple(_distribution(s, histograms) for s in scores if s.items),
        reviews=_reviewed(rates, reviews),
        times=tuple(_times(s) for s in scores if s.outcome is None and s.times),
        speeds=tuple(
            Speed(
                r.period,
                r.runs,
                r.photos,
                r.photos / r.seconds if r.seconds else None,
                r.embedded,
                1000 * r.embedding / r.embedded if r.embedded else None,
            )
            for r in runs
        ),
        alerts=tuple(alerts(db)),
    )


def total(tallies: Sequence[Tally]) -> Tally:
    """The sum of tallies."""
    return reduce(Tally.__add__, tallies, Tally())


def outcomes(rates: Sequence[Rates]) -> Outcomes:
    """Rates of several lines or periods taken together."""
    matched, new = total([r.matched for r in rates]), total([r.new for r in rates])
    return Outcomes(matched.items, matched.hits, new.hits, sum(r.review for r in rates), rate(matched))


def _periods(rates: Sequence[Rates]) -> tuple[Period, ...]:
    """A period in which the version changed has rates of two phases."""
    found: dict[tuple[datetime, Line], list[Rates]] = {}
    for row in rates:
        assert row.period is not None
        found.setdefault((row.period, row.line), []).append(row)
    order = sorted(found, key=lambda key: (key[0], key[1].version, key[1].arm or ""))
    return tuple(Period(*key, outcomes(found[key])) for key in order)


def _around(rates: Sequence[Rates], changes: Sequence[Change]) -> BeforeAfter | None:
    phases = [list(rows) for _, rows in groupby(rates, key=attrgetter("phase"))]
    if len(phases) < 2 or phases[-1][0].phase < len(changes):
        return None
    before, after = phases[-2:]
    gap = difference(total([r.matched for r in before]), total([r.matched for r in after]))
    return BeforeAfter(changes[-1], outcomes(before), outcomes(after), gap)


def _distribution(scores: Scores, histograms: dict[tuple[Line, str], list[int]]) -> Distribution:
    assert scores.mean is not None
    assert scores.similarities is not None
    of_outcomes = [
        counts
        for (line, outcome), counts in histograms.items()
        if line == scores.line and scores.outcome in (None, outcome)
    ]
    histogram = tuple(sum(bins) for bins in zip(*of_outcomes, strict=True))
    percentiles = dict(zip(SIMILARITY_PERCENTILES, scores.similarities, strict=True))
    return Distribution(scores.line, scores.outcome, scores.items, scores.mean, percentiles, histogram)


def _times(scores: Scores) -> Times:
    assert scores.times is not None
    return Times(scores.line, scores.timed, dict(zip(TIME_PERCENTILES, scores.times, strict=True)))


def _reviewed(rates: Sequence[Rates], reviews: dict[tuple[Line, str], Tally]) -> tuple[Reviewed, ...]:
    found = []
    for line in dict.fromkeys(row.line for row in rates):
        own = outcomes([row for row in rates if row.line == line])
        match, new, first = (
            reviews.get((line, measure), Tally())
            for measure in (log.WRONG_MATCH, log.WRONG_NEW, log.FIRST_RIGHT)
        )
        found.append(
            Reviewed(
                line,
                own.matched,
                match.items,
                match.hits,
                rate(match),
                own.new,
                new.items,
                new.hits,
                rate(new),
                rate(first),
            )
        )
    return tuple(found)
