"""The catalogue looked over: what the specification asks to hold, and what mends it."""

from dataclasses import dataclass

from deertrack.storage import catalogue, checks, embeddings
from deertrack.storage.checks import CheckResult
from deertrack.storage.db import Database


@dataclass(frozen=True, slots=True)
class Examination:
    """All checks, and how many individuals there are of each embedding version."""

    results: tuple[CheckResult, ...]
    versions: dict[str, int]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(result.passed for result in self.results)


def examine(db: Database) -> Examination:
    """Check everything; nothing is changed."""
    with db.transaction() as connection:
        name = catalogue.get_setting(connection, catalogue.ACTIVE_VERSION)
        active = embeddings.find_version(connection, name) if name else None
        return Examination(tuple(checks.run_checks(connection, active)), checks.versions_in_use(connection))


def rebuild_indexes(db: Database) -> list[str]:
    """Build all vector indexes anew, while others go on working; returns their names."""
    return checks.reindex(db.url)
