"""Re-embedding known individuals: against the predecessor's way, and against the work that cannot be avoided.

    python benchmarks/reembed.py [--photos CARDS] [--detections MD.json] [--deer 165] [--repeats 3]

Each deer has one detection, in a catalogue of its own. ``services.lifecycle.reembed`` gives it every vector of a
pack: reads the photo, decodes, crops, runs the networks, stores vectors and fills the profile. Packs: the built-in
``lite``, and ``resnet50-b0`` with random weights, which are as much work as trained ones.

The baseline is the same work as the predecessor did it: torch eager, one deer at a time, ResNet50 run twice (once
for its pooled features, once for its layers) and EfficientNet-B0, every pixel decoded by Pillow, one UPDATE a deer.
It and ``resnet50-b0`` need the extra ``models`` (torch, transformers, onnx); without it only ``lite`` is measured.

All ways take turns in every repeat, so that a busy machine is unfair to all alike; it is more so to torch, whose
threads wait for each other without sleep, so look at the least as well. CPU time is that of this process, without
the database server. No figure includes loading a model. Without --photos a herd is drawn.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from PIL import Image

from deertrack.domain.embedding import Output, Vectors
from deertrack.domain.records import Box
from deertrack.formats.megadetector import read_detections
from deertrack.services.detections import apply_detections, take_whole_photos
from deertrack.services.ingest import StationRules, find_photos, ingest
from deertrack.services.lifecycle.reembed import reembed
from deertrack.services.models import build_resnet50_b0, find_pack
from deertrack.services.versions import registered_version
from deertrack.storage import catalogue, profiles
from deertrack.storage.db import Database
from deertrack.storage.embeddings import as_array
from deertrack.storage.migrate import migrate
from deertrack.storage.server import EmbeddedServer
from deertrack.vision.embedder import Embedder, EmbedTask, normalise_pixels
from deertrack.vision.engines import Precision
from deertrack.vision.model_packs import Pack, builtin_pack
from deertrack.vision.sample_herd import draw_herd

BASELINE = "torch eager, ResNet50 twice"
SEED = 1  # of the random weights
PRECISIONS: tuple[Precision, ...] = ("f32", "bf16")

# A deer of the base system: single-layer vector, one sighting, one detection.
ADD_DEER = """
WITH e AS (INSERT INTO encounters (station_id) SELECT min(id) FROM stations RETURNING id),
d AS (INSERT INTO deer (number, name, sighting_count, feature_vector, single_model_id, embedding_version)
      VALUES (%(number)s, %(name)s, 1, l2_normalize(%(vector)s::vector), %(model)s, %(version)s) RETURNING id),
