"""Packs made out of graphs and weights: parity, projections, imports, checks.

What needs the extra `models` is skipped where it is not installed: `pip install 'deertrack[models]'`.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deertrack.domain.embedding import DIMENSIONS, Output, normalise
from deertrack.domain.errors import InputError, PackError
from deertrack.domain.records import WHOLE_PHOTO
from deertrack.vision.crops import CropRule
from deertrack.vision.engines import EngineName, Precision, load_engine
from deertrack.vision.model_packs import Pack, builtin_pack, load_pack
from deertrack.vision.pack_building import IMAGENET, import_graph, write_card
from deertrack.vision.pack_checks import check_pack, drawn_pictures
from deertrack.vision.projections import fit_projections, read_features, whitening

from .conftest import draw, encode

ENGINES: tuple[EngineName, ...] = ("openvino", "onnxruntime")


@pytest.fixture
def building() -> Any:
    """The module that writes graphs."""
    pytest.importorskip("onnx", reason="the extra `models` is not installed")
    from deertrack.vision import graph_building

    return graph_building


@pytest.fixture
def recipe() -> Any:
    """The module that builds resnet50-b0."""
    for module in ("torch", "transformers", "onnx"):
        pytest.importorskip(module, reason="the extra `models` is not installed")
    from deertrack.vision import resnet50_b0

    return resnet50_b0


@pytest.fixture(scope="module")
def random_pack(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Pack]:
    """Random torch networks, and the pack that was built from them."""
    for module in ("torch", "transformers", "onnx"):
        pytest.importorskip(module, reason="the extra `models` is not installed")
    from deertrack.vision import resnet50_b0

    networks = resnet50_b0.random_networks(7)
    directory = tmp_path_factory.mktemp("packs") / "resnet50-b0-random"
    directory.mkdir()
    resnet50_b0.build(
        directory, name=directory.name, versions={"v1_r": 1, "v2_r": 2, "v3_r": 3}, networks=networks
    )
    return networks, load_pack(directory)


def embed(pack: Pack, pixels: np.ndarray, engine: EngineName, precision: Precision) -> dict[Output, Any]:
    """Unit vectors by output for normalised pixels."""
    found = {}
    for graph in pack.card.graphs:
        given = load_engine(pack.directory / graph.file, engine=engine, precision=precision).run(pixels)
        found |= {ours: normalise(given[theirs]) for ours, theirs in graph.outputs.items()}
    return found


# The card ---------------------------------------------------------------------------------------------


def test_a_card_is_written_as_it_is_read(tmp_path: Path) -> None:
    lite = builtin_pack()
    write_card(tmp_path, lite.card)
    assert (tmp_path / "pack.json").read_bytes() == (lite.directory / "pack.json").read_bytes()


# resnet50-b0 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("engine", "precision", "least"),
    [("openvino", "f32", 0.9999), ("onnxruntime", "f32", 0.9999), ("openvino", "bf16", 0.999)],
)
def test_the_graphs_give_what_torch_gives(
    random_pack: tuple[Any, Pack], recipe: Any, engine: EngineName, precision: Precision, least: float
) -> None:
    networks, pack = random_pack
    pixels = drawn_pictures(recipe.INPUT_HW, IMAGENET, count=8)
    expected = recipe.reference(networks, pixels)
    seen = embed(pack, pixels, engine, precision)
    for output in Output:
        assert (expected[output] * seen[output]).sum(axis=1).min() >= least
        between = expected[output] @ expected[output].T
        assert between[~np.eye(8, dtype=bool)].max() < 0.999, "too alike to prove anything"


def test_what_the_vectors_are_made_of(random_pack: tuple[Any, Pack], recipe: Any) -> None:
    """Against the modules themselves, not against `reference`: layers, pooling, the order of the blocks."""
    import torch

    networks, pack = random_pack
    pixels = drawn_pictures(recipe.INPUT_HW, IMAGENET, count=3)
    taps = {}
    for stage in (1, 2, 3):
        networks.resnet.encoder.stages[stage].register_forward_hook(
            lambda module, given, result, stage=stage: taps.update({stage: result.mean((2, 3)).numpy()})
        )
    with torch.inference_mode():
        networks.resnet(torch.from_numpy(pixels))
        top = networks.efficientnet.encoder(networks.efficientnet.embeddings(torch.from_numpy(pixels)))
    partner = top.last_hidden_state.mean((2, 3)).numpy()
    assert [taps[stage].shape[1] for stage in (1, 2, 3)] == [512, 1024, 2048]
    blocks = np.concatenate([normalise(taps[s]) for s in (1, 2, 3, 3)], axis=1)
    seen = embed(pack, pixels, "openvino", "f32")
    for output, rows, seed in (
        (Output.SINGLE, normalise(taps[3]), 1),
        (Output.MULTISCALE, blocks, 2),
        (Output.PARTNER, normalise(partner), 3),
    ):
        q, r = np.linalg.qr(
            np.random.Generator(np.random.PCG64(seed)).standard_normal((rows.shape[1], DIMENSIONS))
        )
        expected = normalise(rows @ (q * np.sign(np.diag(r))))
        assert (expected * seen[output]).sum(axis=1).min() > 0.9999


def test_the_same_weights_give_the_same_files(
    random_pack: tuple[Any, Pack], recipe: Any, tmp_path: Path
) -> None:
    networks, pack = random_pack
    recipe.build(tmp_path, name="again", versions={"v1_again": 1}, networks=networks)
    assert load_pack(tmp_path).fingerprints == pack.fingerprints


def test_the_pack_is_sound(random_pack: tuple[Any, Pack]) -> None:
    _, pack = random_pack
    assert "NOT TRAINED" in pack.card.graphs[0].provenance
    findings = check_pack(pack.directory)
    assert len(findings) == 7
    assert all(finding.ok for finding in findings), findings


@pytest.fixture(scope="module")
def weights(random_pack: tuple[Any, Pack], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random networks saved as the hub has them: as classifiers, in transformers' layout."""
    import transformers

    networks, _ = random_pack
    folder = tmp_path_factory.mktemp("weights")
    for name, kind, inner, model in (
        ("resnet-50", transformers.ResNetForImageClassification, "resnet", networks.resnet),
        (
            "efficientnet-b0",
            transformers.EfficientNetForImageClassification,
            "efficientnet",
            networks.efficientnet,
        ),
    ):
        classifier = kind(model.config)
        setattr(classifier, inner, model)
        classifier.save_pretrained(folder / name)
    return folder


