"""The clean-up: when it refuses, what it takes away, and that everything else goes on working after it."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer
from typer.testing import CliRunner

from deertrack.domain.calibration import Calibration
from deertrack.domain.embedding import EmbeddingVersion, Output
from deertrack.domain.encounters import Grouping
from deertrack.domain.errors import DatabaseError, InputError, MigrationError
from deertrack.entry.cli.cleanup import cleanup_command
from deertrack.services.backups import back_up
from deertrack.services.checks import examine, rebuild_indexes
from deertrack.services.identify import Matcher, alone, identify
from deertrack.services.lifecycle.cleanup import CleanupPlan, CleanupRequest, clean_up, plan_cleanup
from deertrack.services.lifecycle.cutover import cut_over, roll_back
from deertrack.services.lifecycle.reembed import reembed
from deertrack.services.lifecycle.validate import ValidationRequest, validate
from deertrack.services.run import RunRequest, run
from deertrack.services.versions import Tuning, active_name, registered_version
from deertrack.storage import backup, catalogue, embeddings
from deertrack.storage import cleanup as storage
from deertrack.storage.db import Database
from deertrack.storage.layout import NEW_NAMES, read_layout
from deertrack.storage.migrate import migrate, rollback, schema_state
from deertrack.vision.embedder import Embedder
from deertrack.vision.model_packs import Pack, builtin_pack, load_pack

Ask = Callable[..., Any]
LATER = datetime.now(UTC) + timedelta(days=91)
LAYOUTS = ("full", "cleaned", "renamed")
INDEX = "ix_deer_feature_vector_hnsw"


def change(db: Database, layout: str) -> None:
    """Bring a catalogue as migrated into a layout."""
    with db.transaction() as connection:
        if layout != "full":
            storage.drop_legacy(connection)
        if layout == "renamed":
            storage.rename_columns(connection, {output.value: name for output, name in NEW_NAMES.items()})


def set_to(db: Database, key: str, value: object) -> None:
    with db.transaction() as connection:
        catalogue.put_setting(connection, key, value)


def happen(db: Database, kind: str) -> None:
    with db.transaction() as connection:
        catalogue.add_event(connection, "tester", kind, "version:v3_stage", {})


@pytest.fixture
def herd(db: Database, stage: Any, seen: Any, matcher: Matcher) -> Database:
    """Four individuals, each seen twice, under the ensemble that was cut over to from the single layer."""
    with db.transaction() as connection:
        single = {Output.SINGLE: stage.registered.version.fingerprints[Output.SINGLE]}
        embeddings.register_version(connection, EmbeddingVersion("v1_stage", 1, "stage", single))
    for animal in range(4):
        stage.burst("Creek", 1000 * animal, seen(animal))
        stage.burst("Pond", 1000 * animal + 500, seen(animal))
    identify(db, alone(matcher))
    set_to(db, catalogue.ACTIVE_VERSION, "v3_stage")
    set_to(db, catalogue.PREVIOUS_VERSION, "v1_stage")
    happen(db, "cut over")
    return db


@pytest.fixture
def dump(herd: Database, tmp_path: Path) -> Path:
    """A backup since the cut-over."""
    back_up(herd.url, tmp_path / "before.dump", actor="tester")
    return tmp_path / "before.dump"


def plan_for(db: Database, **asked: Any) -> CleanupPlan:
    return plan_cleanup(db, CleanupRequest(**{"now": LATER, **asked}))


def done(db: Database, **asked: Any) -> CleanupPlan:
    return clean_up(db, plan_for(db, **asked), actor="tester")


def content(rows: Ask, *without: str) -> str:
    """Every table that holds what was found and decided, without some columns of ``deer``."""
    tables = ("deer", "sightings", "detections", "detection_embeddings", "decisions", "encounters", "models")
    return str(
        {
            table: [
                {k: str(v) for k, v in row.items() if k not in without}
                for row in rows(f"SELECT * FROM {table} ORDER BY 1, 2")
            ]
            for table in tables
        }
    )


# -- what it does -------------------------------------------------------------------------------------------


def test_it_drops_the_legacy_column_and_its_index_and_touches_nothing_else(
    herd: Database, dump: Path, rows: Ask, one: Ask
) -> None:
    plan = plan_for(herd)
    assert plan.reasons == ()
    assert plan.dropped == ("deer.feature_vector", INDEX)
    assert plan.renamed == {}
    assert plan.vector_bytes == 4 * (4 + 4 * 512)  # the number of dimensions, and the floats
    assert plan.index_bytes == one(f"SELECT pg_relation_size('{INDEX}') AS n") > 0
    assert plan.retired == 0
    before = content(rows, "feature_vector")
    assert content(rows) != before
    assert clean_up(herd, plan, actor="tester") == plan
    assert content(rows) == before
    assert one(f"SELECT to_regclass('{INDEX}') AS n") is None
    assert examine(herd).passed
    (event,) = rows("SELECT actor, subject, detail FROM events WHERE kind = 'clean up'")
    assert (event["actor"], event["subject"]) == ("tester", "catalogue")
    assert event["detail"]["dropped"] == ["deer.feature_vector", INDEX]
    assert event["detail"]["backup"] == str(dump)


def test_renaming_goes_with_it_or_comes_later(herd: Database, dump: Path, rows: Ask) -> None:
    renamed = {output.value: name for output, name in NEW_NAMES.items()}
    before = content(rows, "feature_vector", *renamed)
    assert done(herd).renamed == {}
    again = done(herd)
    assert again.nothing_left
    assert again.cleaned_on is not None
    dump.unlink()  # and no backup, no patience: nothing is lost by a name
    later = done(herd, rename=True, now=datetime.now(UTC))
    assert (later.dropped, later.renamed) == ((), renamed)
    assert done(herd, rename=True).nothing_left
    assert content(rows, *renamed.values()) == before
    assert examine(herd).passed  # profiles are of what is stored, among other things
    assert len(rows("SELECT 1 FROM events WHERE kind = 'clean up'")) == 2


def test_both_at_once(herd: Database, dump: Path, rows: Ask) -> None:
    assert len(done(herd, rename=True).renamed) == 2
    assert {c.name for c in layout_of(herd)} == {"feature_vector_primary", "feature_vector_secondary"}
    assert examine(herd).passed
    assert len(rows("SELECT 1 FROM events WHERE kind = 'clean up'")) == 1


def layout_of(db: Database) -> Any:
    with db.transaction() as connection:
        return read_layout(connection).columns


def no_model() -> Embedder:
    raise AssertionError("nothing is to be embedded")


def test_a_way_back_to_the_single_layer_is_closed_and_another_stays(herd: Database, dump: Path) -> None:
    done(herd)
    with pytest.raises(InputError, match="nothing to roll back"):
        roll_back(herd, actor="tester")
    with herd.transaction() as connection:
        v1 = embeddings.find_version(connection, "v1_stage")
    with pytest.raises(
        InputError, match=r"'v1_stage' cannot be searched any more.* on \d{4}-\d\d-\d\d"
    ) as no:
        cut_over(herd, v1, tuning=Tuning(), reason="I insist", actor="tester")
    assert str(dump) in no.value.hint
    assert active_name(herd) == "v3_stage"
    with pytest.raises(InputError, match="'v1_stage' cannot be searched any more"):
        reembed(herd, no_model, v1)
    set_to(herd, catalogue.PREVIOUS_VERSION, "v1_stage")  # put back by hand
    with pytest.raises(InputError, match="'v1_stage' cannot be searched any more"):
        roll_back(herd, actor="tester")
    assert active_name(herd) == "v3_stage"


def test_another_version_to_go_back_to_stays(herd: Database, dump: Path, stage: Any, one: Ask) -> None:
    with herd.transaction() as connection:
        version = replace(stage.registered.version, name="v2_stage", stage=2)
        embeddings.register_version(connection, version)
    set_to(herd, catalogue.PREVIOUS_VERSION, "v2_stage")
    done(herd)
    assert one("SELECT value FROM settings WHERE key = 'previous_version'") == "v2_stage"
    assert roll_back(herd, actor="tester").version == "v2_stage"
    assert examine(herd).passed


def test_nobody_goes_by_a_version_that_is_gone(herd: Database, dump: Path, rows: Ask) -> None:
    with herd.transaction() as connection:
        connection.execute("UPDATE deer SET embedding_version = 'v1_stage' WHERE number = 2")
    done(herd)
    assert rows("SELECT DISTINCT embedding_version AS v FROM deer") == [{"v": "v3_stage"}]


def test_what_only_the_retired_have_is_said(herd: Database, dump: Path, rows: Ask) -> None:
    with herd.transaction() as connection:
        connection.execute(
            "UPDATE deer SET status = 'retired', feature_vector_multiscale = NULL, multiscale_model_id = NULL, "
            "feature_vector_efficientnet = NULL, partner_model_id = NULL WHERE number = 1"
        )
    assert done(herd).retired == 1
    assert rows("SELECT detail->'retired' AS n FROM events WHERE kind = 'clean up'") == [{"n": 1}]


# -- when it refuses ----------------------------------------------------------------------------------------


def refused(db: Database, **asked: Any) -> str:
    """What speaks against it, once it did nothing."""
    plan = plan_for(db, **asked)
    with pytest.raises(InputError) as caught:
        clean_up(db, plan, actor="tester")
    assert "feature_vector" in {c.name for c in layout_of(db)}
    assert all(reason in caught.value.message for reason in plan.reasons)
    return "\n".join(plan.reasons)


def test_everything_against_it_is_said_at_once(herd: Database) -> None:
    set_to(herd, catalogue.ACTIVE_VERSION, "v1_stage")
    set_to(herd, catalogue.AB, {"version": "v3_stage", "share": 0.5, "since": "2025-01-01T00:00:00+00:00"})
    with herd.transaction() as connection:
        connection.execute("CREATE VIEW looks AS SELECT name, feature_vector FROM deer")
    found = refused(herd, enhanced=False, now=datetime.now(UTC))
    for reason in ("0 have passed", "no backup", "v1_stage", "A/B test", "USE_ENHANCED_REID", "view looks"):
        assert reason in found
    assert len(found.splitlines()) == 6


def test_every_change_begins_the_ninety_days_anew(herd: Database, tmp_path: Path) -> None:
    for kind in ("cut over", "roll back", "ab begun", "ab ended"):
        happen(herd, kind)
        at = datetime.now(UTC)
        back_up(herd.url, tmp_path / "dump", actor="tester")
        (found,) = refused(herd, now=at + timedelta(days=89, hours=23)).splitlines()
        assert "90 days without a change" in found
        assert f"89 have passed since {kind!r} of v3_stage" in found
        assert plan_for(herd, now=at + timedelta(days=90, hours=1)).reasons == ()


def test_a_catalogue_that_was_never_cut_over_has_shown_nothing(
    db: Database, stage: Any, tmp_path: Path
) -> None:
    set_to(db, catalogue.ACTIVE_VERSION, "v3_stage")
    back_up(db.url, tmp_path / "dump", actor="tester")
    found = refused(db)
    assert "never cut over" in found
    assert len(found.splitlines()) == 1
    assert plan_for(db, reason="it began with v3").reasons == ()


def test_a_reason_stands_for_the_ninety_days_and_for_nothing_else(
    herd: Database, tmp_path: Path, rows: Ask
) -> None:
    today = {"now": datetime.now(UTC), "reason": "season opens"}
    assert refused(herd, **today).startswith("there is no backup")
    back_up(herd.url, tmp_path / "dump", actor="tester")
    done(herd, **today)
    assert rows("SELECT detail->>'reason' AS r FROM events WHERE kind = 'clean up'") == [
        {"r": "season opens"}
    ]


def test_a_backup_from_before_the_last_change_is_none(herd: Database, dump: Path) -> None:
    happen(herd, "ab ended")
    assert "is older than 'ab ended'" in refused(herd)
    back_up(herd.url, dump, actor="tester")
    assert plan_for(herd).reasons == ()


def test_a_backup_that_began_before_the_last_change_is_none(
    herd: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its state is that of its beginning, however long it took."""
    write = backup.backup

    def overtaken(url: str, file: Path) -> int:
        size = write(url, file)
        happen(herd, "cut over")
        return size

    monkeypatch.setattr(backup, "backup", overtaken)
    back_up(herd.url, tmp_path / "dump", actor="tester")
    assert "is older than 'cut over'" in refused(herd)


