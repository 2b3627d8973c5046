"""A validation of an embedding change as one self-contained HTML page: no network, no files beside it."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from deertrack.domain.verdict import MEASURES, percent
from deertrack.reporting.charts import Axis, Chart, interval_bar, nice_ticks
from deertrack.reporting.report import Picture

Curve = Sequence[Sequence[float]]

SHOWN_CASES = 12  # of the confusions that are new, and of those that are gone
_LOWEST_FAR = 1e-3  # on the logarithmic axis
_HEADROOM = 1.15  # for the words beside a threshold


def render_validation(
    report: Mapping[str, Any], pictures: Mapping[int, Picture], *, made_at: datetime, drawn: bool
) -> str:
    """The page of a stored report.

    Args:
        report: as it is kept in the database and printed by ``deertrack reid validate --json``.
        pictures: of the detections in its failure cases, by detection id.
        drawn: the photos are drawn, not taken; the page says so.
    """
    environment = Environment(
        loader=PackageLoader("deertrack.reporting"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    findings = report["findings"]
    return environment.get_template("validation.html").render(
        report=report,
        findings=findings,
        pictures=pictures,
        made_at=made_at,
        drawn=drawn,
        measures=MEASURES,
        shown_cases=SHOWN_CASES,
        interval_bar=interval_bar,
        charts=_charts(report, findings) if findings else {},
    )


def _charts(report: Mapping[str, Any], findings: Mapping[str, Any]) -> dict[str, Any]:
    chosen = next(row for row in findings["thresholds"] if row["far"] == report["far"])
    bars = findings["histograms"]
    tallest = max(max(bars[key]) for key in bars if key != "edges")
    return {
        "old": _histogram(bars, "old", tallest, chosen["old_threshold"], report["old"]),
        "new": _histogram(bars, "new", tallest, chosen["threshold"]["value"], report["new"]),
        "roc": _roc(findings, report, logarithmic=False),
        "roc_log": _roc(findings, report, logarithmic=True),
        "weights": _weights(findings["weights"]) if findings["weights"] else None,
    }


def _histogram(bars: Mapping[str, Any], side: str, tallest: float, threshold: float, name: str) -> Markup:
    edges, same, different = bars["edges"], bars[f"{side}_same"], bars[f"{side}_different"]
    chart = Chart(
        Axis(edges[0], edges[-1], nice_ticks(edges[0], edges[-1]), "similarity"),
        Axis(0, tallest * _HEADROOM, nice_ticks(0, tallest, 4), "share of pairs", lambda v: f"{100 * v:g} %"),
        height=240,
    )
    strips = [
        chart.strip(
            left,
            right,
            f"similarity {left:.3f} to {right:.3f}\nsame deer {percent(s)}\ndifferent deer {percent(d)}",
        )
        for left, right, s, d in zip(edges[:-1], edges[1:], same, different, strict=True)
    ]
    return chart.draw(
        chart.steps(edges, different, "area different"),
        chart.steps(edges, same, "area same"),
        chart.upright(threshold, f"threshold {threshold:.3f}"),
        *strips,
        title=f"{name}: similarities of pairs of the same deer and of different deer",
    )


def _roc(findings: Mapping[str, Any], report: Mapping[str, Any], *, logarithmic: bool) -> Markup:
    if logarithmic:
        x = Axis(
            _LOWEST_FAR,
            1,
            [0.001, 0.01, 0.1, 1],
            "false accepts (logarithmic)",
            lambda v: f"{100 * v:g} %",
            lambda v: math.log10(max(v, _LOWEST_FAR)),
        )
        stops = [10 ** (-3 + i / 20) for i in range(61)]
    else:
        x = Axis(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1], "false accepts", lambda v: f"{100 * v:g} %")
        stops = [i / 50 for i in range(51)]
    chart = Chart(x, Axis(0, 1, [0, 0.25, 0.5, 0.75, 1], "true accepts", lambda v: f"{100 * v:g} %"))
    old, new = findings["roc_old"], findings["roc_new"]
    strips = [
        chart.strip(
            left,
            right,
            f"at {100 * right:.2g} % false accepts\n{report['old']}: {percent(_read(old, right))} true\n"
            f"{report['new']}: {percent(_read(new, right))} true",
        )
        for left, right in pairwise(stops)
    ]
    chance = [(stop, stop) for stop in stops]
    marks = (chart.line(chance, "chance"), chart.line(old, "curve old"), chart.line(new, "curve new"))
    return chart.draw(*marks, *strips, title="ROC curves of both versions")


def _read(curve: Curve, false: float) -> float:
    """True accepts at the most false accepts not above ``false``."""
    return max((true for at, true in curve if at <= false), default=0.0)


def _weights(search: Mapping[str, Any]) -> Markup:
    rows = search["rows"]
    values = [row["auc"] for row in rows]
    room = max((max(values) - min(values)) * 0.25, 0.002)
    low, high = min(values) - room, max(values) + room
    chart = Chart(
        Axis(0, 1, [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1], "weight of the multi-scale vector"),
        Axis(low, high, nice_ticks(low, high, 4), "AUC"),
        height=250,
    )
    marks = [
        f'<rect class="band" x="{chart.px(0.5)}" width="{chart.px(0.7) - chart.px(0.5)}" y="{chart.py(high)}" '
        f'height="{chart.py(low) - chart.py(high)}"/>',
        chart.line([(row["multiscale"], row["auc"]) for row in rows], "curve new"),
    ]
    for row in rows:
        w = row["multiscale"]
        css = "best" if w == search["best"] else "used" if math.isclose(w, search["used"]) else "tried"
        marks.append(chart.dot(w, row["auc"], css, radius=6 if css != "tried" else 3.5))
        tip = f"weights {w:.1f} / {1 - w:.1f}\nAUC {row['auc']:.4f}\nd′ {row['d_prime']:.3f}"
        marks.append(chart.strip(w - 0.05, w + 0.05, tip))
    return chart.draw(*marks, title="AUC of the new version at every weight")
