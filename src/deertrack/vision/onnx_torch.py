"""A pack's ONNX graph as torch computes it, so that its convolutions can be trained and written back.

Needs the packages ``torch`` and ``onnx`` (extra ``models``): import it only when training. Known are the few kinds
of nodes that convolutional networks are made of, with batch normalisation folded into the convolutions.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import helper, load, numpy_helper
from torch.nn import functional

from deertrack.domain.errors import PackError

Tensor = Any  # torch has no types here: it is not installed where types are checked
Attributes = Mapping[str, Any]


class TorchGraph:
    """A graph of one input and one output. ``weights`` are its convolutions' kernels and biases, by name.

    Args:
        path: the graph; its output (n, d) or (n, d, 1, 1).
        device: where it computes.

    Raises:
        PackError: a kind of node that is not known here, or no convolution whose weights are in the file.
    """

    def __init__(self, path: Path, *, device: str = "cpu") -> None:
        graph = load(path).graph
        given = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        given |= {
            node.output[0]: numpy_helper.to_array(helper.get_attribute_value(node.attribute[0]))
            for node in graph.node
            if node.op_type == "Constant" and node.attribute[0].name == "value"
        }
        self._nodes = [_Node(node) for node in graph.node if node.output[0] not in given]
        unknown = sorted({node.kind for node in self._nodes if node.kind not in _KINDS})
        if unknown:
            raise PackError(
                f"{path.name}: has nodes of kinds that cannot be trained here: {', '.join(unknown)}",
                hint="Convolutional networks can be trained. Behind any other, `deertrack train head` fits a head.",
            )
        (self._input,) = (feed.name for feed in graph.input if feed.name not in given)
        self._output = graph.output[0].name
        names = [
            name for node in self._nodes if node.kind == "Conv" for name in node.inputs[1:] if name in given
        ]
        if not names:
            raise PackError(f"{path.name}: has no convolution whose weights could be trained")
        self.weights: dict[str, Tensor] = {
            name: _tensor(given[name], device) for name in dict.fromkeys(names)
        }
        # Single numbers stay numbers: bounds and the like.
        self._constants: dict[str, Any] = {
            name: value.item() if value.ndim == 0 else torch.from_numpy(value.copy()).to(device)
            for name, value in given.items()
            if name not in self.weights
        }

        last = {name: place for place, node in enumerate(self._nodes) for name in node.inputs}
        computed = {node.output for node in self._nodes} - {self._output}
        self._done_with: list[list[str]] = [[] for _ in self._nodes]
        for name in computed & last.keys():
            self._done_with[last[name]].append(name)

    def train(self, *, frozen: float) -> list[Tensor]:
        """Let all weights but those of the first ``frozen`` share, in [0, 1), be trained; returns them."""
        trained = list(self.weights.values())[round(frozen * len(self.weights)) :]
        for weight in trained:
            weight.requires_grad_(True)
        return trained

    def __call__(self, pixels: Tensor) -> Tensor:
        """(n, 3, height, width), normalised, to (n, d) float32."""
        values: dict[str, Any] = {**self._constants, **self.weights, self._input: pixels}
        for node in self._nodes:
            found = _KINDS[node.kind](
                [values[name] if name else None for name in node.inputs], node.attributes
            )
            values[node.output] = found
        return values[self._output].float().flatten(1)


class _Node:
    def __init__(self, node: Any) -> None:
        self.kind: str = node.op_type
        self.inputs: list[str] = list(node.input)
        self.output: str = node.output[0]
        self.attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _tensor(value: NDArray[np.float32], device: str) -> Tensor:
    found = torch.from_numpy(value.copy()).to(device)
    return found.contiguous(memory_format=torch.channels_last) if found.ndim == 4 else found


def _padded(x: Tensor, attributes: Attributes, fill: float) -> tuple[Tensor, tuple[int, int]]:
    """What torch cannot pad by itself, padded; and the padding that it can."""
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise PackError("the graph leaves the padding of a convolution or a pool open (auto_pad)")
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    if (top, left) == (bottom, right):
        return x, (top, left)
    return functional.pad(x, (left, right, top, bottom), value=fill), (0, 0)


def _conv(given: Sequence[Any], attributes: Attributes) -> Tensor:
    x, padding = _padded(given[0], attributes, 0.0)
    return functional.conv2d(
        x,
        given[1],
        given[2] if len(given) > 2 else None,
        stride=attributes.get("strides", (1, 1)),
        padding=padding,
        dilation=attributes.get("dilations", (1, 1)),
        groups=attributes.get("group", 1),
    )


def _max_pool(given: Sequence[Any], attributes: Attributes) -> Tensor:
    x, padding = _padded(given[0], attributes, float("-inf"))
    return functional.max_pool2d(
        x, attributes["kernel_shape"], stride=attributes.get("strides", (1, 1)), padding=padding
    )


def _clip(given: Sequence[Any], attributes: Attributes) -> Tensor:
    x, low, high, *_ = [*given, None, None]
    low = attributes.get("min") if low is None else low
    high = attributes.get("max") if high is None else high
    return x.clamp(low, high)


def _axes(given: Sequence[Any], attributes: Attributes) -> list[int]:
    """Attribute or, from opset 18 on, input."""
    axes = attributes["axes"] if "axes" in attributes else given[1].tolist()
    return [int(axis) for axis in axes]


def _mean(given: Sequence[Any], attributes: Attributes) -> Tensor:
    return given[0].float().mean(_axes(given, attributes), keepdim=bool(attributes.get("keepdims", 1)))


def _length(given: Sequence[Any], attributes: Attributes) -> Tensor:
    return torch.linalg.vector_norm(
        given[0].float(), dim=_axes(given, attributes), keepdim=bool(attributes.get("keepdims", 1))
    )


def _max(given: Sequence[Any], _: Attributes) -> Tensor:
    found = given[0]
    for other in given[1:]:
        found = found.clamp(min=other) if isinstance(other, float) else torch.maximum(found, other)
    return found


_KINDS: dict[str, Callable[[Sequence[Any], Attributes], Tensor]] = {
    "Add": lambda given, _: given[0] + given[1],
    "Clip": _clip,
    "Concat": lambda given, attributes: torch.cat(list(given), dim=attributes["axis"]),
    "Conv": _conv,
    "Div": lambda given, _: given[0] / given[1],
    "Flatten": lambda given, attributes: given[0].flatten(attributes.get("axis", 1)),
    "GlobalAveragePool": lambda given, _: given[0].float().mean((2, 3), keepdim=True),
    "Identity": lambda given, _: given[0],
    "MatMul": lambda given, _: given[0] @ given[1],
    "Max": _max,
    "MaxPool": _max_pool,
    "Mul": lambda given, _: given[0] * given[1],
    "ReduceL2": _length,
    "ReduceMean": _mean,
    "Relu": lambda given, _: given[0].relu(),
    "Sigmoid": lambda given, _: given[0].sigmoid(),
    "Sqrt": lambda given, _: given[0].sqrt(),
    "Sub": lambda given, _: given[0] - given[1],
}
