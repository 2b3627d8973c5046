"""Search in a gallery of synthetic deer: latency and recall@10 of each way to ask for the ensemble's ten nearest.

    .venv/bin/python benchmarks/gallery.py [--sizes 165 10000 100000] [--queries 100]

The named baseline is the specification's own way ("Ensemble Query, Application-Level"): the twenty nearest from
each of its two cosine indexes, weighted in Python. Beside it, in the same run: that with deertrack's search
settings, the specification's single expression (no index can serve it), ``deertrack.storage.gallery.search``,
which is what deertrack does, and numpy over all vectors in memory, which is exact and says what recall means.

The deer are synthetic: unit vectors of 512 numbers that vary in 64 directions, in twenty clusters, the two
vectors of a deer half alike in what they show, half of the deer bucks. Every query is a new picture of one of
them and asks for its own sex. The figures compare ways of searching; they say nothing about real animals.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deertrack.domain.embedding import EmbeddingVersion, Output, Vectors, normalise
from deertrack.domain.fusion import Weights, weighted_query
from deertrack.domain.records import Sex
from deertrack.storage import embeddings, gallery
from deertrack.storage.db import Connection, Database
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.storage.migrate import migrate
from deertrack.storage.server import EmbeddedServer

TOP = 10
CLUSTERS, DIRECTIONS = 20, 64
WARM_UP = 10
SLOW = 10  # queries of a way that takes long
OUTPUTS = (Output.MULTISCALE, Output.PARTNER)
SEXES = np.array([Sex.MALE, Sex.FEMALE])
VERSION = EmbeddingVersion("v3_synthetic", 3, "synthetic", {o: f"{i}" * 64 for i, o in enumerate(OUTPUTS)})

# pgvector's defaults, which the specification leaves as they are. The planner's settings are deertrack's for all
# ways: with PostgreSQL's own, the baseline scans the table at 10,000 deer and takes fifty times as long.
PLAIN = {"hnsw.ef_search": "40", "hnsw.iterative_scan": "off"}

SPEC_LIST = """
SELECT id, 1 - (feature_vector_multiscale <=> %(multiscale)b) AS multiscale,
       1 - (feature_vector_efficientnet <=> %(partner)b) AS partner
FROM deer WHERE sex = %(sex)s ORDER BY {column} <=> %({parameter})b LIMIT 20"""
SPEC_LISTS = (
    SPEC_LIST.format(column="feature_vector_multiscale", parameter="multiscale"),
    SPEC_LIST.format(column="feature_vector_efficientnet", parameter="partner"),
)
SPEC_EXPRESSION = """
SELECT id, (%(w1)s::float8 * (feature_vector_multiscale <=> %(multiscale)b)
            + %(w2)s::float8 * (feature_vector_efficientnet <=> %(partner)b)) AS ensemble_distance
FROM deer WHERE sex = %(sex)s ORDER BY ensemble_distance LIMIT 10"""


@dataclass(frozen=True)
class Query:
    """A new picture of one deer: a (512,) vector for each output, and the deer's sex."""

    vectors: dict[Output, Vectors]
    sex: Sex


@dataclass(frozen=True)
class Gallery:
    """Synthetic deer 0…n-1. For each sex their numbers (m,) and multi-scale ‖ partner vectors (m, 1024)."""

    numbers: dict[Sex, NDArray[np.int64]]
    joined: dict[Sex, Vectors]

    def nearest(self, query: Query, weights: Weights) -> list[int]:
        """The exact ten nearest, best first: ids in the database, which begin at 1."""
        shares = dict(zip(OUTPUTS, (weights.multiscale, weights.partner), strict=True))
        similar = self.joined[query.sex] @ weighted_query(query.vectors, shares)
        best = np.argpartition(-similar, TOP)[:TOP]
        return [int(n) + 1 for n in self.numbers[query.sex][best[np.argsort(-similar[best])]]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[165, 10_000, 100_000])
    parser.add_argument("--queries", type=int, default=100)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="deertrack-bench-") as scratch:
        server = EmbeddedServer(Path(scratch))
        url = server.ensure()
        try:
            migrate(url)
            with Database(url, size=1) as db:
                for size in args.sizes:
                    measure(db, size, args.queries)
        finally:
            server.stop(mode="immediate")


