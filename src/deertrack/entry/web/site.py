"""What every route is handed: the catalogue, the queue, and the settings of this process."""

from dataclasses import dataclass

from deertrack.settings import Settings
from deertrack.storage.db import Database
from deertrack.storage.jobs import JobQueue


@dataclass(frozen=True, slots=True)
class Site:
    """One server's parts. ``settings.home`` is where it may keep files (uploads, small pictures)."""

    settings: Settings
    db: Database
    queue: JobQueue
