"""Model packs beside the built-in ones: listed, installed, built, imported, checked, fitted to a catalogue.

Installed packs live in HOME/packs/<name>/. A pack appears there complete and checked, or not at all.
"""

import re
import shutil
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO

from deertrack.domain.errors import InputError, PackError
from deertrack.services.progress import SILENT, Progress
from deertrack.storage import embeddings
from deertrack.storage.db import Database
from deertrack.vision.crops import CropRule
from deertrack.vision.model_packs import CARD, Normalisation, Pack, builtin_names, builtin_pack, load_pack
from deertrack.vision.pack_building import extra, import_graph
from deertrack.vision.pack_checks import Finding, check_pack
from deertrack.vision.projections import PhotoBoxes, fit_projections, insist_on_crops, read_features

MOST_CROPS = 3000  # for a projection: more would change it little and take long
_MOST_BYTES = 4_000_000_000  # of an unpacked archive
_ABANDONED = 24 * 3600  # seconds after which a pack in the making belongs to nobody
_PAGE = 500
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,19}")


@dataclass(frozen=True, slots=True)
class InstalledPack:
    """A pack on this machine. ``pack`` is None where it cannot be loaded, and ``problem`` says why."""

    name: str
    directory: Path
    built_in: bool
    size_bytes: int
    pack: Pack | None
    problem: str = ""


def installed_packs(home: Path) -> list[InstalledPack]:
    """The built-in packs, then the others by name. A damaged pack is listed too."""
    found = []
    for built_in in map(builtin_pack, builtin_names()):
        folder = built_in.directory
        found.append(InstalledPack(built_in.card.name, folder, True, _size(folder), built_in))
    folder = home / "packs"
    for directory in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not directory.is_dir() or directory.name.startswith("."):
            continue
        pack, problem = None, ""
        try:
            pack = load_pack(directory)
        except PackError as error:
            problem = error.message
        found.append(InstalledPack(directory.name, directory, False, _size(directory), pack, problem))
    return found


def find_pack(home: Path, name: str) -> Pack:
    """A pack by its name.

    Raises:
        PackError: there is none, or its files are damaged.
    """
    return load_pack(_directory_of(home, name))


def pack_with(home: Path, version: str) -> Pack:
    """The installed pack that has an embedding version.

    Raises:
        PackError: none has.
    """
    packs = [found.pack for found in installed_packs(home) if found.pack]
    for pack in packs:
        if any(v.name == version for v in pack.versions):
            return pack
    known = ", ".join(v.name for pack in packs for v in pack.versions)
    raise PackError(
        f"no installed model pack has embedding version {version!r}",
        hint=f"There are {known}. `deertrack models list` shows them, `models install` brings more.",
    )


def highest_version(home: Path, *, but: str | None) -> str:
    """What a re-embedding brings in by default: the version of the highest stage, other than ``but``.

    Out of the same pack as ``but`` if it is not the highest there, else out of all that are installed.

    Raises:
        InputError: there is none, or several; names them.
    """
    packs = [{v.name: v.stage for v in found.pack.versions} for found in installed_packs(home) if found.pack]
    found = next((own for own in packs if but and own.get(but, 9) < max(own.values())), None)
    if found is None:
        found = {name: stage for own in packs for name, stage in own.items() if name != but}
    highest = [name for name, stage in found.items() if stage == max(found.values())]
    if len(highest) != 1:
        raise InputError(
            f"expected the version to bring in; any of {', '.join(found) or 'none'} could be meant",
            hint="Name it: deertrack reid reembed VERSION. `deertrack models list` shows what is installed.",
        )
    return highest[0]


def check(home: Path, name: str) -> list[Finding]:
    """What is right and wrong with an installed pack.

    Raises:
        PackError: there is none of that name.
    """
    return check_pack(_directory_of(home, name))


