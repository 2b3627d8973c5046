"""The gallery: known individuals, and the search for who a sighting might be."""

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import sql
from psycopg.adapt import PyFormat

from deertrack.domain.embedding import Output, Vectors
from deertrack.domain.fusion import Weights, weighted_query
from deertrack.domain.names import friendly_name
from deertrack.domain.records import Sex
from deertrack.storage.db import Connection
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.storage.layout import insist_on_columns, read_layout
from deertrack.storage.queries import load_queries

_SQL = load_queries("gallery")


@dataclass(frozen=True, slots=True)
class Match:
    """A known individual and its weighted cosine similarity to the query, in [-1, 1]."""

    deer_id: int
    similarity: float


def search(
    connection: Connection,
    registered: RegisteredVersion,
    vectors: Mapping[Output, Vectors],
    *,
    sex: Sex,
    weights: Weights,
    limit: int = 10,
) -> list[Match]:
    """The known individuals most like a query, best first: one SQL query on one index.

    Args:
        vectors: a (512,) unit vector for each output that the version compares.
        sex: unknown matches both, and individuals of unknown sex match every query.
        weights: of the ensemble, chosen at query time; any choice runs on the same index.

    Raises:
        InputError: the clean-up dropped the column that the version searches.
    """
    query, parameters = _search(connection, registered, vectors, sex=sex, weights=weights, limit=limit)
    return [Match(row["deer_id"], row["similarity"]) for row in connection.execute(query, parameters)]


def explain_search(
    connection: Connection,
    registered: RegisteredVersion,
    vectors: Mapping[Output, Vectors],
    *,
    sex: Sex,
    weights: Weights,
) -> str:
    """PostgreSQL's plan for :func:`search`, as text; it names the index that the search walks."""
    query, parameters = _search(connection, registered, vectors, sex=sex, weights=weights, limit=10)
    rows = connection.execute(sql.SQL("EXPLAIN ") + query, parameters)
    return "\n".join(row["QUERY PLAN"] for row in rows)


def _search(
    connection: Connection,
    registered: RegisteredVersion,
    vectors: Mapping[Output, Vectors],
    *,
    sex: Sex,
    weights: Weights,
    limit: int,
) -> tuple[sql.Composed, dict[str, object]]:
    columns = insist_on_columns(connection, registered).searched(registered)
    shares = weights.of(registered.version)
    parameters: dict[str, object] = {"sex": sex, "limit": limit, "query": weighted_query(vectors, shares)}
    if len(columns) == 1:
        (column,) = columns
        parameters["model"] = registered.models[column.output]
        return _SQL["search_column"].format(vector=column.vector, model=column.model), parameters
    multiscale, partner = columns
    parameters |= {
        "multiscale": vectors[Output.MULTISCALE],
        "multiscale_model": registered.models[Output.MULTISCALE],
        "multiscale_weight": weights.multiscale,
        "partner": vectors[Output.PARTNER],
        "partner_model": registered.models[Output.PARTNER],
        "partner_weight": weights.partner,
    }
    query = _SQL["search_ensemble"].format(multiscale=multiscale.vector, partner=partner.vector)
    return query, parameters


def gallery_size(connection: Connection, sex: Sex) -> int:
    """How many known individuals a search for this sex goes through."""
    row = connection.execute(_SQL["gallery_size"], {"sex": sex}).fetchone()
    assert row is not None
    return int(row["size"])


def count_incomparable(connection: Connection, registered: RegisteredVersion) -> int:
    """Active individuals that a search with this version would pass over: they lack vectors of its models.

    All of them, once the clean-up has dropped its column.
    """
    lacks = read_layout(connection).lacks(registered)
    row = connection.execute(_SQL["not_comparable"].format(lacks=lacks)).fetchone()
    assert row is not None
    return int(row["missing"])


def add_deer(
    connection: Connection,
    registered: RegisteredVersion,
    *,
    sex: Sex,
    profile_detection_id: int,
    vectors: Mapping[Output, Vectors],
) -> int:
    """A new individual with the next number, a friendly name and its profile vectors ((512,) each).

    Vectors that ``deer`` has no column for any more are left out.
    Call it under :func:`deertrack.storage.sightings.lock_deciding`.
    """
    row = connection.execute(_SQL["next_number"]).fetchone()
    assert row is not None
    number = row["number"]
    name = friendly_name(number)
    while connection.execute(_SQL["name_taken"], {"name": name}).fetchone():
        name += "*"  # somebody gave this very name to another individual
    parameters: dict[str, object] = {
        "number": number,
        "name": name,
        "sex": sex,
        "profile_detection_id": profile_detection_id,
        "version": registered.version.name,
    }
    columns, values = [], []
    for column in read_layout(connection).columns:
        columns += [column.vector, column.model]
        values += [
            sql.Placeholder(column.name, PyFormat.BINARY),
            sql.Placeholder(column.model_name),
        ]
        parameters[column.name] = vectors.get(column.output)
        parameters[column.model_name] = registered.models.get(column.output)
    comma = sql.SQL(", ")
    query = _SQL["add_deer"].format(columns=comma.join(columns), values=comma.join(values))
    added = connection.execute(query, parameters).fetchone()
    assert added is not None
    return int(added["id"])


def note_sighting(connection: Connection, deer_id: int, sex: Sex) -> None:
    """Count a deer's sightings anew, and learn its sex where it was unknown."""
    connection.execute(_SQL["learn_sex"], {"deer_id": deer_id, "sex": sex})
    connection.execute(_SQL["count_sightings"], {"deer_id": deer_id})
