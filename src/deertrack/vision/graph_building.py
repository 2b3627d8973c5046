"""Writing and changing ONNX graphs. Needs the package ``onnx`` (extra ``models``): import it only when building.

Graphs are written node by node, not traced from torch, so that the same weights give the same file, and with it
the same fingerprint, on every machine and with every version of torch.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, load, numpy_helper

from deertrack.domain.embedding import DIMENSIONS

Array = NDArray[np.float64]
Weights = Mapping[str, NDArray[np.float32]]

OPSET, IR_VERSION = 17, 8
PRODUCER = "deertrack"  # a graph of ours: where it ends in a projection, that is one to be drawn or fitted


class Net:
    """Writes a convolutional network as an ONNX graph; batch normalisation is folded into the convolutions.

    Args:
        weights: a checkpoint's arrays by name.
        epsilon: of all batch normalisations.
        input_hw: height and width of the input "pixels" (batch, 3, height, width).
    """

    def __init__(self, weights: Weights, *, epsilon: float, input_hw: tuple[int, int]) -> None:
        self.weights, self._epsilon, self._input_hw = weights, epsilon, input_hw
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []
        self._outputs: list[str] = []

    def node(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Append a node; returns the name of what it computes."""
        name = name or f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, value: ArrayLike, *, name: str = "") -> str:
        """Append a float32 constant; returns its name."""
        name = name or f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(value, dtype=np.float32), name))
        return name

    def folded(self, conv: str, norm: str) -> tuple[Array, Array]:
        """Kernel (out, in, h, w) and bias (out,) of a convolution without bias and its batch normalisation."""
        gamma, beta, mean, variance = (
            self.weights[f"{norm}.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(variance + self._epsilon)
        return self.weights[f"{conv}.weight"] * scale[:, None, None, None], beta - mean * scale

    def convolve(
        self,
        x: str,
        kernel: ArrayLike,
        bias: ArrayLike,
        *,
        stride: int = 1,
        pads: tuple[int, int] = (0, 0),
        depthwise: bool = False,
    ) -> str:
        """A convolution; ``pads`` are before and after, both axes."""
        kernel = np.asarray(kernel)
        return self.node(
            "Conv",
            x,
            self.constant(kernel),
            self.constant(bias),
            kernel_shape=kernel.shape[2:],
            strides=[stride, stride],
            pads=[pads[0], pads[0], pads[1], pads[1]],
            group=len(kernel) if depthwise else 1,
        )

    def mean(self, x: str) -> str:
        """(n, c, h, w) to (n, c, 1, 1). A mean, because OpenVINO refuses some exported average pools."""
        return self.node("ReduceMean", x, axes=[2, 3], keepdims=1)

    def unit(self, x: str, *, name: str = "") -> str:
        """(n, d) to rows of length 1."""
        length = self.node("ReduceL2", x, axes=[1], keepdims=1)
        return self.node("Div", x, self.node("Max", length, self.constant(1e-12)), name=name)

    def embedding(self, name: str, blocks: Sequence[str], width: int, *, seed: int, matrix: str = "") -> None:
        """Make an output: each (n, c, 1, 1) block to unit length, joined, projected to 512, to unit length.

        ``width`` is the joined blocks'; ``matrix`` names the projection in the file.
        """
        flat = [self.unit(self.node("Flatten", block, axis=1)) for block in blocks]
        joined = self.node("Concat", *flat, axis=1) if len(flat) > 1 else flat[0]
        projected = self.node("MatMul", joined, self.constant(orthonormal(width, seed), name=matrix))
        self._outputs.append(self.unit(projected, name=name))

    def save(self, path: Path) -> None:
        """Check the graph and write it."""
        feed = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 3, *self._input_hw])
        results = [_vectors(name) for name in self._outputs]
        graph = helper.make_graph(self._nodes, path.stem, [feed], results, self._constants)
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name=PRODUCER)
        _write(model, path)


