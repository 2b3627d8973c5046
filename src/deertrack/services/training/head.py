"""Train a head: fit it, measure it on animals that it did not learn from, and install it as a pack if it helps."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deertrack.domain.calibration import Calibration
from deertrack.domain.decision import Belief
from deertrack.domain.embedding import Output, Vectors
from deertrack.domain.evaluation import FOLDS, Floats
from deertrack.domain.fusion import Weights
from deertrack.domain.learned import Head, Method, classes_of, describe
from deertrack.domain.meetings import meet
from deertrack.domain.pairs import Codes
from deertrack.domain.protocols import Protocol, Sightings, identity_folds, make_sightings
from deertrack.services.evaluation.labelled_set import LabelledSet
from deertrack.services.evaluation.learned import fit_heads, through
from deertrack.services.evaluation.matchers import VersionMatcher
from deertrack.services.evaluation.vectors import VectorFiles, embed_photos
from deertrack.services.models import insist_on_new, make_pack, versions_of
from deertrack.services.progress import SILENT, Progress
from deertrack.services.training.calibrated import curve_of, write_curves
from deertrack.services.training.compared import Comparison, compare, insist_on_animals
from deertrack.vision.embedder import Embedder
from deertrack.vision.headed_packs import write_headed_pack
from deertrack.vision.heads import headless, through_heads
from deertrack.vision.model_packs import Pack


@dataclass(frozen=True, slots=True)
class TrainedVersion:
    """A new version beside the one it starts from, ``base``, by five-fold cross-validation over the animals.

    Sightings of animals that nothing was learned from ask. ``strangers``: only such animals answer; ``herd``: all
    do. ``calibrated``: whether there were enough pairs to say what its similarities mean.
    """

    name: str
    stage: int
    base: str
    strangers: Comparison
    herd: Comparison
    calibrated: bool

    @property
    def helps(self) -> bool:
        """Whether it helps among strangers."""
        return self.strangers.helps


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of it. The version of the highest stage comes last, and its figures decide.

    ``pack`` is None where nothing was installed. ``labelled`` is the set without the photos that cannot be used.
    """

    name: str
    method: Method
    base: str
    labelled: LabelledSet
    sightings: int
    versions: tuple[TrainedVersion, ...]
    pack: Pack | None

    @property
    def helps(self) -> bool:
        """Whether the highest version is better than the one it starts from, clearly."""
        return self.versions[-1].helps


