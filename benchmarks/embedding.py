"""How fast photos become vectors: decoding, inference, and both together.

    python benchmarks/embedding.py [--photos DIR] [--rounds 9] [--batches 1 16] [--threads N]

Every figure is a median over rounds, in milliseconds for one photo or one crop, beside its ratio to a baseline
that is measured in the same rounds. Without --photos, photos of 12 megapixels are drawn.
"""

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deertrack.domain.embedding import Output
from deertrack.domain.records import WHOLE_PHOTO, Box
from deertrack.vision.embedder import Embedded, Embedder, EmbedTask
from deertrack.vision.engines import EngineName, Precision, load_engine
from deertrack.vision.image_io import PHOTO_SUFFIXES, decode
from deertrack.vision.model_packs import builtin_pack

ENGINES: tuple[tuple[EngineName, Precision], ...] = (
    ("onnxruntime", "f32"),
    ("openvino", "f32"),
    ("openvino", "bf16"),
)


def compare(title: str, ways: dict[str, Callable[[], object]], *, rounds: int, per: int) -> None:
    """Time each way once in every round, in turn, so that a busy machine is unfair to all alike.

    ``per`` is the number of photos or crops that one call handles; the first way is the baseline.
    """
    for way in ways.values():
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    medians = {name: 1e3 * statistics.median(taken) / per for name, taken in seconds.items()}
    baseline = next(iter(ways))
    print(f"\n{title} (baseline: {baseline})")
    for name, median in medians.items():
        print(f"  {name:<32} {median:8.2f} ms   {medians[baseline] / median:6.2f} × as fast")


def pillow_decode(data: bytes) -> NDArray[np.uint8]:
    """The plain way: Pillow, every pixel."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def decoding(paths: Sequence[Path], rounds: int) -> None:
    files = [(path, path.read_bytes()) for path in paths]

    def ours(shrink: int) -> Callable[[], object]:
        return lambda: [decode(data, path, shrink=shrink) for path, data in files]

    ways: dict[str, Callable[[], object]] = {
        "Pillow, full": lambda: [pillow_decode(data) for _, data in files]
    }
    ways |= {f"decode, shrink {shrink}": ours(shrink) for shrink in (1, 2, 4, 8)}
    compare("Decoding, per photo", ways, rounds=rounds, per=len(files))


def inference(batches: Sequence[int], threads: int | None, rounds: int) -> None:
    pack = builtin_pack()
    for graph in pack.card.graphs:
        loaded = {
            f"{name} {precision}": load_engine(
                pack.directory / graph.file, engine=name, precision=precision, threads=threads
            )
            for name, precision in ENGINES
        }
        for size in batches:
            pixels = np.random.default_rng(0).normal(size=(size, 3, *graph.input_hw)).astype(np.float32)
            ways: dict[str, Callable[[], object]] = {
                name: partial(engine.run, pixels) for name, engine in loaded.items()
            }
            compare(f"{graph.file}, batch {size}, per crop", ways, rounds=rounds, per=size)


def embed_all(embedder: Embedder, tasks: Sequence[EmbedTask]) -> list[Embedded]:
    """Every photo's vectors."""
    return list(embedder.embed(tasks))


def whole_way(paths: Sequence[Path], threads: int | None, rounds: int) -> None:
    """File to vectors, all outputs of the pack, and how far the engines' vectors are apart."""
    tasks = [EmbedTask(key, path, (WHOLE_PHOTO, Box(0.3, 0.3, 0.4, 0.4))) for key, path in enumerate(paths)]
    embedders = {
        f"{name} {precision}": Embedder(builtin_pack(), engine=name, precision=precision, threads=threads)
        for name, precision in ENGINES
    }
    ways: dict[str, Callable[[], object]] = {
        name: partial(embed_all, embedder, tasks) for name, embedder in embedders.items()
    }
    compare("File to vectors, two boxes, per photo", ways, rounds=rounds, per=len(tasks))
    rows = {
        name: {
            output: np.concatenate([result.vectors[output] for result in embed_all(embedder, tasks)])
            for output in Output
        }
        for name, embedder in embedders.items()
    }
    print("\nLeast cosine to openvino f32")
    for name in rows:
        apart = {
            output: (rows[name][output] * rows["openvino f32"][output]).sum(axis=1).min() for output in Output
        }
        print(f"  {name:<20}", "  ".join(f"{output} {cosine:.5f}" for output, cosine in apart.items()))


def drawn_photos(folder: Path, count: int) -> list[Path]:
    """JPEGs of 12 megapixels with detail at every scale, as a trail camera's."""
    paths = []
    for seed in range(count):
        random = np.random.default_rng(seed)
        picture = Image.new("RGB", (4000, 3000))
        for share, cells in ((0.6, 12), (0.4, 400)):
            coarse = random.integers(0, 256, (cells * 3 // 4, cells, 3), dtype=np.uint8)
            layer = Image.fromarray(coarse).resize(picture.size, Image.Resampling.BICUBIC)
            picture = Image.blend(layer, picture, 1 - share)
        paths.append(folder / f"drawn_{seed}.jpg")
        picture.save(paths[-1], quality=90)
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description="Time decoding, inference and embedding.")
    parser.add_argument("--photos", type=Path, help="a folder of photos; default: drawn ones")
    parser.add_argument("--count", type=int, default=16, help="photos to use (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="rounds (default: %(default)s)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16], help="crops in one pass")
    parser.add_argument("--threads", type=int, help="CPU threads; default: the engine's choice")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.photos:
            found = sorted(p for p in given.photos.rglob("*") if p.suffix.lower() in PHOTO_SUFFIXES)
            paths = found[:: max(1, len(found) // given.count)][: given.count]
        else:
            paths = drawn_photos(Path(folder), given.count)
        if not paths:
            parser.error(f"no photos in {given.photos}")
        decoding(paths, given.rounds)
        inference(given.batches, given.threads, given.rounds)
        whole_way(paths, given.threads, max(3, given.rounds // 3))


if __name__ == "__main__":
    main()
