"""The catalogue against the truth: how well sightings were grouped, and how they would have met their animals."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np

from deertrack.domain.errors import InputError
from deertrack.domain.fusion import Weights
from deertrack.domain.meetings import Meetings, meet
from deertrack.domain.metrics import Agreement, compare_groupings
from deertrack.domain.protocols import Sightings
from deertrack.formats.truth import TruthRow
from deertrack.storage import embeddings, sightings
from deertrack.storage.db import Database
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.storage.sightings import FiledDetection

_SAME_BOX = 0.5  # intersection over union


@dataclass(frozen=True, slots=True)
class Labelled:
    """A detection of the catalogue whose identity a truth file tells."""

    detection: FiledDetection
    identity: str

    @property
    def group(self) -> tuple[str, int]:
        """What the catalogue says: the individual, or the sighting alone while it waits for a decision."""
        if self.detection.deer_id is not None:
            return ("deer", self.detection.deer_id)
        return ("sighting", self.detection.sighting_id)


@dataclass(frozen=True, slots=True)
class TruthReport:
    """How the catalogue agrees with the truth.

    ``photos`` compares photo by photo, so pairs from one burst count; ``sightings`` compares sighting by
    sighting (the identity that most of its photos show), so only pairs from different encounters count.
    ``mixed_sightings`` are tracks that join different animals; ``individuals`` were made by the machine.
    """

    photos: Agreement
    sightings: Agreement
    mixed_sightings: int
    individuals: int
    unmatched_rows: int


def label_detections(db: Database, truth: Sequence[TruthRow]) -> list[Labelled]:
    """Meet the rows of a truth file with the catalogue, by the end of the path and, if given, the box; in time.

    Rows that name no catalogued photo, or one of several animals without saying which, are left out.
    """
    with db.transaction() as connection:
        filed = sightings.detections_in_files(connection)
    depths = {len(PurePath(row.file).parts) for row in truth}
    by_file: dict[tuple[str, ...], list[FiledDetection]] = {}
    for detection in filed:
        for parts in {PurePath(path).parts[-depth:] for path in detection.paths for depth in depths}:
            by_file.setdefault(parts, []).append(detection)
    labelled = []
    for row in truth:
        choices = by_file.get(PurePath(row.file).parts, [])
        if row.box is not None:
            choices = [c for c in choices if c.box.overlap(row.box) >= _SAME_BOX]
            choices.sort(key=lambda c: -c.box.overlap(row.box))  # type: ignore[arg-type]
        if len(choices) == 1 or (choices and row.box is not None):
            labelled.append(Labelled(choices[0], row.identity))
    in_time = {detection.detection_id: place for place, detection in enumerate(filed)}
    return sorted(labelled, key=lambda item: in_time[item.detection.detection_id])


def compare_with_truth(db: Database, truth: Sequence[TruthRow]) -> TruthReport:
    """How well the catalogue's individuals agree with a truth file. Waiting sightings count as groups of one.

    Raises:
        InputError: the truth file names no photo of the catalogue.
    """
    labelled = label_detections(db, truth)
    if not labelled:
        raise InputError(
            "the truth file names no photo of this catalogue", hint="Run `deertrack run` on its photos first."
        )
    identities = _identity_of_sightings(labelled)
    groups = {item.detection.sighting_id: item.group for item in labelled}
    return TruthReport(
        photos=compare_groupings([i.identity for i in labelled], [i.group for i in labelled]),
        sightings=compare_groupings(list(identities.values()), [groups[s] for s in identities]),
        mixed_sightings=len({(i.detection.sighting_id, i.identity) for i in labelled}) - len(groups),
        individuals=len({i.detection.deer_id for i in labelled if i.detection.deer_id is not None}),
        unmatched_rows=len(truth) - len(labelled),
    )


def replay_meetings(
    db: Database, registered: RegisteredVersion, labelled: Sequence[Labelled], weights: Weights
) -> Meetings:
    """Replay labelled sightings as the catalogue holds them, in time, with one version's vectors.

    Detections without vectors of this version are left out.

    Raises:
        InputError: there are vectors of none of them.
    """
    shares = weights.of(registered.version)
    with db.transaction() as connection:
        stored = embeddings.load_vectors(connection, registered, [i.detection.detection_id for i in labelled])
    usable = [i for i in labelled if all(i.detection.detection_id in stored[output] for output in shares)]
    if not usable:
        raise InputError(
            f"the catalogue has no vectors of {registered.version.name!r} for the sightings whose animal is known",
            hint=f"`deertrack reid reembed {registered.version.name} --all-detections` brings them.",
        )
    vectors = {o: embeddings.stack(stored[o], [i.detection.detection_id for i in usable]) for o in shares}
    names = {name: code for code, name in enumerate(dict.fromkeys(i.identity for i in usable))}
    photos: dict[int, list[int]] = {}
    for row, item in enumerate(usable):
        photos.setdefault(item.detection.sighting_id, []).append(row)
    of_sighting = _identity_of_sightings(usable)
    sightings = Sightings(
        tuple(np.array(rows, np.int64) for rows in photos.values()),
        np.array([names[of_sighting[sighting]] for sighting in photos], np.int64),
        np.array([usable[rows[0]].detection.encounter_id for rows in photos.values()], np.int64),
        np.zeros(len(photos), np.int64),
    )
    return meet(vectors, sightings, shares)


def _identity_of_sightings(labelled: Sequence[Labelled]) -> dict[int, str]:
    """The identity that most of a sighting's labelled photos show, by sighting, in their order."""
    votes: dict[int, Counter[str]] = {}
    for item in labelled:
        votes.setdefault(item.detection.sighting_id, Counter())[item.identity] += 1
    return {sighting: count.most_common(1)[0][0] for sighting, count in votes.items()}
