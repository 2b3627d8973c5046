"""Fine-tuning a pack's network to known animals: a metric-learning loss, augmentation, and checkpoints.

Needs torch and onnx (extra ``models``): import it only when training.

Sources: Wang et al. (2018), "CosFace: large margin cosine loss"; Szegedy et al. (2016), "Rethinking the Inception
architecture" (label smoothing); Smith & Topin (2018), "Super-convergence" (the one-cycle rate); Zhong et al.
(2020), "Random erasing data augmentation"; Polyak & Juditsky (1992) (the average of the weights).
"""

import json
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from deertrack.domain.embedding import DIMENSIONS
from deertrack.domain.errors import InputError, PackError, PhotoError
from deertrack.domain.records import Box
from deertrack.vision.crops import crop, shrink_for
from deertrack.vision.engines import load_engine
from deertrack.vision.graph_building import Tail, expose_features, project, with_weights
from deertrack.vision.image_io import Photo, Pixels
from deertrack.vision.model_packs import Graph
from deertrack.vision.onnx_torch import Tensor, TorchGraph
from deertrack.vision.pack_checks import drawn_pictures

BATCH = 32
_MARGIN = 1.25  # of a kept crop's sides over the input's: room for the augmentation to move in
_FROZEN = 0.3  # of the convolutions: edges and colours are the same for all animals
_SCALE, _COSINE_MARGIN, _WARM_UP = 20.0, 0.3, 3  # the margin grows over so many epochs
_SMOOTHING = 0.05
_RATES = {"network": 3e-4, "neck": 1e-3, "classes": 1e-2}
_DECAY = 1e-2
_AVERAGE = 0.99
_LONGEST_STEP = 5.0  # gradients are clipped to this norm
_LEAST_PARITY = 0.9999  # cosine of torch's features with the engine's
_CENTRE_ON = 2000  # crops
_READ_AT_ONCE = 64


def keep_crops(
    graph: Graph, photos: Sequence[tuple[Path, Box]], path: Path, *, advance: Callable[[int], None]
) -> None:
    """Write all crops as one array (n, height, width, 3) uint8, a little larger than the graph's input.

    Beside it goes a JSON file with the reasons, by row, of those that cannot be read and are black.
    """
    high, wide = size = crop_size(graph)
    partial = path.with_suffix(".partial")
    kept = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=(len(photos), high, wide, 3))
    unreadable: dict[int, str] = {}

    def read(row: int) -> Pixels:
        file, box = photos[row]
        try:
            photo = Photo(file.read_bytes(), file)
            shrink = shrink_for(box, photo.width, photo.height, size)
            return crop(photo.decode(shrink), box, graph.crop, size)
        except OSError as error:
            unreadable[row] = f"cannot be read ({error.strerror})"
        except PhotoError as error:
            unreadable[row] = error.message.removeprefix(f"{file}: ")
        return np.zeros((high, wide, 3), np.uint8)

    with ThreadPoolExecutor() as pool:
        for start in range(0, len(photos), _READ_AT_ONCE):
            rows = range(start, min(start + _READ_AT_ONCE, len(photos)))
            kept[rows.start : rows.stop] = np.stack(list(pool.map(read, rows)))
            advance(len(rows))
    kept.flush()
    _reasons_beside(path).write_text(json.dumps(unreadable), encoding="utf-8")
    partial.replace(path)


def open_crops(path: Path) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """What :func:`keep_crops` wrote: the crops, and why some rows are black."""
    reasons = json.loads(_reasons_beside(path).read_text(encoding="utf-8"))
    return np.load(path, mmap_mode="r"), {int(row): reason for row, reason in reasons.items()}


def _reasons_beside(path: Path) -> Path:
    return path.with_suffix(".json")


def crop_size(graph: Graph) -> tuple[int, int]:
    """Height and width of a kept crop."""
    high, wide = graph.input_hw
    return round(high * _MARGIN), round(wide * _MARGIN)


