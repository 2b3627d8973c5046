"""The pack ``resnet50-b0``: ResNet50 and EfficientNet-B0 with the weights that `transformers` loads.

Needs the extra ``models`` (torch, transformers, onnx): import it only when building. One pass of ResNet50 gives
both the single-layer and the multi-scale vector (spec, "Data Model"; networks: He et al. 2015, Tan & Le 2019).
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from deertrack.domain.embedding import Output, Vectors
from deertrack.domain.errors import PackError
from deertrack.vision.crops import CropRule
from deertrack.vision.engines import load_engine
from deertrack.vision.graph_building import Net, Weights, orthonormal
from deertrack.vision.model_packs import Card, Graph
from deertrack.vision.pack_building import IMAGENET, SEEDED, extra, file_sha256, write_card

NAME = "resnet50-b0"
INPUT_HW = (224, 224)
LEAST_PARITY = 0.9999  # cosine of a graph's vector with that of the torch modules, in f32

# What the graphs below are written for. The names are those of the models' config.json.
RESNET50: dict[str, Any] = {
    "layer_type": "bottleneck",
    "embedding_size": 64,
    "hidden_sizes": [256, 512, 1024, 2048],
    "depths": [3, 4, 6, 3],
    "hidden_act": "relu",
    "downsample_in_first_stage": False,
    "downsample_in_bottleneck": False,
}
EFFICIENTNET_B0: dict[str, Any] = {
    "width_coefficient": 1.0,
    "depth_coefficient": 1.0,
    "in_channels": [32, 16, 24, 40, 80, 112, 192],
    "out_channels": [16, 24, 40, 80, 112, 192, 320],
    "kernel_sizes": [3, 3, 5, 3, 5, 5, 3],
    "strides": [1, 2, 2, 2, 1, 2, 1],
    "num_block_repeats": [1, 2, 2, 3, 3, 4, 1],
    "expand_ratios": [1, 6, 6, 6, 6, 6, 6],
    "depthwise_padding": [],
    "squeeze_expansion_ratio": 0.25,
    "hidden_act": "swish",
    "hidden_dim": 1280,
    "batch_norm_eps": 0.001,
}

# What tells these networks from their sisters at a glance; the comparison with torch finds all else.
_TELLING = {"layer_type", "hidden_sizes", "depths", "width_coefficient", "depth_coefficient", "hidden_dim"}

# On the hub, in transformers' layout, and in a --weights directory: one folder each, named as here.
HUB = {"resnet-50": "microsoft/resnet-50", "efficientnet-b0": "google/efficientnet-b0"}
_WEIGHT_FILES = {"resnet-50": "model.safetensors", "efficientnet-b0": "pytorch_model.bin"}  # as published


@dataclass(frozen=True, slots=True)
class Networks:
    """The torch modules in evaluation mode, and where their weights are from."""

    resnet: Any
    efficientnet: Any
    source: str
    licence: str


def load_networks(weights: Path | None) -> Networks:
    """The trained networks, from a local directory or else from the hub (or its cache on this machine).

    Raises:
        PackError: files are missing or cannot be fetched (says which, and how to bring them), or they hold
            another network.
    """
    # Their warnings are about what is not used here, and about each of five attempts to connect.
    extra("transformers").logging.set_verbosity_error()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if weights is not None:
        insist_on_files(weights)
    models, sources = [], []
    for folder, architecture, expected in (
        ("resnet-50", "ResNetModel", RESNET50),
        ("efficientnet-b0", "EfficientNetModel", EFFICIENTNET_B0),
    ):
        place = HUB[folder] if weights is None else str(weights / folder)
        try:
            model, loading = getattr(extra("transformers"), architecture).from_pretrained(
                place, dtype=torch.float32, output_loading_info=True, local_files_only=weights is not None
            )
        except Exception as error:  # whatever hub client, torch or safetensors raise
            reason = str(error).strip().splitlines()[0]
            if weights is None:
                raise PackError(
                    f"the weights of {place} cannot be fetched from huggingface.co: {reason}",
                    hint=how_to_bring_weights(),
                ) from error
            raise PackError(f"{place}: cannot be loaded: {reason}", hint=how_to_bring_weights()) from error
        lacking = [key for key in loading["missing_keys"] if not key.endswith("num_batches_tracked")]
        other = [name for name in _TELLING & expected.keys() if getattr(model.config, name) != expected[name]]
        if lacking or other:
            said = f"config.json differs in {other}" if other else f"it lacks the weights {lacking[:3]}"
            raise PackError(f"{place}: expected {HUB[folder]}, but {said}", hint=how_to_bring_weights())
        models.append(model.eval())
        sources.append(f"{HUB[folder]} (weights sha256 {_digest(model)})")
    source = " and ".join(sources) + ", trained on ImageNet-1k"
    return Networks(models[0], models[1], source, licence="Apache-2.0")


def random_networks(seed: int) -> Networks:
    """Untrained networks for tests and measurements: as much work as the trained ones, and vectors that vary.

    Made like trained ones where it matters: batch normalisation knows its input's statistics (else deep signals
    fade to nothing), and each block adds a little to what it is given (else rounding errors grow with depth).
    """
    transformers = extra("transformers")
    torch.manual_seed(seed)
    resnet = transformers.ResNetModel(transformers.ResNetConfig(**RESNET50)).eval()
    efficientnet = transformers.EfficientNetModel(transformers.EfficientNetConfig(**EFFICIENTNET_B0)).eval()
    noise = torch.nn.functional.interpolate(torch.randn(8, 3, 28, 28), INPUT_HW, mode="bilinear")
    for model in (resnet, efficientnet):
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                ends_a_block = name.endswith(("layer.2.normalization", "project_bn"))
                gain = 0.3 if ends_a_block else 1.0
                torch.nn.init.uniform_(module.weight, 0.5 * gain, 1.5 * gain)
                torch.nn.init.normal_(module.bias, std=0.2)
                module.momentum = 1.0
                module.train()
        with torch.inference_mode():
            model(noise)
        model.eval()
    source = f"random numbers, torch {torch.__version__}, seed {seed}: NOT TRAINED"
    return Networks(resnet, efficientnet, source, licence="none needed")


def build(directory: Path, *, name: str, versions: dict[str, int], networks: Networks) -> None:
    """Write the pack's files into a directory.

    Raises:
        PackError: the graphs do not give what the torch modules give (cosine below 0.9999).
    """
    _write_resnet(_arrays(networks.resnet), directory / "resnet50.onnx")
    _write_efficientnet(_arrays(networks.efficientnet), directory / "efficientnet_b0.onnx")
    seeds = {"resnet50.onnx": "1 for single, 2 for multiscale", "efficientnet_b0.onnx": "3"}
    outputs = {
        "resnet50.onnx": {Output.SINGLE: "single", Output.MULTISCALE: "multiscale"},
        "efficientnet_b0.onnx": {Output.PARTNER: "partner"},
    }
    graphs = tuple(
        Graph(
            file=file,
            sha256=file_sha256(directory / file),
            input_hw=INPUT_HW,
            normalisation=IMAGENET,
            crop=CropRule.STRETCH,
            outputs=outputs[file],
            projection=SEEDED.format(seeds[file]),
            licence=networks.licence,
            provenance=networks.source,
        )
        for file in outputs
    )
    _insist_on_parity(directory, graphs, networks)
    write_card(
        directory,
        Card(
            name=name,
            description="ResNet50 (pooled; layers 2 to 4 and pooled) and EfficientNet-B0. Weights: "
            + networks.source,
            limits="General features, never trained to tell individuals apart: expect to confirm matches by eye.",
            versions=versions,
            graphs=graphs,
        ),
    )


def reference(networks: Networks, batch: NDArray[np.float32]) -> dict[Output, Vectors]:
    """The three vectors as the torch modules give them: what the graphs have to equal.

    Args:
        batch: (n, 3, 224, 224), normalised.
    """
    with torch.inference_mode():
        pixels = torch.from_numpy(batch)
        resnet = networks.resnet(pixels, output_hidden_states=True)
        pooled = resnet.pooler_output.flatten(1)
        means = [state.mean((2, 3)) for state in resnet.hidden_states[2:]]
        multiscale = torch.cat([normalize(block) for block in (*means, pooled)], dim=1)
        # Not its own pooler, which pools over more than there is.
        partner = networks.efficientnet(pixels).last_hidden_state.mean((2, 3))
        features = {Output.SINGLE: pooled, Output.MULTISCALE: multiscale, Output.PARTNER: partner}
        return {
            output: normalize(
                normalize(rows) @ torch.from_numpy(orthonormal(rows.shape[1], seed)).float()
            ).numpy()
            for seed, (output, rows) in enumerate(features.items(), start=1)
        }


def how_to_bring_weights() -> str:
    """Which files are needed, and the way they take to a machine without internet."""
    lines = ["Needed are two folders with two files each (124 MB):"]
    for folder, repository in HUB.items():
        for file in ("config.json", _WEIGHT_FILES[folder]):
            lines.append(f"  {folder}/{file}  from https://huggingface.co/{repository}/resolve/main/{file}")
    lines.append("On a machine with internet: pip install huggingface_hub, and")
    for folder, repository in HUB.items():
        lines.append(
            f"  hf download {repository} config.json {_WEIGHT_FILES[folder]} --local-dir weights/{folder}"
        )
    lines.append("Bring the folder weights here, on a USB stick say, and give it as --weights DIR.")
    return "\n".join(lines)


def insist_on_files(weights: Path) -> None:
    """Insist on a folder for each network with its config.json and weights.

    Raises:
        PackError: something is missing; says what, and how to bring it.
    """
    missing = []
    for folder, weight_file in _WEIGHT_FILES.items():
        either = {weight_file, "model.safetensors", "pytorch_model.bin"}
        if not (weights / folder / "config.json").is_file():
            missing.append(f"{folder}/config.json")
        if not any((weights / folder / file).is_file() for file in either):
            missing.append(f"{folder}/{weight_file}")
    if missing:
        raise PackError(f"{weights}: lacks {', '.join(missing)}", hint=how_to_bring_weights())


def _insist_on_parity(directory: Path, graphs: Sequence[Graph], networks: Networks) -> None:
    coarse = torch.randn(4, 3, 14, 14, generator=torch.Generator().manual_seed(0))
    batch = torch.nn.functional.interpolate(coarse, INPUT_HW, mode="bicubic").numpy()
    expected = reference(networks, batch)
    for graph in graphs:
        for engine in ("openvino", "onnxruntime"):
            given = load_engine(directory / graph.file, engine=engine).run(batch)
            for ours, theirs in graph.outputs.items():
                cosine = float((given[theirs] * expected[ours]).sum(axis=1).min())
                if not cosine >= LEAST_PARITY:
                    raise PackError(
                        f"{graph.file}, {ours}: cosine {cosine:.6f} between {engine} and torch, "
                        f"expected at least {LEAST_PARITY}",
                        hint="This is a bug in deertrack, or in these versions of its libraries; please report it.",
                    )


def _write_resnet(weights: Weights, path: Path) -> None:
    net = Net(weights, epsilon=1e-5, input_hw=INPUT_HW)

    def conv(x: str, layer: str, *, stride: int = 1, pad: int = 0, active: bool = True) -> str:
        kernel, bias = net.folded(f"{layer}.convolution", f"{layer}.normalization")
        x = net.convolve(x, kernel, bias, stride=stride, pads=(pad, pad))
        return net.node("Relu", x) if active else x

    x = conv("pixels", "embedder.embedder", stride=2, pad=3)
    x = net.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    stages = []
    for stage, depth in enumerate(RESNET50["depths"]):
        for index in range(depth):
            layer = f"encoder.stages.{stage}.layers.{index}"
            stride = 2 if stage and not index else 1
            y = conv(x, f"{layer}.layer.0")
            y = conv(y, f"{layer}.layer.1", stride=stride, pad=1)
            y = conv(y, f"{layer}.layer.2", active=False)
            if not index:
                x = conv(x, f"{layer}.shortcut", stride=stride, active=False)
            x = net.node("Relu", net.node("Add", y, x))
        stages.append(x)
    layer2, layer3, layer4 = map(net.mean, stages[1:])
    pooled = layer4  # ResNet50's pooled features are the mean of its last layer
    net.embedding("single", [pooled], 2048, seed=1, matrix="projection_single")
    # Texture, shapes, parts, semantics (spec); so layer4 counts twice.
    blocks = [layer2, layer3, layer4, pooled]
    net.embedding("multiscale", blocks, 512 + 1024 + 2 * 2048, seed=2, matrix="projection_multiscale")
    net.save(path)


def _write_efficientnet(weights: Weights, path: Path) -> None:
    config = EFFICIENTNET_B0
    net = Net(weights, epsilon=config["batch_norm_eps"], input_hw=INPUT_HW)

    def swish(x: str) -> str:
        return net.node("Mul", x, net.node("Sigmoid", x))

    def dense(x: str, layer: str) -> str:
        return net.convolve(x, weights[f"{layer}.weight"], weights[f"{layer}.bias"])

    def same(kernel: int, stride: int) -> tuple[int, int]:  # TensorFlow's SAME padding on an even side
        total = kernel - stride
        return total // 2, total - total // 2

    stem = net.folded("embeddings.convolution", "embeddings.batchnorm")
    x = swish(net.convolve("pixels", *stem, stride=2, pads=same(3, 2)))
    shapes = zip(
        config["num_block_repeats"],
        config["kernel_sizes"],
        config["strides"],
        config["expand_ratios"],
        strict=True,
    )
    blocks = [
        (kernel, stride if first else 1, expansion, first)
        for repeats, kernel, stride, expansion in shapes
        for first in [True] + [False] * (repeats - 1)
    ]
    for index, (kernel, stride, expansion, first) in enumerate(blocks):
        layer, y = f"encoder.blocks.{index}", x
        if expansion != 1:
            y = swish(
                net.convolve(y, *net.folded(f"{layer}.expansion.expand_conv", f"{layer}.expansion.expand_bn"))
            )
        depthwise = net.folded(
            f"{layer}.depthwise_conv.depthwise_conv", f"{layer}.depthwise_conv.depthwise_norm"
        )
        y = swish(net.convolve(y, *depthwise, stride=stride, pads=same(kernel, stride), depthwise=True))
        squeezed = dense(
            swish(dense(net.mean(y), f"{layer}.squeeze_excite.reduce")), f"{layer}.squeeze_excite.expand"
        )
        y = net.node("Mul", y, net.node("Sigmoid", squeezed))
        y = net.convolve(y, *net.folded(f"{layer}.projection.project_conv", f"{layer}.projection.project_bn"))
        x = y if first else net.node("Add", y, x)
    top = swish(net.convolve(x, *net.folded("encoder.top_conv", "encoder.top_bn")))
    net.embedding("partner", [net.mean(top)], config["hidden_dim"], seed=3, matrix="projection_partner")
    net.save(path)


def _arrays(model: Any) -> Weights:
    state = model.state_dict()
    return {name: tensor.numpy() for name, tensor in state.items() if tensor.is_floating_point()}


def _digest(model: Any) -> str:
    """Of the weights' names and numbers, whatever file they came in."""
    digest = hashlib.sha256()
    for name, array in sorted(_arrays(model).items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
