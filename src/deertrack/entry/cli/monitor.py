"""``deertrack reid monitor`` and ``deertrack reid ab``: how the machine does, and which arm does better."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape

from deertrack import wiring
from deertrack.domain.decision import Policy
from deertrack.domain.separation import Estimate
from deertrack.domain.verdict import percent
from deertrack.entry.cli.console import out, print_json, simple_table
from deertrack.entry.cli.options import Home, Json, settings_for
from deertrack.entry.cli.policy import said
from deertrack.services.lifecycle.ab import ArmComparison, compare_arms
from deertrack.services.lifecycle.alerts import Alert, Level, told
from deertrack.services.lifecycle.monitor import BINS, By, Monitored, monitor
from deertrack.services.policy import policy_of

_SHOWN_PERIODS = 24
_BARS = " ▁▂▃▄▅▆▇█"
_COLOURS = {Level.ALERT: "red", Level.NOTICE: "yellow"}


def monitor_command(
    by: Annotated[By, typer.Option(help="How long a period of the tables is.")] = By.WEEK,
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="Only decisions from this day on (UTC)."),
    ] = None,
    json: Json = False,
    home: Home = None,
) -> None:
    """How is recognition doing: rates over time, similarities, what you corrected, speed, and what to look at.

    Counts the machine's first decision about each sighting, by embedding version and by arm of an A/B test.
    Intervals are 95 % intervals.

    Example: deertrack reid monitor --by day --since 2026-03-01
    """
    start = since.replace(tzinfo=UTC) if since else None
    with wiring.open_database(settings_for(home)) as db:
        found = monitor(db, by=by, since=start)
        policy = policy_of(db)
    if json:
        print_json({**asdict(found), "policy": said(policy)})
        return
    if not found.periods:
        out.print("The machine decided about nothing in this time.")
    else:
        _show_rates(found)
        _show_similarities(found)
        _show_reviews(found, policy)
        _show_speed(found)
    out.print()
    show_alerts(found.alerts)


def ab_command(json: Json = False, home: Home = None) -> None:
    """Compare the arms of the A/B test that is under way, or of the last one: is there enough data to tell?

    A higher assignment rate is better only if you agree as often, so review some sightings of both arms
    (`deertrack review`). Settle beforehand when to look: who looks daily and stops at the first difference finds
    one that is none. Intervals go by encounters, because whole encounters are dealt to the arms.

    Example: deertrack reid cutover v3_lite --ab 0.5, a week later deertrack reid ab
    """
    with wiring.open_database(settings_for(home)) as db:
        found = compare_arms(db)
    if json:
        print_json(found)
    else:
        _show_arms(found)


def show_alerts(alerts: Sequence[Alert]) -> None:
    """What somebody should look at, or that there is nothing."""
    if not alerts:
        out.print("[green]Nothing calls for attention.[/]")
    for alert in alerts:
        title = alert.name.replace("_", " ").capitalize()
        out.print(f"[bold {_COLOURS[alert.level]}]{title}:[/] {escape(alert.sentence)}", soft_wrap=True)


def _show_rates(found: Monitored) -> None:
    columns = (found.by.capitalize(), "Version", "Sightings#", "Matched#", "New#", "Review#", "Rate (95 %)#")
    table = simple_table(*columns, title="Assignment rate: sightings matched to a known individual")
    for period in found.periods[-_SHOWN_PERIODS:]:
        of = period.outcomes
        counts = (f"{n:,}" for n in (of.sightings, of.matched, of.new, of.review))
        table.add_row(f"{period.start:%Y-%m-%d}", escape(str(period.line)), *counts, interval(of.rate))
    out.print(table)
    if len(found.periods) > _SHOWN_PERIODS:
        out.print(f"… and {len(found.periods) - _SHOWN_PERIODS:,} earlier lines (--json lists all).")
    if found.around:
        before, after = found.around.before, found.around.after
        rates = f"{interval(before.rate)}, then {interval(after.rate)}"
        gap = _points(found.around.difference)
        change = escape(told(found.around.change))
        out.print(f"\nBefore and since {change}: assignment rate {rates}; difference {gap}.", soft_wrap=True)
    elif found.last_change:
        change = escape(told(found.last_change))
        out.print(f"\nNothing to compare yet on one side of {change}.", soft_wrap=True)


def _show_similarities(found: Monitored) -> None:
    lowest = min((_first(row.histogram) for row in found.similarities), default=0)
    columns = ("Version", "Sightings#", "Mean#", "5 %#", "50 %#", "95 %#", f"{lowest / BINS:.2f} to 1.00")
    table = simple_table(*columns, title="Similarity of the best candidate")
    for row in found.similarities:
        shown = (row.mean, row.percentiles["p5"], row.percentiles["p50"], row.percentiles["p95"])
        table.add_row(
            escape(str(row.line)) if row.outcome is None else f"  {row.outcome}",
            f"{row.items:,}",
            *(f"{value:.3f}" for value in shown),
            bars(row.histogram[1 + lowest :]),
        )
    out.print()
    out.print(table)


def _show_reviews(found: Monitored, policy: Policy) -> None:
    columns = ("Version", "Decisions#", "Looked at#", "Wrong#", "Share (95 %)#")
    table = simple_table(*columns, title="What you looked at")
    for row in found.reviews:
        rows = (
            ("matches", row.matches, row.reviewed_matches, row.wrong_matches, row.false_positives),
            ("new, but known before", row.new, row.reviewed_new, row.wrong_new, row.missed),
        )
        table.add_row(escape(str(row.line)))
        for label, decisions, reviewed, wrong, share in rows:
            table.add_row(f"  {label}", f"{decisions:,}", f"{reviewed:,}", f"{wrong:,}", interval(share))
        if row.first_right:
            table.add_row("  first candidate right", "", "", "", interval(row.first_right))
    out.print()
    out.print(table)
    out.print(f"Promised: {policy.promise}.")
    out.print(
        "These are shares of what somebody looked at. Where you look at what you doubt, the rest is better."
    )


def _show_speed(found: Monitored) -> None:
    if found.times:
        table = simple_table("Version", "Decisions#", "50 %#", "95 %#", "99 %#", title="Time of a decision")
        for row in found.times:
            percentiles = (f"{ms:,.1f} ms" for ms in row.percentiles.values())
            table.add_row(escape(str(row.line)), f"{row.decisions:,}", *percentiles)
        out.print()
        out.print(table)
    if found.speeds:
        columns = (found.by.capitalize(), "Runs#", "New photos#", "Photos/s#", "Embedded#", "ms a detection#")
        table = simple_table(*columns, title="Speed of runs")
        for speed in found.speeds[-_SHOWN_PERIODS:]:
            rates = (speed.photos_per_second, speed.ms_per_detection)
            photos, embedding = (f"{rate:,.1f}" if rate is not None else "–" for rate in rates)
            counts = (f"{speed.runs:,}", f"{speed.photos:,}", photos, f"{speed.embedded:,}", embedding)
            table.add_row(f"{speed.start:%Y-%m-%d}", *counts)
        out.print()
        out.print(table)


def _show_arms(found: ArmComparison) -> None:
    control, enhanced = found.control, found.enhanced
    state = "under way" if found.under_way else "ended"
    out.print(
        f"[bold]{escape(enhanced.version)} (enhanced) against {escape(control.version)} (control)[/], "
        f"{found.share:.0%} of the encounters since {found.since:%Y-%m-%d %H:%M} UTC, {state}.\n",
        soft_wrap=True,
    )
    table = simple_table("", "Control#", "Enhanced#")
    for label, values in (
        ("Encounters", [f"{arm.encounters:,}" for arm in (control, enhanced)]),
        ("Sightings", [f"{arm.outcomes.sightings:,}" for arm in (control, enhanced)]),
        ("  matched", [f"{arm.outcomes.matched:,}" for arm in (control, enhanced)]),
        ("  new", [f"{arm.outcomes.new:,}" for arm in (control, enhanced)]),
        ("  left for review", [f"{arm.outcomes.review:,}" for arm in (control, enhanced)]),
        ("Assignment rate", [interval(arm.outcomes.rate) for arm in (control, enhanced)]),
        ("Matches and new ones that you looked at", [f"{arm.reviewed:,}" for arm in (control, enhanced)]),
        ("  you agreed", [interval(arm.agreement) for arm in (control, enhanced)]),
        ("Known animals: first candidate right", [interval(arm.first_right) for arm in (control, enhanced)]),
        ("Time of a decision: 50 %", [_milliseconds(arm.times.get("p50")) for arm in (control, enhanced)]),
        ("  95 %", [_milliseconds(arm.times.get("p95")) for arm in (control, enhanced)]),
    ):
        table.add_row(label, *values)
    out.print(table)
    out.print()
    for contrast in found.contrasts:
        colour = "green" if contrast.enough else "yellow"
        out.print(
            f"[bold]{contrast.measure.capitalize()}:[/] [{colour}]{escape(contrast.sentence)}[/]",
            soft_wrap=True,
        )


def interval(figure: Estimate | None) -> str:
    """A share with its interval, or a dash."""
    if figure is None or figure.low is None or figure.high is None:
        return "–"
    return f"{percent(figure.value)} ({100 * figure.low:.1f}–{100 * figure.high:.1f})"


def bars(counts: Sequence[int]) -> str:
    """A histogram of one line; any count at all shows."""
    highest = max(counts, default=0)
    steps = len(_BARS) - 1
    return "".join(_BARS[-(-count * steps // highest)] if highest else " " for count in counts)


def _first(histogram: Sequence[int]) -> int:
    """The first bin over [0, 1] that holds anything."""
    return next((n for n, count in enumerate(histogram[1:]) if count), 0)


def _points(figure: Estimate | None) -> str:
    if figure is None or figure.low is None or figure.high is None:
        return "–"
    low, high = 100 * figure.low, 100 * figure.high
    return f"{100 * figure.value:+.1f} points ({low:+.1f} to {high:+.1f})"


def _milliseconds(value: float | None) -> str:
    return f"{value:,.1f} ms" if value is not None else "–"