def bf16(values: ArrayLike) -> Array:
    """Round to the nearest number that bfloat16 holds: the upper half of a float32."""
    bits = np.asarray(values, dtype=np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return rounded.astype(np.uint32).view(np.float32).astype(np.float64)


def orthonormal(width: int, seed: int) -> Array:
    """A (width, 512) map with orthonormal columns (to bf16): QR of a seeded Gaussian matrix, signs fixed.

    From fewer than 512 numbers the rows are orthonormal instead: the vector itself, then zeros.
    """
    if width <= DIMENSIONS:
        return np.eye(width, DIMENSIONS)
    gaussian = np.random.Generator(np.random.PCG64(seed)).standard_normal((width, DIMENSIONS))
    q, r = np.linalg.qr(gaussian)
    return bf16(q * np.sign(np.diag(r)))


def expose_features(source: Path, outputs: Iterable[str], path: Path) -> dict[str, str]:
    """Write a graph that gives what its outputs are projected from; returns output → name of its features."""
    model = load(source)
    features = _cut(model, outputs)
    path.write_bytes(model.SerializeToString())  # unchecked: the outputs' shapes are left open
    return features


def with_weights(source: Path, weights: Weights, path: Path) -> None:
    """Write a graph with other numbers for some of its constants, by name and of the same shapes."""
    model = load(source)
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(
                numpy_helper.from_array(np.asarray(weights[tensor.name], np.float32), tensor.name)
            )
    path.write_bytes(model.SerializeToString(deterministic=True))


@dataclass(frozen=True, slots=True)
class Tail:
    """How an output's (n, d) or (n, d, 1, 1) features become ``name``, (n, 512) of unit length.

    ``shift`` (d,), or None, is subtracted from them; ``matrix`` (d, 512) multiplies the rest.
    """

    output: str
    name: str
    matrix: Array
    shift: Array | None = None


def project(source: Path, tails: Iterable[Tail], path: Path) -> None:
    """Write a graph that ends in other projections, each brought to unit length, with a free batch size.

    Outputs that no tail is for are dropped, and so is all that only they needed.
    """
    tails = list(tails)
    model = load(source)
    features = _cut(model, [tail.output for tail in tails])
    graph = model.graph
    del graph.output[:], graph.value_info[:]
    given = {tensor.name for tensor in graph.initializer}
    for feed in graph.input:
        if feed.name not in given:
            feed.type.tensor_type.shape.dim[0].dim_param = "batch"
    for tail in tails:
        _append(graph, features[tail.output], tail)
    model.producer_name = PRODUCER
    _write(model, path)


def _append(graph: Any, x: str, tail: Tail) -> None:
    def node(kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        name = name or f"{tail.name}/{kind}"
        graph.node.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(name: str, value: ArrayLike) -> str:
        name = f"{tail.name}/{name}"
        graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype=np.float32), name))
        return name

    x = node("Flatten", x, axis=1)
    if tail.shift is not None:
        x = node("Sub", x, constant("mean", tail.shift))
    x = node("MatMul", x, constant("projection", tail.matrix))
    # Not ReduceL2 as in Net.unit: its form depends on the opset, and this graph may have any.
    node("LpNormalization", x, name=tail.name, axis=1, p=2)
    graph.output.append(_vectors(tail.name))


def _cut(model: ModelProto, outputs: Iterable[str]) -> dict[str, str]:
    """Make the features of these outputs the graph's only outputs; returns output → name of its features."""
    graph = model.graph
    features = {output: _features_of(model, output) for output in outputs}
    del graph.output[:]
    for name in dict.fromkeys(features.values()):
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    needed, kept = set(features.values()), []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(_inputs(node))
            kept.append(node)
    constants = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(constants)
    return features


def _features_of(model: ModelProto, output: str) -> str:
    """The tensor that an output is a projection of; the output itself where nothing of ours projects.

    Only in graphs that deertrack wrote or finished: the last layer of somebody else's network may look the
    same, and it was trained.
    """
    if model.producer_name != PRODUCER:
        return output
    made_by = {name: node for node in model.graph.node for name in node.output}
    node = made_by[made_by[output].input[0]]
    if node.op_type != "MatMul":
        return output
    node = made_by[node.input[0]]
    while node.name in (f"{output}/Sub", f"{output}/Flatten"):
        node = made_by[node.input[0]]
    name: str = node.output[0]
    return name


def _inputs(node: NodeProto) -> Iterator[str]:
    """What a node takes, the branches inside it included."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _inputs(inner)


def _vectors(name: str) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", DIMENSIONS])


def _write(model: ModelProto, path: Path) -> None:
    checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
