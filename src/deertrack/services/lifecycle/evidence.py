"""What two embedding versions are compared on: sightings whose animal is known, with the vectors of both."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from deertrack.domain.embedding import DIMENSIONS, Output, Vectors, normalise
from deertrack.domain.errors import NotFoundError
from deertrack.domain.fusion import joint_vectors
from deertrack.domain.pairs import Codes, PairSet, SightingCodes
from deertrack.domain.records import Sex
from deertrack.formats.truth import TruthRow
from deertrack.services.progress import Progress
from deertrack.services.truth import label_detections
from deertrack.storage import catalogue, embeddings, validations
from deertrack.storage.db import Connection, Database
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.storage.validations import ComparedSighting

# 165 deer with 11,570 detections fit whole; of more, whole animals are drawn by the seed.
MOST_SIGHTINGS = 12_000
_PAGE = 250  # sightings whose vectors are read together
_BLOCK = 4_096  # pairs whose vectors are gathered together
_SEX_CODES = {Sex.UNKNOWN: 0, Sex.MALE: 1, Sex.FEMALE: 2}


@dataclass(slots=True)
class Labels:
    """Who is in which sighting: identity → sighting → the detections meant (None: all of them).

    ``own`` sightings are left out, because the version in question named them by itself; ``by_person`` of the
    rest were decided by a person; ``from_file`` says that a truth file tells it all.
    """

    sightings: dict[str, dict[int, set[int] | None]]
    from_file: bool
    sexes: dict[str, Sex] = field(default_factory=dict)
    own: int = 0
    by_person: int = 0


@dataclass(frozen=True, slots=True)
class Side:
    """One version's vectors of n sightings, per output (n, 512): pooled as a query, the best as a profile."""

    registered: RegisteredVersion
    asking: Mapping[Output, Vectors]
    answering: Mapping[Output, Vectors]

    def cosines(self, pairs: PairSet) -> dict[Output, NDArray[np.float64]]:
        """The later sighting of each pair as a query against the earlier one's profile: per output (m,)."""
        return {
            o: _cosines(self.asking[o], self.answering[o], pairs.later, pairs.earlier) for o in self.asking
        }

    def joint(self, shares: Mapping[Output, float]) -> tuple[Vectors, Vectors]:
        """Queries and profiles whose inner products are weighted similarities: (n, 512·outputs) each."""
        return joint_vectors(self.asking, shares), joint_vectors(self.answering, shares)


@dataclass(frozen=True, slots=True)
class Evidence:
    """n labelled sightings in time. ``names`` by identity code; ``best`` is each one's best detection (n,).

    ``detections`` were used, ``uncovered`` lack vectors of a version; ``left_out`` animals are beyond the cap.
    """

    codes: SightingCodes
    names: Sequence[str]
    best: Codes
    old: Side
    new: Side
    labels: Labels
    detections: int
    uncovered: int
    left_out: int


def choose_versions(
    db: Database, new: str | None, old: str | None
) -> tuple[RegisteredVersion, RegisteredVersion]:
    """The versions to compare, new and old. Unnamed, new is the highest stage, old the active or lowest one.

    Raises:
        NotFoundError: no such version, or only one is registered.
    """
    with db.transaction() as connection:
        known = {r.version.name: r for r in validations.registered_versions(connection)}
        active = catalogue.get_setting(connection, catalogue.ACTIVE_VERSION)
    for name in (new, old):
        if name is not None and name not in known:
            raise NotFoundError(
                f"no embedding version is called {name!r} here",
                hint=f"Registered: {', '.join(known) or 'none yet; `deertrack run` registers them'}.",
            )
    if len(known) < 2:
        raise NotFoundError(
            f"two embedding versions are compared, and {len(known)} is registered here",
            hint="`deertrack run` registers its model's versions, `deertrack reid reembed` brings in others.",
        )
    others = [name for name in known if name not in (new, old)]
    if new is None:
        # Among equal stages the one that is not in use yet, and of those the latest.
        new = max(reversed(others), key=lambda name: (known[name].version.stage, name != active))
        others.remove(new)
    if old is None:
        old = active if active in others else others[0]
    return known[new], known[old]


def catalogue_labels(db: Database, new: str) -> Labels:
    """The catalogue's own names, those left out that the new version gave by itself."""
    with db.transaction() as connection:
        named = validations.named_sightings(connection, new)
    return Labels(
        sightings={deer.name: dict.fromkeys(deer.sightings) for deer in named if deer.sightings},
        from_file=False,
        sexes={deer.name: deer.sex for deer in named},
        own=sum(deer.own for deer in named),
        by_person=sum(deer.by_person for deer in named),
    )


def truth_labels(db: Database, truth: Sequence[TruthRow]) -> Labels:
    """The names of a truth file."""
    found: dict[str, dict[int, set[int] | None]] = defaultdict(dict)
    for item in label_detections(db, truth):
        meant = found[item.identity].setdefault(item.detection.sighting_id, set())
        assert meant is not None
        meant.add(item.detection.detection_id)
    return Labels(sightings=dict(found), from_file=True)