s AS (INSERT INTO sightings (encounter_id, deer_id, state) SELECT e.id, d.id, 'assigned' FROM e, d RETURNING id)
UPDATE detections SET sighting_id = (SELECT id FROM s) WHERE id = %(detection_id)s"""


@dataclass(frozen=True)
class Cost:
    """What something took: seconds by the clock (median and least of its repeats), and of CPU time (median)."""

    median: float
    least: float
    cpu: float


def cost_of(runs: Sequence[tuple[float, float]]) -> Cost:
    """From (seconds, CPU seconds) of each repeat."""
    seconds, cpu = zip(*runs, strict=True)
    return Cost(statistics.median(seconds), min(seconds), statistics.median(cpu))


def timed(work: Callable[[], object]) -> tuple[float, float]:
    start, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - cpu


class Reembedding:
    """One pack at one precision: the real thing, and its two parts that cannot be avoided."""

    def __init__(self, db: Database, pack: Pack, precision: Precision) -> None:
        self._db = db
        self._target = registered_version(db, pack, next(v.name for v in pack.versions if v.stage == 3))
        self._embedder = Embedder(pack, precision=precision)
        self.name = f"{pack.card.name.removesuffix('-random')} {precision}"
        with db.transaction() as connection:
            wanted = profiles.profiles_to_embed(connection, self._target)
            pending = profiles.photos_of(connection, list(wanted.values()))
        deer = {detection_id: deer_id for deer_id, detection_id in wanted.items()}
        self.photos = [(deer[photo.detection_ids[0]], photo.paths[0], photo.boxes[0]) for photo in pending]
        self._tasks = [EmbedTask(deer_id, path, (box,)) for deer_id, path, box in self.photos]
        opened, size = list(self._embedder._read_ahead(self._tasks)), self._embedder._batch_size
        self._passes = []
        for graph, engine in self._embedder._graphs:
            crops = np.stack([photo.crops[graph.crop, graph.input_hw][0] for photo in opened])
            pixels = normalise_pixels(crops, graph.normalisation)
            self._passes += [partial(engine.run, pixels[i : i + size]) for i in range(0, len(pixels), size)]

    def all(self) -> None:
        """Everything: from files and rows to rows."""
        done = reembed(self._db, lambda: self._embedder, self._target)
        assert done.embedded == done.profiles == len(self._tasks), done

    def decoding(self) -> None:
        """Read, decode and crop, in as many threads."""
        for _ in self._embedder._read_ahead(self._tasks):
            pass

    def networks(self) -> None:
        """The same batches through the networks, and nothing else."""
        for one_pass in self._passes:
            one_pass()


class Predecessor:
    """Its way of doing the same, with the networks that our pack ``resnet50-b0`` was built from."""

    def __init__(self, db: Database) -> None:
        import torch

        from deertrack.vision import resnet50_b0
        from deertrack.vision.graph_building import orthonormal

        self._db, self._torch = db, torch
        self._networks = resnet50_b0.random_networks(SEED)
        widths = {Output.SINGLE: 2048, Output.MULTISCALE: 512 + 1024 + 2 * 2048, Output.PARTNER: 1280}
        self._projections = {
            output: torch.from_numpy(orthonormal(width, number)).float()
            for number, (output, width) in enumerate(widths.items(), start=1)
        }

    def all(self, deer: Sequence[tuple[int, Path, Box]]) -> None:
        """One deer after the other."""
        for deer_id, path, box in deer:
            vectors = self._embed(self._pixels(path, box))
            parameters = {output.value: vectors[output] for output in Output} | {"id": deer_id}
            with self._db.transaction() as connection:
                connection.execute(
                    "UPDATE deer SET feature_vector_multiscale = %(feature_vector_multiscale)s, "
                    "feature_vector_efficientnet = %(feature_vector_efficientnet)s WHERE id = %(id)s",
                    parameters,
                )

    def _pixels(self, path: Path, box: Box) -> Any:
        image = Image.open(path).convert("RGB")
        left, top = round(box.x * image.width), round(box.y * image.height)
        right, bottom = round((box.x + box.width) * image.width), round((box.y + box.height) * image.height)
        crop = image.crop((left, top, right, bottom)).resize((224, 224), Image.Resampling.BILINEAR)
        pixels = self._torch.from_numpy(np.asarray(crop).copy()).permute(2, 0, 1).float() / 255
        mean, std = (
            self._torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        )
        return ((pixels - mean) / std)[None]

    def _embed(self, pixels: Any) -> dict[Output, Any]:
        torch, networks = self._torch, self._networks
        unit = torch.nn.functional.normalize
        with torch.inference_mode():
            features = {Output.SINGLE: networks.resnet(pixels).pooler_output.flatten(1)}
            again = networks.resnet(pixels, output_hidden_states=True)
            layers = [state.mean((2, 3)) for state in again.hidden_states[2:]]
            blocks = [*layers, again.pooler_output.flatten(1)]
            features[Output.MULTISCALE] = torch.cat([unit(block) for block in blocks], dim=1)
            features[Output.PARTNER] = networks.efficientnet(pixels).last_hidden_state.mean((2, 3))
            return {o: unit(unit(x) @ self._projections[o])[0].numpy() for o, x in features.items()}


def fill(db: Database, cards: Path, detections: Path | None, deer: int) -> None:
    """A catalogue of the base system: that many deer, each with the best detection of another photo."""
    photos = find_photos([cards])
    read = ingest(db, photos, StationRules())
    if detections:
        apply_detections(db, photos, read.catalogued, [read_detections(detections)])
    else:
        take_whole_photos(db, read.catalogued)
    active = registered_version(db, builtin_pack(), "v1_lite")
    rng = np.random.default_rng(0)
    with db.transaction() as connection:
        best = connection.execute(
            "SELECT DISTINCT ON (image_id) id FROM detections ORDER BY image_id, confidence DESC, id"
        ).fetchall()
        if len(best) < deer:
            print(f"Only {len(best)} photos show an animal, so there are no more deer than that.")
        chosen = [best[i]["id"] for i in np.linspace(0, len(best) - 1, min(deer, len(best))).astype(int)]
        for number, detection_id in enumerate(chosen, start=1):
            connection.execute(
                ADD_DEER,
                {
                    "number": number,
                    "name": f"Deer {number}",
                    "vector": rng.normal(size=512).astype(np.float32),
                    "model": active.models[Output.SINGLE],
                    "version": active.version.name,
                    "detection_id": detection_id,
                },
            )
        catalogue.put_setting(connection, catalogue.ACTIVE_VERSION, active.version.name)


def forget(url: str) -> None:
    """Back to the base system."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("TRUNCATE detection_embeddings")
        connection.execute(
            "UPDATE deer SET feature_vector_multiscale = NULL, feature_vector_efficientnet = NULL, "
            "multiscale_model_id = NULL, partner_model_id = NULL, embedding_version = 'v1_lite'"
        )
        connection.execute("VACUUM ANALYZE deer")  # else the indexes fill with rows that are gone


