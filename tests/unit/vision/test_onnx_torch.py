"""Graphs in torch: what they compute is what the engines compute."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deertrack.domain.errors import PackError
from deertrack.vision.engines import load_engine
from deertrack.vision.model_packs import builtin_pack
from deertrack.vision.pack_checks import drawn_pictures

torch: Any = pytest.importorskip("torch", reason="the extra `models` is not installed: no torch")
onnx: Any = pytest.importorskip("onnx", reason="the extra `models` is not installed")

from deertrack.vision.graph_building import Net, expose_features, with_weights  # noqa: E402
from deertrack.vision.onnx_torch import TorchGraph  # noqa: E402

HW = (48, 64)


def every_kind(path: Path) -> Path:
    """A small graph with what the packs' networks are made of: residuals, squeezing, pools, uneven padding."""
    rng = np.random.default_rng(0)
    net = Net({}, epsilon=0.0, input_hw=HW)

    def conv(x: str, wide: int, out: int, size: int, **options: Any) -> str:
        kernel = rng.normal(scale=(2 / (wide * size * size)) ** 0.5, size=(out, wide, size, size))
        return net.convolve(x, kernel, rng.normal(scale=0.1, size=out), **options)

    x = net.node("Relu", conv("pixels", 3, 8, 3, stride=2, pads=(0, 1)))
    x = net.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])
    y = conv(x, 1, 8, 3, pads=(1, 1), depthwise=True)
    y = net.node("Mul", y, net.node("Sigmoid", conv(net.mean(y), 8, 8, 1)))
    x = net.node("Add", x, net.node("Clip", y, net.constant(0.0), net.constant(6.0)))
    net.embedding("multiscale", [net.mean(x), net.node("GlobalAveragePool", conv(x, 8, 24, 1))], 32, seed=1)
    net.save(path)
    return path


@pytest.mark.parametrize("graph", builtin_pack().card.graphs, ids=lambda graph: graph.file)
def test_the_shipped_networks_in_torch(graph: Any) -> None:
    path = builtin_pack().directory / graph.file
    pictures = drawn_pictures(graph.input_hw, graph.normalisation)
    expected = load_engine(path, engine="onnxruntime").run(pictures)[next(iter(graph.outputs.values()))]
    with torch.no_grad():
        found = TorchGraph(path)(torch.from_numpy(pictures)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_every_kind_of_node(tmp_path: Path) -> None:
    path = every_kind(tmp_path / "net.onnx")
    pictures = np.random.default_rng(1).normal(size=(3, 3, *HW)).astype(np.float32)
    features = tmp_path / "features.onnx"
    name = expose_features(path, ["multiscale"], features)["multiscale"]
    for file, output in ((path, "multiscale"), (features, name)):
        expected = load_engine(file, engine="onnxruntime").run(pictures)[output]
        with torch.no_grad():
            found = TorchGraph(file)(torch.from_numpy(pictures)).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_trained_weights_go_back_into_the_graph(tmp_path: Path) -> None:
    path = every_kind(tmp_path / "net.onnx")
    graph = TorchGraph(path)
    trained = graph.train(frozen=0.5)
    assert len(trained) == len(graph.weights) // 2
    pictures = torch.randn(4, 3, *HW)
    before = graph(pictures).detach()
    graph(pictures)[:, 0].sum().backward()
    assert any(weight.grad.abs().sum() > 0 for weight in trained)
    assert all(weight.grad is None for weight in list(graph.weights.values())[: -len(trained)])
    with torch.no_grad():
        for weight in trained:
            weight.add_(0.05 * torch.randn_like(weight))
        after = graph(pictures).numpy()
    written = tmp_path / "written.onnx"
    with_weights(path, {n: w.detach().contiguous().numpy() for n, w in graph.weights.items()}, written)
    found = load_engine(written, engine="onnxruntime").run(pictures.numpy())["multiscale"]
    assert np.abs(after - before.numpy()).max() > 1e-3
    np.testing.assert_allclose(found, after, atol=1e-5)


def test_a_graph_that_cannot_be_trained_is_told(tmp_path: Path) -> None:
    path = every_kind(tmp_path / "net.onnx")
    model = onnx.load(path)
    model.graph.node[1].op_type = "Softmax"
    onnx.save(model, tmp_path / "softmax.onnx")
    with pytest.raises(PackError, match=r"softmax\.onnx: has nodes of kinds .*: Softmax"):
        TorchGraph(tmp_path / "softmax.onnx")
    net = Net({}, epsilon=0.0, input_hw=HW)
    net.embedding("single", [net.mean("pixels")], 3, seed=1)
    net.save(tmp_path / "plain.onnx")
    with pytest.raises(PackError, match="no convolution"):
        TorchGraph(tmp_path / "plain.onnx")
