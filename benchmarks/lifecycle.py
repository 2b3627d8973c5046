"""The life of an embedding in a large catalogue: how long each step takes, and how that grows with the herd.

    python benchmarks/lifecycle.py [--sizes 165 10000]

For each size a catalogue of the base system (schema 010, single-layer vectors) is filled with synthetic deer, two
sightings each, and then led through migration, re-embedding, cut-over, checks, reindexing and roll-back, all by the
services that the commands use. Photos and networks are not the point: vectors are drawn, so "re-embed" is the
database's half of it. They vary in 64 directions, in twenty clusters (as in benchmarks/gallery.py).

The baseline is linear growth: an exponent of 1, the slope between two sizes on a log-log scale. 100000 deer take
an hour and 6 GB.
"""

import argparse
import math
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import cast

import numpy as np

from deertrack.domain.embedding import EmbeddingVersion, Output, Vectors
from deertrack.services.checks import examine, rebuild_indexes
from deertrack.services.lifecycle.cutover import cut_over, roll_back
from deertrack.services.lifecycle.reembed import reembed, reembed_plan
from deertrack.services.versions import Tuning
from deertrack.storage import catalogue, embeddings
from deertrack.storage.db import Connection, Database
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.storage.migrate import migrate, rollback
from deertrack.storage.server import EmbeddedServer
from deertrack.vision.embedder import Embedded, Embedder, EmbedTask
from gallery import Herd

BASE = "010"
SIGHTINGS = 2  # a deer, each of one photo

# Row i of each table has the number i; photo, detection, encounter, sighting and decision belong together.
FILL = """
INSERT INTO stations (name, timezone) SELECT 'Station ' || i, 'UTC' FROM generate_series(1, 20) i;
INSERT INTO images (sha256, station_id, width, height, detector)
SELECT sha256(i::text::bytea), 1 + i % 20, 4000, 3000, 'synthetic' FROM generate_series(1, {photos}) i;
INSERT INTO files (path, size, mtime_ns, image_id)
SELECT '{folder}/' || i, 0, 0, i FROM generate_series(1, {photos}) i;
INSERT INTO encounters (station_id) SELECT 1 + i % 20 FROM generate_series(1, {photos}) i;
INSERT INTO sightings (encounter_id, deer_id, state)
SELECT i, 1 + (i - 1) / {each}, 'assigned' FROM generate_series(1, {photos}) i;
INSERT INTO detections (image_id, sighting_id, confidence, bbox_x, bbox_y, bbox_width, bbox_height)
SELECT i, i, 0.9 - 0.1 * (i % {each}), 0.1, 0.1, 0.5, 0.5 FROM generate_series(1, {photos}) i;
INSERT INTO decisions (sighting_id, outcome, deer_id, version, fingerprints, policy, candidates)
SELECT i, 'new', 1 + (i - 1) / {each}, 'v1_resnet50', '{{}}', '{{}}', '[]' FROM generate_series(1, {photos}) i"""


class Drawn:
    """Stands for a pack's embedder: vectors of the deer in a photo, for nothing."""

    def __init__(self, vectors: Mapping[Output, Vectors]) -> None:
        self._vectors = vectors

    def embed(self, tasks: Iterable[EmbedTask]) -> Iterator[Embedded]:
        for task in tasks:
            deer = (task.key - 1) // SIGHTINGS
            yield Embedded(
                task.key, {output: rows[deer : deer + 1] for output, rows in self._vectors.items()}
            )


def drawn(vectors: Mapping[Output, Vectors]) -> Embedder:
    return cast(Embedder, Drawn(vectors))


class Times:
    """Seconds of each step at each size."""

    def __init__(self) -> None:
        self.seconds: dict[str, dict[int, float]] = {}

    @contextmanager
    def step(self, name: str, size: int) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds.setdefault(name, {})[size] = time.perf_counter() - started
        print(f"  {name}: {self.seconds[name][size]:.2f} s", flush=True)

    def show(self, sizes: Sequence[int]) -> None:
        print(f"\n{'':38}" + "".join(f"{f'{size:,} deer':>24}" for size in sizes) + f"{'growth':>14}")
        for name, taken in self.seconds.items():
            line = "".join(f"{taken[n]:10.2f} s {1e3 * taken[n] / n:8.3f} ms" for n in sizes)
            slopes = [math.log(taken[b] / taken[a]) / math.log(b / a) for a, b in pairwise(sizes)]
            print(f"{name:38}{line}  " + "".join(f" n^{slope:4.2f}" for slope in slopes))
        print("ms are for one deer. Baseline: linear growth, n^1.")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[165, 10_000])
    sizes = sorted(parser.parse_args().sizes)
    times = Times()
    for size in sizes:
        print(f"{size:,} deer, load {os.getloadavg()[0]:.1f}", flush=True)
        with tempfile.TemporaryDirectory(prefix="deertrack-bench-") as scratch:
            server = EmbeddedServer(Path(scratch, "home"))
            url = server.ensure()
            try:
                migrate(url)
                rollback(url, to=BASE)
                with Database(url, size=2) as db:
                    base = fill(db, Path(scratch, "photos"), size)
                    live(db, base, size, times)
            finally:
                server.stop(mode="immediate")
    times.show(sizes)


