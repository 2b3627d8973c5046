"""What somebody should look at: each alert says what was seen, and what to do about it.

All of them look at the latest decisions only, so that `deertrack status` may ask at any size of the log.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from deertrack.domain.monitoring import (
    Tally,
    chance_of_rise,
    index_by_chance,
    misses,
    rate,
    stability_index,
)
from deertrack.domain.verdict import MOST_FALSE_POSITIVES, percent
from deertrack.services.policy import get_policy
from deertrack.services.versions import Choice, choose
from deertrack.storage import catalogue, embeddings, gallery, monitor
from deertrack.storage.db import Connection, Database
from deertrack.storage.monitor import Change, Rates, Window

# Windows in decisions. 500 tell 10 % of new individuals from 5 %, and a drift of 0.1 from mere chance (0.07).
RECENT, REFERENCE = 500, 2000
LEAST = (
    100  # on either side of a comparison: from fewer, only a fall of 13 points or more is told from chance
)
# Alerts are looked at daily, for years. At 5 %, each would be false every third week; at 0.1 %, every third year.
CHANCE = 0.001
# The field's own: below 0.1 nothing changed, above 0.25 it is another population.
DRIFT_NOTICE, DRIFT_ALERT = 0.1, 0.25
DRIFT_BINS = 10
REVIEWED = 5000  # decisions in which reviews are looked for: they come later
LEAST_REVIEWED = 20  # matches: of fewer, two unlucky ones would look like 10 %
# While a catalogue is filled for the first time nearly everybody is new, and the gallery holds few to resemble.
SETTLES = timedelta(days=1)
_NAMED = 5


class Level(StrEnum):
    """How much an alert matters."""

    NOTICE = "notice"
    ALERT = "alert"


class Kind(StrEnum):
    """What an alert is about."""

    PROFILE_EXPLOSION = "profile_explosion"
    MIXED_SEX = "mixed_sex"
    MISSING_VECTORS = "missing_vectors"
    SCORE_DRIFT = "score_drift"
    ASSIGNMENT_RATE = "assignment_rate"
    FALSE_POSITIVES = "false_positives"


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that somebody should look at; the sentence says what, and what to do."""

    name: Kind
    level: Level
    sentence: str


def alerts(db: Database) -> list[Alert]:
    """All that is wrong or odd now; empty in a catalogue that never ran."""
    with db.transaction() as connection:
        choice, began = choose(connection, None), monitor.first_decision(connection)
        if choice is None or began is None:
            return []
        changes = monitor.changes(connection)
        last = changes[-1] if changes else None
        way_back = _way_back(connection, choice)
        return [
            *_explosion(connection, began + SETTLES),
            *_mixed_sex(connection),
            *_missing_vectors(connection, choice),
            *_drift(connection, choice, began + SETTLES, last),
            *_fallen_rate(connection, last, way_back),
            *_false_positives(connection, last, way_back),
        ]


def _explosion(connection: Connection, settled: datetime) -> Iterator[Alert]:
    """New individuals become rarer as a catalogue fills. If they become more, known ones are not recognised."""
    recent = monitor.latest_rates(connection, Window(RECENT))
    if not recent or min(r.began for r in recent) < settled:
        return
    new, before = _new(recent), _new(monitor.latest_rates(connection, Window(REFERENCE, skip=RECENT)))
    if before.items >= LEAST and chance_of_rise(before, new) < CHANCE:
        yield Alert(
            Kind.PROFILE_EXPLOSION,
            Level.ALERT,
            f"{percent(new.share)} of the last {new.items:,} sightings became new individuals, "
            f"{percent(before.share)} of the {before.items:,} before. They should become fewer. Unless cameras "
            "were moved to animals never met, known ones are not recognised any more. Look at the newest in "
            "`deertrack deer list`, and at `deertrack reid monitor --by day` for when it began.",
        )


def _mixed_sex(connection: Connection) -> Iterator[Alert]:
    mixed = monitor.mixed_sex(connection)
    if mixed:
        named = ", ".join(
            f"{name} ({males} male, {females} female)" for name, males, females in mixed[:_NAMED]
        )
        rest = f" and {len(mixed) - _NAMED:,} more" if len(mixed) > _NAMED else ""
        yield Alert(
            Kind.MIXED_SEX,
            Level.ALERT,
            f"Sightings of both sexes in one individual: {named}{rest}. Two animals are in one record, or a sex "
            "was misread: `deertrack deer show NAME` lists the photos, `deertrack review assign` moves a sighting.",
        )


def _missing_vectors(connection: Connection, choice: Choice) -> Iterator[Alert]:
    for version in choice.versions:
        registered = embeddings.find_version(connection, version)
        if missing := gallery.count_incomparable(connection, registered):
            yield Alert(
                Kind.MISSING_VECTORS,
                Level.ALERT,
                f"Searches with {version} pass over active individuals that lack its vectors: {missing:,}. "
                f"`deertrack reid reembed {version}` brings them back.",
            )