def train_head(
    home: Path,
    labelled: LabelledSet,
    base: Pack,
    make_embedder: Callable[[Pack], Embedder],
    kept: VectorFiles,
    *,
    name: str,
    method: Method,
    anyway: bool = False,
    dry_run: bool = False,
    bootstrap: int = 1000,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Trained:
    """Fit a head for each output of a pack and install the pack that has them, if they help.

    A head that the base has is replaced, not added to.

    Args:
        home: where packs are installed.
        labelled: animals that are known.
        name: of the new pack; its versions are v1_NAME … v3_NAME, for the stages that the base has.
        anyway: install it even if it does not help.

    Raises:
        InputError: a name that is taken or malformed, or too few animals met again.
        PackError: the base cannot be run.
    """
    insist_on_new(home, name)
    names = versions_of(base, name)
    insist_on_animals(len(labelled.names))
    bare = headless(base)
    vectors, bad = embed_photos(labelled.photos, bare, lambda: make_embedder(bare), kept, progress=progress)
    rows = [row for row in range(len(labelled.photos)) if row not in bad]
    labelled = labelled.without(bad)
    vectors = {output: of_all[rows] for output, of_all in vectors.items()}
    progress.start("Cross-validating", FOLDS + len(names))
    trial = _Trial(labelled, base, vectors, method, bootstrap=bootstrap, seed=seed, progress=progress)
    tried, curves = [], {}
    for version, stage in names.items():
        tested, curve = trial.of(version, stage)
        tried.append(tested)
        if curve:
            curves[version] = curve
        progress.advance()
    done = Trained(name, method, base.card.name, labelled, len(trial.sightings), tuple(tried), None)
    if dry_run or not (done.helps or anyway):
        return done
    heads = trial.fit_to_all()
    fitted = _provenance(done, heads.values(), base)

    def write(directory: Path) -> None:
        description = f"{base.card.name}, with a learned head: {fitted}."
        write_headed_pack(
            base,
            heads,
            directory,
            name=name,
            versions=names,
            description=description,
            limits=_limits(done),
            fitted=fitted,
        )
        write_curves(
            directory, curves, f"{_source(labelled)}, cross-validated: no fold learned from its animals"
        )

    return replace(done, pack=make_pack(home, name, write))


class _Trial:
    """Five folds of the animals; what each makes of the vectors with heads that did not learn from its animals."""

    def __init__(
        self,
        labelled: LabelledSet,
        base: Pack,
        vectors: Mapping[Output, Vectors],
        method: Method,
        *,
        bootstrap: int,
        seed: int,
        progress: Progress,
    ) -> None:
        photos = labelled.codes()
        self.sightings = make_sightings(photos, Protocol.ENCOUNTER)
        self._labelled, self._base, self._vectors, self._method = labelled, base, vectors, method
        self._classes, self._seed = classes_of(photos.identity, photos.flank), seed
        self._before = through_heads(base, vectors)
        self._bootstrap = bootstrap
        fold_of = np.zeros(len(self.sightings), np.int64)
        self._folds: list[tuple[Codes, dict[Output, Vectors]]] = []
        for learned, asking in identity_folds(self.sightings, FOLDS, np.random.default_rng(seed)):
            heads = fit_heads(method, vectors, self._classes, self.sightings.take(learned))
            fold_of[asking] = len(self._folds)
            self._folds.append((asking, through(heads, vectors)))
            progress.advance()
        # Sightings are compared on their own "side" only: here, with those of their fold.
        self._strangers = replace(self.sightings, side=fold_of)

    def of(self, name: str, stage: int) -> tuple[TrainedVersion, Calibration | None]:
        """One version, measured, and what its similarities mean.

        Raises:
            InputError: no animal was met again.
        """
        version = next(v for v in self._base.versions if v.stage == stage)
        before = VersionMatcher(version, self._before, self._labelled.photos, None)
        after = _CrossValidated(before, self.sightings, self._folds)
        replays = [
            meet(vectors, self.sightings.take(asking), Weights().of(version))
            for asking, vectors in self._folds
        ]
        curve = curve_of(replays)
        strangers, herd = (
            compare(before, after, of, Protocol.IDENTITY, bootstrap=self._bootstrap, seed=self._seed)
            for of in (self._strangers, self.sightings)
        )
        return TrainedVersion(name, stage, version.name, strangers, herd, curve is not None), curve

    def fit_to_all(self) -> dict[Output, Head]:
        """A head for each output, fitted to all animals."""
        return fit_heads(self._method, self._vectors, self._classes, self.sightings)


class _CrossValidated:
    """A matcher whose folds were fitted beforehand."""

    def __init__(
        self,
        base: VersionMatcher,
        sightings: Sightings,
        folds: Sequence[tuple[Codes, Mapping[Output, Vectors]]],
    ) -> None:
        self.name, self.calibration = base.name, None
        self._fitted = [(sightings.identity[asking], base.with_vectors(v)) for asking, v in folds]

    def fit(self, train: Sightings) -> VersionMatcher:
        """The one that did not learn from any animal but these."""
        return next(fitted for asking, fitted in self._fitted if not np.isin(asking, train.identity).any())

    def scores(self, queries: Sightings, gallery: Sightings) -> Floats:
        raise NotImplementedError("asked fold by fold only")

    def believe(self, scores: Floats) -> Belief | None:
        raise NotImplementedError("asked fold by fold only")


def _source(labelled: LabelledSet) -> str:
    return Path(labelled.source).name


def _provenance(done: Trained, heads: Iterable[Head], base: Pack) -> str:
    counts = f"{len(done.labelled.photos):,} photos of {len(done.labelled.names):,} animals"
    prints = ", ".join(fingerprint[:12] for fingerprint in base.fingerprints.values())
    return (
        f"{describe(done.method, list(heads))}, fitted to {counts} in {done.sightings:,} sightings "
        f"({_source(done.labelled)}); base {base.card.name} ({prints})"
    )


def _limits(done: Trained) -> str:
    best = done.versions[-1].strangers
    return f"Fitted to one herd; of others nobody knows. Among animals that it did not learn from, {best}."
