"""The decision log counted: everything is summed in the database, so that its size never reaches this process."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from psycopg import sql

from deertrack.domain.monitoring import Spread, Tally
from deertrack.storage.db import Connection
from deertrack.storage.queries import load_queries

_SQL = load_queries("monitor")

# What persons made of the machine's decisions; the names that the query uses.
WRONG_MATCH = "wrong match"  # of automatic matches: the person said another individual
WRONG_NEW = "wrong new"  # of automatic new individuals: the animal was known already
AGREEMENT = "agreement"  # of both: the person agreed
FIRST_RIGHT = "first right"  # of animals that were known: the machine's first candidate was the one


@dataclass(frozen=True, slots=True)
class Line:
    """Who decided: an embedding version, and the arm of an A/B test if there was one."""

    version: str
    arm: str | None = None

    def __str__(self) -> str:
        return f"{self.version} ({self.arm})" if self.arm else self.version


@dataclass(frozen=True, slots=True)
class Rates:
    """Outcomes of one line in one period (its first day; None: not divided), in sightings by encounter.

    ``phase`` counts the changes of version that came before, ``began`` is the instant of its first decision.
    """

    phase: int
    period: datetime | None
    line: Line
    began: datetime
    matched: Tally
    new: Tally
    review: int


@dataclass(frozen=True, slots=True)
class Scores:
    """Similarities of the best candidates and times of the decisions, for one outcome or all (None).

    ``similarities`` in [-1, 1] and ``times`` in milliseconds are percentiles at the shares asked for; None where
    there are no ``items`` with a candidate, or none that were ``timed``.
    """

    line: Line
    outcome: str | None
    items: int
    mean: float | None
    similarities: tuple[float, ...] | None
    timed: int
    times: tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class Change:
    """A change of which version decides: cut over, roll back, ab begun or ab ended, and what was noted with it."""

    at: datetime
    kind: str
    version: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs of one period: ``seconds`` of those that read new ``photos``, and ``embedding``, the seconds that those
    spent on vectors which ``embedded`` detections.
    """

    period: datetime
    runs: int
    photos: int
    seconds: float
    embedded: int
    embedding: float


@dataclass(frozen=True, slots=True)
class Window:
    """The latest decisions: the last ``limit`` but ``skip`` in [since, until), of one version or all."""

    limit: int
    skip: int = 0
    since: datetime | None = None
    until: datetime | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class DecisionKind:
    """What decisions have in common: line, outcome, and the bins of similarity and of time (None: there was none).

    Bin n holds values up to its upper edge n, and not below; one bin more than there are edges.
    """

    line: Line
    outcome: str
    similarity_bin: int | None
    time_bin: int | None


@dataclass(frozen=True, slots=True)
class DecisionCount:
    """How many decisions of one kind, and the sums of their similarities and milliseconds."""

    decisions: int = 0
    similarity: float = 0.0
    milliseconds: float = 0.0

    def __add__(self, other: "DecisionCount") -> "DecisionCount":
        return DecisionCount(
            self.decisions + other.decisions,
            self.similarity + other.similarity,
            self.milliseconds + other.milliseconds,
        )


class FirstDecisions:
    """The machine's first decisions about sightings since an instant (None: all), for several questions.

    Valid until the transaction of ``connection`` ends, and one at a time: they are kept in a temporary table.
    """

    def __init__(self, connection: Connection, since: datetime | None) -> None:
        self._connection = connection
        connection.execute(_SQL["room_to_count"])
        connection.execute(_SQL["keep"].format(since=sql.Literal(since)))

    def rates(self, *, by: str | None, changes: Sequence[datetime]) -> list[Rates]:
        """Outcomes by phase, period and line.

        Args:
            by: "day", "week" or "month" (UTC); None to divide by phase only.
            changes: instants that divide time into phases, rising.
        """
        return [_rates(row) for row in self._ask("rates", {"by": by, "changes": list(changes)})]

    def scores(self, *, similarity_shares: Sequence[float], time_shares: Sequence[float]) -> list[Scores]:
        """Distributions of similarity and time by line, over all outcomes and for each."""
        shares = {"similarity_shares": list(similarity_shares), "time_shares": list(time_shares)}
        return [
            Scores(
                Line(row["version"], row["arm"]),
                row["outcome"],
                row["items"],
                row["mean"],
                tuple(row["similarities"]) if row["items"] else None,
                row["timed"],
                tuple(row["times"]) if row["timed"] else None,
            )
            for row in self._ask("scores", shares)
        ]

    def histograms(self, *, bins: int) -> dict[tuple[Line, str], list[int]]:
        """Similarities of best candidates by line and outcome: (bins + 1,) over [0, 1], first those below."""
        found: dict[tuple[Line, str], list[int]] = {}
        for row in self._ask("histogram", {"bins": bins}):
            counts = found.setdefault((Line(row["version"], row["arm"]), row["outcome"]), [0] * (bins + 1))
            counts[row["bin"]] = row["items"]
        return found

    def reviews(self) -> dict[tuple[Line, str], Tally]:
        """What persons made of them, by line and measure (see the constants above)."""
        return _reviews(self._ask("reviews", {}))

    def encounter_times(self) -> dict[str, Spread]:
        """By arm: mean milliseconds of a decision in each encounter, to one part in a hundred."""
        found: dict[str, list[tuple[float, int]]] = {}
        for row in self._ask("encounter_times", {}):
            found.setdefault(row["arm"], []).append((row["milliseconds"], row["encounters"]))
        return {
            arm: Spread(np.array([v for v, _ in bins], np.float64), np.array([n for _, n in bins], np.int64))
            for arm, bins in found.items()
        }

    def _ask(self, query: str, parameters: Mapping[str, object]) -> list[dict[str, Any]]:
        return _count(self._connection, "kept", query, parameters)