def live(db: Database, base: RegisteredVersion, size: int, times: Times) -> None:
    """From the base system to one pack and then to another, and back."""
    with times.step("migrate", size):
        migrate(db.url)
    for number, herd in enumerate((Herd(np.random.default_rng(seed), size) for seed in (1, 2)), start=1):
        vectors = {Output.SINGLE: herd.vectors[Output.PARTNER], **herd.vectors}
        target = register(db, f"v3_pack{number}", 3, list(Output))
        # The first pack's columns are empty and are filled at once; the second's wait for the cut-over.
        label = "pack 1, empty columns" if number == 1 else "pack 2, columns in use"
        with times.step(f"{label}: plan", size):
            reembed_plan(db, target)
        with times.step(f"{label}: re-embed", size):
            done = reembed(db, partial(drawn, vectors), target)
        assert (done.embedded, done.staged) == (size, number == 2), done
        with times.step(f"{label}: cut over", size):
            cut_over(db, target, tuning=Tuning(), reason="benchmark", actor="benchmark")
    with times.step("check", size):
        found = examine(db)
    if not found.passed:
        print("  the check found:", *(result.name for result in found.results if not result.passed))
    with times.step("roll back to pack 1", size):
        assert roll_back(db, actor="benchmark").profiles == size
    with times.step("cut over to the base system", size):
        cut_over(db, base, tuning=Tuning(), reason="benchmark", actor="benchmark")
    with times.step("reindex", size):
        rebuild_indexes(db)


def register(db: Database, name: str, stage: int, outputs: Sequence[Output]) -> RegisteredVersion:
    fingerprints = {o: (name.encode().hex() + f"{i}").ljust(64, "0") for i, o in enumerate(outputs)}
    with db.transaction() as connection:
        return embeddings.register_version(
            connection, EmbeddingVersion(name, stage, name.removeprefix("v3_"), fingerprints)
        )


def fill(db: Database, folder: Path, size: int) -> RegisteredVersion:
    """A catalogue of the base system: deer with single-layer vectors, which their detections hold as well."""
    folder.mkdir()
    for number in range(1, SIGHTINGS * size + 1):
        (folder / str(number)).touch()  # re-embedding looks whether the file is there
    base = register(db, "v1_resnet50", 1, [Output.SINGLE])
    vectors = Herd(np.random.default_rng(0), size).vectors[Output.MULTISCALE]
    with db.transaction() as connection:
        (index,) = connection.execute(
            "SELECT indexname AS name, indexdef AS definition FROM pg_indexes "
            "WHERE tablename = 'deer' AND indexdef LIKE '%USING hnsw%'"
        )
        connection.execute(f"DROP INDEX {index['name']}")
        rows = ((n, f"Deer {n}", SIGHTINGS, vectors[n - 1]) for n in range(1, size + 1))
        copy(connection, "deer (number, name, sighting_count, feature_vector)", "int4 text int4 vector", rows)
        connection.execute(FILL.format(photos=SIGHTINGS * size, each=SIGHTINGS, folder=folder))
        of = (
            (n, base.models[Output.SINGLE], vectors[(n - 1) // SIGHTINGS])
            for n in range(1, SIGHTINGS * size + 1)
        )
        copy(connection, "detection_embeddings (detection_id, model_id, embedding)", "int8 int2 vector", of)
        connection.execute("SET LOCAL maintenance_work_mem = '1GB'")
        connection.execute(index["definition"])
        catalogue.put_setting(connection, catalogue.ACTIVE_VERSION, base.version.name)
    with db.transaction() as connection:
        connection.execute("ANALYZE")
    return base


def copy(connection: Connection, into: str, types: str, rows: Iterable[Sequence[object]]) -> None:
    with connection.cursor().copy(f"COPY {into} FROM STDIN (FORMAT BINARY)") as stream:
        stream.set_types(types.split())
        for row in rows:
            stream.write_row(row)


if __name__ == "__main__":
    main()
