"""An evaluation on labelled animals as one self-contained HTML page: no network, no files beside it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from math import log10
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from deertrack.reporting.charts import Axis, Chart, nice_ticks
from deertrack.reporting.report import Picture

# Figures in the order of every table, in its words.
FIGURES = {
    "rank1": "Right animal first",
    "rank5": "  among first 5",
    "rank10": "  among first 10",
    "rank20": "  among first 20",
    "mAP": "Mean avg. precision",
    "tar_at_far_1e-2": "TAR at FAR 1 %",
    "tar_at_far_1e-3": "TAR at FAR 0.1 %",
    "auc": "ROC-AUC",
    "baks": "Known named (BAKS)",
    "baus": "Unknown new (BAUS)",
    "geometric_mean": "  geometric mean",
    "ece": "Calibration (ECE)",
    "brier": "Brier score",
    "automatic_precision": "Automatic: right",
    "automatic_coverage": "Automatic: share",
}
SCORES = frozenset({"auc", "brier"})  # the others are shares, shown in per cent

_LOWEST_FAR = 1e-3

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class ShownSighting:
    """A sighting's clearest photo, its animal, and its score with the one that asked (None for that one)."""

    identity: str
    photo: str
    picture: Picture
    score: float | None = None


@dataclass(frozen=True, slots=True)
class WrongAnswer:
    """A sighting, the animal that was put first, and the right one."""

    asked: ShownSighting
    wrong: ShownSighting
    right: ShownSighting


def render_evaluation(
    document: Mapping[str, Any], errors: Mapping[str, Sequence[WrongAnswer]], *, made_at: datetime
) -> str:
    """The page of an evaluation.

    Args:
        document: as printed by ``deertrack evaluate --json``.
        errors: the worst ones of each version.
    """
    environment = Environment(
        loader=PackageLoader("deertrack.reporting"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    versions = document["versions"]
    first = next(iter(versions.values()))
    return environment.get_template("evaluation.html").render(
        document=document,
        versions=versions,
        protocols=[first["protocol"], *first["other_protocols"]],
        errors=errors,
        figures=FIGURES,
        scores=SCORES,
        made_at=made_at,
        charts=_charts(versions),
    )


def _charts(versions: Mapping[str, Any]) -> dict[str, Markup]:
    cmc = {
        name: [(k, figure["value"]) for k, figure in enumerate(version["cmc"], 1)]
        for name, version in versions.items()
    }
    roc = {name: [(f, t) for f, t in version["roc"]] for name, version in versions.items()}
    places = max(len(curve) for curve in cmc.values())
    charts = {
        "cmc": _curves(
            Axis(1, places, [1, 5, 10, 15, 20], "among the first"),
            _percent_axis("right animal found"),
            cmc,
            "How often the right animal is among the first",
        )
    }
    if any(roc.values()):
        far = Axis(
            _LOWEST_FAR,
            1,
            [0.001, 0.01, 0.1, 1],
            "false accepts (logarithmic)",
            lambda v: f"{100 * v:g} %",
            lambda v: log10(max(v, _LOWEST_FAR)),
        )
        chance = [(10 ** (i / 20 - 3),) * 2 for i in range(61)]
        charts["roc"] = _curves(far, _percent_axis("true accepts"), roc, "ROC curves", chance)
    sure = {
        name: [(b["probability"], b["right"]) for b in version["calibration"]["curve"]]
        for name, version in versions.items()
        if version["calibration"]
    }
    if sure:
        charts["reliability"] = _reliability(sure)
    opened = {name: version["open_set"] for name, version in versions.items() if version["open_set"]}
    if opened:
        # Each version has its own scale of scores; the share of unknown animals turned away is common to all.
        curves = {n: sorted(zip(o["baus"], o["baks"], strict=True)) for n, o in opened.items()}
        highest = max((y for curve in curves.values() for _, y in curve), default=1.0) or 1.0
        charts["open"] = _curves(
            _percent_axis("unknown animals called new (BAUS)"),
            Axis(0, highest, nice_ticks(0, highest, 4), "known named (BAKS)", lambda v: f"{100 * v:g} %"),
            curves,
            "Known animals named against unknown animals called new",
        )
    return charts


def _percent_axis(title: str) -> Axis:
    return Axis(0, 1, [0, 0.25, 0.5, 0.75, 1], title, lambda v: f"{100 * v:g} %")


def _curves(
    x: Axis, y: Axis, curves: Mapping[str, Sequence[Point]], title: str, chance: Sequence[Point] = ()
) -> Markup:
    chart = Chart(x, y)
    marks = [chart.line(chance, "chance")] if chance else []
    marks += [chart.line(curve, f"curve c{place % 5}") for place, curve in enumerate(curves.values())]
    stops = sorted({at for curve in curves.values() for at, _ in curve if x.low <= at <= x.high})
    strips = [chart.strip(left, right, _tip(x, y, curves, right)) for left, right in pairwise(stops)]
    return chart.draw(*marks, *strips, title=title)


def _tip(x: Axis, y: Axis, curves: Mapping[str, Sequence[Point]], at: float) -> str:
    lines = [f"{x.title}: {x.label(round(at, 4))}"]
    for name, curve in curves.items():
        value = max((v for place, v in curve if place <= at), default=0.0)
        lines.append(f"{name}: {y.label(round(value, 3))}")
    return "\n".join(lines)


def _reliability(curves: Mapping[str, Sequence[Point]]) -> Markup:
    high = max(max(point) for curve in curves.values() for point in curve)
    high = min(1.0, max(0.05, high * 1.1))
    label: Callable[[float], str] = lambda v: f"{100 * v:g} %"  # noqa: E731 (one word for both axes)
    ticks = nice_ticks(0, high, 5)
    chart = Chart(Axis(0, high, ticks, "said to be right", label), Axis(0, high, ticks, "was right", label))
    marks = [chart.line([(0, 0), (high, high)], "chance")]
    for place, curve in enumerate(curves.values()):
        marks.append(chart.line(curve, f"curve c{place % 5}"))
        marks += [chart.dot(x, y, f"dot c{place % 5}") for x, y in curve]
    return chart.draw(*marks, title="How often answers of each probability were right")