def gather(
    db: Database,
    labels: Labels,
    old: RegisteredVersion,
    new: RegisteredVersion,
    *,
    rng: np.random.Generator,
    progress: Progress,
) -> Evidence:
    """Read the labelled sightings with the vectors of both versions. Memory is bounded by the cap."""
    old, new = _searched(old), _searched(new)
    chosen = _choose_identities(labels, rng)
    identity_of: dict[int, list[str]] = defaultdict(list)
    for identity in chosen:
        for sighting_id in labels.sightings[identity]:
            identity_of[sighting_id].append(identity)
    models = sorted({*old.models.values(), *new.models.values()})
    with db.transaction() as connection:
        seen = validations.sightings_to_compare(connection, list(identity_of), models)
    rows: list[tuple[str, ComparedSighting, list[int]]] = []
    uncovered = 0
    for sighting in seen:
        for identity in identity_of[sighting.sighting_id]:
            meant = labels.sightings[identity][sighting.sighting_id]
            uncovered += _count_meant(sighting.uncovered, meant)
            usable = [d for d in sighting.covered if meant is None or d in meant]
            if usable:
                rows.append((identity, sighting, usable))
    names = list(dict.fromkeys(identity for identity, _, _ in rows))
    place = {name: code for code, name in enumerate(names)}
    sexes = _sexes(rows, labels)
    progress.start("Reading vectors", 2 * len(rows))
    detections = [detections for _, _, detections in rows]
    with db.transaction() as connection:
        sides = [_read(connection, version, detections, progress) for version in (old, new)]
    return Evidence(
        codes=SightingCodes(
            identity=np.array([place[identity] for identity, _, _ in rows], np.int64),
            encounter=np.array([sighting.encounter_id for _, sighting, _ in rows], np.int64),
            sex=np.array([_SEX_CODES[sexes[identity]] for identity, _, _ in rows], np.int64),
        ),
        names=names,
        best=np.array([best for best, *_ in detections], np.int64),
        old=sides[0],
        new=sides[1],
        labels=labels,
        detections=sum(map(len, detections)),
        uncovered=uncovered,
        left_out=len(labels.sightings) - len(chosen),
    )


def _searched(registered: RegisteredVersion) -> RegisteredVersion:
    """The same version with only the models that a search compares: the others' vectors may be missing."""
    outputs = registered.version.search_outputs
    return RegisteredVersion(registered.version, {o: registered.models[o] for o in outputs})


def _choose_identities(labels: Labels, rng: np.random.Generator) -> list[str]:
    names = list(labels.sightings)
    if sum(map(len, labels.sightings.values())) <= MOST_SIGHTINGS:
        return names
    drawn = [names[i] for i in rng.permutation(len(names))]
    fit = np.cumsum([len(labels.sightings[name]) for name in drawn]) <= MOST_SIGHTINGS
    return [name for name, fits in zip(drawn, fit, strict=True) if fits]


def _count_meant(detections: Collection[int], meant: set[int] | None) -> int:
    return len(detections) if meant is None else len(meant.intersection(detections))


def _sexes(rows: Sequence[tuple[str, ComparedSighting, list[int]]], labels: Labels) -> dict[str, Sex]:
    """The sex of each identity: as the catalogue says, else as most of its sightings with a known one do."""
    votes: dict[str, Counter[Sex]] = defaultdict(Counter)
    for identity, sighting, _ in rows:
        votes[identity][sighting.sex] += sighting.sex is not Sex.UNKNOWN
    voted = {name: count.most_common(1)[0] for name, count in votes.items()}
    known = {name: sex for name, sex in labels.sexes.items() if sex is not Sex.UNKNOWN}
    return {name: sex if n else Sex.UNKNOWN for name, (sex, n) in voted.items()} | known


def _read(
    connection: Connection,
    version: RegisteredVersion,
    detections: Sequence[Sequence[int]],
    progress: Progress,
) -> Side:
    """Each sighting's pooled vector (the direction of its mean) and that of its best, first detection."""
    shape = (len(detections), DIMENSIONS)
    asking = {o: np.empty(shape, np.float32) for o in version.models}
    answering = {o: np.empty(shape, np.float32) for o in version.models}
    for start in range(0, len(detections), _PAGE):
        page = detections[start : start + _PAGE]
        ids = [d for of_sighting in page for d in of_sighting]
        first = np.cumsum([0, *map(len, page[:-1])])
        part = slice(start, start + len(page))
        for output, by_id in embeddings.load_vectors(connection, version, ids).items():
            rows = embeddings.stack(by_id, ids)
            asking[output][part] = normalise(np.add.reduceat(rows, first, axis=0, dtype=np.float64))
            answering[output][part] = rows[first]
        progress.advance(len(page))
    return Side(version, asking, answering)


def _cosines(asking: Vectors, answering: Vectors, later: Codes, earlier: Codes) -> NDArray[np.float64]:
    found = np.empty(len(later))
    for start in range(0, len(later), _BLOCK):
        part = slice(start, start + _BLOCK)
        found[part] = np.einsum("ij,ij->i", asking[later[part]], answering[earlier[part]])
    return found
