"""How the catalogue decides now, loaded once and again after whatever changes it."""

import threading
from datetime import datetime

from deertrack import wiring
from deertrack.services.identify import Deciders
from deertrack.settings import Settings
from deertrack.storage import catalogue
from deertrack.storage.db import Database


class Deciding:
    """The deciders of one catalogue. A cut-over, a policy or a calibration counts from the next request on."""

    def __init__(self, settings: Settings, db: Database) -> None:
        self._settings, self._db = settings, db
        self._lock = threading.Lock()
        self._known: tuple[datetime | None, Deciders] | None = None

    def now(self) -> Deciders:
        """Who decides.

        Raises:
            PackError: the active version's pack is not here.
        """
        with self._db.transaction() as connection:
            stamp = catalogue.settings_changed_at(connection)
        with self._lock:
            if self._known is None or self._known[0] != stamp:
                self._known = stamp, wiring.make_deciders(self._settings, self._db)
            return self._known[1]
