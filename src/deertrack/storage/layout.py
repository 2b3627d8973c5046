"""Which columns of ``deer`` hold profile vectors now.

The clean-up (spec, phase 5) drops the legacy one and may rename the others, under programs that go on running. So
whoever names such a column asks first, in the same transaction, and keeps nothing for later.
"""

from dataclasses import dataclass
from typing import Any

from psycopg import sql

from deertrack.domain.embedding import Output
from deertrack.domain.errors import InputError
from deertrack.storage.db import Connection
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.storage.queries import load_queries

_SQL = load_queries("layout")

# What the clean-up drops, and what it may rename (spec, phase 5). Indexes of a renamed column keep their names.
LEGACY, LEGACY_INDEX = Output.SINGLE, "ix_deer_feature_vector_hnsw"
NEW_NAMES = {Output.MULTISCALE: "feature_vector_primary", Output.PARTNER: "feature_vector_secondary"}

_MODEL_COLUMNS = {
    Output.SINGLE: "single_model_id",
    Output.MULTISCALE: "multiscale_model_id",
    Output.PARTNER: "partner_model_id",
}


@dataclass(frozen=True, slots=True)
class ProfileColumn:
    """A column of ``deer`` for vectors of one output, and the column that says which model made each."""

    output: Output
    name: str
    model_name: str

    @property
    def vector(self) -> sql.Identifier:
        """The column's name in SQL."""
        return sql.Identifier(self.name)

    @property
    def model(self) -> sql.Identifier:
        """The name in SQL of the column with its models."""
        return sql.Identifier(self.model_name)


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns that there are, in the order of :class:`Output`."""

    columns: tuple[ProfileColumn, ...]

    def column(self, output: Output) -> ProfileColumn | None:
        """Where vectors of an output are; None once that column was dropped."""
        return next((column for column in self.columns if column.output is output), None)

    def searched(self, registered: RegisteredVersion) -> list[ProfileColumn]:
        """Those that a search with this version walks, in the order of its outputs, as far as they are there."""
        return [c for output in registered.version.search_outputs if (c := self.column(output))]

    def lacks(self, registered: RegisteredVersion) -> sql.Composable:
        """A condition in SQL: a search with this version passes this row of ``deer`` over."""
        columns = self.searched(registered)
        if len(columns) < len(registered.version.search_outputs):
            return sql.SQL("true")
        conditions = [
            _SQL["lacks"].format(vector=c.vector, model=c.model, wanted=registered.models[c.output])
            for c in columns
        ]
        return sql.SQL("({})").format(sql.SQL(" OR ").join(conditions))


def read_layout(connection: Connection) -> Layout:
    """The columns of ``deer`` as they are, and will be until this transaction ends."""
    present = {row["name"] for row in connection.execute(_SQL["profile_columns"])}
    columns = []
    for output in Output:
        names = (output.value, NEW_NAMES.get(output, output.value))
        if name := next((n for n in names if n in present), None):
            columns.append(ProfileColumn(output, name, _MODEL_COLUMNS[output]))
    return Layout(tuple(columns))


def is_cleaned(connection: Connection) -> bool:
    """Whether individuals have lost the legacy column; in any schema, also one without individuals."""
    row = connection.execute(_SQL["is_cleaned"]).fetchone()
    assert row is not None
    return bool(row["cleaned"])


def last_drop(connection: Connection) -> dict[str, Any] | None:
    """When the clean-up dropped the legacy column (``at``), and the backup that holds it; None if it never did."""
    return connection.execute(_SQL["last_drop"]).fetchone()


def insist_on_columns(connection: Connection, registered: RegisteredVersion) -> Layout:
    """The layout, provided that it has every column that a search with this version walks.

    Raises:
        InputError: one of them was dropped by the clean-up; says when, and what is left.
    """
    layout = read_layout(connection)
    if len(layout.searched(registered)) < len(registered.version.search_outputs):
        raise _dropped(connection, registered)
    return layout


def _dropped(connection: Connection, registered: RegisteredVersion) -> InputError:
    name = registered.version.name
    models = [registered.models[output] for output in registered.version.search_outputs]
    drop = last_drop(connection)
    kept = connection.execute(_SQL["any_vector"], {"models": models}).fetchone()
    return InputError(
        f"embedding version {name!r} cannot be searched any more: its column deer.{LEGACY} was dropped"
        + (f" on {drop['at']:%Y-%m-%d}" if drop else ""),
        hint=(
            "Detections still hold their vectors of it, so it can be compared with others. " if kept else ""
        )
        + "A backup from before brings the column back, and everything to what it was then: "
        + f"deertrack db restore {drop['backup'] if drop else 'FILE'}",
    )