def stored(db: Database) -> Vectors:
    """The multi-scale profiles, (deer, 512)."""
    with db.transaction() as connection:
        rows = connection.execute("SELECT feature_vector_multiscale AS v FROM deer ORDER BY id").fetchall()
    return np.stack([as_array(row["v"]) for row in rows])


def measure(db: Database, ways: Sequence[Reembedding], predecessor: Predecessor | None, repeats: int) -> None:
    """Take turns, and print the tables."""
    whole: dict[Any, Callable[[], object]] = {way.name: way.all for way in ways}
    if predecessor:
        predecessor.all(ways[0].photos[:3])  # the first deer take longer
        whole = {BASELINE: partial(predecessor.all, ways[0].photos)} | whole
    parts = {(way.name, part.__name__): part for way in ways for part in (way.decoding, way.networks)}
    runs: dict[Any, list[tuple[float, float]]] = {name: [] for name in (*whole, *parts)}
    vectors = {}
    for _ in range(repeats):
        for name, work in (whole | parts).items():
            runs[name].append(timed(work))
            if name in whole:
                vectors[name] = stored(db)
                forget(db.url)
    show({name: cost_of(taken) for name, taken in runs.items()}, list(whole), deer=len(ways[0].photos))
    if predecessor:
        cosines = [f"{(vectors[BASELINE] * vectors[way.name]).sum(axis=1).min():.3f}" for way in ways[:2]]
        print(f"Least cosine of a multi-scale vector to the baseline's: f32 {cosines[0]}, bf16 {cosines[1]}")


def show(costs: dict[Any, Cost], whole: Sequence[str], *, deer: int) -> None:
    def each(cost: Cost) -> str:
        return f"{pair(1e3 * cost.median / deer, 1e3 * cost.least / deer)} {1e3 * cost.cpu / deer:9.1f}"

    def over(one: Cost, other: Cost) -> str:
        return f"{pair(one.median / other.median, one.least / other.least)} {one.cpu / other.cpu:9.2f}"

    baseline = costs.get(BASELINE)
    print(f"\n{deer} deer, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}. Medians; (least); CPU time")
    print(f"{'':28} {'seconds':>8} {'ms a deer':>17} {'CPU':>9} {'times as fast':>17} {'by CPU':>9}")
    for name in whole:
        cost = costs[name]
        print(f"{name:28} {cost.median:8.2f} {each(cost)} {over(baseline, cost) if baseline else ''}")
    head = f"{'decode, ms':>17} {'CPU':>9} {'networks, ms':>17} {'CPU':>9} {'all / the larger':>17} {'by CPU':>9}"
    print(f"\n{'What it takes in any case':28} {head}")
    for name in whole[bool(baseline) :]:
        decode, networks = (costs[name, part] for part in ("decoding", "networks"))
        larger = Cost(*(max(getattr(decode, f), getattr(networks, f)) for f in ("median", "least", "cpu")))
        print(f"{name:28} {each(decode)} {each(networks)} {over(costs[name], larger)}")
    print("Goals: 6 times as fast; 15 ms a deer on 2 quiet cores; all / the larger 1.3")


def pair(median: float, least: float) -> str:
    return f"{median:8.2f} ({least:6.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, help="a folder of photos; default: a drawn herd")
    parser.add_argument("--detections", type=Path, help="without it every photo is one animal")
    parser.add_argument("--deer", type=int, default=165, help="(default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="(default: %(default)s)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="deertrack-bench-") as scratch:
        photos, detections = given.photos, given.detections
        if photos is None:
            print("Drawn sample herd: photos of 1280 × 960 pixels.")
            herd = draw_herd(Path(scratch, "herd"))
            photos, detections = herd.cards, herd.detections
        home, packs = Path(scratch, "home"), [builtin_pack()]
        if all(find_spec(name) for name in ("torch", "transformers", "onnx")):
            packs.insert(0, find_pack(home, build_resnet50_b0(home, random_seed=SEED)))
        else:
            print("Without the extra `models` there is no baseline and no resnet50-b0.")
        server = EmbeddedServer(home)
        url = server.ensure()
        try:
            migrate(url)
            with Database(url) as db:
                fill(db, photos, detections, given.deer)
                ways = [Reembedding(db, pack, precision) for pack in packs for precision in PRECISIONS]
                predecessor = Predecessor(db) if len(packs) > 1 else None
                measure(db, ways, predecessor, given.repeats)
        finally:
            server.stop(mode="immediate")


if __name__ == "__main__":
    main()
