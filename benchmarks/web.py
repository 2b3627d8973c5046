"""Every page, and what it asks of the API, in a large catalogue: how long the server takes to answer.

    .venv/bin/python benchmarks/web.py [--individuals 10000] [--sightings 500000] [--turns 9] [--json]

A synthetic catalogue is filled in an embedded server of its own: two photos and two detections a sighting, every
fifth sighting in the encounter of another and every tenth in the same photos, 40 stations, five years, 4 % of all
waiting for a person, a machine's decision for each with ten candidates, a person's for a tenth, and edits. The
busiest individuals have about 400 sightings. Vectors are drawn (as in benchmarks/gallery.py) for all individuals,
for what waits, and for all sightings of those who look like what is looked at. The real application is served by
uvicorn in a thread and asked over one connection; no pictures are made.

All addresses are asked in turns. The named baseline is the same with a tenth of everything: beside each time is how
many times as long it takes as there. Parts of the dashboard are counted anew in each turn, by another first day.
"""

import argparse
import http.client
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import uvicorn

from deertrack import wiring
from deertrack.entry.web.app import make_app
from deertrack.settings import Settings
from deertrack.storage.db import Connection, Database
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.storage.jobs import JobQueue
from deertrack.storage.migrate import migrate
from deertrack.storage.server import EmbeddedServer
from gallery import OUTPUTS, Herd
from lifecycle import copy

STATIONS = 40
LOOKED_AT = 24  # sightings: half of them may be one of the busiest individuals
READ, WRITE = 300.0, 100.0  # milliseconds: the budgets
API = "/api/v1"

Address = Callable[[int], str]

