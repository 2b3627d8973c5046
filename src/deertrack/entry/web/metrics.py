"""The catalogue for Prometheus: GET /metrics reads the database when it is asked."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from deertrack.services.lifecycle.alerts import Kind, Level
from deertrack.services.lifecycle.meter import Meter, Reading
from deertrack.storage.db import Database
from deertrack.storage.monitor import WRONG_MATCH, WRONG_NEW, Line

_SIMILARITIES = tuple(n / 20 for n in range(21))
_MILLISECONDS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 5000.0)


class Exporter(Collector):
    """Metrics of one catalogue in Prometheus's formats."""

    def __init__(self, db: Database) -> None:
        self._meter = Meter(db, similarities=_SIMILARITIES, times=_MILLISECONDS)
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def scrape(self, accept: str) -> tuple[bytes, str]:
        """Everything now, in the format that the Accept header asks for, and that format's content type.

        Raises:
            DatabaseError: the database does not answer.
        """
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def collect(self) -> Iterator[Metric]:
        """What the registry asks for."""
        reading = self._meter.read()
        yield from _inventory(reading)
        yield from _decisions(reading)
        yield _reviews(reading)
        yield from _state(reading)


def _inventory(reading: Reading) -> Iterator[Metric]:
    individuals, sightings, photos, jobs = (
        reading.inventory[what] for what in ("individuals", "sightings", "photos", "jobs")
    )
    yield GaugeMetricFamily("deertrack_photos", "Distinct photos.", value=photos["all"])
    yield _by_label("deertrack_individuals", "Known individuals.", "status", individuals)
    yield _by_label("deertrack_sightings", "Animals, each through one encounter.", "state", sightings)
    yield _by_label("deertrack_jobs", "Jobs of the queue.", "status", jobs)


def _decisions(reading: Reading) -> Iterator[Metric]:
    made: dict[tuple[Line, str], int] = {}
    similarities: dict[Line, list[int]] = {}
    times: dict[Line, list[int]] = {}
    sums: dict[Line, tuple[float, float]] = {}
    for kind, count in reading.decisions.items():
        line = kind.line
        made[line, kind.outcome] = made.get((line, kind.outcome), 0) + count.decisions
        for bins, edges, place in (
            (similarities, _SIMILARITIES, kind.similarity_bin),
            (times, _MILLISECONDS, kind.time_bin),
        ):
            if place is not None:
                bins.setdefault(line, [0] * (len(edges) + 1))[place] += count.decisions
        similarity, milliseconds = sums.get(line, (0.0, 0.0))
        sums[line] = similarity + count.similarity, milliseconds + count.milliseconds
    total = CounterMetricFamily(
        "deertrack_decisions", "Decisions of the machine.", labels=("version", "arm", "outcome")
    )
    for (line, outcome), decisions in made.items():
        total.add_metric((*_labels(line), outcome), decisions)
    likeness = HistogramMetricFamily(
        "deertrack_best_similarity",
        "Similarity of a decision's best candidate, a weighted cosine.",
        labels=("version", "arm"),
    )
    for line, counts in similarities.items():
        likeness.add_metric(_labels(line), _cumulated(_SIMILARITIES, counts), sums[line][0])
    duration = HistogramMetricFamily(
        "deertrack_decision_seconds", "What the search and the decision took.", labels=("version", "arm")
    )
    for line, counts in times.items():
        seconds = [edge / 1000 for edge in _MILLISECONDS]
        duration.add_metric(_labels(line), _cumulated(seconds, counts), sums[line][1] / 1000)
    yield from (total, likeness, duration)


def _reviews(reading: Reading) -> Metric:
    family = GaugeMetricFamily(
        "deertrack_reviewed_decisions",
        "Latest decisions since the last change of version that a person looked at. Wrong ones with outcome assign "
        "are false positives.",
        labels=("version", "arm", "outcome", "verdict"),
    )
    for (line, measure), (reviewed, wrong) in reading.reviews.items():
        if outcome := {WRONG_MATCH: "assign", WRONG_NEW: "new"}.get(measure):
            family.add_metric((*_labels(line), outcome, "right"), reviewed - wrong)
            family.add_metric((*_labels(line), outcome, "wrong"), wrong)
    return family


def _state(reading: Reading) -> Iterator[Metric]:
    if reading.choice:
        active = {"version": reading.choice.version, "challenger": reading.choice.challenger or ""}
        yield InfoMetricFamily("deertrack_active_version", "Which embedding version decides.", value=active)
    yield _by_label(
        "deertrack_incomparable_individuals",
        "Active individuals that searches pass over for want of vectors.",
        "version",
        reading.incomparable,
    )
    raised = GaugeMetricFamily(
        "deertrack_alerts", "What somebody should look at: deertrack status.", labels=("name", "level")
    )
    for kind in Kind:
        for level in Level:
            raised.add_metric((kind, level), sum(a.name == kind and a.level == level for a in reading.alerts))
    yield raised


def _by_label(name: str, description: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(name, description, labels=(label,))
    for value, count in counts.items():
        family.add_metric((value,), count)
    return family


def _labels(line: Line) -> tuple[str, str]:
    return line.version, line.arm or ""


def _cumulated(edges: Iterable[float], counts: Iterable[int]) -> list[tuple[str, float]]:
    """Buckets as Prometheus has them: how many values are at most this large."""
    names = [*map(str, edges), "+Inf"]
    return list(zip(names, accumulate(map(float, counts)), strict=True))
