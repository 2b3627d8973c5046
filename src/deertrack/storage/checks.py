"""Is the catalogue what it should be? Each check is a query that returns what is wrong."""

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from deertrack.domain.fusion import Weights
from deertrack.domain.records import Sex
from deertrack.storage.db import Connection, prepare, translated_errors
from deertrack.storage.embeddings import RegisteredVersion, as_array
from deertrack.storage.gallery import explain_search
from deertrack.storage.layout import LEGACY, LEGACY_INDEX, Layout, read_layout
from deertrack.storage.queries import load_queries

_SQL = load_queries("checks")

# The specification's vector indexes, and that of the hot query.
VECTOR_INDEXES = (
    LEGACY_INDEX,
    "ix_deer_feature_vector_multiscale_hnsw",
    "ix_deer_feature_vector_efficientnet_hnsw",
    "deer_ensemble_hnsw",
)
_WANTED_INDEXES = (*VECTOR_INDEXES, "ix_deer_embedding_version")
_INDEX_OF_STAGE = {1: VECTOR_INDEXES[0], 2: VECTOR_INDEXES[1], 3: VECTOR_INDEXES[3]}

# Up to about 1,000 rows reading all of them is quicker, and exact; the planner walks the index from 2,000.
_INDEX_PAYS_FROM = 2_000

_RESTORE = "restore a backup: deertrack db restore FILE"
_RUN = "deertrack run fills profiles from stored vectors; what it cannot fill it names"
_REFRESH = "deertrack reid reembed VERSION makes profiles anew from stored vectors"
# Query → what should hold, and what mends it.
_CHECKS = {
    "profile_norms": ("Profile vectors have length 1", _RESTORE),
    "detection_norms": ("Vectors of detections have length 1", _RESTORE),
    "missing_vectors": ("Sighted individuals have the active version's vectors", _RUN),
    "version_consistency": ("Each individual's version names the models of its vectors", _RUN),
    "model_columns": ("Every profile vector has its model, and every model its vector", _RUN),
    "profile_sources": ("Profile vectors are the mean of the individual's own sightings", _REFRESH),
    "sighting_counts": ("Sighting counts are right", _RESTORE),
    "orphans": ("Nothing hangs in the air", _RESTORE),
    "indexes": (
        "Indexes are there and valid",
        "deertrack db reindex; deertrack db migrate makes missing ones",
    ),
}
_BY_COLUMN = {"profile_norms", "model_columns", "profile_sources"}


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check: what should hold, what was found against it (subject, finding), and what mends it."""

    name: str
    holds: str
    findings: tuple[tuple[str, str], ...]
    remedy: str

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.findings


def run_checks(connection: Connection, active: RegisteredVersion | None) -> list[CheckResult]:
    """All checks of the specification's "Data Validation" and more. Reads everything, changes nothing.

    Args:
        active: the version that searches use; None in a catalogue that never ran.
    """
    layout = read_layout(connection)
    cleaned = layout.column(LEGACY) is None
    parameters = {"wanted": [name for name in _WANTED_INDEXES if not (cleaned and name == LEGACY_INDEX)]}
    results = []
    for name, (holds, remedy) in _CHECKS.items():
        rows = [r for query in _queries(name, layout, active) for r in connection.execute(query, parameters)]
        findings = tuple((row["subject"], row["finding"]) for row in rows)
        results.append(CheckResult(name, holds, findings, remedy))
    if active:
        results.append(_hot_query(connection, layout, active))
    return results


def _queries(name: str, layout: Layout, active: RegisteredVersion | None) -> Sequence[sql.SQL | sql.Composed]:
    """What a check asks: the same of every column of profiles, or one thing."""
    if name in _BY_COLUMN:
        return [
            _SQL[name].format(vector=c.vector, model=c.model, name=c.name, output=c.output.value)
            for c in layout.columns
        ]
    if name == "missing_vectors":
        return [_SQL[name].format(version=active.version.name, lacks=layout.lacks(active))] if active else []
    return [_SQL[name]]


def versions_in_use(connection: Connection) -> dict[str, int]:
    """Individuals by embedding version (specification, "Version Consistency")."""
    return {row["version"]: row["deer"] for row in connection.execute(_SQL["versions_in_use"])}


def reindex(url: str) -> list[str]:
    """Build all vector indexes anew without locking anybody out; drops what interrupted builds left behind.

    Specification, "Index Maintenance". Returns the names of the indexes built.
    """
    done = []
    with translated_errors(), psycopg.connect(url, autocommit=True) as connection:
        prepare(connection)
        # The default, 64 MB, overflows at some 24,000 individuals and triples the time.
        connection.execute("SET maintenance_work_mem = '512MB'")
        for name in _WANTED_INDEXES:
            if connection.execute("SELECT to_regclass(%s)", [name]).fetchone() == (None,):
                continue
            connection.execute(sql.SQL("REINDEX INDEX CONCURRENTLY {}").format(sql.Identifier(name)))
            done.append(name)
        left = connection.execute(_SQL["abandoned_indexes"]).fetchall()
        for (name,) in left:
            connection.execute(sql.SQL("DROP INDEX CONCURRENTLY {}").format(sql.Identifier(name)))
    return done


def _hot_query(connection: Connection, layout: Layout, active: RegisteredVersion) -> CheckResult:
    """The search walks its index wherever that pays."""
    findings: tuple[tuple[str, str], ...] = ()
    columns = layout.searched(active)
    deer = sum(versions_in_use(connection).values())
    index = _INDEX_OF_STAGE[active.version.stage]
    if columns and deer >= _INDEX_PAYS_FROM:
        vectors = sql.SQL(", ").join(column.vector for column in columns)
        query = _SQL["any_profile"].format(vectors=vectors, lacks=layout.lacks(active))
        if row := connection.execute(query).fetchone():
            looks = {column.output: as_array(row[column.name]) for column in columns}
            plan = explain_search(connection, active, looks, sex=Sex(row["sex"]), weights=Weights())
            if index not in plan:
                findings = ((index, f"is not used by the search among {deer:,} individuals: {plan}"),)
    return CheckResult(
        "hot_query",
        "The search walks its index",
        findings,
        "deertrack db psql -- -c 'ANALYZE deer', then reindex",
    )
