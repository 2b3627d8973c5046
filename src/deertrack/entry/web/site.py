"""What every route is handed: the catalogue, the queue, and the settings of this process."""

from dataclasses import dataclass, field

from deertrack.entry.web.deciding import Deciding
from deertrack.services.dashboard import Dashboard
from deertrack.settings import Settings
from deertrack.storage.db import Database
from deertrack.storage.jobs import JobQueue


@dataclass(frozen=True, slots=True)
class Site:
    """One server's parts. ``settings.home`` is where it may keep files (uploads, small pictures)."""

    settings: Settings
    db: Database
    queue: JobQueue
    deciding: Deciding = field(init=False)
    dashboard: Dashboard = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "deciding", Deciding(self.settings, self.db))
        object.__setattr__(self, "dashboard", Dashboard(self.db))