# Row i of each table has the number i. Sighting i has the photos and detections 2i - 1 and 2i, unless its animal is
# in the photos of the one before; then its own photos are empty.
FILL = """
SELECT setseed(0.5);
INSERT INTO stations (name, timezone, latitude, longitude)
SELECT 'Station ' || i, (ARRAY['UTC', 'America/Chicago', 'America/Denver'])[1 + i % 3], 40 + 0.01 * i,
       -100 + 0.01 * i
FROM generate_series(1, {stations}) i;
CREATE TEMPORARY TABLE plan AS
SELECT i, i - i / 5 AS encounter, station, started_at, random() < 0.04 AS waits,
       1 + {stations} * floor({individuals} / {stations} * power(random(), 1.6))::int
         + (station + floor(3 * random())::int) % {stations} AS deer
FROM (SELECT i, 1 + (i - i / 5) * 7919 % {stations} AS station,
             '2021-01-01'::timestamptz + (i - i / 5) * interval '5 years' / {sightings} AS started_at
      FROM generate_series(1, {sightings}::bigint) i) s;
INSERT INTO images (sha256, station_id, width, height, camera, clock, taken_at, detector)
SELECT sha256(n::text::bytea), p.station, 4000, 3000, 'Camera ' || p.station, p.started_at AT TIME ZONE 'UTC',
       p.started_at + n % 2 * interval '3 seconds', 'synthetic'
FROM generate_series(1, 2 * {sightings}) n JOIN plan p ON p.i = (n + 1) / 2 ORDER BY n;
INSERT INTO files (path, size, mtime_ns, image_id)
SELECT '/cards/station ' || i % {stations} || '/DCIM/IMG_' || i || '.JPG', 1000000, i, i
FROM generate_series(1, 2 * {sightings}) i;
INSERT INTO files (path, size, mtime_ns, error)
SELECT '/cards/bad/IMG_' || i || '.JPG', 0, i, 'the file is empty' FROM generate_series(1, 100) i;
INSERT INTO deer (number, name, sex, age_class, notes, aliases)
SELECT i, 'Deer ' || i, CASE i % 3 WHEN 0 THEN 'male' WHEN 1 THEN 'female' ELSE 'unknown' END,
       (ARRAY['adult', 'yearling', 'fawn', 'unknown'])[1 + i % 4],
       CASE WHEN i % 20 = 0 THEN 'torn left ear' ELSE '' END,
       CASE WHEN i % 50 = 0 THEN ARRAY['Buck ' || i] ELSE ARRAY[]::text[] END
FROM generate_series(1, {individuals}) i;
INSERT INTO encounters (station_id, started_at, ended_at, created_at)
SELECT station, started_at, started_at + interval '20 seconds', started_at + interval '7 days'
FROM plan WHERE i % 5 > 0 ORDER BY i;
INSERT INTO sightings (encounter_id, deer_id, state, sex, created_at, priority)
SELECT p.encounter, CASE WHEN NOT p.waits THEN p.deer END, CASE WHEN p.waits THEN 'review' ELSE 'assigned' END,
       CASE WHEN p.i % 2 = 0 THEN d.sex ELSE 'unknown' END, p.started_at + interval '7 days',
       CASE WHEN p.waits THEN 3 * random() END
FROM plan p JOIN deer d ON d.id = p.deer ORDER BY p.i;
INSERT INTO detections (image_id, sighting_id, confidence, bbox_x, bbox_y, bbox_width, bbox_height, flank)
SELECT CASE WHEN i % 10 = 0 THEN 2 * i - 4 + k ELSE 2 * i - 2 + k END, i, 0.5 + 0.5 * random(), 0.01 * (i % 10),
       0.1, 0.5, 0.5, (ARRAY['left', 'right', 'unknown'])[1 + (i + k) % 3]
FROM generate_series(1, {sightings}::bigint) i, generate_series(1, 2) k ORDER BY i, k;
UPDATE deer SET sighting_count = n.sightings, profile_detection_id = n.detection
FROM (SELECT deer_id, count(*) AS sightings, 2 * max(id) AS detection FROM sightings WHERE deer_id IS NOT NULL
      GROUP BY 1) n WHERE n.deer_id = deer.id;
INSERT INTO decisions (sighting_id, outcome, deer_id, probability, new_probability, version, fingerprints, policy,
                       candidates, decided_at, milliseconds)
SELECT p.i, CASE WHEN p.waits THEN 'review' ELSE 'assign' END, CASE WHEN NOT p.waits THEN p.deer END,
       CASE WHEN p.waits THEN 0.4 ELSE 0.97 END, CASE WHEN p.waits THEN 0.3 ELSE 0.01 END, '{version}',
       '{fingerprints}', '{{"assign_at": 0.95, "new_at": 0.5, "unmet": 25.0, "min_similarity": null}}',
       (SELECT jsonb_agg(jsonb_build_object(
                 'deer_id', CASE k WHEN 0 THEN p.deer ELSE 1 + (p.deer + 997 * k + p.i) % {individuals} END,
                 'similarity', 0.95 - 0.05 * k, 'probability', 0.4 / (1 + k)))
        FROM generate_series(0, 9) k),
       p.started_at + interval '7 days', 12 + 8 * random()
FROM plan p ORDER BY p.i;
INSERT INTO decisions (sighting_id, outcome, deer_id, probability, new_probability, version, fingerprints, policy,
                       candidates, decided_at, actor)
SELECT sighting_id, outcome, deer_id, probability, new_probability, version, fingerprints, policy, candidates,
       decided_at + interval '1 day', (ARRAY['anna', 'ben', 'chi'])[1 + id % 3]
FROM decisions WHERE outcome = 'assign' AND id % 10 = 1 ORDER BY id;
INSERT INTO edits (at, actor, kind, detail, items)
SELECT c.decided_at, c.actor, 'assign',
       jsonb_build_object('sighting', c.sighting_id, 'from', NULL, 'to', d.name, 'number', d.number),
       jsonb_build_array(
         jsonb_build_object('sighting', c.sighting_id, 'before', '{{"state": "review", "deer": null}}'::jsonb,
                            'after', jsonb_build_object('state', 'assigned', 'deer', c.deer_id)),
         jsonb_build_object('deer', c.deer_id, 'before', '{{"status": "retired"}}'::jsonb,
                            'after', '{{"status": "active"}}'::jsonb))
FROM decisions c JOIN deer d ON d.id = c.deer_id WHERE c.actor <> 'machine' ORDER BY c.id;
INSERT INTO events (at, actor, kind, subject, detail)
SELECT at, actor, 'assign', 'sighting:' || (detail ->> 'sighting'),
       jsonb_build_object('was', 'review', 'to', detail ->> 'number', 'to_name', detail ->> 'to')
FROM edits ORDER BY id
"""


