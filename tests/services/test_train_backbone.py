"""Fine-tuning a small network: it learns, goes on where it was stopped, and leaves a pack like any other."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deertrack.domain.embedding import Output
from deertrack.domain.errors import InputError, PackError
from deertrack.services.evaluation.labelled_set import LabelledSet, load_labelled_set
from deertrack.services.evaluation.vectors import VectorFiles
from deertrack.services.training.backbone import FineTuned, Options, train_backbone
from deertrack.vision.crops import CropRule
from deertrack.vision.embedder import Embedder
from deertrack.vision.model_packs import Card, Graph, Pack, builtin_pack, load_pack
from deertrack.vision.pack_building import IMAGENET, file_sha256, write_card

pytest.importorskip("torch", reason="the extra `models` is not installed: no torch")
pytest.importorskip("onnx", reason="the extra `models` is not installed")

from deertrack.vision.graph_building import Net

HW = (48, 64)
ANIMALS, VISITS = 20, 5


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """A pack of a network of three convolutions, never trained."""
    folder, rng = tmp_path_factory.mktemp("small"), np.random.default_rng(0)
    net, x = Net({}, epsilon=0.0, input_hw=HW), "pixels"
    for wide, out in ((3, 12), (12, 24), (24, 64)):
        kernel = rng.normal(scale=(2 / (9 * wide)) ** 0.5, size=(out, wide, 3, 3))
        x = net.node("Relu", net.convolve(x, kernel, np.zeros(out), stride=2, pads=(1, 1)))
    net.embedding("single", [net.mean(x)], 64, seed=1)
    net.save(folder / "small.onnx")
    graph = Graph(
        file="small.onnx",
        sha256=file_sha256(folder / "small.onnx"),
        input_hw=HW,
        normalisation=IMAGENET,
        crop=CropRule.STRETCH,
        outputs={Output.SINGLE: "single"},
        projection="",
        licence="MIT",
        provenance="a test",
    )
    write_card(folder, Card("small", "", "", {"v1_small": 1}, (graph,)))
    (folder / "NOTICE").write_text("who made it")
    return load_pack(folder)


@pytest.fixture(scope="module")
def herd(tmp_path_factory: pytest.TempPathFactory) -> LabelledSet:
    """Animals that differ by the slant and width of their stripes, in photos that differ by light and place."""
    folder, rng = tmp_path_factory.mktemp("herd"), np.random.default_rng(3)
    high, wide = np.mgrid[0:72, 0:96]
    rows = ["file,identity,encounter"]
    for animal in range(ANIMALS):
        slant, step = np.pi / 2 * (animal % 5) / 4, (5, 9, 16, 28)[animal // 5]  # mirrored, still apart
        for visit in range(VISITS):
            along = wide * np.cos(slant) + high * np.sin(slant)
            stripes = np.sin(2 * np.pi * along / step + rng.uniform(0, 6))
            light = rng.uniform(60, 190, size=3)
            pixels = light + 50 * stripes[..., None] + rng.normal(scale=8, size=(72, 96, 3))
            name = f"{animal}-{visit}.png"
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name)
            rows.append(f"{name},A{animal},{visit}")
    (folder / "truth.csv").write_text("\n".join(rows) + "\n")
    return load_labelled_set(folder / "truth.csv")


class Interrupted:
    """Progress that is stopped, as by Ctrl-C, when so many stages have begun."""

    def __init__(self, at: int) -> None:
        self._left, self.stages = at, list[str]()

    def start(self, stage: str, total: int | None) -> None:
        self.stages.append(stage)
        if stage.startswith("Epoch"):
            self._left -= 1
            if self._left < 0:
                raise KeyboardInterrupt

    def advance(self, steps: int = 1) -> None:
        pass


Train = Callable[..., FineTuned]


@pytest.fixture
def train(small: Pack, herd: LabelledSet, tmp_path: Path) -> Train:
    def run(home: Path, labelled: LabelledSet = herd, base: Pack = small, **changes: Any) -> FineTuned:
        options = Options(**{"epochs": 2, "seed": 1, "threads": 1} | changes.pop("options", {}))
        files = VectorFiles(tmp_path / "vectors")
        return train_backbone(
            home, labelled, base, Embedder, files, **{"name": "ours", "options": options} | changes
        )

    return run


def test_it_learns_and_the_pack_runs_like_any_other(train: Train, tmp_path: Path, small: Pack) -> None:
    done = train(tmp_path / "home", options={"epochs": 40})
    assert (done.plan.animals, done.plan.held_out_animals) == (16, 4)
    assert len(done.losses) == 40
    assert done.held_out is not None
    assert done.held_out.after["mAP"].value > done.held_out.before["mAP"].value
    pack = load_pack(tmp_path / "home" / "packs" / "ours")
    assert list(pack.card.versions) == ["v1_ours"]
    assert pack.fingerprints != small.fingerprints
    (graph,) = pack.card.graphs
    assert (graph.licence, graph.projection) == (
        "MIT",
        "linear neck in the graph, trained with the network",
    )
    assert "fine-tuned in 40 epochs on 80 photos of 16 animals (truth.csv); base small" in graph.provenance
    assert f"mAP {done.held_out.before['mAP'].value:.3f} became" in pack.card.limits
    assert (pack.directory / "NOTICE").is_file()
    assert not (tmp_path / "home" / "training" / "ours").exists()
    with pytest.raises(InputError, match="there is a pack 'ours' already"):
        train(tmp_path / "home")


def test_stopped_it_goes_on_and_ends_as_if_it_never_was(train: Train, tmp_path: Path) -> None:
    whole = train(tmp_path / "one", options={"epochs": 3})
    for stop_at in (2, 0):  # in the third epoch, and again at once
        progress = Interrupted(stop_at)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "two", options={"epochs": 3}, progress=progress)
        assert (tmp_path / "two" / "training" / "ours" / "checkpoint.pt").exists()
    assert "Reading crops" not in progress.stages
    plan = train(tmp_path / "two", options={"epochs": 3}, dry_run=True).plan
    assert plan.resumes
    rest = train(tmp_path / "two", options={"epochs": 3})
    assert rest.losses == whole.losses[2:]
    assert rest.pack is not None
    assert whole.pack is not None
    assert rest.pack.fingerprints == whole.pack.fingerprints


def test_a_checkpoint_of_something_else_is_never_taken(
    train: Train, tmp_path: Path, herd: LabelledSet
) -> None:
    home = tmp_path / "home"
    with pytest.raises(KeyboardInterrupt):
        train(home, progress=Interrupted(1))
    fewer = LabelledSet(herd.source, herd.photos[:-1])
    for changes, words in (
        ({"options": {"epochs": 5}}, "--epochs"),
        ({"labelled": fewer}, "other photos or names"),
        ({"options": {"epochs": 4}, "labelled": fewer}, "other photos or names and --epochs"),
    ):
        with pytest.raises(InputError, match=f"unfinished training with {words}") as caught:
            train(home, **changes)
        assert f"remove {home}" in caught.value.hint
    checkpoint = home / "training" / "ours" / "checkpoint.pt"
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="this checkpoint cannot be used") as caught:
        train(home)
    assert f"Remove {checkpoint}" in caught.value.hint
    shutil.rmtree(checkpoint.parent)
    assert train(home).pack is not None


def test_nothing_is_written_in_a_dry_run(train: Train, tmp_path: Path) -> None:
    done = train(tmp_path / "home", dry_run=True)
    assert (done.plan.photos, done.plan.held_out_photos, done.pack) == (80, 20, None)
    assert not (tmp_path / "home").exists()


def test_what_cannot_be_trained_is_told_first(
    train: Train, tmp_path: Path, herd: LabelledSet, small: Pack
) -> None:
    few = LabelledSet("few", [photo for photo in herd.photos if photo.identity in ("A1", "A2", "A3")])
    once = LabelledSet("once", [photo for photo in herd.photos if photo.encounter == "1"])
    for changes, error, words in (
        ({"labelled": few}, InputError, "10 or more animals to learn from"),
        ({"labelled": once}, InputError, "none of the animals that are held out was met in two encounters"),
        ({"options": {"device": "abacus"}}, InputError, "--device abacus"),
        ({"name": "lite"}, InputError, "there is a pack 'lite' already"),
        ({"base": _without_single(small, tmp_path)}, PackError, "has no single-layer version"),
    ):
        with pytest.raises(error, match=words):
            train(tmp_path / "home", **changes)
        assert not (tmp_path / "home" / "packs" / "ours").exists()


def test_photos_that_cannot_be_read_are_left_out_and_named(
    train: Train, tmp_path: Path, herd: LabelledSet
) -> None:
    """As on a card that was pulled out after the set was read."""
    gone = [p for p in herd.photos if p.encounter == "3" and int(p.identity[1:]) % 4 == 0]
    photos = [replace(p, path=tmp_path / p.path.name) if p in gone else p for p in herd.photos]
    done = train(tmp_path / "home", LabelledSet("some gone", photos))
    assert done.pack is not None
    told = {problem.path: problem.reason for problem in done.labelled.problems}
    assert told == {str(tmp_path / p.path.name): "cannot be read (No such file or directory)" for p in gone}


def _without_single(small: Pack, folder: Path) -> Pack:
    shutil.copytree(small.directory, folder / "multi")
    card = (folder / "multi" / "pack.json").read_text()
    card = card.replace('"feature_vector"', '"feature_vector_multiscale"').replace('"v1_small": 1', '"v2": 2')
    (folder / "multi" / "pack.json").write_text(card)
    return load_pack(folder / "multi")


def test_the_shipped_network_can_be_trained(train: Train, tmp_path: Path, herd: LabelledSet) -> None:
    """One pass over few photos: torch agrees with the engine before, and the engine with torch after."""
    chosen = [photo for photo in herd.photos if photo.encounter in ("1", "2")]
    done = train(tmp_path / "home", LabelledSet("few", chosen), builtin_pack(), options={"epochs": 1})
    assert done.pack is not None
    assert list(done.pack.card.versions) == ["v1_ours"]
    assert np.isfinite(done.losses).all()
