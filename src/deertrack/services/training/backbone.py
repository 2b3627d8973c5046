"""Fine-tune a pack's network to animals that are known, and install what came of it as a pack of its own."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from deertrack.domain.embedding import EmbeddingVersion, Output, Vectors
from deertrack.domain.errors import InputError, PackError
from deertrack.domain.evaluation import FOLDS
from deertrack.domain.fusion import Weights
from deertrack.domain.learned import classes_of
from deertrack.domain.meetings import meet
from deertrack.domain.pairs import Codes
from deertrack.domain.protocols import Protocol, Sightings, identity_folds, make_sightings
from deertrack.services.evaluation.labelled_set import LabelledSet
from deertrack.services.evaluation.matchers import VersionMatcher
from deertrack.services.evaluation.vectors import VectorFiles, embed_photos
from deertrack.services.models import insist_on_new, make_pack, versions_of
from deertrack.services.progress import SILENT, Progress
from deertrack.services.training.calibrated import curve_of, write_curves
from deertrack.services.training.compared import Comparison, compare, insist_on_animals
from deertrack.vision.embedder import Embedder
from deertrack.vision.model_packs import Card, Graph, Pack, load_pack
from deertrack.vision.pack_building import copy_notices, extra, file_sha256, write_card

_OUTPUT = "trained"  # its name in the graph
_CHECKPOINT, _CROPS, _MARKS = "checkpoint.pt", "crops.npy", "training.json"
_BOOTSTRAP = 1000


@dataclass(frozen=True, slots=True)
class Plan:
    """What is learned from and what it is measured on: four fifths of the animals, and the others.

    ``resumes``: a call that was interrupted left a checkpoint to go on from.
    """

    name: str
    base: str
    epochs: int
    resumes: bool
    photos: int
    animals: int
    held_out_photos: int
    held_out_animals: int


@dataclass(frozen=True, slots=True)
class FineTuned:
    """What came of it: the mean loss of each epoch of this call, and what it is worth among animals held out.

    ``version`` is the base's that it is held against. ``held_out`` is None in a dry run, and so is ``pack``.
    ``calibrated`` names versions whose similarities were measured.
    """

    plan: Plan
    version: str
    labelled: LabelledSet
    losses: tuple[float, ...]
    held_out: Comparison | None
    calibrated: tuple[str, ...]
    pack: Pack | None


@dataclass(frozen=True, slots=True)
class Options:
    """How to train. ``device`` is torch's name of one; ``threads`` None leaves the choice to torch."""

    epochs: int = 15
    seed: int = 0
    device: str = "cpu"
    threads: int | None = None


