"""The catalogue's own confirmed sightings as a labelled set: only what a person said counts."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deertrack.domain.embedding import DIMENSIONS, Output, Vectors
from deertrack.domain.errors import InputError
from deertrack.services.evaluation.labelled_set import LabelledSet, SetPhoto
from deertrack.storage import embeddings, validations
from deertrack.storage.db import Connection, Database
from deertrack.storage.embeddings import RegisteredVersion


def confirmed_set(db: Database) -> LabelledSet:
    """Every detection of a sighting whose individual a person confirmed or named.

    Raises:
        InputError: nobody has confirmed anything yet.
    """
    with db.transaction() as connection:
        confirmed = confirmed_sightings(connection)
        seen = validations.sightings_to_compare(connection, list(confirmed), [])
        detections = [d for sighting in seen for d in sighting.covered]
        photos = validations.photos_of_detections(connection, detections)
    if not photos:
        raise InputError(
            "no sighting of this catalogue was confirmed by a person yet, so there is no truth to measure by",
            hint="Answer some with `deertrack review`, or give a labelled set: deertrack evaluate TRUTH",
        )
    listed = []
    for sighting in seen:
        for place, detection in enumerate(sighting.covered):
            photo = photos[detection]
            path = next((p for p in photo.paths if p.exists()), Path(*photo.paths[:1]))
            listed.append(
                SetPhoto(
                    path,
                    hashlib.sha256(str(path).encode()).digest(),
                    confirmed[sighting.sighting_id],
                    str(sighting.encounter_id),
                    "",
                    photo.station,
                    photo.taken_at,
                    photo.box,
                    1.0 - place * 1e-6,  # they come best first
                    detection,
                )
            )
    return LabelledSet("the catalogue's sightings that a person confirmed", listed)


def confirmed_sightings(connection: Connection) -> dict[int, str]:
    """The individual's name of every sighting that a person confirmed or named, by sighting."""
    # What no version decided by itself was decided by a person.
    confirmed: dict[int, str] = {}
    for number, registered in enumerate(validations.registered_versions(connection)):
        named = validations.named_sightings(connection, registered.version.name)
        found = {sighting: deer.name for deer in named for sighting in deer.sightings}
        confirmed = found if number == 0 else {s: n for s, n in confirmed.items() if s in found}
    return confirmed


def stored_vectors(
    db: Database, registered: RegisteredVersion, photos: Sequence[SetPhoto]
) -> tuple[dict[Output, Vectors], dict[int, str]]:
    """The catalogue's vectors of its own n photos: per output (n, 512), and the rows that lack some, with why."""
    ids = [photo.detection_id or 0 for photo in photos]
    with db.transaction() as connection:
        stored = embeddings.load_vectors(connection, registered, ids)
    outputs = registered.version.search_outputs
    nothing = np.zeros(DIMENSIONS, np.float32)
    missing = {row for row, i in enumerate(ids) if any(i not in stored[output] for output in outputs)}
    why = (
        f"has no vectors of {registered.version.name}; `deertrack reid reembed --all-detections` brings them"
    )
    return (
        {o: np.stack([stored[o].get(i, nothing) for i in ids]) for o in outputs},
        dict.fromkeys(sorted(missing), why),
    )
