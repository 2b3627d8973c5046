"""The dashboard's charts, each out of the rows of its table."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from markupsafe import Markup

from deertrack.reporting.charts import Axis, Chart, heat_map, legend, nice_ticks

Row = Mapping[str, Any]

LEAF, SLATE, RUST, SOFT = "var(--leaf)", "var(--slate)", "var(--rust)", "var(--soft)"
_SERIES = (LEAF, RUST, SLATE, SOFT)
_SIZE = {"width": 420, "height": 240}
_MOST_STATIONS = 30  # of a heat map; the table has all
_MOST_LABELS = 6


def draw(name: str, title: str, rows: Sequence[Row]) -> Markup:
    """The chart of a table by its name; empty where there is nothing to draw.

    ``rows`` have the columns that :mod:`deertrack.services.dashboard` gives them.
    """
    drawing = _DRAWINGS.get(name)
    return drawing(title, rows) if drawing and rows else Markup("")


def _population(title: str, rows: Sequence[Row]) -> Markup:
    first = [(r["period"], r["individuals"] - min(r["new"], r["individuals"]), "seen before") for r in rows]
    second = [(r["period"], min(r["new"], r["individuals"]), "new") for r in rows]
    bars = _dated_bars(title, "individuals", [first, second])
    known = _dated_line("Individuals known so far", "known so far", [(r["period"], r["known"]) for r in rows])
    return legend([(LEAF, "seen before"), (RUST, "new")]) + bars + known


def _discovery(title: str, rows: Sequence[Row]) -> Markup:
    points = [(0.0, 0.0), *((r["sightings"], r["individuals"]) for r in rows)]
    x = _counts(points[-1][0], "named sightings")
    chart = Chart(x, _counts(points[-1][1], "individuals"), **_SIZE)
    return chart.draw(chart.line(points, "curve new"), title=title)


def _activity(title: str, rows: Sequence[Row]) -> Markup:
    hours = [f"{hour}" if hour % 3 == 0 else "" for hour in range(24)]
    return _by_station(title, rows, hours, lambda r: r["hour"], "sightings")


def _stations_in_time(value: str) -> Callable[[str, Sequence[Row]], Markup]:
    def drawing(title: str, rows: Sequence[Row]) -> Markup:
        periods = sorted({r["period"] for r in rows})
        places = {period: i for i, period in enumerate(periods)}
        names = _dates(periods)
        step = -(-len(names) // _MOST_LABELS)
        shown = [name if i % step == 0 else "" for i, name in enumerate(names)]
        return _by_station(title, rows, shown, lambda r: places[r["period"]], value)

    return drawing


def _by_station(
    title: str, rows: Sequence[Row], columns: Sequence[str], place: Callable[[Row], int], value: str
) -> Markup:
    sums: dict[str, int] = {}
    for row in rows:
        sums[row["station"]] = sums.get(row["station"], 0) + row[value]
    shown = sorted(sorted(sums, key=lambda s: -sums[s])[:_MOST_STATIONS])
    values = {station: [0.0] * len(columns) for station in shown}
    for row in rows:
        if row["station"] in values:
            values[row["station"]][place(row)] += row[value]
    left_out = f" The {_MOST_STATIONS} busiest of {len(sums)} stations." if len(sums) > len(shown) else ""
    return heat_map(shown, columns, list(values.values()), title + left_out)


def _composition(title: str, rows: Sequence[Row]) -> Markup:
    ages = [
        age for age in ("adult", "yearling", "fawn", "unknown") if any(r["age_class"] == age for r in rows)
    ]
    sexes = [sex for sex in ("female", "male", "unknown") if any(r["sex"] == sex for r in rows)]
    counts = {(r["age_class"], r["sex"]): r["individuals"] for r in rows}
    x = Axis(-0.5, len(ages) - 0.5, range(len(ages)), "age class", lambda i: ages[int(i)])
    most = max(sum(counts.get((age, sex), 0) for sex in sexes) for age in ages)
    chart = Chart(x, _counts(most, "individuals"), **_SIZE)
    marks = []
    for i, age in enumerate(ages):
        low = 0
        for colour, sex in zip(_SERIES, sexes, strict=False):
            n = counts.get((age, sex), 0)
            if n:
                tip = f"{age}, {sex}: {n:,}"
                marks.append(chart.bar(i - 0.35, i + 0.35, low, low + n, fill=colour, tip=tip))
            low += n
    return legend(list(zip(_SERIES, sexes, strict=False))) + chart.draw(*marks, title=title)


def _assignment(title: str, rows: Sequence[Row]) -> Markup:
    lines = sorted({_line(r) for r in rows})
    x = _time([r["period"] for r in rows], _length([r["period"] for r in rows]))
    percent = Axis(0, 1, (0, 0.25, 0.5, 0.75, 1), "matched to a known one", "{:.0%}".format)
    chart = Chart(x, percent, **_SIZE)
    middle = _length([r["period"] for r in rows]).days / 2
    marks = []
    for n, line in enumerate(lines):
        colour = _SERIES[n % len(_SERIES)]
        own = [r for r in rows if _line(r) == line and r["rate"] is not None]
        offset = middle + (n - (len(lines) - 1) / 2) * middle / 4  # arms of one period stand side by side
        for r in own:
            at = r["period"].toordinal() + offset
            tip = f"{line}, {r['period']}: {r['rate']:.1%} of {r['sightings']:,}"
            if r["low"] is not None:
                marks.append(chart.whisker(at, r["low"], r["high"], colour, tip))
            marks.append(f'<g fill="{colour}">{chart.dot(at, r["rate"], "")}</g>')
    return legend([(_SERIES[n % len(_SERIES)], line) for n, line in enumerate(lines)]) + chart.draw(
        *marks, title=title
    )


def _similarities(title: str, rows: Sequence[Row]) -> Markup:
    """Of the version that decided most; others differ too much in what their numbers mean to be added."""
    sums: dict[str, int] = {}
    for r in rows:
        sums[r["version"]] = sums.get(r["version"], 0) + r["sightings"]
    version = max(sums, key=lambda name: sums[name])
    own = [r for r in rows if r["version"] == version and r["from"] is not None]
    outcomes = [(o, c) for o, c in (("assign", LEAF), ("review", SLATE), ("new", RUST))]
    counts: dict[tuple[str, float], int] = {}
    for r in own:
        counts[r["outcome"], r["from"]] = counts.get((r["outcome"], r["from"]), 0) + r["sightings"]
    bins = sorted({r["from"] for r in own})
    if not bins:
        return Markup("")
    width = own[0]["to"] - own[0]["from"]
    x = Axis(min(bins), 1.0, nice_ticks(min(bins), 1.0), f"similarity ({version})")
    most = max(sum(counts.get((o, left), 0) for o, _ in outcomes) for left in bins)
    chart = Chart(x, _counts(most, "sightings"), **_SIZE)
    marks = []
    for left in bins:
        low = 0
        for outcome, colour in outcomes:
            n = counts.get((outcome, left), 0)
            if n:
                tip = f"{outcome}, {left:.2f} to {left + width:.2f}: {n:,}"
                marks.append(
                    chart.bar(left + width * 0.05, left + width * 0.95, low, low + n, fill=colour, tip=tip)
                )
            low += n
    return legend([(c, {"assign": "matched"}.get(o, o)) for o, c in outcomes]) + chart.draw(
        *marks, title=title
    )


def _errors(title: str, rows: Sequence[Row]) -> Markup:
    own = [r for r in rows if r["share"] is not None]
    if not own:
        return Markup("")
    most = max(min(max(r["high"] or 0, r["share"]) * 1.1, 1.0) for r in own) or 1.0
    names = [f"{r['measure']}" for r in own]
    x = Axis(-0.5, len(own) - 0.5, range(len(own)), " · ".join(dict.fromkeys(_line(r) for r in own)),
             lambda i: names[int(i)])  # fmt: skip
    chart = Chart(x, Axis(0, most, nice_ticks(0, most), "share", "{:.1%}".format), **_SIZE)
    marks = []
    for i, r in enumerate(own):
        tip = f"{_line(r)}, {r['measure']}: {r['wrong']:,} of {r['reviewed']:,}"
        if r["low"] is not None:
            marks.append(chart.whisker(i, r["low"], min(r["high"], most), RUST, tip))
        marks.append(f'<g fill="{RUST}">{chart.dot(i, r["share"], "")}</g>')
    return chart.draw(*marks, title=title)


def _versions(title: str, rows: Sequence[Row]) -> Markup:
    names = [_line(r) for r in rows]
    x = Axis(-0.5, len(rows) - 0.5, range(len(rows)), "version", lambda i: names[int(i)])
    chart = Chart(x, Axis(0, 1, (0, 0.25, 0.5, 0.75, 1), "share", "{:.0%}".format), **_SIZE)
    parts = (("matched", LEAF), ("review", SLATE), ("new", RUST))
    marks = []
    for i, r in enumerate(rows):
        low = 0.0
        for part, colour in parts:
            high = low + r[part] / r["sightings"]
            tip = f"{names[i]}: {r[part]:,} of {r['sightings']:,} {part}"
            marks.append(chart.bar(i - 0.35, i + 0.35, low, high, fill=colour, tip=tip))
            low = high
    return legend([(colour, part) for part, colour in parts]) + chart.draw(*marks, title=title)


def _bars(name: str, value: str) -> Callable[[str, Sequence[Row]], Markup]:
    return lambda title, rows: _dated_bars(title, value, [[(r[name], r[value], value) for r in rows]])


def _dated_bars(title: str, unit: str, series: Sequence[Sequence[tuple[date, int, str]]]) -> Markup:
    days = [day for day, _, _ in series[0]]
    length = _length(days)
    most = max(sum(values) for values in zip(*([n for _, n, _ in one] for one in series), strict=True))
    chart = Chart(_time(days, length), _counts(most, unit), **_SIZE)
    marks = []
    low = [0] * len(days)
    for colour, one in zip(_SERIES, series, strict=False):
        for i, (day, n, word) in enumerate(one):
            if n:
                at = day.toordinal()
                left, right = at + 0.1 * length.days, at + 0.9 * length.days
                marks.append(
                    chart.bar(left, right, low[i], low[i] + n, fill=colour, tip=f"{day}: {n:,} {word}")
                )
            low[i] += n
    return chart.draw(*marks, title=title)


def _dated_line(title: str, unit: str, points: Sequence[tuple[date, int]]) -> Markup:
    days = [day for day, _ in points]
    length = _length(days)
    chart = Chart(_time(days, length), _counts(points[-1][1], unit), **_SIZE)
    placed = [(day.toordinal() + length.days / 2, float(n)) for day, n in points]
    dots = f'<g fill="{LEAF}">{"".join(chart.dot(x, y, "", radius=3) for x, y in placed)}</g>'
    return chart.draw(chart.line(placed, "curve new"), dots, title=title)


def _time(days: Sequence[date], length: timedelta) -> Axis:
    """From the first day through the end of the last period, with the middles of a few periods named."""
    each = sorted(set(days))
    step = -(-len(each) // _MOST_LABELS)
    names = dict(zip((d.toordinal() + length.days / 2 for d in each), _dates(each), strict=True))
    ticks = list(names)[::step]
    return Axis(each[0].toordinal(), (each[-1] + length).toordinal(), ticks, "", lambda day: names[day])


def _length(days: Sequence[date]) -> timedelta:
    """How long a period is: a month where all begin on a first, a week where all are Mondays, else a day."""
    if all(day.day == 1 for day in days):
        return timedelta(30)
    return timedelta(7 if all(day.weekday() == 0 for day in days) else 1)


def _dates(days: Sequence[date]) -> list[str]:
    if all(day.day == 1 for day in days):
        return [f"{day:%b %Y}" for day in days]
    one_year = len({day.year for day in days}) == 1
    return [f"{day.day} {day:%b}" if one_year else f"{day.day} {day:%b %y}" for day in days]


def _counts(most: float, title: str) -> Axis:
    ticks = [tick for tick in nice_ticks(0, most or 1, 4) if tick == int(tick)]
    return Axis(0, max(most, ticks[-1], 1), ticks, title, "{:,.0f}".format)


def _line(row: Row) -> str:
    return f"{row['version']} ({row['arm']})" if row["arm"] else str(row["version"])


_DRAWINGS: Mapping[str, Callable[[str, Sequence[Row]], Markup]] = {
    "population": _population,
    "discovery": _discovery,
    "activity": _activity,
    "visits": _stations_in_time("sightings"),
    "nights": _stations_in_time("nights"),
    "composition": _composition,
    "waiting": _bars("week", "waiting"),
    "answered": _bars("day", "answers"),
    "assignment": _assignment,
    "similarities": _similarities,
    "errors": _errors,
    "versions": _versions,
}
