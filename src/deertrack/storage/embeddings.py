"""Models, embedding versions, and the immutable vectors of detections."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deertrack.domain.embedding import EmbeddingVersion, Output, Vectors, check_vectors
from deertrack.domain.errors import FingerprintMismatchError, NotFoundError
from deertrack.domain.records import Box
from deertrack.storage.db import Connection
from deertrack.storage.queries import load_queries

_SQL = load_queries("embeddings")


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """An embedding version and the database's number for each model behind its outputs."""

    version: EmbeddingVersion
    models: Mapping[Output, int]


@dataclass(frozen=True, slots=True)
class PendingPhoto:
    """A photo with detections that lack vectors. ``paths`` are all files known to hold it."""

    image_id: int
    paths: tuple[Path, ...]
    detection_ids: tuple[int, ...]
    boxes: tuple[Box, ...]


def register_version(connection: Connection, version: EmbeddingVersion) -> RegisteredVersion:
    """Make a version known. The same version again is harmless.

    Raises:
        FingerprintMismatchError: the name stands for other models or another stage already. Vectors of the
            two would be incomparable under one name, so the changed pack needs a new name.
    """
    with connection.cursor() as cursor:
        cursor.executemany(
            _SQL["add_model"],
            [
                {"fingerprint": fingerprint, "output": output, "pack": version.pack}
                for output, fingerprint in version.fingerprints.items()
            ],
        )
    rows = connection.execute(
        _SQL["models_by_fingerprint"], {"fingerprints": list(version.fingerprints.values())}
    )
    ids = {row["fingerprint"]: row["id"] for row in rows}
    models = {output: ids[fingerprint] for output, fingerprint in version.fingerprints.items()}
    connection.execute(
        _SQL["add_version"],
        {
            "name": version.name,
            "stage": version.stage,
            "pack": version.pack,
            **{output.value: models.get(output) for output in Output},
        },
    )
    stored = connection.execute(_SQL["version_models"], {"name": version.name}).fetchone()
    assert stored is not None
    if stored["stage"] != version.stage or any(
        stored[output.value] != version.fingerprints.get(output) for output in Output
    ):
        raise FingerprintMismatchError(
            f"embedding version {version.name!r} stands for another model in this catalogue",
            hint="A changed pack needs a new version name; vectors of two models are never compared.",
        )
    return RegisteredVersion(version, models)


def find_version(connection: Connection, name: str) -> RegisteredVersion:
    """A version that was registered before, by name.

    Raises:
        NotFoundError: there is none; names those that there are.
    """
    row = connection.execute(_SQL["version_models"], {"name": name}).fetchone()
    if row is None:
        known = [r["name"] for r in connection.execute(_SQL["version_names"])]
        raise NotFoundError(
            f"no embedding version {name!r} in this catalogue",
            hint=f"Known: {', '.join(known) or 'none yet'}.",
        )
    made = [output for output in Output if row[output.value] is not None]
    return RegisteredVersion(
        EmbeddingVersion(name, row["stage"], row["pack"], {output: row[output.value] for output in made}),
        {output: row[f"{output.value}_id"] for output in made},
    )


def count_pending(connection: Connection, models: Sequence[int]) -> tuple[int, int]:
    """How many photos and detections still lack a vector of one of ``models``."""
    row = connection.execute(_SQL["count_pending"], {"models": list(models), "after": 0}).fetchone()
    assert row is not None
    return row["photos"], row["detections"]


def pending_photos(
    connection: Connection,
    models: Sequence[int],
    *,
    after: int = 0,
    image_ids: Sequence[int] | None = None,
    limit: int,
) -> list[PendingPhoto]:
    """The next photos (by id, after ``after``, only among ``image_ids``) whose detections lack vectors."""
    among = None if image_ids is None else list(image_ids)
    rows = connection.execute(
        _SQL["pending_photos"], {"models": list(models), "after": after, "among": among, "limit": limit}
    )
    return [as_pending(row) for row in rows]


def pending_images(connection: Connection, models: Sequence[int]) -> list[int]:
    """The ids of all photos whose detections lack vectors."""
    rows = connection.execute(_SQL["pending_images"], {"models": list(models)})
    return [row["image_id"] for row in rows]


def individuals_pending(connection: Connection, models: Sequence[int]) -> list[int]:
    """Ids of individuals with boxes that a person drew and that lack vectors."""
    rows = connection.execute(_SQL["individuals_pending"], {"models": list(models)})
    return [row["deer_id"] for row in rows]


def as_pending(row: Mapping[str, Any]) -> PendingPhoto:
    """A row with image_id, paths, detection_ids and boxes."""
    return PendingPhoto(
        row["image_id"],
        tuple(Path(p) for p in row["paths"] or ()),
        tuple(row["detection_ids"]),
        tuple(Box(*box) for box in row["boxes"]),
    )


def store_vectors(
    connection: Connection,
    registered: RegisteredVersion,
    detection_ids: Sequence[int],
    vectors: Mapping[Output, Vectors],
) -> None:
    """Store the vectors of detections by binary COPY. What is there already stays: vectors are immutable.

    Args:
        detection_ids: n ids.
        vectors: for each output (n, 512) float32 unit rows, in the order of ``detection_ids``.

    Raises:
        InputError: wrong shape or norm; nothing is stored.
    """
    for rows in vectors.values():
        check_vectors(rows)
    connection.execute(_SQL["stage_copy"])
    with connection.cursor() as cursor, cursor.copy(_SQL["copy_in"]) as copy:
        copy.set_types(["int8", "int2", "vector"])
        for output, rows in vectors.items():
            model = registered.models[output]
            for detection_id, row in zip(detection_ids, rows, strict=True):
                copy.write_row((detection_id, model, row))
    connection.execute(_SQL["merge_copy"])


def load_vectors(
    connection: Connection, registered: RegisteredVersion, detection_ids: Sequence[int]
) -> dict[Output, dict[int, Vectors]]:
    """Vectors of detections: per output, detection id → (512,) float32."""
    outputs = {model: output for output, model in registered.models.items()}
    rows = connection.execute(
        _SQL["vectors_of_detections"],
        {"detection_ids": list(detection_ids), "models": list(registered.models.values())},
        binary=True,
    )
    found: dict[Output, dict[int, Vectors]] = {output: {} for output in outputs.values()}
    for row in rows:
        found[outputs[row["model_id"]]][row["detection_id"]] = as_array(row["embedding"])
    return found


def stack(by_id: Mapping[int, Vectors], detection_ids: Sequence[int]) -> Vectors:
    """The vectors of ``detection_ids`` as rows (n, 512)."""
    return np.stack([by_id[i] for i in detection_ids])


def as_array(value: Any) -> Vectors:
    """A vector as the driver gives it → (512,) float32."""
    array: Vectors = np.asarray(value.to_numpy() if hasattr(value, "to_numpy") else value, dtype=np.float32)
    return array