def test_weights_come_from_a_directory(
    random_pack: tuple[Any, Pack], weights: Path, recipe: Any, tmp_path: Path
) -> None:
    _, pack = random_pack
    networks = recipe.load_networks(weights)
    recipe.build(tmp_path, name="trained", versions={"v1_t": 1}, networks=networks)
    built = load_pack(tmp_path)
    assert built.fingerprints == pack.fingerprints
    assert "microsoft/resnet-50 (weights sha256 " in built.card.graphs[0].provenance
    assert built.card.graphs[1].licence == "Apache-2.0"


def test_missing_weights_are_named_with_the_way_to_bring_them(
    weights: Path, recipe: Any, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(weights, tmp_path / "weights"))
    (folder / "efficientnet-b0" / "model.safetensors").unlink()
    (folder / "resnet-50" / "config.json").unlink()
    with pytest.raises(PackError, match=r"lacks resnet-50/config.json, efficientnet-b0/") as caught:
        recipe.load_networks(folder)
    for told in ("huggingface.co/google/efficientnet-b0/resolve/main/", "USB", "--weights DIR"):
        assert told in caught.value.hint


def test_other_networks_are_refused(weights: Path, recipe: Any, tmp_path: Path) -> None:
    import safetensors.torch

    folder = Path(shutil.copytree(weights, tmp_path / "weights"))
    file = folder / "resnet-50" / "model.safetensors"
    state = safetensors.torch.load_file(file)
    key = next(name for name in state if name.endswith("convolution.weight"))
    safetensors.torch.save_file({k: v for k, v in state.items() if k != key}, file, {"format": "pt"})
    with pytest.raises(PackError, match="lacks the weights"):  # transformers would make some up
        recipe.load_networks(folder)
    file.write_bytes(b"no weights")
    with pytest.raises(PackError, match="cannot be loaded"):
        recipe.load_networks(folder)
    shutil.copyfile(weights / "resnet-50" / "model.safetensors", file)
    config = json.loads((folder / "resnet-50" / "config.json").read_text())
    (folder / "resnet-50" / "config.json").write_text(json.dumps(config | {"depths": [3, 4, 23, 3]}))
    with pytest.raises(PackError, match="expected microsoft/resnet-50, but"):
        recipe.load_networks(folder)