def install(home: Path, source: Path, *, dry_run: bool = False) -> Pack:
    """Install a pack from its folder or from a .zip or .tar archive of it. A damaged pack is replaced.

    Returns:
        the installed pack; in a dry run the one in ``source``, which is checked and left there.

    Raises:
        InputError: no such file, or another pack has its name or one of its versions' names.
        PackError: it is no pack, or a damaged one.
    """
    if not source.exists():
        raise InputError(
            f"{source}: no such folder or file",
            hint="Give a pack's folder (with pack.json in it), or a .zip or .tar.gz of one. From another machine: "
            "copy the folder packs/NAME of its deertrack home to a USB stick. The pack resnet50-b0 is made with "
            "`deertrack models build resnet50-b0`.",
        )
    with _staged(home, dry_run=dry_run) as directory:
        if source.is_dir():
            for file in source.iterdir():
                if file.is_file():
                    shutil.copyfile(file, directory / file.name)
        else:
            _unpack(source, directory)
        return _publish(home, directory, dry_run=dry_run)


def build_resnet50_b0(
    home: Path, *, weights: Path | None = None, random_seed: int | None = None, dry_run: bool = False
) -> str:
    """Build the pack ``resnet50-b0`` from hub weights, a directory of weights, or random numbers (for tests).

    Returns:
        the pack's name.

    Raises:
        InputError: the pack is there already, or both sources are given.
        PackError: the extra ``models`` or weights are missing; says how to bring them.
    """
    if weights is not None and random_seed is not None:
        raise InputError("--weights and --random exclude each other", hint="Give one of them.")
    if random_seed is not None and not 0 <= random_seed <= 99:
        raise InputError(f"expected a seed of 0 to 99, got {random_seed}")
    recipe = extra("deertrack.vision.resnet50_b0")
    # Their own names, so that nobody takes random vectors for trained ones.
    name, suffix = (
        (recipe.NAME, "") if random_seed is None else (f"{recipe.NAME}-random", f"_rnd{random_seed}")
    )
    versions = {f"v1_resnet50{suffix}": 1, f"v2_multiscale{suffix}": 2, f"v3_ensemble{suffix}": 3}
    insist_on_new(home, name)
    if weights is not None:
        recipe.insist_on_files(weights)
    if dry_run:
        return str(name)
    with _staged(home) as directory:
        networks = (
            recipe.load_networks(weights) if random_seed is None else recipe.random_networks(random_seed)
        )
        recipe.build(directory, name=name, versions=versions, networks=networks)
        return _publish(home, directory).card.name


def import_onnx(
    home: Path,
    source: Path,
    *,
    name: str,
    version: str,
    stage: int,
    input_hw: tuple[int, int],
    normalisation: Normalisation,
    crop: CropRule,
    output: str | None,
    licence: str,
    provenance: str,
    dry_run: bool = False,
) -> Pack:
    """Make a pack of one version out of an ONNX embedding; see ``vision.pack_building.import_graph``.

    Raises:
        InputError: a name that is taken or malformed, no such file, no such output.
        PackError: the graph cannot be used; says why.
    """
    if not _VERSION.fullmatch(version):
        raise InputError(f"expected a version of 1 to 20 letters, digits, '.', '_' and '-', got {version!r}")
    insist_on_new(home, name)
    with _staged(home, dry_run=dry_run) as directory:
        import_graph(
            source,
            directory,
            name=name,
            version=version,
            stage=stage,
            input_hw=input_hw,
            normalisation=normalisation,
            crop=crop,
            output=output,
            licence=licence,
            provenance=provenance,
        )
        return _publish(home, directory, dry_run=dry_run)


@dataclass(frozen=True, slots=True)
class FitReport:
    """What a projection was fitted on: crops used, and crops whose photo could not be read."""

    name: str
    versions: tuple[str, ...]
    crops: int
    unreadable: int


