"""Which embedding version the catalogue works with, and what its similarities mean."""

from pathlib import Path

from deertrack.domain.calibration import Calibration
from deertrack.domain.embedding import EmbeddingVersion
from deertrack.domain.errors import PackError
from deertrack.formats.calibration import as_json, from_json, read_calibration
from deertrack.storage import catalogue, embeddings
from deertrack.storage.db import Database
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.vision.model_packs import Pack


def active_version(db: Database, pack: Pack) -> RegisteredVersion:
    """The catalogue's active version out of this pack; a fresh catalogue takes the pack's highest stage.

    Raises:
        FingerprintMismatchError: the pack changed since its version was first used here.
        PackError: the catalogue works with a version that this pack does not have.
    """
    with db.transaction() as connection:
        registered = {v.name: embeddings.register_version(connection, v) for v in pack.versions}
        name = catalogue.get_setting(connection, catalogue.ACTIVE_VERSION)
        if name is None:
            name = max(pack.versions, key=lambda v: v.stage).name
            catalogue.put_setting(connection, catalogue.ACTIVE_VERSION, name)
    if name not in registered:
        raise PackError(
            f"the catalogue works with embedding version {name!r}, which pack {pack.card.name!r} lacks",
            hint=f"This pack has {', '.join(registered)}. Use the pack that the catalogue was made with.",
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
    return read_calibration(pack.directory / "calibration.json").curve_for(version)
