"""The gallery: known individuals, and the search for who a sighting might be."""

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import sql

from deertrack.domain.embedding import Output, Vectors
from deertrack.domain.errors import FingerprintMismatchError
from deertrack.domain.fusion import Weights, weighted_query
from deertrack.domain.names import friendly_name
from deertrack.domain.records import Sex
from deertrack.storage.db import Connection
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.storage.queries import load_queries

_SQL = load_queries("gallery")

_SEARCH_BY_STAGE = {1: "search_single", 2: "search_multiscale", 3: "search_ensemble"}


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
    """
    query, parameters = _search(registered, vectors, sex, weights, limit)
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
    query, parameters = _search(registered, vectors, sex, weights, 10)
    rows = connection.execute(sql.SQL("EXPLAIN ") + query, parameters)
    return "\n".join(row["QUERY PLAN"] for row in rows)


def _search(
    registered: RegisteredVersion,
    vectors: Mapping[Output, Vectors],
    sex: Sex,
    weights: Weights,
    limit: int,
) -> tuple[sql.SQL, dict[str, object]]:
    version = registered.version
    shares = weights.of(version)
    parameters: dict[str, object] = {
        "sex": sex,
        "limit": limit,
        "multiscale_weight": weights.multiscale,
        "partner_weight": weights.partner,
        "query": weighted_query(vectors, shares),
        **{output.value: vectors[output] for output in shares},
        **{f"{output.value}_model": registered.models[output] for output in shares},
    }
    return _SQL[_SEARCH_BY_STAGE[version.stage]], parameters


def gallery_size(connection: Connection, sex: Sex) -> int:
    """How many known individuals a search for this sex goes through."""
    row = connection.execute(_SQL["gallery_size"], {"sex": sex}).fetchone()
    assert row is not None
    return int(row["size"])


def count_incomparable(connection: Connection, registered: RegisteredVersion) -> int:
    """Active individuals that a search with this version would pass over: they lack vectors of its models."""
    searched = registered.version.search_outputs
    wanted = {f"{o.value}_model": registered.models[o] if o in searched else None for o in Output}
    row = connection.execute(_SQL["not_comparable"], wanted).fetchone()
    assert row is not None
    return int(row["missing"])


def check_comparable(connection: Connection, registered: RegisteredVersion) -> None:
    """Insist that the search sees every active individual.

    Raises:
        FingerprintMismatchError: it would pass over some without a word and make them anew.
    """
    if missing := count_incomparable(connection, registered):
        raise FingerprintMismatchError(
            f"{missing} known individuals have no vectors of embedding version {registered.version.name!r}",
            hint="They would be invisible to the search. Use the version that they were made with.",
        )


def add_deer(
    connection: Connection,
    registered: RegisteredVersion,
    *,
    sex: Sex,
    profile_detection_id: int,
    vectors: Mapping[Output, Vectors],
) -> int:
    """A new individual with the next number, a friendly name and its profile vectors ((512,) each).

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
        **{output.value: vectors.get(output) for output in Output},
        **{f"{output.value}_model": registered.models.get(output) for output in Output},
    }
    added = connection.execute(_SQL["add_deer"], parameters).fetchone()
    assert added is not None
    return int(added["id"])


def note_sighting(connection: Connection, deer_id: int, sex: Sex) -> None:
    """Count a deer's sightings anew, and learn its sex where it was unknown."""
    connection.execute(_SQL["learn_sex"], {"deer_id": deer_id, "sex": sex})
    connection.execute(_SQL["count_sightings"], {"deer_id": deer_id})