def test_the_backups_file_must_be_there_whole_and_readable(herd: Database, dump: Path) -> None:
    def against() -> str:
        (found,) = refused(herd).splitlines()
        assert "--backup" in found
        return found

    saved = dump.read_bytes()
    dump.write_bytes(saved[:-100])
    assert f"has {len(saved) - 100:,} bytes, the backup of" in against()
    dump.write_bytes(saved[:-100] + bytes(100))
    assert "its content is another" in against()
    dump.unlink()
    assert "before.dump cannot be read: No such file" in against()
    dump.write_bytes(saved[:1000])
    detail = {"file": str(dump), "bytes": 1000, "sha256": backup.sha256(dump), "begun": f"{LATER}"}
    with herd.transaction() as connection:  # remembered just so
        catalogue.add_event(connection, "tester", "backup", "catalogue", detail)
    assert "is damaged" in against()


def test_a_backup_that_was_moved_may_be_named(herd: Database, dump: Path, tmp_path: Path, rows: Ask) -> None:
    moved = tmp_path / "safe" / "x.dump"
    moved.parent.mkdir()
    shutil.move(dump, moved)
    assert "cannot be read" in refused(herd)
    other = tmp_path / "other.dump"
    backup.backup(herd.url, other)  # readable, and not the one that is remembered
    assert "other.dump" in refused(herd, backup=other)
    done(herd, backup=moved)
    assert rows("SELECT detail->>'backup' AS f FROM events WHERE kind = 'clean up'") == [{"f": str(moved)}]