def measure(db: Database, size: int, queries: int) -> None:
    """Fill the gallery and print the table of one size."""
    rng = np.random.default_rng(size)
    herd = Herd(rng, size)
    print(f"\n{size:,} deer")
    with db.transaction() as connection:
        registered = embeddings.register_version(connection, VERSION)
        fill(connection, registered, herd.vectors, herd.sexes)
    with db.transaction() as connection:
        connection.execute("ANALYZE deer")
    pictures = [herd.query() for _ in range(queries + WARM_UP)]
    numbers = {Sex(sex): np.flatnonzero(herd.sexes == sex) for sex in SEXES}
    joined = {
        sex: np.concatenate([herd.vectors[o][which] for o in OUTPUTS], axis=1)
        for sex, which in numbers.items()
    }
    known = Gallery(numbers, joined)
    for weights in (Weights(0.6, 0.4), Weights(0.7, 0.3)):
        with db.transaction() as connection:
            compare(connection, registered, known, pictures, weights)


class Herd:
    """Synthetic deer: what they look like in a few directions, and how the two networks show that."""

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        cluster = rng.integers(0, CLUSTERS, size)
        alike = draw(rng, size)
        self._rng = rng
        self.sexes = rng.choice(SEXES, size)
        self._looks, self._maps = {}, {}
        for output in OUTPUTS:
            self._looks[output] = draw(rng, CLUSTERS)[cluster] + 0.7 * alike + 0.7 * draw(rng, size)
            self._maps[output] = np.linalg.qr(rng.standard_normal((512, DIRECTIONS)))[0].T
        self.vectors = {o: normalise(self._looks[o] @ self._maps[o]) for o in OUTPUTS}

    def query(self, deer: int | None = None) -> Query:
        """A new picture of a deer (None: of any): a cosine of about 0.9 to the known one."""
        chosen = int(self._rng.integers(len(self.sexes))) if deer is None else deer
        seen = {o: looks[chosen] + 0.7 * draw(self._rng, 1) for o, looks in self._looks.items()}
        return Query({o: normalise(seen[o] @ self._maps[o])[0] for o in OUTPUTS}, Sex(self.sexes[chosen]))


