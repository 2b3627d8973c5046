"""Where things are built and implementations are chosen. Short on purpose."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from deertrack.domain.calibration import Calibration
from deertrack.domain.encounters import Grouping
from deertrack.domain.errors import FingerprintMismatchError, MigrationError, PackError
from deertrack.services.identify import Deciders, Matcher
from deertrack.services.models import find_pack, pack_with
from deertrack.services.policy import change_policy, get_policy
from deertrack.services.versions import (
    active_calibration,
    active_name,
    active_version,
    choose,
    get_tuning,
    keep_calibration,
    kept_calibration,
    registered_version,
)
from deertrack.settings import Settings
from deertrack.storage.db import Database
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.storage.jobs import JobQueue
from deertrack.storage.lease import in_use
from deertrack.storage.migrate import migrate, schema_state
from deertrack.storage.server import EmbeddedServer
from deertrack.vision.embedder import Embedder
from deertrack.vision.model_packs import Pack


@contextmanager
def database_url(settings: Settings) -> Iterator[str]:
    """The URL to work with, valid inside the block: ``DATABASE_URL``, or the embedded server's.

    The embedded server is started if it must be, and stops when the last command that uses it ends.
    """
    if settings.database_url:
        yield settings.database_url
        return
    with in_use(EmbeddedServer(settings.home)) as url:
        yield url


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """The catalogue, with its schema up to date.

    Raises:
        MigrationError: the schema was rolled back on purpose, or an external database holds an older one:
            only its owner says when to migrate it.
    """
    with database_url(settings) as url:
        state = schema_state(url)
        if state.rolled_back or (state.pending and state.applied and settings.database_url):
            raise MigrationError(
                f"the database lacks {len(state.pending)} migrations, from {state.pending[0]} on",
                hint="Back it up (`deertrack db backup FILE`), then run `deertrack db migrate`.",
            )
        if state.pending:
            migrate(url)
        with Database(url) as db:
            yield db


def place_of(settings: Settings) -> str:
    """Where the data lives, in words that hold no password."""
    return "the database at DATABASE_URL" if settings.database_url else str(settings.home)


def load_pack(settings: Settings, db: Database, version: str | None = None) -> Pack:
    """The model pack of a version: the one asked for, else the catalogue's active one, else the first pack."""
    name = version or active_name(db)
    return pack_with(settings.home, name) if name else first_pack(settings)


def first_pack(settings: Settings) -> Pack:
    """The pack that a fresh catalogue begins with, and that is meant where there is no catalogue.

    Raises:
        PackError: there is none of that name.
    """
    return find_pack(settings.home, settings.pack)


def make_embedder(settings: Settings, pack: Pack) -> Embedder:
    """The pack's networks, loaded."""
    return Embedder(pack, engine=settings.engine, precision=settings.precision, threads=settings.threads)


def make_deciders(
    settings: Settings, db: Database, calibration: Path | None = None, wrong_at_most: float | None = None
) -> Deciders:
    """How this catalogue decides now: by its active version, by both arms of an A/B test, or as the environment's
    USE_ENHANCED_REID says. A calibration and a policy that are given are kept.

    Raises:
        InputError: that asks for a version which is not ready, or for a policy that cannot be.
    """
    if wrong_at_most is not None:
        change_policy(db, wrong_at_most=wrong_at_most, actor="user")
    active_version(db, load_pack(settings, db))  # a fresh catalogue takes its first one here
    with db.transaction() as connection:
        choice = choose(connection, settings.use_enhanced_reid)
    assert choice is not None
    packs = {name: load_pack(settings, db, name) for name in choice.versions}
    if calibration:
        versions = [registered_version(db, pack, name).version for name, pack in packs.items()]
        keep_calibration(db, calibration, versions)
    matchers = [make_matcher(db, pack, name) for name, pack in packs.items()]
    return Deciders(choice, tuple(matchers), settings.use_enhanced_reid)


def make_matcher(db: Database, pack: Pack, version: str | None = None) -> Matcher:
    """How one version decides: what its similarities mean and what its cut-over set. Default: the active one."""
    registered = registered_version(db, pack, version) if version else active_version(db, pack)
    curve = active_calibration(db, registered.version, pack)
    with db.transaction() as connection:
        tuning = get_tuning(connection, registered.version.name)
        policy = replace(get_policy(connection), min_similarity=tuning.threshold)
    # After a pause looks alone must be as sure as an assignment, one animal against one other.
    relink = curve.similarity_at(policy.assign_at / (1 - policy.assign_at))
    grouping = Grouping(relink_similarity=relink)
    return Matcher(registered, curve, weights=tuning.weights, policy=policy, grouping=grouping)


def curve_in_use(settings: Settings, db: Database, registered: RegisteredVersion) -> Calibration | None:
    """What a version's similarities mean now; None where nobody measured that for its models."""
    version = registered.version
    try:
        kept = kept_calibration(db, version)  # which needs no pack
        return kept or active_calibration(db, version, load_pack(settings, db, version.name))
    except (PackError, FingerprintMismatchError):
        return None


def job_queue(db: Database) -> JobQueue:
    """The queue in the catalogue's own database."""
    return JobQueue(db.url)