def _drift(connection: Connection, choice: Choice, settled: datetime, last: Change | None) -> Iterator[Alert]:
    """The similarity of best candidates, recent against before, by the population stability index."""
    since = max(settled, last.at) if last else settled
    for version in choice.versions:
        before, recent = monitor.similarity_shift(
            connection,
            Window(REFERENCE, skip=RECENT, since=since, version=version),
            Window(RECENT, since=since, version=version),
            bins=DRIFT_BINS,
        )
        if sum(before) < LEAST or sum(recent) < LEAST:
            continue
        index = stability_index(before, recent)
        if index <= max(DRIFT_NOTICE, index_by_chance(sum(before), sum(recent), DRIFT_BINS, CHANCE)):
            continue
        manner = "less" if _mean_bin(recent) < _mean_bin(before) else "more"
        yield Alert(
            Kind.SCORE_DRIFT,
            Level.ALERT if index > DRIFT_ALERT else Level.NOTICE,
            f"Sightings are {manner} like the best candidates of {version} than before: between the last "
            f"{sum(recent):,} decisions and the {sum(before):,} before, the population stability index is "
            f"{index:.2f} (above {DRIFT_NOTICE} something changed, above {DRIFT_ALERT} much). New cameras, winter "
            "coats or more night photos do that. If matches suffer, confirm some sightings of now, and let "
            "`deertrack reid calibrate` fit to them what a similarity means.",
        )


def _fallen_rate(connection: Connection, last: Change | None, way_back: str) -> Iterator[Alert]:
    """Spec, rollback scenario 1: the assignment rate decreases after a cut-over."""
    if last is None:
        return
    after = _matched(monitor.latest_rates(connection, Window(REFERENCE, since=last.at)))
    before = _matched(monitor.latest_rates(connection, Window(REFERENCE, until=last.at)))
    enough = min(before.items, after.items) >= LEAST
    if enough and chance_of_rise(misses(before), misses(after)) < CHANCE:
        yield Alert(
            Kind.ASSIGNMENT_RATE,
            Level.ALERT,
            f"Since {told(last)}, {percent(after.share)} of {after.items:,} sightings were matched to a known "
            f"individual; of the {before.items:,} before, {percent(before.share)}. {way_back}",
        )


def _false_positives(connection: Connection, last: Change | None, way_back: str) -> Iterator[Alert]:
    """Spec: the false positive rate remains below 5 %, or below what the policy allows where that is more."""
    allowed = max(MOST_FALSE_POSITIVES, get_policy(connection).wrong_at_most / 100)
    since = last.at if last else None
    for (line, measure), tally in monitor.latest_reviews(connection, Window(REVIEWED, since=since)).items():
        figure = rate(tally)
        if measure != monitor.WRONG_MATCH or figure is None or tally.items < LEAST_REVIEWED:
            continue
        if figure.low is not None and figure.low > allowed:
            yield Alert(
                Kind.FALSE_POSITIVES,
                Level.ALERT,
                f"Of the {tally.items:,} automatic matches of {line} that a person looked at"
                f"{f' since {told(last)}' if last else ''}, {percent(figure.value)} were wrong, surely more than "
                f"{percent(allowed)}. {way_back}",
            )


def told(change: Change) -> str:
    """A change in words, e.g. "the cut-over to v3_lite of 2026-03-01"."""
    what = {
        "cut over": f"the cut-over to {change.version}",
        "roll back": f"the rollback to {change.version}",
        "ab begun": f"the A/B test of {change.version} began",
        "ab ended": f"the A/B test of {change.version} ended",
    }[change.kind]
    return f"{what} {'of' if change.kind in ('cut over', 'roll back') else 'on'} {change.at:%Y-%m-%d}"


def _way_back(connection: Connection, choice: Choice) -> str:
    if choice.challenger:
        return "`deertrack reid ab` tells which arm it is; `deertrack reid rollback` ends the test."
    if previous := catalogue.get_setting(connection, catalogue.PREVIOUS_VERSION):
        return f"`deertrack reid rollback` goes back to {previous}."
    setting = f"deertrack reid cutover {choice.version} --threshold …"
    return f"`deertrack reid validate` proposes a least similarity for matches; `{setting}` sets it."


def _new(found: Sequence[Rates]) -> Tally:
    return sum((r.new for r in found), Tally())


def _matched(found: Sequence[Rates]) -> Tally:
    return sum((r.matched for r in found), Tally())


def _mean_bin(counts: Sequence[int]) -> float:
    return sum(n * count for n, count in enumerate(counts)) / sum(counts)