def batches(keys: Sequence[Hashable], size: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """All rows in batches of ``size`` at random, never two with one key in a batch; what fills none is left out."""
    left = rng.permutation(len(keys)).tolist()
    while True:
        batch: dict[Hashable, int] = {}
        rest = []
        for place, row in enumerate(left):
            if len(batch) == size:
                rest += left[place:]
                break
            if keys[row] in batch:
                rest.append(row)
            else:
                batch[keys[row]] = row
        if len(batch) < size:
            return
        yield list(batch.values())
        left = rest


class FineTuning:
    """A network, a linear neck and a direction for each class, on the way through ``epochs`` epochs.

    Args:
        source: the ONNX file of ``graph``.
        output: the graph's name of the output whose features are trained.
        crops: (n, …) as :func:`open_crops` gives them.
        classes: (n,) counted from 0: identity and flank of each crop.
        encounters: (n,): a batch never has two photos of one class in one encounter.
        usable: the rows to learn from.

    Raises:
        PackError: the graph cannot be trained, or torch computes other features than the engine.
        InputError: fewer than two crops that can be in one batch.
    """

    def __init__(
        self,
        source: Path,
        graph: Graph,
        output: str,
        *,
        crops: NDArray[np.uint8],
        classes: NDArray[np.int64],
        encounters: NDArray[np.int64],
        usable: NDArray[np.int64],
        epochs: int,
        seed: int,
        device: str = "cpu",
        threads: int | None = None,
    ) -> None:
        if threads:
            torch.set_num_threads(threads)
        _insist_on_device(device)
        self._source, self._graph, self._output = source, graph, output
        self._crops, self._classes, self._usable = crops, classes, usable
        self._keys = list(zip(classes[usable].tolist(), encounters[usable].tolist(), strict=True))
        self._size = min(BATCH, len(set(self._keys)))
        if self._size < 2:
            raise InputError("expected photos of two or more animals or encounters to train on")
        self.epochs, self.steps, self._seed = epochs, len(usable) // self._size, seed
        self._device = device
        self.done = 0
        self._network = _network(source, output, graph, device)
        trained = self._network.train(frozen=_FROZEN)
        torch.manual_seed(seed)
        self._centre = self._mean_features()
        self._neck = torch.empty(DIMENSIONS, len(self._centre), device=device)
        torch.nn.init.orthogonal_(self._neck)
        directions = torch.randn(int(classes.max()) + 1, DIMENSIONS, device=device) * 0.05
        self._directions = directions.requires_grad_(True)
        self._learned = [*trained, self._neck.requires_grad_(True)]
        self._averaged = [weight.detach().clone() for weight in self._learned]
        groups = {"network": trained, "neck": [self._neck], "classes": [self._directions]}
        self._optimiser = torch.optim.AdamW(
            [{"params": weights, "lr": _RATES[name]} for name, weights in groups.items()], weight_decay=_DECAY
        )
        self._rates = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, list(_RATES.values()), total_steps=max(epochs * self.steps, 2), pct_start=0.2
        )

    def epoch(self, *, advance: Callable[[int], None]) -> float:
        """Show all crops once; returns the mean loss."""
        torch.manual_seed(1000 * self._seed + self.done)
        rng = np.random.default_rng([self._seed, self.done])
        losses = []
        for rows in batches(self._keys, self._size, rng):
            losses.append(self._step(self._usable[rows]))
            advance(1)
        self.done += 1
        return float(np.mean(losses))

    def _step(self, rows: NDArray[np.int64]) -> float:
        pixels = torch.from_numpy(self._crops[rows]).to(self._device)
        classes = torch.from_numpy(self._classes[rows]).to(self._device)
        features = self._features(augment(pixels, self._graph.input_hw))
        embedded = functional.normalize((features - self._centre) @ self._neck.T)
        cosines = embedded @ functional.normalize(self._directions).T
        margin = _COSINE_MARGIN * min(1.0, self.done / _WARM_UP)
        wanted = functional.one_hot(classes, len(self._directions))
        loss = functional.cross_entropy(
            _SCALE * (cosines - margin * wanted), classes, label_smoothing=_SMOOTHING
        )
        self._optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._learned[:-1], _LONGEST_STEP)
        self._optimiser.step()
        step = self._rates.last_epoch + 1
        self._rates.step()
        share = min(_AVERAGE, (1 + step) / (10 + step))  # the first steps are soon forgotten
        with torch.no_grad():
            for averaged, weight in zip(self._averaged, self._learned, strict=True):
                averaged.lerp_(weight, 1 - share)
        return float(loss.detach())

    def _features(self, pixels: Tensor) -> Tensor:
        """Of pictures (n, 3, height, width) in 0…255: (n, d)."""
        rule = self._graph.normalisation
        mean, std = (torch.tensor(v, device=self._device)[:, None, None] for v in (rule.mean, rule.std))
        pixels = ((pixels * rule.scale - mean) / std).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self._device.split(":")[0], torch.bfloat16, enabled=_has_bf16(self._device)):
            return self._network(pixels)

    def _mean_features(self) -> Tensor:
        total, count = 0.0, 0
        chosen = self._usable[:: max(len(self._usable) // _CENTRE_ON, 1)]
        with torch.no_grad():
            for start in range(0, len(chosen), BATCH):
                some = self._crops[chosen[start : start + BATCH]]
                pixels = torch.from_numpy(some).to(self._device).permute(0, 3, 1, 2)
                found = self._features(
                    functional.interpolate(pixels.float(), self._graph.input_hw, mode="area")
                )
                total, count = total + found.sum(0), count + len(found)
        return total / count

    def save(self, path: Path) -> None:
        """Write a checkpoint: complete, or not at all."""
        state = {
            "done": self.done,
            "weights": self._network.weights,
            "neck": self._neck,
            "directions": self._directions,
            "centre": self._centre,
            "averaged": self._averaged,
            "optimiser": self._optimiser.state_dict(),
            "rates": self._rates.state_dict(),
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            InputError: it cannot be read; says what to do.
        """
        try:
            state = torch.load(path, map_location=self._device, weights_only=True)
            pairs = [(self._network.weights[name], value) for name, value in state["weights"].items()]
            pairs += [(self._neck, state["neck"]), (self._directions, state["directions"])]
            pairs += [(self._centre, state["centre"]), *zip(self._averaged, state["averaged"], strict=True)]
            with torch.no_grad():
                for ours, kept in pairs:
                    ours.copy_(kept)
            self._optimiser.load_state_dict(state["optimiser"])
            self._rates.load_state_dict(state["rates"])
            self.done = state["done"]
        except Exception as error:  # whatever torch raises
            raise InputError(
                f"{path}: this checkpoint cannot be used ({str(error).splitlines()[0]})",
                hint=f"Remove {path} to train from the beginning.",
            ) from error

    def export(self, path: Path, name: str) -> None:
        """Write the graph with the averaged weights, ending in the trained neck as its only output ``name``."""
        weights = dict(self._network.weights)
        by_tensor = {id(w): a for w, a in zip(self._learned, self._averaged, strict=True)}
        arrays = {n: by_tensor.get(id(w), w).detach().cpu().contiguous().numpy() for n, w in weights.items()}
        neck = self._averaged[-1].cpu().numpy().T.astype(np.float64)
        centre = self._centre.cpu().numpy().astype(np.float64)
        with TemporaryDirectory() as temporary:
            trained = Path(temporary, "trained.onnx")
            with_weights(self._source, arrays, trained)
            project(trained, [Tail(self._output, name, neck, shift=centre)], path)


def augment(pixels: Tensor, input_hw: tuple[int, int]) -> Tensor:
    """Crops as another camera, hour and posture might have given them.

    Mirrored; turned, scaled, squeezed and moved; colours changed or, as at night, gone; blurred; partly hidden.

    Args:
        pixels: (n, height, width, 3) uint8.

    Returns:
        (n, 3, *input_hw) float32 in 0…255.
    """
    n, device = len(pixels), pixels.device

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(shape, device=device)

    x = pixels.permute(0, 3, 1, 2).float() / 255
    mirrored = uniform(n) < 0.5
    x[mirrored] = x[mirrored].flip(3)
    angle, scale = uniform(n, low=-0.175, high=0.175), 1 / uniform(n, low=0.9, high=1.35)
    squeeze = torch.exp(uniform(n, low=-0.15, high=0.15))
    affine = torch.zeros(n, 2, 3, device=device)
    affine[:, 0, 0], affine[:, 0, 1] = angle.cos() * scale * squeeze, -angle.sin() * scale
    affine[:, 1, 0], affine[:, 1, 1] = angle.sin() * scale, angle.cos() * scale / squeeze
    affine[:, :, 2] = uniform(n, 2, low=-0.15, high=0.15)
    grid = functional.affine_grid(affine, [n, 3, *input_hw], align_corners=False)
    x = functional.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * uniform(n, 1, 1, 1, low=0.3, high=1.5) * (uniform(n, 1, 1, 1) > 0.2)
    x = x * uniform(n, 3, 1, 1, low=0.925, high=1.075)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * uniform(n, 1, 1, 1, low=0.6, high=1.4) + mean + uniform(n, 1, 1, 1, low=-0.15, high=0.15)
    blurred = uniform(n) < 0.2
    if blurred.any():
        x[blurred] = functional.avg_pool2d(x[blurred], 3, 1, 1)
    x = x.clamp(0, 1)
    for picture, share, place, hidden in zip(
        x,
        uniform(n, 2, low=0.15, high=0.5).tolist(),
        uniform(n, 2).tolist(),
        uniform(n).tolist(),
        strict=True,
    ):
        if hidden < 0.6:
            high, wide = (int(side * part) for side, part in zip(input_hw, share, strict=True))
            top, left = (
                int((side - length) * at)
                for side, length, at in zip(input_hw, (high, wide), place, strict=True)
            )
            picture[:, top : top + high, left : left + wide] = uniform(3, 1, 1)
    return x * 255


def _network(source: Path, output: str, graph: Graph, device: str) -> TorchGraph:
    """The graph up to the features of an output.

    Raises:
        PackError: torch does not compute what the engine computes.
    """
    with TemporaryDirectory() as temporary:
        path = Path(temporary, source.name)
        name = expose_features(source, [output], path)[output]
        network = TorchGraph(path, device=device)
        pictures = drawn_pictures(graph.input_hw, graph.normalisation)
        expected = load_engine(path, engine="onnxruntime").run(pictures)[name].reshape(len(pictures), -1)
    with torch.no_grad():
        found = network(torch.from_numpy(pictures).to(device)).cpu().numpy()
    cosine = functional.cosine_similarity(torch.from_numpy(found), torch.from_numpy(expected)).min()
    if not float(cosine) >= _LEAST_PARITY:
        raise PackError(
            f"{source.name}: torch computes other features than the engine (cosine {float(cosine):.5f})",
            hint="This graph cannot be trained here. Behind it, `deertrack train head` fits a head.",
        )
    return network


def _insist_on_device(device: str) -> None:
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"--device {device}: torch cannot compute there ({str(error).splitlines()[0]})",
            hint="cpu always works; cuda needs an NVIDIA card and a build of torch for it.",
        ) from error


def _has_bf16(device: str) -> bool:
    """Whether the device computes in bf16 itself: where it does not, that is slower than f32."""
    if not device.startswith("cpu"):
        return bool(torch.cuda.is_available() and torch.cuda.is_bf16_supported())
    known: Any = torch.cpu
    return any(
        check is not None and check()
        for check in (getattr(known, f"_is_{kind}_supported", None) for kind in ("avx512_bf16", "amx_tile"))
    )