def draw(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Unit vectors (n, DIRECTIONS) in all directions."""
    rows = rng.standard_normal((n, DIRECTIONS))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def fill(
    connection: Connection,
    registered: RegisteredVersion,
    vectors: dict[Output, Vectors],
    sexes: NDArray[np.str_],
) -> None:
    """Load by binary COPY, then build the indexes: many times faster than the other way round."""
    indexes = connection.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'deer' AND indexdef LIKE '%USING hnsw%'"
    ).fetchall()
    for index in indexes:
        connection.execute(f"DROP INDEX {index['indexname']}")
    connection.execute("TRUNCATE deer RESTART IDENTITY CASCADE")
    started = time.perf_counter()
    columns = ["number", "name", "sex", *OUTPUTS, "multiscale_model_id", "partner_model_id"]
    copy_in = f"COPY deer ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
    models = [registered.models[output] for output in OUTPUTS]
    with connection.cursor().copy(copy_in) as copy:
        copy.set_types(["int4", "text", "text", "vector", "vector", "int2", "int2"])
        for i, sex in enumerate(sexes):
            copy.write_row([i + 1, f"Deer {i + 1}", str(sex), *(vectors[o][i] for o in OUTPUTS), *models])
    print(f"  loaded by COPY: {len(sexes) / (time.perf_counter() - started):,.0f} rows/s")
    connection.execute("SET LOCAL maintenance_work_mem = '1GB'")
    for index in indexes:
        started = time.perf_counter()
        connection.execute(index["indexdef"])
        seconds = time.perf_counter() - started
        row = connection.execute(
            "SELECT pg_relation_size(%s::regclass) AS n", [index["indexname"]]
        ).fetchone()
        assert row is not None
        print(f"  {index['indexname']}: built in {seconds:.1f} s, {row['n'] / 2**20:,.0f} MiB")


def compare(
    connection: Connection,
    registered: RegisteredVersion,
    known: Gallery,
    pictures: Sequence[Query],
    weights: Weights,
) -> None:
    """Ask for the same pictures in every way, and print how long it took and how much of the truth came."""
    settings = {name: setting(connection, name) for name in PLAIN}

    def merged(query: Query) -> list[int]:
        parameters = {
            "multiscale": query.vectors[Output.MULTISCALE],
            "partner": query.vectors[Output.PARTNER],
            "sex": query.sex,
        }
        found: dict[int, float] = {}
        for sql in SPEC_LISTS:
            for row in connection.execute(sql, parameters):
                found[row["id"]] = weights.multiscale * row["multiscale"] + weights.partner * row["partner"]
        return sorted(found, key=lambda deer_id: -found[deer_id])[:TOP]

    def expression(query: Query) -> list[int]:
        parameters = {
            "multiscale": query.vectors[Output.MULTISCALE],
            "partner": query.vectors[Output.PARTNER],
            "sex": query.sex,
            "w1": weights.multiscale,
            "w2": weights.partner,
        }
        return [row["id"] for row in connection.execute(SPEC_EXPRESSION, parameters)]

    def ours(query: Query) -> list[int]:
        found = gallery.search(
            connection, registered, query.vectors, sex=query.sex, weights=weights, limit=TOP
        )
        return [match.deer_id for match in found]

    ours_label = f"deertrack.storage.gallery.search (ef_search {settings['hnsw.ef_search']})"
    ways: list[tuple[str, dict[str, str], Callable[[Query], list[int]], int]] = [
        ("spec: two queries, merged in Python (baseline)", PLAIN, merged, len(pictures)),
        ("  the same with deertrack's search settings", settings, merged, len(pictures)),
        ("spec: one expression, no index", settings, expression, WARM_UP + SLOW),
        (ours_label, settings, ours, len(pictures)),
        ("  the same, ef_search 40", {**settings, "hnsw.ef_search": "40"}, ours, len(pictures)),
        ("  the same, ef_search 400", {**settings, "hnsw.ef_search": "400"}, ours, len(pictures)),
        ("numpy, all vectors in memory", settings, lambda q: known.nearest(q, weights), len(pictures)),
    ]
    title = f"  weights {weights.multiscale}/{weights.partner}"
    print(f"{title:52} median ms   p95 ms  recall@{TOP}  times as fast")
    baseline = 0.0
    for label, wanted, way, n in ways:
        for name, value in wanted.items():
            connection.execute("SELECT set_config(%s, %s, true)", [name, value])
        milliseconds, hits = [], 0
        for i, query in enumerate(pictures[:n]):
            started = time.perf_counter()
            found = way(query)
            if i >= WARM_UP:
                milliseconds.append(1000 * (time.perf_counter() - started))
                hits += len(set(found) & set(known.nearest(query, weights)))
        median, p95 = np.median(milliseconds), np.quantile(milliseconds, 0.95)
        baseline = baseline or float(median)
        recall = hits / (TOP * len(milliseconds))
        print(f"  {label:50} {median:9.2f} {p95:8.2f} {recall:10.3f} {baseline / median:14.2f}")


def setting(connection: Connection, name: str) -> str:
    row = connection.execute("SELECT current_setting(%s) AS value", [name]).fetchone()
    assert row is not None
    return str(row["value"])


if __name__ == "__main__":
    main()
