"""Model packs: a directory with ONNX graphs and a card, ``pack.json``, that says all that shapes a vector.

A pack is checked when it is loaded: every graph's sha256 must be the card's, so that a fingerprint always
tells the truth about the weights behind it.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from deertrack.domain.embedding import EmbeddingVersion, Output
from deertrack.domain.errors import InputError, PackError
from deertrack.vision import crops
from deertrack.vision.crops import CropRule

CARD = "pack.json"
_BUILT_IN = Path(__file__).parent / "packs"


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Pixels 0…255 become ``(pixel * scale - mean) / std``, mean and std per channel R, G, B."""

    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0 or self.scale <= 0:
            raise InputError("expected a positive scale, and mean and std for three channels, std above 0")


@dataclass(frozen=True, slots=True)
class HeadFile:
    """A file beside the card with a learned head for each output of a graph (``vision.heads``)."""

    file: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Graph:
    """One ONNX file of a pack: how it is fed, and which of its outputs is which vector of a deer.

    ``input_hw`` is the input's height and width in pixels. ``outputs`` maps our names to the graph's; each is
    a final (n, 512) unit vector: the projection named in ``projection`` is inside the graph. ``licence``,
    ``projection`` and ``provenance`` are for people and shape nothing.

    ``mirrored``: a vector is the direction of the sum of those of the crop and of its mirror image. ``head``: after
    that, it goes through a learned head.
    """

    file: str
    sha256: str
    input_hw: tuple[int, int]
    normalisation: Normalisation
    crop: CropRule
    outputs: dict[Output, str]
    projection: str
    licence: str
    provenance: str
    head: HeadFile | None = None
    mirrored: bool = False

    def __post_init__(self) -> None:
        for file in (self.file, self.head.file) if self.head else (self.file,):
            if not file or Path(file).name != file:
                raise InputError(f"expected the name of a file beside the card, got {file!r}")
        if len(self.input_hw) != 2 or not all(16 <= side <= 2048 for side in self.input_hw):
            raise InputError(f"expected an input [height, width] of 16 to 2048 pixels, got {self.input_hw}")
        if not self.outputs:
            raise InputError(f"expected at least one output of {self.file}")

    def fingerprint(self, output: Output) -> str:
        """Hash (64 hex digits) of all that shapes this output, and of nothing else."""
        shaping: dict[str, Any] = {
            "graph": self.sha256,
            "output": self.outputs[output],
            "input": list(self.input_hw),
            "scale": self.normalisation.scale,
            "mean": list(self.normalisation.mean),
            "std": list(self.normalisation.std),
            "crop": [self.crop.value, crops.REVISION],
        }
        # Only where they are there, so that the fingerprints of packs without them never change.
        if self.mirrored:
            shaping["mirrored"] = True
        if self.head:
            shaping["head"] = self.head.sha256
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Card:
    """What ``pack.json`` says. ``versions`` maps each embedding version's name to its stage, 1 to 3."""

    name: str
    description: str
    limits: str
    versions: dict[str, int]
    graphs: tuple[Graph, ...]


@dataclass(frozen=True)
class Pack:
    """A pack whose files are what its card says."""

    card: Card
    directory: Path

    @cached_property
    def fingerprints(self) -> dict[Output, str]:
        """For each output that the pack produces, the hash of all that shapes it."""
        return {output: graph.fingerprint(output) for graph in self.card.graphs for output in graph.outputs}

    @cached_property
    def versions(self) -> tuple[EmbeddingVersion, ...]:
        """The pack's embedding versions, in the card's order."""
        return tuple(
            EmbeddingVersion(name=name, stage=stage, pack=self.card.name, fingerprints=self.fingerprints)
            for name, stage in self.card.versions.items()
        )


