"""Killed with kill -9 again and again: does the catalogue end as if nothing had happened?

    .venv/bin/python benchmarks/kill_resume.py CARDS --detections MD.json --kills 3 --seed 1

Runs ``deertrack run`` undisturbed in one home. In another home the same command is killed at random shares of
the work and then left to finish. Prints whether both catalogues hold the same, told by photos (sha256), boxes and
deer numbers, not by row numbers and dates of entry; exits with 1 if they differ. Without arguments it draws a
herd.
"""

import argparse
import math
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from deertrack.storage.lease import in_use
from deertrack.storage.server import EmbeddedServer
from deertrack.vision.sample_herd import draw_herd

TOLERANCE = 1e-5  # of vectors and what is computed from them: batches differ after an interruption
STAGES = ("images", "detections", "detection_embeddings", "sightings", "decisions")

# A detection by its photo and box, wherever another table speaks of it.
_DETECTION = (
    "(SELECT array[encode(i.sha256, 'hex'), "
    "d.bbox_x::text, d.bbox_y::text, d.bbox_width::text, d.bbox_height::text])"
)
_PHOTOS_OF = f"""(SELECT array_agg({_DETECTION} ORDER BY i.sha256, d.bbox_x, d.bbox_y)
                 FROM detections d JOIN images i ON i.id = d.image_id WHERE d.sighting_id = g.id)"""
_CONTENT = {
    "stations": "SELECT name, latitude, longitude, timezone, clock_shift FROM stations ORDER BY name",
    "photos": """
        SELECT encode(sha256, 'hex'), s.name, width, height, camera, clock, offset_minutes, taken_at,
               detector, error
        FROM images i JOIN stations s ON s.id = i.station_id ORDER BY 1""",
    "files": """
        SELECT path, size, encode(i.sha256, 'hex'), f.error FROM files f LEFT JOIN images i ON i.id = f.image_id
        ORDER BY path""",
    "detections": f"""
        SELECT {_DETECTION} AS detection, confidence, label, label_confidence, sex, age_class
        FROM detections d JOIN images i ON i.id = d.image_id ORDER BY 1""",
    "vectors": f"""
        SELECT {_DETECTION} AS detection, m.fingerprint, v.embedding::real[]
        FROM detection_embeddings v JOIN models m ON m.id = v.model_id
        JOIN detections d ON d.id = v.detection_id JOIN images i ON i.id = d.image_id ORDER BY 1, 2""",
    "sightings": f"""
        SELECT {_PHOTOS_OF}, s.name, e.started_at, e.ended_at, g.state, g.sex, r.number,
               (SELECT count(*) FROM sightings o WHERE o.encounter_id = e.id) AS in_encounter
        FROM sightings g JOIN encounters e ON e.id = g.encounter_id JOIN stations s ON s.id = e.station_id
        LEFT JOIN deer r ON r.id = g.deer_id ORDER BY 1""",
    "deer": f"""
        SELECT number, name, r.sex, status, notes, sighting_count, embedding_version, {_DETECTION} AS profile,
               feature_vector::real[], feature_vector_multiscale::real[],
               feature_vector_efficientnet::real[]
        FROM deer r JOIN detections d ON d.id = r.profile_detection_id JOIN images i ON i.id = d.image_id
        ORDER BY number""",
    "decisions": f"""
        SELECT {_PHOTOS_OF}, c.outcome, r.number, c.probability, c.new_probability, c.version, c.fingerprints,
               c.policy, c.actor,
               (SELECT jsonb_agg(k.value - 'deer_id' || jsonb_build_object('number', o.number)
                                 ORDER BY k.ordinality)
                FROM jsonb_array_elements(c.candidates) WITH ORDINALITY k
                JOIN deer o ON o.id = (k.value ->> 'deer_id')::bigint)
        FROM decisions c JOIN sightings g ON g.id = c.sighting_id LEFT JOIN deer r ON r.id = c.deer_id
        ORDER BY c.id""",
    "settings": "SELECT key, value FROM settings ORDER BY key",
    "events": """
        SELECT kind, actor, detail, regexp_replace(subject, '^deer:.*', 'deer:' || r.number) FROM events e
        LEFT JOIN deer r ON e.subject = 'deer:' || r.id
        WHERE kind <> 'run'  -- how long it took, and in how many runs
        ORDER BY e.id""",
    "schema": "SELECT migration_id FROM _yoyo_migration ORDER BY 1",
}

Content = dict[str, list[tuple[Any, ...]]]


def catalogue_content(url: str) -> Content:
    """All that a catalogue says, by table, without row numbers and dates of entry."""
    with psycopg.connect(url) as connection:
        connection.execute("SET timezone = 'UTC'")
        return {name: connection.execute(query).fetchall() for name, query in _CONTENT.items()}