def latest_rates(connection: Connection, window: Window) -> list[Rates]:
    """Outcomes of the latest decisions by line."""
    parameters = {**_latest(window), "by": None, "changes": []}
    return [_rates(row) for row in _count(connection, "latest", "rates", parameters)]


def latest_reviews(connection: Connection, window: Window) -> dict[tuple[Line, str], Tally]:
    """What persons made of the latest decisions, by line and measure."""
    return _reviews(_count(connection, "latest", "reviews", _latest(window)))


def similarity_shift(
    connection: Connection, reference: Window, recent: Window, *, bins: int
) -> tuple[list[int], list[int]]:
    """Similarities of two windows in the same bins, (bins,) each; the reference has about as many in every bin."""
    shares = [n / bins for n in range(1, bins)]
    (row,) = _count(connection, "latest", "similarity_cuts", {**_latest(reference), "shares": shares})
    if not row["items"]:
        return [0] * bins, [0] * bins
    counts = []
    for window in (reference, recent):
        parameters = {**_latest(window), "cuts": row["cuts"]}
        rows = _count(connection, "latest", "similarities_between", parameters)
        by_bin = {r["bin"]: r["items"] for r in rows}
        counts.append([by_bin.get(n, 0) for n in range(bins)])
    return counts[0], counts[1]


def first_decision(connection: Connection) -> datetime | None:
    """When the first decision was made."""
    row = connection.execute(_SQL["first_decision"]).fetchone()
    return row["at"] if row else None


def changes(connection: Connection) -> list[Change]:
    """Every change of which version decides, in order."""
    return [Change(**row) for row in connection.execute(_SQL["changes"])]


def runs(connection: Connection, *, by: str, since: datetime | None) -> list[Runs]:
    """What runs did and how long it took, by period ("day", "week" or "month")."""
    return [Runs(**row) for row in connection.execute(_SQL["runs"], {"by": by, "since": since})]


def mixed_sex(connection: Connection) -> list[tuple[str, int, int]]:
    """Individuals with sightings of both sexes: name, males, females; in order of discovery."""
    return [(row["name"], row["males"], row["females"]) for row in connection.execute(_SQL["mixed_sex"])]


def newest_decision(connection: Connection) -> int:
    """The number of the newest decision; 0 without any.

    Numbers are dealt and committed under the lock that decisions take: no lower one turns up later.
    """
    row = connection.execute(_SQL["newest_decision"]).fetchone()
    assert row is not None
    return int(row["id"])


def count_decisions(
    connection: Connection, *, after: int, upto: int, similarities: Sequence[float], times: Sequence[float]
) -> dict[DecisionKind, DecisionCount]:
    """The machine's decisions with numbers in (after, upto], counted.

    Args:
        similarities, times: upper edges of bins, rising; times in milliseconds.
    """
    parameters = {
        "after": after,
        "upto": upto,
        "similarities": [-edge for edge in reversed(similarities)],
        "times": [-edge for edge in reversed(times)],
    }
    return {
        DecisionKind(
            Line(row["version"], row["arm"]),
            row["outcome"],
            None if row["similarity_edges"] is None else len(similarities) - row["similarity_edges"],
            None if row["time_edges"] is None else len(times) - row["time_edges"],
        ): DecisionCount(row["decisions"], row["similarity"], row["milliseconds"])
        for row in connection.execute(_SQL["decisions_by_kind"], parameters)
    }


def inventory(connection: Connection) -> dict[str, dict[str, int]]:
    """Individuals by status, sightings by state, jobs of the queue by status; photos under "all"."""
    counted = {
        "individuals": _by_first(connection, "individuals"),
        "sightings": _by_first(connection, "sightings"),
        "photos": _by_first(connection, "photos"),
        "jobs": {},
    }
    queue = connection.execute(_SQL["has_queue"]).fetchone()
    if queue and queue["has_queue"]:  # there is none before `serve` or `worker` first runs
        counted["jobs"] = _by_first(connection, "jobs")
    return counted


def _by_first(connection: Connection, query: str) -> dict[str, int]:
    return {row["kind"]: row["items"] for row in connection.execute(_SQL[query])}


def _count(
    connection: Connection, decisions: str, query: str, parameters: Mapping[str, object]
) -> list[dict[str, Any]]:
    """A query over the machine's first decisions: those that are kept, or the latest."""
    return connection.execute(sql.Composed([_SQL[decisions], _SQL[query]]), parameters).fetchall()


def _latest(window: Window) -> dict[str, object]:
    return {
        "since": window.since,
        "until": window.until,
        "version": window.version,
        "skip": window.skip,
        "limit": window.limit,
    }


def _rates(row: Mapping[str, Any]) -> Rates:
    matched, new = (
        Tally(
            row["clusters"],
            row["items"],
            row[hit],
            row["items_squared"],
            row[f"{hit}_squared"],
            row[f"{hit}_items"],
        )
        for hit in ("matched", "new")
    )
    line = Line(row["version"], row["arm"])
    return Rates(row["phase"], row["period"], line, row["began"], matched, new, row["review"])


def _reviews(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[Line, str], Tally]:
    return {
        (Line(row["version"], row["arm"]), row["measure"]): Tally(
            row["clusters"],
            row["items"],
            row["hits"],
            row["items_squared"],
            row["hits_squared"],
            row["hits_items"],
        )
        for row in rows
    }
