"""Learned heads and mirror images as parts of a pack: what they do to vectors, fingerprints and checks."""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from deertrack.domain.embedding import DIMENSIONS, Output, check_vectors, normalise
from deertrack.domain.errors import PackError
from deertrack.domain.learned import Head
from deertrack.domain.records import WHOLE_PHOTO, Box
from deertrack.vision.embedder import Embedder, EmbedTask
from deertrack.vision.headed_packs import write_headed_pack
from deertrack.vision.heads import headless, read_heads, through_heads, write_heads
from deertrack.vision.model_packs import Pack, builtin_pack, load_pack
from deertrack.vision.pack_building import file_sha256, import_graph
from deertrack.vision.pack_checks import check_pack

from .conftest import draw, encode

BOXES = (WHOLE_PHOTO, Box(0.1, 0.2, 0.3, 0.3), Box(0.3, 0.0, 0.7, 1.0))


def random_head(seed: int, width: int) -> Head:
    rng = np.random.default_rng(seed)
    return Head(rng.normal(scale=0.05, size=DIMENSIONS), rng.normal(size=(DIMENSIONS, width)))


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """A pack of one small graph, so that these tests are quick."""
    lite, folder = builtin_pack(), tmp_path_factory.mktemp("single")
    graph = lite.card.graphs[1]
    import_graph(
        lite.directory / graph.file,
        folder,
        name="single",
        version="v1_single",
        stage=1,
        input_hw=graph.input_hw,
        normalisation=graph.normalisation,
        crop=graph.crop,
        output=None,
        licence="MIT",
        provenance="a test",
    )
    (folder / "NOTICE").write_text("who made it")
    (folder / "calibration.json").write_text("{}")
    return load_pack(folder)


def headed(base: Pack, folder: Path, seed: int = 1, width: int = 40) -> Pack:
    folder.mkdir()
    heads = {output: random_head(seed, width) for output in base.fingerprints}
    versions = {"v1_headed": 1}
    write_headed_pack(
        base, heads, folder, name="headed", versions=versions, description="d", limits="l", fitted="here"
    )
    return load_pack(folder)