def train_backbone(
    home: Path,
    labelled: LabelledSet,
    base: Pack,
    make_embedder: Callable[[Pack], Embedder],
    kept: VectorFiles,
    *,
    name: str,
    options: Options,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> FineTuned:
    """Train the network of the base's single-layer vector. Each epoch leaves a checkpoint in HOME/training/NAME.

    The same call again goes on after the last one; a finished training leaves the pack only.

    Raises:
        InputError: the name is taken; the data or options are not those of the checkpoint; too little to learn
            from.
        PackError: torch is not installed, or the network cannot be trained.
    """
    insist_on_new(home, name)
    versions = versions_of(base, name, stages=(1,))
    tuning = extra("deertrack.vision.fine_tuning")
    graph = next((g for g in base.card.graphs if Output.SINGLE in g.outputs), None)
    version = next((v for v in base.versions if v.stage == 1), None)
    if graph is None or version is None:
        raise PackError(f"pack {base.card.name!r} has no single-layer version, whose network is trained")
    learned, held_out = hold_out(labelled, options.seed)
    folder = home / "training" / name
    marks = _marks(base, learned, options)
    resumes = _insist_on_the_same(folder, marks)
    sizes = [len(of) for part in (learned, held_out) for of in (part.photos, part.names)]
    plan = Plan(name, base.card.name, options.epochs, resumes, *sizes)
    if dry_run:
        return FineTuned(plan, version.name, labelled, (), None, (), None)
    before, bad = embed_photos(held_out.photos, base, partial(make_embedder, base), kept, progress=progress)
    there = [row for row in range(len(held_out.photos)) if row not in bad]
    before = {output: of_all[there] for output, of_all in before.items()}
    held_out = held_out.without(bad)
    _begin(folder, marks)
    crops, unreadable = _crops(tuning, graph, learned, folder / _CROPS, progress)
    problems = [*held_out.problems, *learned.without(unreadable).problems]
    labelled = replace(labelled, problems=[*labelled.problems, *problems])
    codes = learned.codes()
    training = tuning.FineTuning(
        base.directory / graph.file,
        graph,
        graph.outputs[Output.SINGLE],
        crops=crops,
        classes=classes_of(codes.identity, codes.flank),
        encounters=codes.encounter,
        usable=np.array([row for row in range(len(codes)) if row not in unreadable], np.int64),
        epochs=options.epochs,
        seed=options.seed,
        device=options.device,
        threads=options.threads,
    )
    losses = _train(training, folder, progress)
    done = FineTuned(plan, version.name, labelled, tuple(losses), None, (), None)

    def write(directory: Path) -> None:
        nonlocal done
        training.export(directory / graph.file, _OUTPUT)
        fitted = _provenance(plan, base, labelled)
        card = _card(base, graph, directory, name=name, versions=versions, fitted=fitted)
        write_card(directory, card)
        pack = load_pack(directory)
        after, _ = embed_photos(held_out.photos, pack, partial(make_embedder, pack), kept, progress=progress)
        held = _Held(held_out, version, before, pack.versions[0], after)
        write_card(
            directory, replace(card, limits=f"{card.limits} Among animals held out, {held.comparison}.")
        )
        write_curves(
            directory, held.curves, f"{_source(labelled)}, the fifth of its animals that was held out"
        )
        copy_notices(base, directory)
        done = replace(done, held_out=held.comparison, calibrated=tuple(held.curves))

    pack = make_pack(home, name, write)
    shutil.rmtree(folder, ignore_errors=True)
    return replace(done, pack=pack)


def _train(training: Any, folder: Path, progress: Progress) -> list[float]:
    checkpoint = folder / _CHECKPOINT
    if checkpoint.exists():
        training.resume(checkpoint)
    losses: list[float] = []
    while training.done < training.epochs:
        loss = f", loss {losses[-1]:.2f}" if losses else ""
        progress.start(f"Epoch {training.done + 1} of {training.epochs}{loss}", training.steps)
        losses.append(training.epoch(advance=progress.advance))
        training.save(checkpoint)
    return losses


class _Held:
    """The animals held out, before and after."""

    def __init__(
        self,
        labelled: LabelledSet,
        old: EmbeddingVersion,
        before: Mapping[Output, Vectors],
        new: EmbeddingVersion,
        after: Mapping[Output, Vectors],
    ) -> None:
        sightings = make_sightings(labelled.codes(), Protocol.ENCOUNTER)
        self.comparison = compare(
            VersionMatcher(old, before, labelled.photos, None),
            VersionMatcher(new, after, labelled.photos, None),
            sightings,
            Protocol.ENCOUNTER,
            bootstrap=_BOOTSTRAP,
            seed=0,
        )
        curve = curve_of([meet(after, sightings, Weights().of(new))])
        self.curves = {new.name: curve} if curve else {}


def hold_out(labelled: LabelledSet, seed: int) -> tuple[LabelledSet, LabelledSet]:
    """Four fifths of the animals to learn from, and the others.

    Raises:
        InputError: too few animals.
    """
    insist_on_animals(len(labelled.names))
    sightings: Sightings = make_sightings(labelled.codes(), Protocol.ENCOUNTER)
    rows, held = next(iter(identity_folds(sightings, FOLDS, np.random.default_rng(seed))))

    if not (np.bincount(sightings.identity[held]) > 1).any():
        raise InputError(
            "none of the animals that are held out was met in two encounters, so nothing could be measured",
            hint="Name more animals that were met again, or hold out others with --seed.",
        )

    def part(of: Codes) -> LabelledSet:
        chosen = sorted(np.concatenate([sightings.photos[row] for row in of.tolist()]).tolist())
        return LabelledSet(labelled.source, [labelled.photos[row] for row in chosen])

    return part(rows), part(held)


def _crops(
    tuning: Any, graph: Graph, learned: LabelledSet, path: Path, progress: Progress
) -> tuple[Any, dict[int, str]]:
    if not path.exists():
        progress.start("Reading crops", len(learned.photos))
        photos = [(photo.path, photo.box) for photo in learned.photos]
        tuning.keep_crops(graph, photos, path, advance=progress.advance)
    crops, unreadable = tuning.open_crops(path)
    return crops, unreadable


def _marks(base: Pack, learned: LabelledSet, options: Options) -> dict[str, Any]:
    """What a checkpoint belongs to."""
    codes = learned.codes()
    digest = hashlib.sha256()
    for photo, encounter in zip(learned.photos, codes.encounter.tolist(), strict=True):
        shown = (photo.sha256.hex(), photo.identity, photo.flank, encounter, str(photo.box))
        digest.update(repr(shown).encode())
    return {
        "base": base.fingerprints[Output.SINGLE],
        "photos": digest.hexdigest(),
        "epochs": options.epochs,
        "seed": options.seed,
    }


def _insist_on_the_same(folder: Path, marks: Mapping[str, Any]) -> bool:
    """Whether an interrupted training of this name left a checkpoint.

    Raises:
        InputError: it was of other data or options.
    """
    began = _read_marks(folder)
    words = {
        "base": "another base pack",
        "photos": "other photos or names",
        "epochs": "--epochs",
        "seed": "--seed",
    }
    changed = [words[key] for key in marks if began and began.get(key) != marks[key]]
    if changed:
        raise InputError(
            f"{folder}: holds an unfinished training with {' and '.join(changed)} other than these",
            hint=f"Give the same again to go on with it, take another --name, or remove {folder}.",
        )
    return bool(began) and (folder / _CHECKPOINT).exists()


def _read_marks(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / _MARKS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def _begin(folder: Path, marks: Mapping[str, Any]) -> None:
    """A folder that says what its checkpoint will belong to; what says nothing of that is cleared away."""
    if not _read_marks(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / _MARKS).write_text(json.dumps(marks, indent=2) + "\n", encoding="utf-8")


def _source(labelled: LabelledSet) -> str:
    return Path(labelled.source).name


def _provenance(plan: Plan, base: Pack, labelled: LabelledSet) -> str:
    return (
        f"fine-tuned in {plan.epochs} epochs on {plan.photos:,} photos of {plan.animals:,} animals "
        f"({_source(labelled)}); base {base.card.name} ({base.fingerprints[Output.SINGLE][:12]})"
    )


def _card(
    base: Pack, graph: Graph, directory: Path, *, name: str, versions: dict[str, int], fitted: str
) -> Card:
    trained = replace(
        graph,
        sha256=file_sha256(directory / graph.file),
        outputs={Output.SINGLE: _OUTPUT},
        projection="linear neck in the graph, trained with the network",
        provenance=f"{graph.provenance}; {fitted}",
        head=None,
    )
    limits = "Trained on one herd; of other herds nobody knows."
    return Card(name, f"The network of {base.card.name}, {fitted}.", limits, versions, (trained,))
