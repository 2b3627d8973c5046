"""Which embedding version the catalogue works with, and what its similarities mean."""

from pathlib import Path

from deertrack.domain.calibration import Calibration
from deertrack.domain.embedding import EmbeddingVersion
from deertrack.domain.errors import PackError
from deertrack.domain.fusion import Weights
from deertrack.formats.calibration import as_json, from_json, read_calibration
from deertrack.storage import catalogue, embeddings
from deertrack.storage.db import Database
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.vision.model_packs import Pack


def active_name(db: Database) -> str | None:
    """The version that searches use, by name; None in a catalogue that never ran."""
    with db.transaction() as connection:
        name: str | None = catalogue.get_setting(connection, catalogue.ACTIVE_VERSION)
    return name


def active_weights(db: Database) -> Weights:
    """The ensemble weights that the last cut-over set, else the specification's."""
    with db.transaction() as connection:
        kept = catalogue.get_setting(connection, catalogue.WEIGHTS)
    return Weights(**kept) if kept else Weights()


def active_version(db: Database, pack: Pack) -> RegisteredVersion:
    """The catalogue's active version out of this pack; a fresh catalogue takes the pack's highest stage.

    Raises:
        FingerprintMismatchError: the pack changed since its version was first used here.
        PackError: the catalogue works with a version that this pack does not have.
    """
    name = active_name(db)
    if name is None:
        name = max(pack.versions, key=lambda v: v.stage).name
        with db.transaction() as connection:
            catalogue.put_setting(connection, catalogue.ACTIVE_VERSION, name)
    return registered_version(db, pack, name)


def registered_version(db: Database, pack: Pack, name: str) -> RegisteredVersion:
    """A version of this pack, known to the catalogue from now on, as are the pack's others.

    Raises:
        FingerprintMismatchError: the pack changed since its version was first used here.
        PackError: the pack has no such version.
    """
    with db.transaction() as connection:
        registered = {v.name: embeddings.register_version(connection, v) for v in pack.versions}
    if name not in registered:
        raise PackError(
            f"pack {pack.card.name!r} has no embedding version {name!r}, which the catalogue works with",
            hint=f"It has {', '.join(registered)}. Use the pack that the catalogue was made with.",
        )
    return registered[name]


def active_calibration(
    db: Database, version: EmbeddingVersion, pack: Pack, *, given: Path | None = None
) -> Calibration:
    """What this version's similarities mean: as a file says, which the catalogue then keeps; else as the file
    said that was given last; else as the pack's makers measured.

    Raises:
        InputError: the file is malformed, or has no curve for this version.
        FingerprintMismatchError: its curve was fitted to similarities of other models.
        PackError: no file was ever given, and the pack brings none.
    """
    if given is not None:
        file = read_calibration(given)
        curve = file.curve_for(version)
        with db.transaction() as connection:
            if catalogue.get_setting(connection, catalogue.CALIBRATION) == as_json(file):
                return curve  # the same file again is no news
            catalogue.put_setting(connection, catalogue.CALIBRATION, as_json(file))
            detail = {"fitted_on": file.fitted_on, "file": str(given)}
            catalogue.add_event(connection, "user", "calibrate", f"version:{version.name}", detail)
        return curve
    with db.transaction() as connection:
        kept = catalogue.get_setting(connection, catalogue.CALIBRATION)
    if kept is not None:
        return from_json(kept, "the catalogue's calibration").curve_for(version)
    measured = pack.directory / "calibration.json"
    if not measured.is_file():
        raise PackError(
            f"nobody has measured what similarities of {version.name!r} mean: pack {pack.card.name!r} brings no "
            "calibration",
            hint="Fit one on sightings of known animals (scripts/fit_calibration.py), and give it once: "
            "deertrack run … --calibration FILE",
        )
    return read_calibration(measured).curve_for(version)
