"""The arms of an A/B test compared (spec, phase 4: "Compare assignment rates after 1 week").

Whole encounters are dealt to the arms, so encounters are what is counted and resampled: the intervals of rates go
by their spread, that of times by a bootstrap over them. Both arms search one gallery: an individual that one arm
made is met in the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil

import numpy as np

from deertrack.domain.errors import InputError
from deertrack.domain.monitoring import (
    Spread,
    Tally,
    clusters_wanted,
    difference,
    enough,
    median_difference,
    rate,
)
from deertrack.domain.separation import Estimate
from deertrack.domain.trial import Arm
from deertrack.services.lifecycle.monitor import TIME_PERCENTILES, Outcomes, outcomes, total
from deertrack.storage import catalogue
from deertrack.storage import monitor as log
from deertrack.storage.db import Database
from deertrack.storage.monitor import Change, Line, Rates

MARGIN = 0.05  # a difference of rates that would matter
TIME_MARGIN = 0.10  # the same of times, as a part of the control's median


@dataclass(frozen=True, slots=True)
class _Measure:
    """How to speak of a measure: its differences (times ``scale``), what it is counted in, what may be missing."""

    name: str
    scale: float
    form: str
    unit: str
    above: str
    below: str
    counted_in: str
    missing: str

    def number(self, difference: float) -> str:
        """A difference with its sign, without its unit."""
        return self.form.format(self.scale * difference)


ASSIGNMENT = _Measure(
    "assignment rate",
    100,
    "{:+.1f}",
    "points",
    "higher",
    "lower",
    "encounters",
    "one arm decided about nothing",
)
AGREEMENT = _Measure(
    "review agreement",
    100,
    "{:+.1f}",
    "points",
    "higher",
    "lower",
    "encounters with reviews",
    "of one arm, nobody reviewed a match or a new individual (`deertrack review`)",
)
FIRST_RIGHT = _Measure(
    "first candidate right",
    100,
    "{:+.1f}",
    "points",
    "more often",
    "less often",
    "encounters with reviews",
    "of one arm, nobody reviewed a sighting of a known animal (`deertrack review`)",
)
TIME = _Measure(
    "time", 1, "{:+.2f}", "ms", "slower", "quicker", "encounters", "one arm decided about nothing"
)
_NOTHING = Spread(np.empty(0), np.empty(0, np.int64))


@dataclass(frozen=True, slots=True)
class ArmResult:
    """What one arm did; None where nothing is known.

    ``agreement``: of the ``reviewed`` matches and new individuals, those that a person agreed with.
    ``first_right``: of the reviewed animals that were known, those whose first candidate was the one. ``times`` are
    percentiles of the milliseconds of a decision, ``median_time`` is the median over encounters.
    """

    arm: Arm
    version: str
    encounters: int
    outcomes: Outcomes
    reviewed: int
    agreement: Estimate | None
    first_right: Estimate | None
    times: Mapping[str, float]
    median_time: float | None


@dataclass(frozen=True, slots=True)
class Contrast:
    """One measure of the arms, enhanced - control: shares in [-1, 1], encounters' median time in milliseconds.

    ``enough``: the 95 % interval excludes 0, or is narrower than ``margin``. Else ``more`` encounters would make it
    so (with reviews, where the measure rests on them).
    """

    measure: str
    difference: Estimate | None
    margin: float
    enough: bool
    more: int
    sentence: str


@dataclass(frozen=True, slots=True)
class ArmComparison:
    """An A/B test: which version decided about which share of the encounters since when, and how they differ."""

    control: ArmResult
    enhanced: ArmResult
    share: float
    since: datetime
    under_way: bool
    contrasts: tuple[Contrast, ...]


@dataclass(frozen=True, slots=True)
class _Counted:
    """All that was counted since the test began, by line and arm."""

    rates: list[Rates]
    reviews: Mapping[tuple[Line, str], Tally]
    times: Mapping[Line, Mapping[str, float]]
    spreads: Mapping[str, Spread]

    def matched(self, line: Line) -> Tally:
        return total([r.matched for r in self.rates if r.line == line])

    def reviewed(self, line: Line, measure: str) -> Tally:
        return self.reviews.get((line, measure), Tally())

    def spread(self, line: Line) -> Spread:
        return self.spreads.get(line.arm or "", _NOTHING)


def compare_arms(db: Database, *, seed: int = 0) -> ArmComparison:
    """Compare the arms of the A/B test that is under way, else of the last one.

    Args:
        seed: of the bootstrap; the same seed finds the same.

    Raises:
        InputError: there never was an A/B test.
    """
    with db.transaction() as connection:
        test = _last_test(log.changes(connection))
        since = datetime.fromisoformat(test.detail["since"])
        now = catalogue.get_setting(connection, catalogue.AB)
        first = log.FirstDecisions(connection, since)
        counted = _Counted(
            first.rates(by=None, changes=[]),
            first.reviews(),
            {
                s.line: dict(zip(TIME_PERCENTILES, s.times, strict=True))
                for s in first.scores(similarity_shares=(), time_shares=list(TIME_PERCENTILES.values()))
                if s.outcome is None and s.times
            },
            first.encounter_times(),
        )
    control, enhanced = Line(test.detail["from"], Arm.CONTROL), Line(test.version, Arm.ENHANCED)
    under_way = now is not None and now["since"] == test.detail["since"]
    elapsed = datetime.now(UTC) - since if under_way else None
    contrasts = (
        _of_rates(ASSIGNMENT, counted.matched(control), counted.matched(enhanced), elapsed),
        _of_rates(
            AGREEMENT,
            counted.reviewed(control, log.AGREEMENT),
            counted.reviewed(enhanced, log.AGREEMENT),
            elapsed,
        ),
        _of_rates(
            FIRST_RIGHT,
            counted.reviewed(control, log.FIRST_RIGHT),
            counted.reviewed(enhanced, log.FIRST_RIGHT),
            elapsed,
        ),
        _of_times(counted.spread(control), counted.spread(enhanced), elapsed, seed),
    )
    return ArmComparison(
        _result(counted, Arm.CONTROL, control),
        _result(counted, Arm.ENHANCED, enhanced),
        test.detail["share"],
        since,
        under_way,
        contrasts,
    )


def _last_test(changes: list[Change]) -> Change:
    begun = [change for change in changes if change.kind == "ab begun"]
    if not begun:
        raise InputError(
            "there never was an A/B test in this catalogue",
            hint="Begin one: deertrack reid cutover VERSION --ab 0.5",
        )
    return begun[-1]


def _result(counted: _Counted, arm: Arm, line: Line) -> ArmResult:
    agreement, spread = counted.reviewed(line, log.AGREEMENT), counted.spread(line)
    return ArmResult(
        arm,
        line.version,
        counted.matched(line).clusters,
        outcomes([r for r in counted.rates if r.line == line]),
        agreement.items,
        rate(agreement),
        rate(counted.reviewed(line, log.FIRST_RIGHT)),
        counted.times.get(line, {}),
        spread.median if spread.counts.size else None,
    )


def _of_rates(measure: _Measure, control: Tally, enhanced: Tally, elapsed: timedelta | None) -> Contrast:
    clusters = control.clusters + enhanced.clusters
    return _contrast(measure, difference(control, enhanced), MARGIN, clusters, elapsed)


def _of_times(control: Spread, enhanced: Spread, elapsed: timedelta | None, seed: int) -> Contrast:
    gap = median_difference(control, enhanced, np.random.default_rng(seed))
    clusters = int(control.counts.sum() + enhanced.counts.sum())
    return _contrast(TIME, gap, TIME_MARGIN * control.median if gap else MARGIN, clusters, elapsed)


def _contrast(
    measure: _Measure, gap: Estimate | None, margin: float, clusters: int, elapsed: timedelta | None
) -> Contrast:
    """Whether there is enough data, and if not, how much more it takes.

    Args:
        clusters: encounters behind the difference.
        elapsed: time in which they came; None where no more will come.
    """
    more = 0 if enough(gap, margin) else max(clusters_wanted(clusters, gap, margin) - clusters, 1)
    if gap is None or gap.low is None or gap.high is None:
        sentence = f"Not enough data: {measure.missing}."
    else:
        low, high = measure.number(gap.low), measure.number(gap.high)
        found = f"{measure.number(gap.value)} {measure.unit} with enhanced (95 % interval {low} to {high})"
        least = f"{measure.number(margin).lstrip('+')} {measure.unit}"
        if more:
            days = f", {_days(elapsed, more / clusters)} at this pace" if elapsed else ""
            sentence = (
                f"Not enough data: {found}. A difference of {least} would be seen with about {more:,} more "
                f"{measure.counted_in}{days}."
            )
        elif gap.low > 0 or gap.high < 0:
            sentence = f"Enough data: {measure.above if gap.low > 0 else measure.below}, {found}."
        else:
            sentence = f"Enough data: no difference of {least}, {found}."
    return Contrast(measure.name, gap, margin, not more, more, sentence)


def _days(elapsed: timedelta, times: float) -> str:
    days = ceil(elapsed.total_seconds() * times / 86400)
    return f"{days:,} day{'' if days == 1 else 's'}"