def edited(base: Pack, folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A copy of a pack whose only graph says something else."""
    shutil.copytree(base.directory, folder)
    card = json.loads((folder / "pack.json").read_text())
    change(card["graphs"][0])
    (folder / "pack.json").write_text(json.dumps(card))
    return folder


def vectors(pack: Pack, paths: list[Path], boxes: tuple[Box, ...] = BOXES) -> np.ndarray:
    tasks = [EmbedTask(key, path, boxes) for key, path in enumerate(paths)]
    done = list(Embedder(pack, engine="openvino").embed(tasks))
    assert [photo.error for photo in done] == [""] * len(paths)
    return np.concatenate([photo.vectors[Output.SINGLE] for photo in done])


def test_a_head_maps_what_the_network_gives(single: Pack, tmp_path: Path, drawn_photos: list[Path]) -> None:
    pack, plain = headed(single, tmp_path / "headed"), vectors(single, drawn_photos)
    found = vectors(pack, drawn_photos)
    check_vectors(found)
    assert not found[:, 40:].any()  # zeros change no cosine
    head = random_head(1, 40)
    expected = normalise((plain - head.mean) @ head.matrix)
    np.testing.assert_allclose(found[:, :40], expected, atol=1e-5)
    np.testing.assert_allclose(through_heads(pack, {Output.SINGLE: plain})[Output.SINGLE], found, atol=1e-6)
    alone = vectors(pack, drawn_photos[2:3], BOXES[1:2])
    assert np.array_equal(alone[0], found[2 * len(BOXES) + 1])


def test_mirrored_vectors_are_those_of_a_picture_and_its_mirror_image(single: Pack, tmp_path: Path) -> None:
    pixels = draw(256, 192, seed=4)
    paths = [tmp_path / "seen.png", tmp_path / "mirrored.png"]
    paths[0].write_bytes(encode(Image.fromarray(pixels), "PNG"))
    paths[1].write_bytes(encode(Image.fromarray(pixels[:, ::-1]), "PNG"))
    pack = load_pack(edited(single, tmp_path / "mirrored", lambda graph: graph.update(mirrored=True)))
    plain, both = (vectors(p, paths, (WHOLE_PHOTO,)) for p in (single, pack))
    assert float(plain[0] @ plain[1]) < 0.99
    np.testing.assert_allclose(both[0], both[1], atol=1e-5)
    np.testing.assert_allclose(both[0], normalise(plain.sum(axis=0)[None])[0], atol=1e-5)
    # The head comes after the mirror image.
    after = vectors(headed(pack, tmp_path / "headed"), paths, (WHOLE_PHOTO,))
    np.testing.assert_allclose(after, normalise(random_head(1, 40).project(both)), atol=1e-5)


def test_all_that_shapes_a_vector_is_in_the_fingerprint(single: Pack, tmp_path: Path) -> None:
    one, other = headed(single, tmp_path / "one"), headed(single, tmp_path / "other", seed=2)
    mirrored = load_pack(edited(single, tmp_path / "m", lambda graph: graph.update(mirrored=True)))
    not_mirrored = load_pack(edited(single, tmp_path / "n", lambda graph: graph.update(mirrored=False)))
    prints = [pack.fingerprints[Output.SINGLE] for pack in (single, one, other, mirrored)]
    assert len(set(prints)) == 4
    assert not_mirrored.fingerprints == single.fingerprints
    assert headless(one).fingerprints == single.fingerprints


def test_the_same_heads_are_the_same_bytes_and_notices_go_along(single: Pack, tmp_path: Path) -> None:
    one = headed(single, tmp_path / "one")
    again = headed(one, tmp_path / "again")  # replaces the head, adds none
    assert one.fingerprints == again.fingerprints
    assert sorted(file.name for file in again.directory.iterdir()) == [
        *("NOTICE", "pack.json", "single.head.npz", "single.onnx")
    ]
    assert again.card.graphs[0].licence == "MIT"
    assert "a test; " in again.card.graphs[0].provenance
    assert again.card.graphs[0].provenance.endswith("; here; here")


def test_a_sound_head_is_checked_and_a_broken_one_told(single: Pack, tmp_path: Path) -> None:
    pack = headed(single, tmp_path / "headed")
    findings = check_pack(pack.directory)
    assert all(finding.ok for finding in findings)
    assert findings[-1].detail == "a learned head to 40 numbers"
    file = pack.directory / "single.head.npz"
    good = file.read_bytes()
    file.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(PackError, match=r"single\.head\.npz: changed since the pack was built"):
        load_pack(pack.directory)
    # A card that says so does not make it a head.
    write_heads(file, {Output.PARTNER: random_head(1, 4)})
    folder = edited(pack, tmp_path / "other", lambda g: g["head"].update(sha256=file_sha256(file)))
    told = [finding for finding in check_pack(folder) if not finding.ok]
    assert [finding.what for finding in told] == ["single.head.npz"]
    with pytest.raises(PackError, match="cannot be used as a learned head"):
        Embedder(load_pack(folder))


@pytest.mark.parametrize(
    "entry",
    [
        {"head": "single.head.npz"},
        {"head": {"file": "single.head.npz"}},
        {"head": {"file": "../single.head.npz", "sha256": "0"}},
        {"mirrored": 1},
        {"rotated": True},
    ],
)
def test_a_card_that_says_it_wrongly_is_refused(single: Pack, tmp_path: Path, entry: dict[str, Any]) -> None:
    with pytest.raises(PackError, match=r"pack\.json"):
        load_pack(edited(single, tmp_path / "wrong", lambda graph: graph.update(entry)))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 3000), place=st.integers(0, 3000), byte=st.integers(0, 255))
def test_a_damaged_file_of_heads_is_an_error_with_words(
    tmp_path: Path, cut: int, place: int, byte: int
) -> None:
    path = tmp_path / "head.npz"
    write_heads(path, {Output.SINGLE: random_head(0, 1)})
    content = bytearray(path.read_bytes())
    content[place % len(content)] = byte
    path.write_bytes(bytes(content[: max(len(content) - cut, 0)]))
    with suppress(PackError):  # anything else is a bug
        assert read_heads(path, [Output.SINGLE])[Output.SINGLE].matrix.shape == (DIMENSIONS, 1)