@dataclass(frozen=True)
class Taken:
    """Milliseconds of an address, and the size of its answers in bytes."""

    name: str
    median: float
    p95: float
    bytes: int
    budget: float | None


@dataclass(frozen=True)
class Filled:
    """What is worth asking for: ids of waiting sightings that are looked at, numbers of individuals."""

    looked_at: tuple[int, ...]
    busiest: int
    usual: int


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--individuals", type=int, default=10_000)
    parser.add_argument("--sightings", type=int, default=500_000)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--json", action="store_true", help="Print JSON, and the table to standard error.")
    args = parser.parse_args()
    if args.individuals % (10 * STATIONS) or args.sightings % 100:
        parser.error(f"expected individuals by {10 * STATIONS} and sightings by 100")
    found = []
    for share in (10, 1):
        with catalogue(args.individuals // share, args.sightings // share) as (db, home, filled):
            waiting = args.sightings // share // 25
            found.append(measure(db, home, filled, waiting, args.individuals // share, args.turns))
    show(*found)
    if args.json:
        print(json.dumps({"baseline": list(map(asdict, found[0])), "full": list(map(asdict, found[1]))}))


@contextmanager
def catalogue(individuals: int, sightings: int) -> Iterator[tuple[Database, Path, Filled]]:
    """A filled catalogue in a server of its own."""
    with tempfile.TemporaryDirectory(prefix="deertrack-bench-") as scratch:
        home = Path(scratch, "home")
        server = EmbeddedServer(home)
        url = server.ensure()
        try:
            migrate(url)
            with Database(url, size=8) as db:
                yield db, home, fill(db, home, individuals, sightings)
        finally:
            server.stop(mode="immediate")


def fill(db: Database, home: Path, individuals: int, sightings: int) -> Filled:
    """Synthetic photos, animals, decisions and edits; see above."""
    started = time.perf_counter()
    deciders = wiring.make_deciders(Settings(home=home, pack="lite"), db)
    registered = deciders.matchers[0].registered
    fingerprints = {model.value: fp for model, fp in registered.version.fingerprints.items()}
    with db.transaction() as connection:
        connection.execute(
            "SET LOCAL session_replication_role = replica"
        )  # no checks of foreign keys: it is our own
        indexes = connection.execute(
            "SELECT indexname AS name, indexdef AS definition FROM pg_indexes "
            "WHERE tablename = 'deer' AND indexdef LIKE '%USING hnsw%'"
        ).fetchall()
        for index in indexes:
            connection.execute(f"DROP INDEX {index['name']}")
        connection.execute(
            FILL.format(
                individuals=individuals,
                sightings=sightings,
                stations=STATIONS,
                version=registered.version.name,
                fingerprints=json.dumps(fingerprints),
            )
        )
        looked_at = embed(connection, registered, individuals)
        connection.execute("SET LOCAL maintenance_work_mem = '1GB'")
        for index in indexes:
            connection.execute(index["definition"])
        ranked = [
            row["number"]
            for row in connection.execute("SELECT number FROM deer ORDER BY sighting_count DESC")
        ]
    with psycopg.connect(db.url, autocommit=True) as plain:
        plain.execute("VACUUM ANALYZE")
    told = f"{individuals:,} individuals, {sightings:,} sightings: filled in {time.perf_counter() - started:.0f} s"
    print(f"{told}, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    return Filled(looked_at, ranked[0], ranked[len(ranked) // 2])


def embed(connection: Connection, registered: RegisteredVersion, individuals: int) -> tuple[int, ...]:
    """Vectors; returns which waiting sightings are to be looked at."""
    herd = Herd(np.random.default_rng(0), individuals)
    models = [registered.models[output] for output in OUTPUTS]
    kept = ((n + 1, *(herd.vectors[o][n] for o in OUTPUTS)) for n in range(individuals))
    connection.execute("CREATE TEMPORARY TABLE drawn (id int8, multiscale vector(512), partner vector(512))")
    copy(connection, "drawn", "int8 vector vector", kept)
    connection.execute(
        "UPDATE deer SET feature_vector_multiscale = multiscale, feature_vector_efficientnet = partner, "
        "multiscale_model_id = %s, partner_model_id = %s, embedding_version = %s "
        "FROM drawn WHERE drawn.id = deer.id",
        [*models, registered.version.name],
    )
    # Drawn as the plan has them; a third of them at random may be anybody.
    waiting = connection.execute(
        "SELECT p.i AS sighting, p.deer, d.sighting_count AS seen FROM plan p JOIN deer d ON d.id = p.deer "
        "WHERE p.waits ORDER BY d.sighting_count DESC, p.i"
    ).fetchall()
    half = LOOKED_AT // 2
    chosen = waiting[:half] + waiting[half :: len(waiting) // half][:half]
    joined = np.concatenate([herd.vectors[o] for o in OUTPUTS], axis=1)
    near = {row["deer"] for row in chosen}
    for row in chosen:
        near |= {int(n) + 1 for n in np.argsort(-(joined @ joined[row["deer"] - 1]))[:15]}
    ours = connection.execute(
        "SELECT id AS sighting, deer_id AS deer FROM sightings WHERE deer_id = ANY(%s)", [list(near)]
    ).fetchall()

    def rows() -> Iterator[Sequence[object]]:
        for row in waiting + ours:
            for detection in (2 * row["sighting"] - 1, 2 * row["sighting"]):
                seen = herd.query(row["deer"] - 1)
                for output in OUTPUTS:
                    yield detection, registered.models[output], seen.vectors[output]

    copy(connection, "detection_embeddings (detection_id, model_id, embedding)", "int8 int2 vector", rows())
    return tuple(row["sighting"] for row in chosen)


class Visitor:
    """Asks the served application over one connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)

    def ask(self, address: str, body: object = None) -> tuple[float, bytes]:
        """Milliseconds until the whole answer is here, and the answer. With a body it is sent."""
        sent = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json"} if sent else {}
        started = time.perf_counter()
        self._connection.request("POST" if sent else "GET", address, sent, headers)
        answer = self._connection.getresponse()
        told = answer.read()
        taken = 1000 * (time.perf_counter() - started)
        if answer.status != 200:
            raise SystemExit(f"{address}: {answer.status} {told[:500].decode()}")
        return taken, told

    def look(self, address: str) -> Any:
        """What the API says."""
        return json.loads(self.ask(address)[1])


def addresses(filled: Filled, visitor: Visitor, waiting: int, individuals: int) -> dict[str, Address]:
    """All that is read, by name: an address for each turn."""
    half = len(filled.looked_at) // 2
    reviews, gallery, audit = f"{API}/reviews?limit=50", "/individuals?", f"{API}/audit"
    place = ""
    for _ in range(4):
        place = visitor.look(f"{audit}?limit=1000{place}")["next"]
        place = f"&before={place}"
    same = [
        "/",
        f"{API}/status",
        "/review",
        *(f"{reviews}&order={order}" for order in ("value", "oldest", "newest")),
        *(f"{reviews}&order={order}&offset={waiting // 2}" for order in ("value", "oldest", "newest")),
        f"{reviews}&station=Station%207",
        f"{reviews}&sex=male",
        f"{reviews}&since=2023-01-01T00:00:00Z&until=2023-02-01T00:00:00Z",
        f"{reviews}&individual={filled.busiest}",
        *(f"{gallery}sort={sort}" for sort in ("sightings", "name", "number", "last_seen")),
        *(f"{gallery}sort={sort}&offset={individuals // 2}" for sort in ("sightings", "last_seen")),
        f"{gallery}search=Deer+9",
        f"{gallery}search=torn&sort=last_seen",
        f"{gallery}station=Station%207",
        f"{gallery}station=Station%207&sort=last_seen&sex=male",
        f"{API}/individuals?search=deer+9&limit=8",
        "/history",
        f"/history?offset={waiting}",
        "/history?actor=anna",
        audit,
        f"{audit}?actor=anna",
        f"{audit}?subject=deer:{filled.busiest}",
        f"{audit}?subject=sighting:{filled.looked_at[0]}",
        "/dashboard",
        "/dashboard?part=recognition",
        "/stations",
        "/ingest",
        "/health",
    ]
    found: dict[str, Address] = {address: lambda _, address=address: address for address in same}
    found[f"{audit}, 4,000 lines on"] = lambda _: f"{audit}?{place[1:]}"
    for who, number in (("busiest", filled.busiest), ("usual", filled.usual)):
        for path in ("/individuals", f"{API}/individuals"):
            found[f"{path}/… ({who})"] = lambda _, path=path, number=number: f"{path}/{number}"
    busiest = f"{API}/individuals/{filled.busiest}/sightings?offset=100"
    found[f"{API}/individuals/…/sightings (busiest)"] = lambda _: busiest
    found[f"{API}/edits?individual=… (busiest)"] = lambda _: f"{API}/edits?individual={filled.busiest}"
    for who, some in (("a busy one", filled.looked_at[:half]), ("anybody", filled.looked_at[half:])):
        found[f"{API}/sightings/… (may be {who})"] = lambda turn, some=some: (
            f"{API}/sightings/{some[turn % half]}"
        )
    for path in ("/dashboard?", "/dashboard?part=recognition&"):
        found[f"{path}… (counted anew)"] = lambda turn, path=path: (
            f"{path}since={date(2000, 1, 1) + timedelta(turn)}&decided={date(2000, 1, 1) + timedelta(turn)}"
        )
    return found


def measure(
    db: Database, home: Path, filled: Filled, waiting: int, individuals: int, turns: int
) -> list[Taken]:
    """Ask for everything in turns, after one that does not count; what changes something is undone in each."""
    with served(db, home) as visitor:
        found = addresses(filled, visitor, waiting, individuals)
        answer, undo = f"POST {API}/sightings/…/answer", f"POST {API}/edits/…/undo"
        times: dict[str, list[float]] = {name: [] for name in [*found, answer, undo]}
        sizes: dict[str, int] = {}

        def ask(name: str, address: str, body: object = None) -> Any:
            taken, told = visitor.ask(address, body)
            times[name].append(taken)
            sizes[name] = len(told)
            return told

        for turn in range(turns + 1):
            for name, address in found.items():
                ask(name, address(turn))
            sighting = f"{API}/sightings/{filled.looked_at[turn % LOOKED_AT]}"
            likeliest = visitor.look(sighting)["candidates"][0]["number"]
            done = json.loads(ask(answer, f"{sighting}/answer", {"verdict": "same", "individual": likeliest}))
            ask(undo, f"{API}/edits/{done['edit']}/undo", {})
        taken = [
            Taken(
                name,
                float(np.median(ms[1:])),
                float(np.quantile(ms[1:], 0.95)),
                sizes[name],
                WRITE if name.startswith("POST") else READ,
            )
            for name, ms in times.items()
        ]
        for path in ("/versions", "/metrics", f"{API}/suggestions"):
            ms, told = visitor.ask(path)
            taken.append(Taken(f"{path} (once)", ms, ms, len(told), None))
    return taken


@contextmanager
def served(db: Database, home: Path) -> Iterator[Visitor]:
    """The application, served in a thread."""
    queue = JobQueue(db.url)
    app = make_app(Settings(home=home, pack="lite"), db, queue)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    try:
        yield Visitor(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()


def show(baseline: Sequence[Taken], full: Sequence[Taken]) -> None:
    """The table, on standard error so that --json stays clean."""
    print(f"{'':64}{'median ms':>10}{'p95 ms':>9}{'bytes':>10}{'baseline':>10}{'ratio':>7}", file=sys.stderr)
    for small, large in zip(baseline, full, strict=True):
        verdict = "" if large.budget is None else "OK" if large.median < large.budget else "slow"
        print(
            f"{large.name:64}{large.median:10.1f}{large.p95:9.1f}{large.bytes:10,}{small.median:10.1f}"
            f"{large.median / small.median:7.1f}  {verdict}",
            file=sys.stderr,
        )
    print(f"Budgets: {READ:.0f} ms to read, {WRITE:.0f} ms to change something.", file=sys.stderr)


if __name__ == "__main__":
    main()
