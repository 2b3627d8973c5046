import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from deertrack.domain.embedding import Output, check_vectors
from deertrack.domain.errors import PackError
from deertrack.domain.records import WHOLE_PHOTO, Box
from deertrack.vision.embedder import Embedded, Embedder, EmbedTask
from deertrack.vision.engines import EngineName, Precision
from deertrack.vision.model_packs import builtin_pack, load_pack

from .conftest import draw, encode

BOXES = (WHOLE_PHOTO, Box(0.1, 0.2, 0.3, 0.3), Box(0.5, 0.5, 0.02, 0.02), Box(0.3, 0.0, 0.7, 1.0))


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(builtin_pack(), engine="openvino")


def tasks(paths: list[Path], boxes: tuple[Box, ...] = BOXES) -> list[EmbedTask]:
    return [EmbedTask(key, path, boxes) for key, path in enumerate(paths)]


def run(embedder: Embedder, given: list[EmbedTask]) -> dict[Output, np.ndarray]:
    """All vectors of all photos, one below the other."""
    results = list(embedder.embed(given))
    assert [r.key for r in results] == [t.key for t in given]
    assert [r.error for r in results] == [""] * len(given)
    return {output: np.concatenate([r.vectors[output] for r in results]) for output in Output}


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a.astype(np.float64) * b).sum(axis=1)


def test_every_output_is_512_unit_numbers(embedder: Embedder, drawn_photos: list[Path]) -> None:
    for rows in run(embedder, tasks(drawn_photos)).values():
        assert len(rows) == len(drawn_photos) * len(BOXES)
        check_vectors(rows)


def test_the_outputs_tell_photos_apart(embedder: Embedder, drawn_photos: list[Path]) -> None:
    for rows in run(embedder, tasks(drawn_photos, (WHOLE_PHOTO,))).values():
        between = rows @ rows.T
        assert (between[~np.eye(len(rows), dtype=bool)] < 0.999).all()
    single, multiscale, partner = run(embedder, tasks(drawn_photos)).values()
    assert (np.abs(cosines(single, multiscale)) < 0.5).all()
    assert (np.abs(cosines(multiscale, partner)) < 0.5).all()


def test_a_vector_does_not_depend_on_its_companions(embedder: Embedder, drawn_photos: list[Path]) -> None:
    together = run(embedder, tasks(drawn_photos))
    for i in range(len(BOXES)):
        alone = run(embedder, tasks(drawn_photos, (BOXES[i],)))
        turned = run(embedder, tasks(drawn_photos[::-1], BOXES[i:]))
        for output in Output:
            rows = together[output][i :: len(BOXES)]
            np.testing.assert_allclose(alone[output], rows, atol=1e-5)
            np.testing.assert_allclose(turned[output][:: len(BOXES) - i][::-1], rows, atol=1e-5)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_vector_does_not_depend_on_the_batch_size(engine: EngineName, drawn_photos: list[Path]) -> None:
    by_16, by_1, by_7 = (
        run(Embedder(builtin_pack(), engine=engine, batch_size=size), tasks(drawn_photos))
        for size in (16, 1, 7)
    )
    for output in Output:
        np.testing.assert_allclose(by_1[output], by_16[output], atol=1e-5)
        np.testing.assert_allclose(by_7[output], by_16[output], atol=1e-5)


@pytest.mark.parametrize(
    ("engine", "precision"), [("onnxruntime", "f32"), ("openvino", "bf16")], ids=["onnxruntime", "bf16"]
)
def test_engines_and_precisions_agree_on_real_photos(
    embedder: Embedder, shared_data: Path, engine: EngineName, precision: Precision
) -> None:
    other = Embedder(builtin_pack(), engine=engine, precision=precision)
    animals = sorted((shared_data / "nyala" / "cards").rglob("*.JPG"))[::20]
    elephants = [p for p in (shared_data / "bad_images").glob("african*.jpg") if "truncated" not in p.name]
    given = tasks([*animals, *elephants], (WHOLE_PHOTO, Box(0.1, 0.1, 0.8, 0.8)))
    expected, seen = run(embedder, given), run(other, given)
    for output in Output:
        check_vectors(seen[output])
        assert cosines(expected[output], seen[output]).min() >= 0.999


def test_engines_agree_on_pictures_of_nothing(embedder: Embedder, drawn_photos: list[Path]) -> None:
    """Gradients and specks of them. Not asked of bf16: without features it has nothing to hold on to."""
    other = Embedder(builtin_pack(), engine="onnxruntime")
    expected, seen = run(embedder, tasks(drawn_photos)), run(other, tasks(drawn_photos))
    for output in Output:
        assert cosines(expected[output], seen[output]).min() >= 0.999


SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np
from deertrack.domain.records import Box
from deertrack.vision.embedder import Embedder, EmbedTask
from deertrack.vision.model_packs import builtin_pack
photos, boxes = json.loads(sys.argv[2]), tuple(Box(*b) for b in json.loads(sys.argv[3]))
embedder = Embedder(builtin_pack(), engine=sys.argv[4])
results = embedder.embed(EmbedTask(i, Path(p), boxes) for i, p in enumerate(photos))
np.save(sys.argv[1], np.concatenate([np.concatenate(list(r.vectors.values()), axis=1) for r in results]))
"""


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_two_processes_give_the_same_vectors(engine: str, drawn_photos: list[Path], tmp_path: Path) -> None:
    photos = json.dumps([str(path) for path in drawn_photos])
    boxes = json.dumps([[b.x, b.y, b.width, b.height] for b in BOXES])
    rows = []
    for name in ("first.npy", "second.npy"):
        subprocess.run(
            [sys.executable, "-c", SCRIPT, str(tmp_path / name), photos, boxes, engine], check=True
        )
        rows.append(np.load(tmp_path / name))
    assert rows[0].shape == (len(drawn_photos) * len(BOXES), 3 * 512)
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-5)


# Computed when the pack was built: the same photo gives the same vector in every later year.
REMEMBERED = {
    Output.SINGLE: [-0.04464, -0.00762, -0.00322, 0.01114, -0.09799, -0.01088],
    Output.MULTISCALE: [-0.00932, 0.01437, -0.03614, -0.04318, 0.0444, 0.01391],
    Output.PARTNER: [-0.00865, -0.00938, -0.0041, 0.09038, 0.01528, 0.01648],
}


def test_the_same_photo_gives_the_same_vector_in_later_years(embedder: Embedder, tmp_path: Path) -> None:
    path = tmp_path / "drawn.png"
    steps = np.add.outer(np.arange(480) // 2, np.arange(640) // 3)
    pixels = np.stack([steps % 256, (steps * 3) % 256, (steps * steps // 64) % 256], axis=2).astype(np.uint8)
    path.write_bytes(encode(pixels, "PNG"))
    for output, rows in run(embedder, tasks([path], (WHOLE_PHOTO,))).items():
        np.testing.assert_allclose(rows[0, :6], REMEMBERED[output], atol=2e-4)


def test_bad_photos_are_told_and_stop_no_other(
    embedder: Embedder, drawn_photos: list[Path], tmp_path: Path
) -> None:
    truncated, text, empty = tmp_path / "half.jpg", tmp_path / "note.jpg", tmp_path / "empty.jpg"
    truncated.write_bytes(drawn_photos[1].read_bytes()[:-3000])
    text.write_text("no photo")
    empty.write_bytes(b"")
    bad = [truncated, text, empty, tmp_path / "missing.jpg", tmp_path]
    mixed = [path for pair in zip(bad, drawn_photos, strict=False) for path in pair]
    results = list(embedder.embed(tasks(mixed)))
    assert [r.key for r in results] == list(range(10))
    for path, result in zip(bad, results[::2], strict=True):
        assert str(path) in result.error
        assert result.vectors == {}
    told = [r.error.split(": ", 1)[1] for r in results[::2]]
    assert [t.split(" ")[0] for t in told] == ["truncated", "not", "the", "cannot", "cannot"]
    good = run(embedder, tasks(drawn_photos[:5]))
    for output in Output:
        np.testing.assert_allclose(
            np.concatenate([r.vectors[output] for r in results[1::2]]), good[output], atol=1e-5
        )


def test_a_photo_without_animals_has_no_vectors(embedder: Embedder, drawn_photos: list[Path]) -> None:
    results = list(embedder.embed(tasks(drawn_photos[:2], ())))
    assert results == [Embedded(0, results[0].vectors), Embedded(1, results[1].vectors)]
    assert [results[0].vectors[output].shape for output in Output] == [(0, 512)] * 3
    assert list(embedder.embed([])) == []


def test_only_a_few_photos_are_ever_open(drawn_photos: list[Path]) -> None:
    embedder = Embedder(builtin_pack(), engine="openvino", threads=2, batch_size=8)
    drawn = 0

    def many() -> Iterator[EmbedTask]:
        nonlocal drawn
        for key in range(120):
            drawn += 1
            yield EmbedTask(key, drawn_photos[0], (WHOLE_PHOTO,))

    most = 0
    for done, _ in enumerate(embedder.embed(many())):
        most = max(most, drawn - done)
    assert drawn == 120
    assert most <= 3 * 8 + 2


def test_stopping_early_ends_the_reader_threads(embedder: Embedder, drawn_photos: list[Path]) -> None:
    results = embedder.embed(tasks(drawn_photos * 50))
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert not [t for t in threading.enumerate() if t.name.startswith("photo-reader")]


def test_the_crop_rule_on_the_card_is_obeyed(embedder: Embedder, tmp_path: Path) -> None:
    photo = tmp_path / "tall.png"
    photo.write_bytes(encode(draw(200, 800), "PNG"))
    pack = Path(shutil.copytree(builtin_pack().directory, tmp_path / "padded"))
    card = json.loads((pack / "pack.json").read_text())
    card["graphs"][0]["crop"] = "pad"
    (pack / "pack.json").write_text(json.dumps(card))
    stretched = run(embedder, tasks([photo], (WHOLE_PHOTO,)))
    padded = run(Embedder(load_pack(pack), engine="openvino"), tasks([photo], (WHOLE_PHOTO,)))
    assert cosines(stretched[Output.SINGLE], padded[Output.SINGLE])[0] < 0.99
    np.testing.assert_allclose(stretched[Output.PARTNER], padded[Output.PARTNER], atol=1e-5)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"outputs": {"feature_vector_efficientnet": "logits"}}, "the card names the output 'logits'"),
        ({"input": [64, 64]}, "64, 64"),
    ],
)
def test_a_card_that_does_not_fit_its_graph(
    tmp_path: Path, engine: EngineName, change: dict, told: str
) -> None:
    pack = Path(shutil.copytree(builtin_pack().directory, tmp_path / "wrong"))
    card = json.loads((pack / "pack.json").read_text())
    card["graphs"][1].update(change)
    (pack / "pack.json").write_text(json.dumps(card))
    with pytest.raises(PackError, match=told) as caught:
        Embedder(load_pack(pack), engine=engine)
    assert "mobilenet_v2.onnx" in caught.value.message