def load_pack(directory: Path) -> Pack:
    """Read a pack's card and check its files.

    Raises:
        PackError: no card, a card that lacks or misnames something (says which), a file that is missing, or
            one whose sha256 is not the card's.
    """
    path = directory / CARD
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PackError(f"{directory}: no {CARD}, so this is not a model pack") from None
    except (OSError, ValueError) as error:
        raise PackError(f"{path}: cannot be read ({error})") from error
    try:
        pack = Pack(_card(raw), directory)
        if not pack.versions:
            raise InputError("expected at least one embedding version")
    except InputError as error:
        raise PackError(f"{path}: {error}") from error
    for graph in pack.card.graphs:
        _check_file(directory / graph.file, graph.sha256)
        if graph.head:
            _check_file(directory / graph.head.file, graph.head.sha256)
    return pack


def builtin_names() -> list[str]:
    """The packs that ship inside the package, by name."""
    return sorted(card.parent.name for card in _BUILT_IN.glob(f"*/{CARD}"))


def builtin_pack(name: str = "lite") -> Pack:
    """A pack that ships inside the package."""
    return load_pack(_BUILT_IN / name)


def _check_file(path: Path, expected: str) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PackError(
            f"{path}: the card names this file, but it cannot be read ({error.strerror})",
            hint="Install the pack again.",
        ) from error
    if found != expected:
        raise PackError(
            f"{path}: changed since the pack was built: expected sha256 {expected[:12]}…, got {found[:12]}…",
            hint="Install the pack again; vectors of changed weights cannot be compared with stored ones.",
        )


def _card(raw: Any) -> Card:
    names = ("name", "description", "limits", "versions", "graphs")
    name, description, limits, versions, graphs = _fields("the card", raw, names, (str, str, str, dict, list))
    for stage in versions.values():
        if type(stage) is not int:
            raise InputError(f"expected versions as name: stage, got the stage {stage!r}")
    card = Card(name, description, limits, versions, tuple(_graph(graph) for graph in graphs))
    outputs = [output for graph in card.graphs for output in graph.outputs]
    if len(set(outputs)) != len(outputs):
        raise InputError("expected each output in one graph only")
    return card


def _graph(raw: Any) -> Graph:
    names = (
        "file",
        "sha256",
        "input",
        "normalisation",
        "crop",
        "outputs",
        "projection",
        "licence",
        "provenance",
    )
    types = (str, str, list, dict, str, dict, str, str, str, (dict, type(None)), bool)
    optional = {"head": None, "mirrored": False}
    file, sha256, size, normal, crop, outputs, projection, licence, provenance, head, mirrored = _fields(
        "a graph", optional | raw if isinstance(raw, dict) else raw, (*names, *optional), types
    )
    if head is not None:
        head = HeadFile(*_fields("a head", head, ("file", "sha256"), (str, str)))
    scale, mean, std = _fields("normalisation", normal, ("scale", "mean", "std"), ((int, float), list, list))
    try:
        return Graph(
            file=file,
            sha256=sha256,
            input_hw=tuple(int(side) for side in size),  # type: ignore[arg-type]
            normalisation=Normalisation(float(scale), tuple(map(float, mean)), tuple(map(float, std))),  # type: ignore[arg-type]
            crop=CropRule(crop),
            outputs={Output(ours): str(theirs) for ours, theirs in outputs.items()},
            projection=projection,
            licence=licence,
            provenance=provenance,
            head=head,
            mirrored=mirrored,
        )
    except (TypeError, ValueError) as error:
        raise InputError(f"graph {file}: {error}") from error


def _fields(what: str, raw: Any, names: tuple[str, ...], types: tuple[Any, ...]) -> list[Any]:
    """The values of exactly these keys, each of its type."""
    if not isinstance(raw, dict) or set(raw) != set(names):
        came = sorted(raw) if isinstance(raw, dict) else type(raw).__name__
        raise InputError(f"expected {what} with the keys {sorted(names)}, got {came}")
    for name, expected in zip(names, types, strict=True):
        if not isinstance(raw[name], expected):
            raise InputError(
                f"expected {what}'s {name} to be of another type than {type(raw[name]).__name__}"
            )
    return [raw[name] for name in names]
