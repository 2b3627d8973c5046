"""Who is it? What one decision takes, whole: search, vetoes, decision, log, and the individual's new profile.

    .venv/bin/python benchmarks/matching.py [--sizes 100 1000 10000] [--tracks 200]

Each track is decided about in a transaction of its own, commit included. The named baseline is the same with an
exact scan of all individuals instead of the index (``SET LOCAL enable_indexscan = off``); the two take turns, track
by track, so that a busy machine is unfair to both alike. Beside them: a run that decides about as many tracks
together, as ``deertrack run`` does, from what is stored to what is decided, divided by the tracks.

The deer are those of benchmarks/gallery.py, synthetic, two sightings each at stations with coordinates. Every track
is a new picture of one of them. Photos and networks are not in it, nor is joining photos into tracks. Goals: below
50 ms a track at 1,000 individuals, and growth below linear (an exponent below 1, between two sizes on a log-log
scale).
"""

import argparse
import math
import os
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from deertrack.domain.calibration import Calibration
from deertrack.services import identify as service
from deertrack.services.identify import Deciders, Identified, Matcher, alone, identify
from deertrack.storage import embeddings
from deertrack.storage.db import Database
from deertrack.storage.migrate import migrate
from deertrack.storage.server import EmbeddedServer
from gallery import OUTPUTS, VERSION, Herd, Query, fill

SIGHTINGS = 2  # of each deer, one photo each
WARM_UP = 10
BASELINE = "exact scan of all individuals (baseline)"
OURS = "deertrack, one track after the other"
# Sure of a new picture of a deer (a cosine of about 0.9), and of two deer in most cases.
CURVE = Calibration((0.5, 0.85), (-4.0, 12.0))

