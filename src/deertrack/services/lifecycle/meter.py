"""What a monitoring system reads every minute. The decision log is only ever added to, so it is counted on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

from deertrack.services.lifecycle.alerts import REVIEWED, Alert, alerts
from deertrack.services.versions import Choice, choose
from deertrack.storage import embeddings, gallery
from deertrack.storage import monitor as log
from deertrack.storage.db import Database
from deertrack.storage.monitor import DecisionCount, DecisionKind, Line, Window


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything at one moment.

    ``inventory``: see :func:`deertrack.storage.monitor.inventory`. ``reviews``: of the latest decisions since the
    last change of version, by line and measure (items, hits). ``incomparable``: active individuals that searches
    pass over, by deciding version.
    """

    inventory: Mapping[str, Mapping[str, int]]
    decisions: Mapping[DecisionKind, DecisionCount]
    reviews: Mapping[tuple[Line, str], tuple[int, int]]
    choice: Choice | None
    incomparable: Mapping[str, int]
    alerts: Sequence[Alert]


class Meter:
    """Reads the catalogue; counts only those decisions that it has not counted before.

    Args:
        similarities, times: upper edges of the bins of histograms, rising; times in milliseconds.
    """

    def __init__(self, db: Database, *, similarities: Sequence[float], times: Sequence[float]) -> None:
        self._db, self._similarities, self._times = db, similarities, times
        self._counting = Lock()
        self._counted: dict[DecisionKind, DecisionCount] = {}
        self._upto = 0

    def read(self) -> Reading:
        """How things stand now.

        Raises:
            DatabaseError: the database does not answer.
        """
        decisions = self._count_on()
        with self._db.transaction() as connection:
            inventory = log.inventory(connection)
            choice = choose(connection, None)
            changes = log.changes(connection)
            since = changes[-1].at if changes else None
            reviews = log.latest_reviews(connection, Window(REVIEWED, since=since))
            versions = choice.versions if choice else ()
            incomparable = {
                name: gallery.count_incomparable(connection, embeddings.find_version(connection, name))
                for name in versions
            }
        judged = {key: (tally.items, tally.hits) for key, tally in reviews.items()}
        return Reading(inventory, decisions, judged, choice, incomparable, alerts(self._db))

    def _count_on(self) -> dict[DecisionKind, DecisionCount]:
        with self._counting, self._db.transaction() as connection:
            newest = log.newest_decision(connection)
            if newest < self._upto:  # a backup was restored: count anew
                self._counted, self._upto = {}, 0
            added = log.count_decisions(
                connection,
                after=self._upto,
                upto=newest,
                similarities=self._similarities,
                times=self._times,
            )
            for kind, count in added.items():
                self._counted[kind] = self._counted.get(kind, DecisionCount()) + count
            self._upto = newest
            return dict(self._counted)