def test_a_graph_that_differs_from_torch_is_not_built(
    random_pack: tuple[Any, Pack], recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if a release of transformers had another padding, say."""
    networks, _ = random_pack
    strides = [*recipe.EFFICIENTNET_B0["strides"]]
    strides[4] = 2
    monkeypatch.setitem(recipe.EFFICIENTNET_B0, "strides", strides)
    with pytest.raises(PackError, match=r"efficientnet_b0.onnx, .*between openvino and torch"):
        recipe.build(tmp_path, name="wrong", versions={"v1_wrong": 1}, networks=networks)


# Imports ----------------------------------------------------------------------------------------------


def take(source: Path, directory: Path, **changes: Any) -> Pack:
    directory.mkdir(exist_ok=True)
    options: dict[str, Any] = {
        "name": "mine",
        "version": "v1_mine",
        "stage": 1,
        "input_hw": (192, 256),
        "normalisation": IMAGENET,
        "crop": CropRule.PAD,
        "output": None,
        "licence": "MIT",
        "provenance": "a test",
    }
    import_graph(source, directory, **options | changes)
    return load_pack(directory)


def test_a_graph_of_512_unit_numbers_is_taken_as_it_is(tmp_path: Path) -> None:
    source = builtin_pack().directory / "mobilenet_v2.onnx"
    pack = take(source, tmp_path / "mine", stage=2, version="v2_mine")
    assert (pack.directory / "mine.onnx").read_bytes() == source.read_bytes()
    graph = pack.card.graphs[0]
    assert graph.outputs == {Output.MULTISCALE: "partner"}
    assert (graph.crop, graph.licence) == (CropRule.PAD, "MIT")
    assert pack.card.versions == {"v2_mine": 2}
    assert all(finding.ok for finding in check_pack(pack.directory))


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"stage": 3}, InputError, "expected stage 1 or 2"),
        ({"output": "logits"}, InputError, "has no output 'logits'; it has single, multiscale"),
        ({}, InputError, "has 2 outputs"),
        ({"input_hw": (64, 64)}, PackError, "takes no pictures of 64 × 64"),
    ],
)
def test_imports_that_cannot_be(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        take(builtin_pack().directory / "efficientnet_lite0.onnx", tmp_path / "mine", **changes)


def test_a_file_that_is_no_graph(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        take(tmp_path / "nothing.onnx", tmp_path / "mine")
    (tmp_path / "text.onnx").write_text("a network")
    with pytest.raises(PackError, match=r"text.onnx: ONNX Runtime cannot load"):
        take(tmp_path / "text.onnx", tmp_path / "mine")


def small_graph(
    path: Path,
    width: int,
    *,
    opset: int = 17,
    batch: str | int = "batch",
    flat: bool = True,
    producer: str = "somebody",
) -> np.ndarray:
    """Write a graph whose output is a linear map of a 4 × 4 thumbnail; returns the map (48, width)."""
    from onnx import TensorProto, helper, numpy_helper, save

    matrix = np.random.default_rng(1).normal(size=(48, width)).astype(np.float32)
    kernel = matrix.T.reshape(width, 3, 4, 4)
    nodes = [
        helper.make_node("AveragePool", ["x"], ["small"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Conv", ["small", "kernel"], ["column"]),
        helper.make_node("Flatten" if flat else "Identity", ["column"], ["features"]),
    ]
    shape = [batch, width] if flat else [batch, width, 1, 1]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 32, 32])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    opsets = [helper.make_opsetid("", opset)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name=producer), path)
    return matrix


def thumbnails(pictures: np.ndarray) -> np.ndarray:
    return pictures.reshape(len(pictures), 3, 4, 8, 4, 8).mean(axis=(3, 5)).reshape(len(pictures), 48)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "options", [{}, {"opset": 12}, {"opset": 18}, {"batch": 1}, {"flat": False}], ids=str
)
@pytest.mark.parametrize("width", [768, 512, 100])
def test_any_width_is_projected_inside_the_graph(
    building: Any, tmp_path: Path, engine: EngineName, options: dict[str, Any], width: int
) -> None:
    matrix = small_graph(tmp_path / "small.onnx", width, **options)
    pack = take(tmp_path / "small.onnx", tmp_path / "mine", input_hw=(32, 32))
    pictures = drawn_pictures((32, 32), IMAGENET, count=5)
    rows = normalise(thumbnails(pictures) @ matrix)
    seen = embed(pack, pictures, engine, "f32")[Output.SINGLE]
    expected = normalise(rows @ building.orthonormal(width, 1))
    np.testing.assert_allclose(seen, expected, atol=2e-5)
    if width <= DIMENSIONS:  # no angle changes
        np.testing.assert_allclose(seen @ seen.T, rows @ rows.T, atol=2e-5)
    assert all(finding.ok for finding in check_pack(pack.directory))


def test_importing_twice_gives_the_same_fingerprint(building: Any, tmp_path: Path) -> None:
    small_graph(tmp_path / "small.onnx", 768)
    first, second = (take(tmp_path / "small.onnx", tmp_path / d, input_hw=(32, 32)) for d in "ab")
    assert first.fingerprints == second.fingerprints


def test_an_output_that_is_no_vector(building: Any, tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    node = helper.make_node("Relu", ["x"], ["map"])
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, 32, 32]) for name in ("x", "map")
    ]
    graph = helper.make_graph([node], "maps", values[:1], values[1:])
    save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        tmp_path / "m.onnx",
    )
    with pytest.raises(PackError, match=r"expected 'map' of shape \(n, d\)"):
        take(tmp_path / "m.onnx", tmp_path / "mine", input_hw=(32, 32))


# Projections ------------------------------------------------------------------------------------------


def test_orthonormal_maps(building: Any) -> None:
    wide = building.orthonormal(2048, 5)
    np.testing.assert_allclose(wide.T @ wide, np.eye(DIMENSIONS), atol=5e-3)  # rounded to bf16
    assert (wide == building.orthonormal(2048, 5)).all()
    assert (wide != building.orthonormal(2048, 6)).any()
    narrow = building.orthonormal(100, 5)
    assert (narrow @ narrow.T == np.eye(100)).all()


def correlated(count: int, width: int = 700, seed: int = 0) -> np.ndarray:
    """Rows far from zero that vary in some directions much more than in others."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(width, width)) * np.geomspace(1, 0.01, width)
    return (rng.normal(size=(count, width)) @ mixing.T + 3).astype(np.float32)


def test_whitening_shrinks_what_varies_much() -> None:
    rows = correlated(1500)
    mean, matrix = whitening(rows)
    assert mean.shape == (700,)
    assert matrix.shape == (700, DIMENSIONS)
    white = (rows - mean) @ matrix
    covariance = np.cov(white.T)
    spread = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(covariance - np.diag(spread**2), 0, atol=1e-3)
    original = np.linalg.eigvalsh(np.cov(rows.T.astype(np.float64)))[::-1][:DIMENSIONS]
    np.testing.assert_allclose(spread**2, original / (original + 100 * original.mean()), rtol=1e-3)
    assert (whitening(rows)[1] == matrix).all()


def test_whitening_of_few_numbers_is_padded() -> None:
    _, matrix = whitening(correlated(700, width=40))
    assert (matrix[:, 40:] == 0).all()
    assert (abs(matrix[:, :40]).max(axis=0) > 0).all()


def test_whitening_needs_enough_that_differs() -> None:
    with pytest.raises(InputError, match="at least 600 crops to fit a projection, got 599"):
        whitening(correlated(599))
    with pytest.raises(InputError, match="differ in fewer than 512 ways"):
        whitening(np.tile(correlated(100), (7, 1)))


@pytest.fixture
def lite_features() -> dict[Output, np.ndarray]:
    """Something to fit the shipped pack's projections to."""
    widths = {Output.SINGLE: 1280, Output.MULTISCALE: 1624, Output.PARTNER: 1280}
    rng = np.random.default_rng(2)
    return {output: normalise(rng.gamma(0.5, size=(650, width))) for output, width in widths.items()}


def lite_features_of(building: Any, pack: Pack, pictures: np.ndarray, folder: Path) -> dict[Output, Any]:
    found = {}
    for graph in pack.card.graphs:
        path = folder / f"open-{graph.file}"
        names = building.expose_features(pack.directory / graph.file, graph.outputs.values(), path)
        given = load_engine(path).run(pictures)
        found |= {ours: given[names[theirs]] for ours, theirs in graph.outputs.items()}
    return found


def test_a_fitted_pack_projects_the_same_features(
    building: Any, lite_features: dict[Output, np.ndarray], tmp_path: Path
) -> None:
    lite = builtin_pack()
    directory = tmp_path / "fitted"
    directory.mkdir()
    versions = {"v1_fitted": 1, "v2_fitted": 2, "v3_fitted": 3}
    fit_projections(lite, lite_features, directory, name="fitted", versions=versions)
    fitted = load_pack(directory)
    assert all(finding.ok for finding in check_pack(directory))
    assert not set(fitted.fingerprints.values()) & set(lite.fingerprints.values())
    assert sorted(file.name for file in directory.iterdir()) == [
        "NOTICE",  # and no calibration.json: it says what other similarities mean
        "efficientnet_lite0.onnx",
        "mobilenet_v2.onnx",
        "pack.json",
    ]
    assert "650 crops" in fitted.card.graphs[0].projection

    pictures = drawn_pictures((192, 256), IMAGENET, count=4)
    features = lite_features_of(building, lite, pictures, tmp_path)
    assert {o: rows.shape for o, rows in features.items()} == {
        Output.SINGLE: (4, 1280),
        Output.MULTISCALE: (4, 1624),
        Output.PARTNER: (4, 1280),
    }
    for engine in ENGINES:
        seen = embed(fitted, pictures, engine, "f32")
        for output, rows in features.items():
            mean, matrix = whitening(lite_features[output])
            np.testing.assert_allclose(seen[output], normalise((rows - mean) @ matrix), atol=1e-4)

    # Fitting once more starts from the same features, and leaves nothing of the first fit behind.
    again = lite_features_of(building, fitted, pictures, tmp_path)
    for output, rows in features.items():
        np.testing.assert_allclose(again[output].reshape(4, -1), rows, atol=1e-6)
    second = tmp_path / "second"
    second.mkdir()
    fit_projections(fitted, lite_features, second, name="second", versions={"v1_second": 1})
    assert load_pack(second).fingerprints == fitted.fingerprints


def test_the_last_layer_of_somebody_elses_network_is_kept(building: Any, tmp_path: Path) -> None:
    """It looks like our projection, but it was trained."""
    from onnx import load, save

    ours = builtin_pack().directory / "mobilenet_v2.onnx"
    assert building.expose_features(ours, ["partner"], tmp_path / "a.onnx") != {"partner": "partner"}
    model = load(ours)
    model.producer_name = "pytorch"
    save(model, tmp_path / "theirs.onnx")
    assert building.expose_features(tmp_path / "theirs.onnx", ["partner"], tmp_path / "b.onnx") == {
        "partner": "partner"
    }


def test_features_are_read_from_photos_and_bad_ones_left_out(
    building: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deertrack.vision.projections.LEAST_CROPS", 3)
    photos = []
    for seed in range(3):
        path = tmp_path / f"{seed}.jpg"
        path.write_bytes(encode(draw(640, 480, seed)))
        photos.append((path, (WHOLE_PHOTO,) * (seed + 1)))
    (tmp_path / "bad.jpg").write_text("no photo")
    photos[1:1] = [(tmp_path / "bad.jpg", (WHOLE_PHOTO,)), (tmp_path / "missing.jpg", (WHOLE_PHOTO,))]
    read: list[int] = []
    lite = builtin_pack()
    features = read_features(lite, photos, advance=read.append)
    assert sum(read) == 5
    assert features[Output.MULTISCALE].shape == (6, 1624)

    from deertrack.vision.embedder import Embedder, EmbedTask

    tasks = [EmbedTask(i, path, boxes) for i, (path, boxes) in enumerate(photos)]
    results = [r for r in Embedder(lite, engine="openvino").embed(tasks) if not r.error]
    matrix = building.orthonormal(1624, 2)
    embedded = np.concatenate([r.vectors[Output.MULTISCALE] for r in results])
    np.testing.assert_allclose(normalise(features[Output.MULTISCALE] @ matrix), embedded, atol=1e-5)


# Checks -----------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A pack of one graph."""
    return take(builtin_pack().directory / "mobilenet_v2.onnx", tmp_path / "tiny", name="tiny").directory


def wrong(directory: Path) -> str:
    findings = [finding for finding in check_pack(directory) if not finding.ok]
    assert findings, "nothing was found wrong"
    return " ".join(f"{finding.what}: {finding.detail} {finding.hint}" for finding in findings)


def test_checks_find_damage(tiny: Path) -> None:
    assert len(check_pack(tiny)) == 4
    with (tiny / "tiny.onnx").open("ab") as file:
        file.write(b"\0")
    assert "changed since the pack was built" in wrong(tiny)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda g: replace(g, outputs={Output.SINGLE: "x"}), "card names the output 'x'"),
        (lambda g: replace(g, input_hw=(64, 64)), "cannot run"),
    ],
)
def test_checks_find_a_card_that_does_not_fit(tiny: Path, change: Callable[..., Any], told: str) -> None:
    card = load_pack(tiny).card
    write_card(tiny, replace(card, graphs=(change(card.graphs[0]),)))
    message = wrong(tiny)
    assert told in message
    assert "tiny.onnx on openvino" in message
    assert "tiny.onnx on onnxruntime" in message