def fit_projection(
    home: Path, db: Database, name: str, new_name: str, *, dry_run: bool = False, progress: Progress = SILENT
) -> FitReport:
    """Make a pack with projections fitted on the catalogue's own crops, under new names.

    At most 3,000 crops are read, evenly from all photos. In a dry run none are.

    Raises:
        InputError: fewer than 600 crops, or a name that is taken or malformed.
        PackError: no such pack, or the extra ``models`` is not installed.
    """
    pack = find_pack(home, name)
    versions = versions_of(pack, new_name)
    insist_on_new(home, new_name)
    photos = _photos_with_boxes(db)
    offered = sum(len(boxes) for _, boxes in photos)
    insist_on_crops(offered)
    photos = photos[:: -(-offered // MOST_CROPS)]
    crops = sum(len(boxes) for _, boxes in photos)
    if dry_run:
        return FitReport(new_name, tuple(versions), crops, 0)
    progress.start("Reading crops", len(photos))
    features = read_features(pack, photos, advance=progress.advance)
    with _staged(home) as directory:
        fit_projections(pack, features, directory, name=new_name, versions=versions)
        _publish(home, directory)
    used = len(next(iter(features.values())))
    return FitReport(new_name, tuple(versions), used, crops - used)


def versions_of(base: Pack, name: str, stages: Collection[int] = (1, 2, 3)) -> dict[str, int]:
    """Names for the embedding versions of a pack that is made out of ``base``: one for each of its ``stages``.

    Raises:
        InputError: a name that is too long or malformed.
    """
    versions = {f"v{s}_{name}": s for s in sorted({*base.card.versions.values()} & {*stages})}
    if not all(_VERSION.fullmatch(version) for version in versions):
        raise InputError(
            f"expected a name of 1 to 17 lower-case letters, digits, '.', '-' and '_', got {name!r}"
        )
    return versions


def make_pack(home: Path, name: str, write: Callable[[Path], object], *, dry_run: bool = False) -> Pack:
    """Install the pack that ``write`` puts into a directory; it is checked like any other.

    Raises:
        InputError: the name, or that of a version, is taken or malformed.
        PackError: the pack is not sound.
    """
    insist_on_new(home, name)
    with _staged(home, dry_run=dry_run) as directory:
        write(directory)
        return _publish(home, directory, dry_run=dry_run)


def _photos_with_boxes(db: Database) -> list[PhotoBoxes]:
    """Every photo with detections whose file is there."""
    found: list[PhotoBoxes] = []
    after, any_model = 0, [0]  # no model has the number 0, so every detection "lacks" its vector
    while True:
        with db.transaction() as connection:
            page = embeddings.pending_photos(connection, any_model, after=after, limit=_PAGE)
        if not page:
            return found
        for photo in page:
            path = next((path for path in photo.paths if path.exists()), None)
            if path is not None:
                found.append((path, photo.boxes))
        after = page[-1].image_id


def _directory_of(home: Path, name: str) -> Path:
    directories = {found.name: found.directory for found in installed_packs(home)}
    if name not in directories:
        raise PackError(f"there is no pack {name!r}", hint=f"Installed: {', '.join(directories)}.")
    return directories[name]


def insist_on_new(home: Path, name: str) -> None:
    """Insist on a name that no pack has yet.

    Raises:
        InputError: the name is taken or malformed.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"expected a pack's name of 1 to 40 lower-case letters, digits, '.', '_' and '-', got {name!r}"
        )
    directory = home / "packs" / name
    if name in builtin_names() or directory.exists():
        anew = "" if name in builtin_names() else f" To make this one anew, remove {directory} first."
        raise InputError(f"there is a pack {name!r} already", hint=f"Choose another name.{anew}")


@contextmanager
def _staged(home: Path, *, dry_run: bool = False) -> Iterator[Path]:
    """A directory for a pack in the making, gone at the end of the block; beside the packs, to be moved there."""
    folder = home / "packs"
    try:
        if not dry_run:
            folder.mkdir(parents=True, exist_ok=True)
            for abandoned in folder.glob(".partial-*"):  # by a process killed at just this
                if time.time() - abandoned.stat().st_mtime > _ABANDONED:
                    shutil.rmtree(abandoned, ignore_errors=True)
        with TemporaryDirectory(prefix=".partial-", dir=None if dry_run else folder) as temporary:
            directory = Path(temporary, "pack")
            directory.mkdir()
            yield directory
    except OSError as error:
        raise PackError(
            f"{error.filename or folder}: cannot be read or written ({error.strerror})"
        ) from error


def _publish(home: Path, directory: Path, *, dry_run: bool = False) -> Pack:
    """Check a pack in the making and move it to its place, unless it is there already."""
    pack = load_pack(directory)
    name = pack.card.name
    if not _NAME.fullmatch(name) or name in builtin_names():
        raise InputError(f"a pack cannot be installed by the name {name!r}")
    target = home / "packs" / name
    for other in installed_packs(home):
        if other.pack is None:
            continue
        if other.name == name and other.pack.fingerprints == pack.fingerprints:
            return other.pack
        if other.name == name:
            raise InputError(
                f"there is a pack {name!r} already, with other models",
                hint=f"To replace it, remove {target} first. Vectors of the two cannot be compared.",
            )
        if shared := other.pack.card.versions.keys() & pack.card.versions.keys():
            raise InputError(f"pack {other.name!r} has embedding version {min(shared)!r} already")
    for finding in check_pack(directory):
        if not finding.ok:
            raise PackError(f"{finding.what}: {finding.detail}", hint=finding.hint)
    if dry_run:
        return pack
    if target.exists():  # damaged, or it would have been recognised above
        target.rename(directory.with_name("damaged"))
    directory.rename(target)
    return load_pack(target)


def _unpack(source: Path, directory: Path) -> None:
    """Take the files of the one pack out of an archive. Nothing is written but plain names in ``directory``."""
    try:
        if zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as archive:
                infos = [info for info in archive.infolist() if not info.is_dir()]
                _take({info.filename: partial(archive.open, info) for info in infos}, source, directory)
        elif tarfile.is_tarfile(source):
            with tarfile.open(source) as tar:
                members = [member for member in tar.getmembers() if not member.isdir()]
                for member in members:
                    if not member.isfile():
                        raise PackError(
                            f"{source}: {member.name!r} is no plain file, so this is not unpacked"
                        )
                _take({m.name: partial(tar.extractfile, m) for m in members}, source, directory)
        else:
            raise PackError(f"{source}: expected a pack's folder, or a .zip or .tar.gz archive of one")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, LZMAError, RuntimeError) as error:
        raise PackError(f"{source}: cannot be unpacked ({error})", hint="Copy it here again.") from error


def _take(files: Mapping[str, Callable[[], IO[bytes] | None]], source: Path, directory: Path) -> None:
    """Copy the files that lie beside the card."""
    paths = {name: PurePosixPath(name.replace("\\", "/")) for name in files}
    for name, path in paths.items():
        if path.is_absolute() or ".." in path.parts or ":" in name:
            raise PackError(f"{source}: {name!r} points outside the archive, so this is not unpacked")
    cards = [path for path in paths.values() if path.name == CARD and "__MACOSX" not in path.parts]
    if len(cards) != 1:
        raise PackError(f"{source}: expected one {CARD} in it, got {len(cards)}")
    left = _MOST_BYTES
    for name, path in paths.items():
        if path.parent != cards[0].parent:
            continue
        opened = files[name]()
        assert opened is not None, "a plain file opens"
        with opened as packed, (directory / path.name).open("wb") as file:
            while block := packed.read(1 << 20):
                left -= len(block)
                if left < 0:
                    raise PackError(f"{source}: unpacks to more than {_MOST_BYTES / 1e9:.0f} GB")
                file.write(block)


def _size(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.iterdir() if file.is_file())
