"""Photos made with Pillow, the real embedder, and a stage on which synthetic animals appear before cameras."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deertrack.domain.calibration import Calibration
from deertrack.domain.embedding import DIMENSIONS, EmbeddingVersion, Output, Vectors
from deertrack.domain.encounters import Grouping
from deertrack.domain.records import Box, DetectedAnimal, PhotoFacts, Sex
from deertrack.services.identify import Matcher
from deertrack.services.versions import active_version
from deertrack.storage import embeddings, images
from deertrack.storage.db import Database
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.storage.images import OfferedPhoto
from deertrack.vision.embedder import Embedder
from deertrack.vision.model_packs import builtin_pack

NOON = datetime(2025, 10, 1, 12, tzinfo=UTC)
LEFT, RIGHT = Box(0.05, 0.2, 0.3, 0.5), Box(0.6, 0.2, 0.3, 0.5)

MakePhoto = Callable[..., Path]


@pytest.fixture
def make_photo() -> MakePhoto:
    """A small photo with EXIF as a trail camera writes it; another ``seed`` gives another photo."""

    def make(
        path: Path,
        *,
        when: datetime | None = None,
        seed: int = 0,
        owner: str = "",
        offset: str = "",
        size: tuple[int, int] = (96, 72),
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        exif = Image.Exif()
        exif[0x0110] = "Test Cam"
        details = exif.get_ifd(0x8769)
        if when:
            details[0x9003] = when.strftime("%Y:%m:%d %H:%M:%S")
        if owner:
            details[0xA430] = owner
        if offset:
            details[0x9011] = offset
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path, exif=exif)
        return path

    return make


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    """The shipped networks, loaded once."""
    return Embedder(builtin_pack())


@pytest.fixture
def lite(db: Database) -> RegisteredVersion:
    """The shipped pack's active version in this catalogue."""
    return active_version(db, builtin_pack())


@pytest.fixture
def one(db: Database) -> Callable[..., Any]:
    """The first column of the only row of a query."""

    def ask(query: str, *parameters: object) -> Any:
        with db.transaction() as connection:
            row = connection.execute(query, parameters).fetchone()
        return None if row is None else next(iter(row.values()))

    return ask


@pytest.fixture
def rows(db: Database) -> Callable[..., list[dict[str, Any]]]:
    """All rows of a query."""

    def ask(query: str, *parameters: object) -> list[dict[str, Any]]:
        with db.transaction() as connection:
            return connection.execute(query, parameters).fetchall()

    return ask


@dataclass(frozen=True)
class Seen:
    """One animal in a synthetic photo: who it is, and how much like itself it looks (a cosine)."""

    animal: int
    box: Box = LEFT
    likeness: float = 0.99
    confidence: float = 0.9
    sex: Sex = Sex.UNKNOWN


@dataclass
class Stage:
    """Animals with invented vectors before cameras with invented photos, through the real storage.

    Two photos of one animal have about the product of their likenesses as similarity, two animals about 0.
    """

    db: Database
    registered: RegisteredVersion
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))
    _photos: int = 0

    def photo(self, station: str, seconds: float | None, *seen: Seen) -> int:
        """A photo taken ``seconds`` after noon (None: nobody knows when); returns its image id."""
        self._photos += 1
        clock = None if seconds is None else (NOON + timedelta(seconds=seconds)).replace(tzinfo=None)
        digest = hashlib.sha256(str(self._photos).encode()).digest()
        path = f"/cards/{station}/IMG_{self._photos:04}.JPG"
        facts = PhotoFacts(digest, 1000, 640, 480, clock)
        with self.db.transaction() as connection:
            images.add_photos(connection, [OfferedPhoto(path, 1000, 1, station, facts)], timezone="UTC")
            image_id = images.catalogued_files(connection, [path])[path].image_id
            animals = [DetectedAnimal(s.box, s.confidence, sex=s.sex) for s in seen]
            images.add_detections(connection, image_id, "stage", animals)
            found = connection.execute(
                "SELECT id FROM detections WHERE image_id = %s ORDER BY id", [image_id]
            )
            ids = [row["id"] for row in found]
            looks = np.stack([self.looks(s.animal, s.likeness) for s in seen]) if seen else None
            if looks is not None:
                outputs = dict.fromkeys(self.registered.models, looks)
                embeddings.store_vectors(connection, self.registered, ids, outputs)
        return image_id

    def looks(self, animal: int, likeness: float) -> Vectors:
        """A unit vector at this cosine to the animal's own direction, (512,) float32."""
        own = np.random.default_rng(1000 + animal).normal(size=DIMENSIONS)
        own /= np.linalg.norm(own)
        other = self.rng.normal(size=DIMENSIONS)
        other -= (other @ own) * own
        vector = likeness * own + np.sqrt(1 - likeness**2) * other / np.linalg.norm(other)
        return (vector / np.linalg.norm(vector)).astype(np.float32)

    def burst(self, station: str, start: float, *seen: Seen, photos: int = 2, pause: float = 3) -> list[int]:
        """Several photos of the same animals."""
        return [self.photo(station, start + i * pause, *seen) for i in range(photos)]


@pytest.fixture
def stage(db: Database) -> Stage:
    """An empty stage in this catalogue."""
    fingerprints = {output: f"{i:064x}" for i, output in enumerate(Output, start=1)}
    version = EmbeddingVersion("v3_stage", 3, "stage", fingerprints)
    with db.transaction() as connection:
        return Stage(db, embeddings.register_version(connection, version))


@pytest.fixture
def matcher(stage: Stage) -> Matcher:
    """Sure above a similarity of 0.9, sure of a new animal below 0.5, unsure between."""
    curve = Calibration((0.3, 0.5, 0.7, 0.9), (-8.0, -4.0, 3.5, 9.0))
    return Matcher(stage.registered, curve, grouping=Grouping(relink_similarity=curve.similarity_at(19)))


@pytest.fixture
def seen() -> type[Seen]:
    """One animal in a synthetic photo."""
    return Seen


@pytest.fixture
def groups(rows: Callable[..., list[dict[str, Any]]]) -> Callable[[], dict[str, Any]]:
    """Which individual number each detection of each photo got, by image id, in the order of detections."""

    def ask() -> dict[str, Any]:
        found: dict[Any, list[Any]] = {}
        for row in rows(
            "SELECT d.image_id, r.number FROM detections d LEFT JOIN sightings g ON g.id = d.sighting_id "
            "LEFT JOIN deer r ON r.id = g.deer_id ORDER BY d.image_id, d.id"
        ):
            found.setdefault(row["image_id"], []).append(row["number"])
        return found

    return ask
