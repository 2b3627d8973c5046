"""Which embedding version the catalogue works with, and what its similarities mean."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deertrack.domain.calibration import Calibration
from deertrack.domain.embedding import EmbeddingVersion
from deertrack.domain.errors import InputError, PackError
from deertrack.domain.fusion import Weights
from deertrack.formats.calibration import CalibrationFile, as_json, from_json, read_calibration
from deertrack.storage import catalogue, embeddings, profiles, sightings, validations
from deertrack.storage.db import Connection, Database
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.vision.model_packs import Pack


@dataclass(frozen=True, slots=True)
class Choice:
    """Which version decides about encounters, or which two share them in an A/B test.

    ``share`` of the encounters, in [0, 1], go to ``challenger``; ``since`` (an ISO instant) names the test.
    ``forced``: the environment's USE_ENHANCED_REID chose otherwise than the last cut-over.
    """

    version: str
    challenger: str | None = None
    share: float = 0.0
    since: str = ""
    forced: bool = False

    @property
    def versions(self) -> tuple[str, ...]:
        """Every version that decides."""
        return (self.version, self.challenger) if self.challenger else (self.version,)


@dataclass(frozen=True, slots=True)
class Tuning:
    """What a cut-over sets for its version: ensemble weights, and the least similarity of an automatic match."""

    weights: Weights = field(default_factory=Weights)
    threshold: float | None = None


def choose(connection: Connection, enhanced: bool | None) -> Choice | None:
    """Which version decides now; None in a catalogue that never ran.

    Args:
        enhanced: the environment's USE_ENHANCED_REID, which wins where set (spec, phase 4): False stands for the
            single-layer version, True for an enhanced one.

    Raises:
        InputError: there is no such version here, or not every individual has its vectors.
    """
    active = catalogue.get_setting(connection, catalogue.ACTIVE_VERSION)
    if active is None:
        return None
    test = catalogue.get_setting(connection, catalogue.AB)
    choice = Choice(active, test["version"], test["share"], test["since"]) if test else Choice(active)
    if enhanced is None:
        return choice
    known = {r.version.name: r for r in validations.registered_versions(connection)}
    fitting = [name for name in choice.versions if (known[name].version.stage > 1) == enhanced]
    if len(fitting) == len(choice.versions):
        return choice
    if not fitting:
        fitting = [_enhanced(connection, known) if enhanced else _single_layer(connection, known, active)]
    return Choice(fitting[0], forced=True)


def describe(db: Database, enhanced: bool | None) -> str:
    """In a sentence: which version decides, by whose word."""
    with db.transaction() as connection:
        active = catalogue.get_setting(connection, catalogue.ACTIVE_VERSION)
        if active is None:
            return "none yet"
        flag = f"USE_ENHANCED_REID={str(enhanced).lower()}"
        try:
            choice = choose(connection, enhanced)
        except InputError as error:
            return f"{active}, but runs stop here: {error.message}"
    assert choice is not None
    if choice.forced:
        return f"{choice.version}, because {flag} is set here; the catalogue's own is {active}"
    if choice.challenger:
        return (
            f"{active}; A/B test since {choice.since}: {choice.challenger} decides about {choice.share:.0%} of the "
            "encounters"
        )
    return active if enhanced is None else f"{active} ({flag} is set here and agrees)"


def _enhanced(connection: Connection, known: Mapping[str, RegisteredVersion]) -> str:
    """The highest version that can search every individual at once."""
    for registered in reversed(list(known.values())):
        if registered.version.stage > 1:
            covered = profiles.coverage(connection, registered)
            if covered.in_profile == covered.deer:
                return registered.version.name
    raise InputError(
        "USE_ENHANCED_REID=true, but no enhanced version has vectors of every individual",
        hint="Unset it, or bring one in: deertrack reid reembed VERSION, reid validate, reid cutover.",
    )


def _single_layer(connection: Connection, known: Mapping[str, RegisteredVersion], active: str) -> str:
    """The single-layer version that was in use before, else the one of the active version's pack."""
    previous: str | None = catalogue.get_setting(connection, catalogue.PREVIOUS_VERSION)
    single = [name for name, registered in known.items() if registered.version.stage == 1]
    same_pack = [name for name in single if known[name].version.pack == known[active].version.pack]
    for name in (previous, *same_pack, *single):
        if name is not None and name in single:
            return name
    raise InputError(
        "USE_ENHANCED_REID=false, but the catalogue knows no single-layer version",
        hint="Unset it: `deertrack reid rollback` goes back to the version before the last cut-over.",
    )