@pytest.mark.parametrize(
    ("kind", "told"),
    [("long", "of length 1, got"), ("constant", "same for different pictures"), ("fixed", "cannot run")],
)
def test_checks_find_vectors_that_cannot_be_trusted(
    building: Any, tmp_path: Path, tiny: Path, kind: str, told: str
) -> None:
    from onnx import load, numpy_helper, save

    small_graph(tmp_path / "s.onnx", 512, batch=1 if kind == "fixed" else "batch")
    model = load(tmp_path / "s.onnx")
    if kind == "constant":
        kernel = numpy_helper.to_array(model.graph.initializer[0]) * 0
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(kernel, "kernel"))
        bias = numpy_helper.from_array(np.full(512, 512**-0.5, dtype=np.float32), "bias")
        model.graph.initializer.append(bias)
        model.graph.node[1].input.append("bias")
    save(model, tiny / "tiny.onnx")
    from deertrack.vision.pack_building import file_sha256

    card = load_card_unchecked(tiny)
    graph = replace(
        card.graphs[0],
        sha256=file_sha256(tiny / "tiny.onnx"),
        input_hw=(32, 32),
        outputs={Output.SINGLE: "features"},
    )
    write_card(tiny, replace(card, graphs=(graph,)))
    assert told in wrong(tiny)


def load_card_unchecked(directory: Path) -> Any:
    from deertrack.vision.model_packs import _card

    return _card(json.loads((directory / "pack.json").read_text()))