DEPENDENTS = {
    "materialized view looks": "CREATE MATERIALIZED VIEW looks AS SELECT feature_vector FROM deer",
    "view looks": "CREATE VIEW looks AS SELECT id FROM deer WHERE feature_vector IS NOT NULL",
    "index mine": "CREATE INDEX mine ON deer ((feature_vector IS NULL))",
    "constraint mine": "ALTER TABLE deer ADD CONSTRAINT mine CHECK (vector_dims(feature_vector) = 512)",
    "function nearest()": "CREATE FUNCTION nearest() RETURNS bigint LANGUAGE plpgsql AS $$BEGIN "
    "RETURN (SELECT count(feature_vector) FROM deer); END$$",
}


def test_what_hangs_on_the_column_is_named(herd: Database, dump: Path) -> None:
    for named, statement in DEPENDENTS.items():
        with herd.transaction() as connection:
            connection.execute(statement)
        (found,) = refused(herd).splitlines()
        assert found.startswith(named)
        assert found.endswith("needs feature_vector")
        with herd.transaction() as connection:
            connection.execute(f"{'ALTER TABLE deer ' if 'constraint' in named else ''}DROP {named}")


def test_views_follow_renamed_columns_and_only_functions_do_not(herd: Database, dump: Path, one: Ask) -> None:
    with herd.transaction() as connection:
        connection.execute("CREATE VIEW looks AS SELECT feature_vector_multiscale AS v FROM deer")
    done(herd, rename=True)
    assert one("SELECT count(v) FROM looks") == 4
    with herd.transaction() as connection:
        connection.execute(
            "ALTER TABLE deer RENAME COLUMN feature_vector_primary TO feature_vector_multiscale"
        )
        connection.execute(
            "CREATE FUNCTION mine() RETURNS bigint LANGUAGE sql AS "
            "'SELECT count(feature_vector_multiscale) FROM deer'"
        )
    assert plan_for(herd).reasons == ()
    plan = plan_for(herd, rename=True)
    assert plan.reasons == ("function mine() in this database needs feature_vector_multiscale",)