STATIONS = """
INSERT INTO stations (name, timezone, latitude, longitude)
SELECT 'Station ' || i, 'UTC', 45 + i * 0.01, -93 FROM generate_series(1, 20) i"""
# Row i of each table has the number i: photo, detection, encounter and sighting belong together, ten minutes apart.
ARRIVE = """
INSERT INTO images (sha256, station_id, width, height, detector)
SELECT sha256(i::text::bytea), 1 + i % 20, 4000, 3000, 'synthetic' FROM generate_series({first}, {last}) i;
INSERT INTO encounters (station_id, started_at, ended_at)
SELECT 1 + i % 20, t, t FROM generate_series({first}, {last}) i,
LATERAL (SELECT timestamptz '2025-01-01 UTC' + i * interval '10 minutes' AS t) at"""
DETECT = """
INSERT INTO detections (image_id, sighting_id, confidence, bbox_x, bbox_y, bbox_width, bbox_height)
SELECT i, i, 0.9, 0.1, 0.1, 0.5, 0.5 FROM generate_series({first}, {last}) i"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--tracks", type=int, default=200)
    args = parser.parse_args()
    medians: dict[str, dict[int, float]] = {}
    for size in sorted(args.sizes):
        with tempfile.TemporaryDirectory(prefix="deertrack-bench-") as scratch:
            server = EmbeddedServer(Path(scratch))
            url = server.ensure()
            try:
                migrate(url)
                with Database(url, size=1) as db:
                    for way, median in measure(db, size, args.tracks).items():
                        medians.setdefault(way, {})[size] = median
            finally:
                server.stop(mode="immediate")
    print("\nGrowth of the median: ms ~ individuals^x")
    for way, taken in medians.items():
        slopes = (math.log(taken[b] / taken[a]) / math.log(b / a) for a, b in pairwise(taken))
        print(f"  {way:46}" + "".join(f"  x = {slope:5.2f}" for slope in slopes))


def measure(db: Database, size: int, tracks: int) -> dict[str, float]:
    """Fill a catalogue, decide about new tracks, and print the table of one size; median ms by way."""
    print(f"\n{size:,} individuals, load {os.getloadavg()[0]:.1f}", flush=True)
    herd = Herd(np.random.default_rng(size), size)
    deciders = alone(populate(db, herd, size))
    identify(db, deciders)  # profiles become the means of the sightings; not measured
    taken: dict[str, list[float]] = {OURS: [], BASELINE: []}
    outcome = Identified()
    asked = [herd.query() for _ in range(2 * (tracks + WARM_UP))]
    for number, encounter_id in enumerate(arrive(db, deciders.matchers[0], asked)):
        way = BASELINE if number % 2 else OURS
        started = time.perf_counter()
        decide(db, deciders, encounter_id, outcome, exact=way == BASELINE)
        taken[way].append(1000 * (time.perf_counter() - started))
    arrive(db, deciders.matchers[0], [herd.query() for _ in range(tracks)])
    started = time.perf_counter()
    together = identify(db, deciders)
    run = 1000 * (time.perf_counter() - started) / tracks
    medians = {way: float(np.median(ms[WARM_UP:])) for way, ms in taken.items()}
    print(f"  {'ms a track':46} median      p95  times as fast")
    for way, ms in taken.items():
        p95 = np.quantile(ms[WARM_UP:], 0.95)
        print(f"  {way:46} {medians[way]:6.1f} {p95:8.1f} {medians[BASELINE] / medians[way]:14.2f}")
    name = f"a run of {tracks} tracks together, mean"
    print(f"  {name:46} {run:6.1f} {'':8} {medians[BASELINE] / run:14.2f}")
    print(f"  matched / new / review: one by one {told(outcome)}, together {told(together)}")
    return {**medians, "a run of tracks together": run}


def told(outcome: Identified) -> str:
    return f"{outcome.matched} / {outcome.new} / {outcome.review}"


def decide(db: Database, deciders: Deciders, encounter_id: int, outcome: Identified, *, exact: bool) -> None:
    """As ``identify`` decides about each encounter of an A/B test, or about one that came alone."""
    with db.transaction() as connection:
        if exact:
            connection.execute("SET LOCAL enable_indexscan = off")
        service.lock_choice(connection, deciders)
        service._decide_encounter(connection, deciders, encounter_id, {VERSION.name: 0}, outcome)


def populate(db: Database, herd: Herd, size: int) -> Matcher:
    """Known deer, each with its sightings."""
    with db.transaction() as connection:
        registered = embeddings.register_version(connection, VERSION)
        fill(connection, registered, herd.vectors, herd.sexes)
        connection.execute(STATIONS)
    matcher = Matcher(registered, CURVE)
    deer = np.repeat(np.arange(size), SIGHTINGS).tolist()
    arrive(db, matcher, [herd.query(n) for n in deer], [n + 1 for n in deer])
    with db.transaction() as connection:
        connection.execute("UPDATE deer SET sighting_count = %s", [SIGHTINGS])
    with db.transaction() as connection:
        connection.execute("ANALYZE")
    return matcher


def arrive(
    db: Database, matcher: Matcher, pictures: Sequence[Query], deer: Sequence[int] | None = None
) -> Sequence[int]:
    """New encounters of one picture each, of known deer or of nobody knows whom; returns their ids."""
    with db.transaction() as connection:
        row = connection.execute("SELECT count(*) AS n FROM sightings").fetchone()
        assert row is not None
        numbers = range(row["n"] + 1, row["n"] + 1 + len(pictures))
        span = {"first": numbers[0], "last": numbers[-1]}
        connection.execute(ARRIVE.format(**span))
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO sightings (encounter_id, deer_id, state, sex) VALUES (%s, %s, %s, %s)",
                [
                    (n, deer[i] if deer else None, "assigned" if deer else "undecided", picture.sex)
                    for i, (n, picture) in enumerate(zip(numbers, pictures, strict=True))
                ],
            )
        connection.execute(DETECT.format(**span))
        vectors = {o: np.stack([picture.vectors[o] for picture in pictures]) for o in OUTPUTS}
        embeddings.store_vectors(connection, matcher.registered, numbers, vectors)
    return numbers


if __name__ == "__main__":
    main()