def differences(expected: Content, found: Content) -> list[str]:
    """What two catalogues disagree about: one line a table, empty if they hold the same."""
    lines = []
    for name, rows in expected.items():
        pairs = list(zip(rows, found[name], strict=False))
        wrong = [(a, b) for a, b in pairs if not same(a, b)]
        if len(rows) != len(found[name]) or wrong:
            first = "; first: " + " / ".join(f"{row!s:.200}" for row in wrong[0]) if wrong else ""
            lines.append(f"{name}: {len(rows)} rows / {len(found[name])}, {len(wrong)} of them differ{first}")
    return lines


def same(a: Any, b: Any) -> bool:
    """Equal, and equal within ``TOLERANCE`` where they hold floats."""
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, abs_tol=TOLERANCE)
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b) > 8 and isinstance(a[0], float):
        return bool(np.allclose(a, b, rtol=0, atol=TOLERANCE))
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return bool(a == b)


def count_rows(connection: psycopg.Connection[Any]) -> dict[str, int]:
    """Rows of each table in ``STAGES``; none while there is no such table yet."""
    counts = dict.fromkeys(STAGES, 0)
    for table in STAGES:
        known = connection.execute("SELECT to_regclass(%s)::text", [table]).fetchone()
        if known and known[0]:
            row = connection.execute(
                sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
            ).fetchone()
            counts[table] = int(row[0]) if row else 0
    return counts


class Watch:
    """Counts a home's rows while another process works on it. Usable before its database exists."""

    def __init__(self, home: Path) -> None:
        self._server = EmbeddedServer(home)
        self._connection: psycopg.Connection[Any] | None = None

    def rows(self) -> dict[str, int]:
        """As ``count_rows``; none while the server is not up."""
        try:
            if self._connection is None and (url := self._server.status().url):
                self._connection = psycopg.connect(url, autocommit=True)
            if self._connection is not None:
                return count_rows(self._connection)
        except psycopg.OperationalError:  # it is still starting
            self.close()
        return dict.fromkeys(STAGES, 0)

    def close(self) -> None:
        """Disconnect."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def run_and_kill(
    command: Sequence[str], home: Path, when: Callable[[dict[str, int]], bool], *, delay: float = 0
) -> bool:
    """Start a run and send SIGKILL ``delay`` seconds after ``when`` says so of its home's rows.

    Returns:
        False if it ended by itself before that.
    """
    watch = Watch(home)
    process = subprocess.Popen(
        [*command, "--home", str(home)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        while process.poll() is None:
            if when(watch.rows()):
                time.sleep(delay)
                process.kill()
                break
            time.sleep(0.002)
        complaint = process.communicate()[1].decode()
    finally:
        process.kill()
        watch.close()
    if process.returncode > 0:
        raise SystemExit(f"deertrack run failed: {complaint}")
    return process.returncode < 0


def run_to_the_end(command: Sequence[str], home: Path) -> Content:
    """Run undisturbed; returns what the catalogue then holds."""
    subprocess.run([*command, "--home", str(home)], stdout=subprocess.DEVNULL, check=True)
    with in_use(EmbeddedServer(home)) as url:
        return catalogue_content(url)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cards", type=Path, nargs="?")
    parser.add_argument("--detections", type=Path, help="without it every photo is one animal")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory(prefix="deertrack-bench-") as scratch:
        cards, detections, options = args.cards, args.detections, list[str]()
        if cards is None:
            herd = draw_herd(Path(scratch, "herd"))
            cards, detections = herd.cards, herd.detections
            options = ["--calibration", str(herd.calibration)]
        command = [sys.executable, "-m", "deertrack", "run", str(cards), "--json", *options]
        command += ["--detections", str(detections)] if detections else ["--whole-photo"]
        started = time.perf_counter()
        expected = run_to_the_end(command, Path(scratch, "undisturbed"))
        print(
            f"undisturbed: {time.perf_counter() - started:.1f} s, {len(expected['photos']):,} photos", end=""
        )
        print(f", {len(expected['sightings']):,} sightings, {len(expected['deer']):,} individuals")
        tables = ("photos", "detections", "vectors", "sightings", "decisions")
        total = dict(zip(STAGES, (len(expected[table]) for table in tables), strict=True))
        home = Path(scratch, "killed")
        # Each table is a fifth of the way; every kill comes at a random share of it, in rising order.
        for share in sorted(rng.random() for _ in range(args.kills)):

            def reached(rows: dict[str, int], share: float = share) -> bool:
                return sum(rows[s] / max(total[s], 1) for s in STAGES) / len(STAGES) >= share

            killed = run_and_kill(command, home, reached, delay=rng.uniform(0, 0.5))
            with in_use(EmbeddedServer(home)) as url, psycopg.connect(url) as connection:
                held = count_rows(connection)
            done = ", ".join(f"{held[s]:,} of {total[s]:,} {s.replace('_', ' ')}" for s in STAGES)
            print(f"{'killed' if killed else 'ended before it was killed'} at {share:.0%}: {done}")
        started = time.perf_counter()
        found = run_to_the_end(command, home)
        print(f"run again to its end: {time.perf_counter() - started:.1f} s")
        wrong = differences(expected, found)
    print("\n".join(["NOT identical:", *wrong]) if wrong else "identical")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