def test_individuals_that_only_the_column_knows_are_counted(herd: Database, dump: Path) -> None:
    with herd.transaction() as connection:
        connection.execute(
            "UPDATE deer SET feature_vector_efficientnet = NULL, partner_model_id = NULL WHERE id < 3"
        )
    found = refused(herd)
    assert found.startswith("2 of the individuals have no vectors of v3_stage")
    assert "reid reembed v3_stage" in found


def test_what_changes_between_the_plan_and_the_deed_counts(herd: Database, dump: Path) -> None:
    plan = plan_for(herd)
    assert plan.reasons == ()
    happen(herd, "roll back")
    with pytest.raises(InputError, match="older than 'roll back'"):
        clean_up(herd, plan, actor="tester")
    assert "feature_vector" in {c.name for c in layout_of(herd)}


def test_it_does_not_make_others_wait_behind_a_long_reader(
    herd: Database, dump: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_PATIENCE", "300ms")
    plan = plan_for(herd)
    with psycopg.connect(url) as reader:
        reader.execute("SELECT count(*) FROM deer")
        start = time.monotonic()
        with pytest.raises(DatabaseError, match="nothing was changed"):
            clean_up(herd, plan, actor="tester")
        assert time.monotonic() - start < 5
    assert clean_up(herd, plan, actor="tester").dropped


# -- while others work --------------------------------------------------------------------------------------


def test_a_run_under_way_goes_on_through_it(
    herd: Database, dump: Path, url: str, stage: Any, seen: Any, matcher: Matcher, one: Ask
) -> None:
    """Eight encounters before and eight after: the driver has prepared every statement by then."""
    for n in range(16):
        animal = seen(n if n % 2 else n // 2 % 4)  # by turns somebody new and somebody known
        stage.photo("Creek", 100_000 + 1000 * n, animal)

    class Meanwhile:
        """Somebody else cleans up after the eighth encounter."""

        count = 0

        def start(self, stage: str, total: int | None) -> None:
            self.count = 0 if stage == "Identifying" else -1000

        def advance(self, steps: int = 1) -> None:
            self.count += 1
            if self.count == 8:
                with Database(url, size=1) as other:
                    done(other, rename=True)

    decided = one("SELECT count(*) FROM decisions")
    outcome = identify(herd, alone(matcher), progress=Meanwhile())
    assert (outcome.encounters, outcome.new + outcome.matched) == (16, 16)
    assert outcome.new >= 6
    assert one("SELECT count(*) FROM decisions") == decided + 16
    assert {c.name for c in layout_of(herd)} == set(NEW_NAMES.values())
    assert examine(herd).passed


# -- everything else, in each layout ------------------------------------------------------------------------


@dataclass(frozen=True)
class Other:
    """A second pack with its embedder: the same networks with another crop rule, so vectors that never meet."""

    pack: Pack
    embedder: Embedder


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Other:
    folder = tmp_path_factory.mktemp("packs") / "padded"
    shutil.copytree(builtin_pack().directory, folder)
    card = json.loads((folder / "pack.json").read_text("utf-8"))
    card |= {"name": "padded", "versions": {"v1_padded": 1, "v2_padded": 2, "v3_padded": 3}}
    for graph in card["graphs"]:
        graph["crop"] = "pad"
    (folder / "pack.json").write_text(json.dumps(card), "utf-8")
    pack = load_pack(folder)
    return Other(pack, Embedder(pack))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_catalogue_lives_on_in_each_layout(
    db: Database,
    tmp_path: Path,
    make_photo: Callable[..., Path],
    embedder: Embedder,
    other: Other,
    rows: Ask,
    layout: str,
) -> None:
    """Photos → individuals → clean-up → more photos → another pack → cut over → back, on real vectors."""
    curve = Calibration((0.5, 0.9, 0.98, 0.999), (-9.0, -8.0, -4.0, 12.0))  # sure of the same picture alone
    grouping = Grouping(relink_similarity=curve.similarity_at(19))
    lite = registered_version(db, builtin_pack(), "v3_lite")
    set_to(db, catalogue.ACTIVE_VERSION, "v3_lite")

    def take(day: int) -> Any:
        for animal in (1, day + 1):  # the first one each day, and somebody new
            when = datetime(2025, 11, day, 6 + animal, tzinfo=UTC)
            make_photo(tmp_path / "Creek" / f"{day}_{animal}.jpg", when=when, seed=animal)
        request = RunRequest([tmp_path / "Creek"], whole_photo=True)
        return run(db, request, lambda _: embedder, lambda _: alone(Matcher(lite, curve, grouping=grouping)))

    def columns() -> list[Any]:
        names = [name for c in layout_of(db) for name in (c.name, c.model_name)]
        return rows(f"SELECT id, {', '.join(names)} FROM deer ORDER BY id")

    first = take(1)
    assert (first.matched, first.new) == (0, 2)
    change(db, layout)
    second = take(2)
    assert (second.matched, second.new) == (1, 1)
    assert examine(db).passed
    before = str(columns())

    padded = registered_version(db, other.pack, "v3_padded")
    brought = reembed(db, lambda: other.embedder, padded, all_detections=True)
    assert (brought.staged, brought.without, brought.problems) == (True, 0, [])
    report = validate(
        db, ValidationRequest("v3_padded", "v1_lite", bootstrap=100)
    )  # the old one can be compared
    assert report.outcome == "not enough data"
    assert cut_over(db, padded, tuning=Tuning(), reason="test", actor="tester").invisible == 0
    assert examine(db).passed
    assert str(columns()) != before
    assert identify(db, alone(Matcher(padded, curve, grouping=grouping))).tracks == 0
    assert roll_back(db, actor="tester").version == "v3_lite"
    assert str(columns()) == before
    assert examine(db).passed
    assert set(rebuild_indexes(db)) >= {"deer_ensemble_hnsw"}
    third = take(3)
    assert (third.matched, third.new) == (1, 1)
    assert examine(db).passed


@pytest.mark.parametrize("layout", ["cleaned", "renamed"])
def test_a_backup_brings_each_layout_back(
    herd: Database, dump: Path, tmp_path: Path, layout: str, rows: Ask
) -> None:
    whole = content(rows)
    done(herd, rename=layout == "renamed")
    cleaned, names = content(rows), layout_of(herd)
    after = tmp_path / "after.dump"
    back_up(herd.url, after, actor="tester")

    def restored(file: Path) -> Database:
        herd.close()
        backup.restore(herd.url, file)
        return Database(herd.url)

    with restored(dump) as db:
        assert [c.output for c in layout_of(db)] == list(Output)
        assert examine(db).passed
        with db.transaction() as connection:
            kept = connection.execute("SELECT count(feature_vector) AS n FROM deer").fetchone()
        assert kept == {"n": 4}
    backup.restore(herd.url, after)
    with Database(herd.url) as db:
        assert layout_of(db) == names
        assert examine(db).passed
    assert whole != cleaned


@pytest.mark.parametrize("layout", ["cleaned", "renamed"])
def test_migrations_leave_a_cleaned_schema_alone(db: Database, url: str, layout: str) -> None:
    change(db, layout)
    names = layout_of(db)
    assert schema_state(url).pending == ()
    assert migrate(url) == ()
    numbers = [migration.split("_")[0] for migration in schema_state(url).applied]
    refused = {}
    for number in numbers[4:]:
        try:
            rollback(url, to=number)
        except MigrationError as error:
            refused[number] = error
        migrate(url)
        assert layout_of(db) == names
    assert list(refused)[:7] == ["005", "006", "007", "008", "009", "010", "011"]
    for number, error in refused.items():
        assert f"no way back to migration {number}" in error.message
        assert "db restore" in error.hint
    for number in ("004", "000"):
        rollback(url, to=number)
        migrate(url)
        assert [c.name for c in layout_of(db)] == list(Output)
        change(db, layout)


# -- backups that are remembered ----------------------------------------------------------------------------


def test_a_backup_leaves_its_line_in_the_trail_and_not_in_itself(
    herd: Database, dump: Path, rows: Ask, url: str
) -> None:
    trail = "SELECT subject, detail FROM events WHERE kind = 'backup'"
    (event,) = rows(trail)
    assert event["subject"] == "catalogue"
    assert event["detail"]["file"] == str(dump)
    assert event["detail"]["bytes"] == dump.stat().st_size
    assert event["detail"]["sha256"] == backup.sha256(dump)
    herd.close()
    backup.restore(url, dump)
    with Database(url) as db, db.transaction() as connection:
        assert connection.execute(trail).fetchall() == []


def test_a_failed_backup_leaves_no_line(herd: Database, tmp_path: Path, rows: Ask) -> None:
    with pytest.raises(InputError):
        back_up(herd.url, tmp_path / "no" / "folder", actor="tester")
    assert rows("SELECT 1 FROM events WHERE kind = 'backup'") == []


def test_a_schema_without_a_trail_is_backed_up_all_the_same(url: str, tmp_path: Path) -> None:
    rollback(url, to="009")
    assert back_up(url, tmp_path / "dump", actor="tester") == (tmp_path / "dump").stat().st_size
    rollback(url, to="000")
    assert back_up(url, tmp_path / "empty", actor="tester") > 0


# -- the command --------------------------------------------------------------------------------------------


@pytest.fixture
def command(herd: Database, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setenv("DATABASE_URL", herd.url)
    monkeypatch.delenv("USE_ENHANCED_REID", raising=False)
    app = typer.Typer()
    app.command()(cleanup_command)
    return lambda *words, **more: CliRunner().invoke(app, words, **more)


def test_a_dry_run_tells_all_and_changes_nothing(command: Any, herd: Database, dump: Path) -> None:
    said = command("--dry-run", "--rename")
    assert said.exit_code == 1
    assert "Would drop deer.feature_vector and ix_deer_feature_vector_hnsw" in said.stdout
    assert "Would rename deer.feature_vector_multiscale to feature_vector_primary" in said.stdout
    assert "90 days without a change" in said.stderr
    said = command("--dry-run", "--json", "--reason", "test")
    assert (said.exit_code, json.loads(said.stdout)["reasons"]) == (0, [])
    assert len(layout_of(herd)) == 3


def test_the_command_asks_and_does_it_once(command: Any, herd: Database, dump: Path) -> None:
    refused = command("--yes")
    assert isinstance(refused.exception, InputError)
    assert command("--reason", "test", input="n\n").exit_code == 1
    assert len(layout_of(herd)) == 3
    said = command("--reason", "test", input="y\n")
    assert said.exit_code == 0
    assert "Dropped deer.feature_vector" in said.stdout
    assert len(layout_of(herd)) == 2
    again = command("--yes")
    assert (again.exit_code, "Nothing to do" in again.stdout) == (0, True)
    assert "Renamed deer.feature_vector_multiscale" in command("--yes", "--rename").stdout


def test_the_environments_flag_speaks_against_it(
    command: Any, herd: Database, dump: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USE_ENHANCED_REID", "false")
    said = command("--dry-run", "--reason", "test")
    assert (said.exit_code, "USE_ENHANCED_REID=false" in said.stderr) == (1, True)