def active_name(db: Database) -> str | None:
    """The version that searches use, by name; None in a catalogue that never ran."""
    with db.transaction() as connection:
        name: str | None = catalogue.get_setting(connection, catalogue.ACTIVE_VERSION)
    return name


def get_tuning(connection: Connection, version: str) -> Tuning:
    """What the last cut-over to this version set, else the specification's weights and no threshold."""
    kept = (catalogue.get_setting(connection, catalogue.TUNING) or {}).get(version)
    return Tuning(Weights(**kept["weights"]), kept["threshold"]) if kept else Tuning()


def put_tuning(connection: Connection, version: str, tuning: Tuning) -> None:
    """Keep what a cut-over to this version sets."""
    kept: dict[str, Any] = catalogue.get_setting(connection, catalogue.TUNING) or {}
    catalogue.put_setting(connection, catalogue.TUNING, {**kept, version: asdict(tuning)})


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


def keep_calibration(db: Database, given: Path, versions: Sequence[EmbeddingVersion]) -> None:
    """Keep what a calibration file says; the catalogue decides by it from now on. The same again is no news.

    Args:
        versions: those that are about to decide; the file must speak of one of them.

    Raises:
        InputError: the file is malformed, or has no curve for any of these versions.
        FingerprintMismatchError: a curve was fitted to similarities of other models.
    """
    file = read_calibration(given)
    curves = [file.curve_for(version) for version in versions if version.name in file.curves]
    if not curves:
        file.curve_for(versions[0])
    keep_curves(db, file, f"version:{versions[0].name}", {"file": str(given)}, actor="user")


def keep_curves(
    db: Database, content: CalibrationFile, subject: str, detail: Mapping[str, object], *, actor: str
) -> None:
    """Keep curves, with an event about ``subject`` that says on what they were fitted and ``detail``.

    The same again is no news.
    """
    news = {
        name: as_json(CalibrationFile(content.fitted_on, {name: curve}))
        for name, curve in content.curves.items()
    }
    with db.transaction() as connection:
        sightings.lock_deciding(connection)  # two runs that begin at once keep them once
        kept = catalogue.get_setting(connection, catalogue.CALIBRATION) or {}
        if {**kept, **news} != kept:
            catalogue.put_setting(connection, catalogue.CALIBRATION, {**kept, **news})
            said = {"fitted_on": content.fitted_on, "versions": list(news), **detail}
            catalogue.add_event(connection, actor, "calibrate", subject, said)


def kept_calibration(db: Database, version: EmbeddingVersion) -> Calibration | None:
    """What the catalogue keeps of what this version's similarities mean, if anything.

    Raises:
        FingerprintMismatchError: its curve was fitted to similarities of other models.
    """
    with db.transaction() as connection:
        kept = (catalogue.get_setting(connection, catalogue.CALIBRATION) or {}).get(version.name)
    return None if kept is None else from_json(kept, "the catalogue's calibration").curve_for(version)


def active_calibration(db: Database, version: EmbeddingVersion, pack: Pack) -> Calibration:
    """What this version's similarities mean: as the file said that was given last for it, else as the pack's
    makers measured.

    Raises:
        FingerprintMismatchError: its curve was fitted to similarities of other models.
        PackError: no file was ever given, and the pack brings none.
    """
    if kept := kept_calibration(db, version):
        return kept
    measured = pack.directory / "calibration.json"
    if not measured.is_file():
        raise PackError(
            f"nobody has measured what similarities of {version.name!r} mean: pack {pack.card.name!r} brings no "
            "calibration",
            hint=f"Confirm sightings of known animals (`deertrack review`), then `deertrack reid calibrate "
            f"{version.name}` fits one; or give one that somebody fitted: --calibration FILE",
        )
    return read_calibration(measured).curve_for(version)
