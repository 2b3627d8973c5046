"""The schema's history on a real server: up, down, up again, with rows, with failures, with company."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

import deertrack.storage.migrate as migrate_module
from deertrack.domain.errors import DatabaseError, MigrationError
from deertrack.storage.migrate import migrate, rollback, schema_state
from deertrack.storage.programs import tool

MIGRATIONS = Path(migrate_module.__file__).parent / "migrations"
ALL = tuple(sorted(p.stem for p in MIGRATIONS.glob("*.sql") if not p.stem.endswith(".rollback")))
NUMBERS = [migration_id.split("_")[0] for migration_id in ALL]
SPEC = Path(__file__).parents[3] / "shared" / "spec" / "data-model.md"


def schema(url: str) -> str:
    """Everything that pg_dump knows of the schema, without the random key it writes since 2025."""
    dump = subprocess.run(
        [tool("pg_dump"), "--schema-only", "--no-owner", f"--dbname={url}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return re.sub(r"^\\(un)?restrict .*$", "", dump, flags=re.MULTILINE)


def execute(url: str, statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def tables(url: str) -> set[str]:
    rows = execute(
        url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename !~ '^_?yoyo'"
    )
    return {name for (name,) in rows}


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def start_migrating(url: str) -> "subprocess.Popen[str]":
    code = "import sys; from deertrack.storage.migrate import migrate; print(*migrate(sys.argv[1]))"
    return subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, text=True)


# Up and down --------------------------------------------------------------------------------------------


def test_the_numbers_have_no_gap_and_every_migration_a_rollback() -> None:
    assert [f"{i + 1:03}" for i in range(len(ALL))] == NUMBERS
    assert len(ALL) >= 12
    assert [p.name for p in sorted(MIGRATIONS.glob("*.rollback.sql"))] == [f"{i}.rollback.sql" for i in ALL]
    assert "011_add_reid_enhancement" in ALL


def test_up_down_and_up_again_leaves_the_schema_unchanged(empty_url: str) -> None:
    assert schema_state(empty_url).pending == ALL
    assert migrate(empty_url) == ALL
    whole = schema(empty_url)
    assert "deer_ensemble_hnsw" in whole
    assert rollback(empty_url, to="000") == ALL[::-1]
    # Nothing of it is left: no table, function, type or extension.
    assert tables(empty_url) == set()
    assert "FUNCTION" not in schema(empty_url)
    assert "EXTENSION" not in schema(empty_url)
    assert schema_state(empty_url).applied == ()
    assert migrate(empty_url) == ALL
    assert schema(empty_url) == whole


def test_back_to_any_number_is_the_schema_of_that_number_and_up_again_the_whole(empty_url: str) -> None:
    on_the_way_up = {}
    with migrate_module._yoyo(empty_url) as (backend, migrations):
        for migration in backend.to_apply(migrations):
            backend.apply_one(migration)
            on_the_way_up[migration.id] = schema(empty_url)
    assert tuple(on_the_way_up) == ALL
    whole = on_the_way_up[ALL[-1]]
    assert len(set(on_the_way_up.values())) == len(ALL) - 1  # each does something; 015 to rows alone
    for place in reversed(range(len(ALL) - 1)):
        assert rollback(empty_url, to=NUMBERS[place]) == (ALL[place + 1],)
        assert schema_state(empty_url).applied == ALL[: place + 1]
        assert schema(empty_url) == on_the_way_up[ALL[place]]
    migrate(empty_url)
    assert rollback(empty_url, to="010") == ALL[:9:-1]
    assert schema(empty_url) == on_the_way_up[ALL[9]]
    assert migrate(empty_url) == ALL[10:]
    assert schema(empty_url) == whole


def test_what_is_there_already_is_not_done_again(url: str) -> None:
    before = schema(url)
    assert migrate(url) == ()
    assert rollback(url, to=NUMBERS[-1]) == ()
    assert schema(url) == before
    assert schema_state(url).pending == ()


@pytest.mark.parametrize("number", ["999", "11", "0", "", "abc", "011_add_reid_enhancement"])
def test_an_unknown_number_is_refused_before_anything_is_undone(url: str, number: str) -> None:
    with pytest.raises(MigrationError, match="there is no migration") as caught:
        rollback(url, to=number)
    assert "010, 011" in caught.value.hint
    assert schema_state(url).applied == ALL


@pytest.mark.parametrize("wrong", ["postgresql://nobody:pw@127.0.0.1:1/x", "nonsense"])
def test_an_unreachable_database_is_our_error(wrong: str) -> None:
    for action in (schema_state, migrate):
        with pytest.raises(DatabaseError) as caught:
            action(wrong)
        assert not isinstance(caught.value, psycopg.Error)


# With rows ----------------------------------------------------------------------------------------------

ROWS = """
INSERT INTO stations (name, latitude, longitude, timezone, clock_shift)
    VALUES ('Ob''re Wiese ü', 51.5, 7.25, 'Europe/Berlin', '-1 day 30 minutes');
INSERT INTO images (sha256, station_id, width, height, camera, clock, taken_at, detector)
    SELECT sha256(n::text::bytea), 1, 4000, 3000, 'Cam', '2024-11-03 06:00'::timestamp + n * interval '1 hour',
           photo_time('2024-11-03 06:00'::timestamp + n * interval '1 hour', NULL, '-1 day', 'Europe/Berlin'), 'md'
    FROM generate_series(1, 40) n;
INSERT INTO files (path, size, mtime_ns, image_id) SELECT '/cards/' || id || '.jpg', 5, 6, id FROM images;
INSERT INTO files (path, size, mtime_ns, error) VALUES ('/cards/bad.jpg', 0, 6, 'empty');
INSERT INTO detections (image_id, confidence, bbox_x, bbox_y, bbox_width, bbox_height, sex)
    SELECT id, 0.9, 0.1, 0.2, 0.3, 0.4, 'female' FROM images;
INSERT INTO models (fingerprint, output, pack) VALUES (repeat('a', 64), 'feature_vector', 'x');
INSERT INTO embedding_versions (name, stage, pack, single_model_id) VALUES ('v1_x', 1, 'x', 1);
INSERT INTO detection_embeddings
    SELECT id, 1, (SELECT array_agg(sin(id * k) / 16) FROM generate_series(1, 512) k)::vector FROM detections;
INSERT INTO deer (number, name, sex, notes, sighting_count, profile_detection_id, feature_vector)
    SELECT d.id, 'Deer ' || d.id, 'female', 'torn ear', 1, d.id, e.embedding
    FROM detections d JOIN detection_embeddings e ON e.detection_id = d.id;
INSERT INTO encounters (station_id, started_at, ended_at) SELECT 1, taken_at, taken_at FROM images;
INSERT INTO sightings (encounter_id, deer_id, state, sex) SELECT id, id, 'assigned', 'female' FROM encounters;
UPDATE detections SET sighting_id = id;
INSERT INTO decisions (sighting_id, outcome, deer_id, probability, version, fingerprints, policy, candidates)
    SELECT id, 'new', id, NULL, 'v1_x', '{"a": 1}', '{"b": 2.5}', '[]' FROM sightings;
INSERT INTO settings (key, value) VALUES ('active_version', '"v1_x"');
INSERT INTO events (actor, kind, subject, detail) VALUES ('ranger', 'rename', 'deer:1', '{"from": "A"}');
"""


def content(url: str) -> dict[str, list[Any]]:
    """Every row of every table, each column by its name, as text."""
    with psycopg.connect(url) as connection:
        return {
            table: [
                row
                for (row,) in connection.execute(
                    sql.SQL("SELECT to_jsonb(t) FROM {} t ORDER BY to_jsonb(t)::text").format(
                        sql.Identifier(table)
                    )
                )
            ]
            for table in sorted(tables(url))
        }


def test_migrating_with_rows_keeps_them_and_rolling_back_too(empty_url: str) -> None:
    migrate(empty_url)
    rollback(empty_url, to="010")
    execute(empty_url, ROWS)
    before = content(empty_url)
    assert all(before.values()), "every table has rows"
    assert len(before["deer"]) == 40

    migrate(empty_url)
    after = content(empty_url)
    new = {table: set(after[table][0]) - set(rows[0]) for table, rows in before.items()}
    for table, rows in before.items():
        assert [{k: v for k, v in row.items() if k not in new[table]} for row in after[table]] == rows
    assert new["deer"] >= {"feature_vector_multiscale", "feature_vector_efficientnet", "embedding_version"}
    for row in after["decisions"]:
        assert {row[column] for column in new["decisions"]} == {None}
    for row in after["deer"]:
        # The specification's default, 'v1_resnet50', was a guess: a detection holds this very vector.
        assert (row["embedding_version"], row["single_model_id"]) == ("v1_x", 1)
        named = {"embedding_version", "single_model_id"}
        unsaid = {"age_class": "unknown", "aliases": [], "sex_said": False}  # nobody said anything yet
        assert {column: row[column] for column in unsaid} == unsaid
        assert {row[column] for column in new["deer"] - named - set(unsaid)} == {None}

    # What only 011 has room for goes with it; everything else stays.
    execute(empty_url, "UPDATE deer SET feature_vector_multiscale = feature_vector, embedding_version = 'v2'")
    rollback(empty_url, to="010")
    assert content(empty_url) == before
    migrate(empty_url)
    assert content(empty_url) == after


def test_rows_with_profiles_get_the_ensemble_index_when_it_comes_later(url: str) -> None:
    rollback(url, to="011")
    execute(url, ROWS)
    execute(
        url,
        "UPDATE deer SET feature_vector_multiscale = feature_vector, feature_vector_efficientnet = feature_vector",
    )
    migrate(url)
    nearest = """
        SELECT id FROM deer ORDER BY (feature_vector_multiscale || feature_vector_efficientnet)::halfvec(1024)
        <#> (SELECT (feature_vector || feature_vector)::halfvec(1024) FROM deer WHERE id = 17) LIMIT 1"""
    with psycopg.connect(url) as connection:
        connection.execute("SET enable_seqscan = off")
        assert connection.execute(nearest).fetchone() == (17,)
        plan = "\n".join(line for (line,) in connection.execute("EXPLAIN " + nearest))
        assert "deer_ensemble_hnsw" in plan


# The specification's migration --------------------------------------------------------------------------


def test_011_is_the_specifications_own_text() -> None:
    if not SPEC.is_file():
        pytest.skip(f"no specification at {SPEC}")
    appendix = SPEC.read_text(encoding="utf-8").split("## Appendix: SQL Migration Script")[1]
    script = appendix.split("```sql\n")[1].split("```")[0]
    up, down = script.split("-- Rollback script (for reference, do not execute):\n")
    assert (MIGRATIONS / "011_add_reid_enhancement.sql").read_text(encoding="utf-8").strip() == up.strip()
    ours = (MIGRATIONS / "011_add_reid_enhancement.rollback.sql").read_text(encoding="utf-8")
    statements = [line for line in ours.splitlines() if line and not line.startswith("--")]
    assert statements == [line.removeprefix("-- ") for line in down.strip().splitlines()]


def test_011_gives_the_specifications_columns_defaults_and_comments(url: str) -> None:
    rows = execute(
        url,
        """
        SELECT a.attname, format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid), a.attnotnull,
               col_description(a.attrelid, a.attnum)
        FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = 'deer'::regclass AND a.attname IN
              ('feature_vector', 'feature_vector_multiscale', 'feature_vector_efficientnet', 'embedding_version')
        """,
    )
    columns = {name: (kind, default, not_null) for name, kind, default, not_null, _ in rows}
    assert columns == {
        "feature_vector": ("vector(512)", None, False),
        "feature_vector_multiscale": ("vector(512)", None, False),
        "feature_vector_efficientnet": ("vector(512)", None, False),
        "embedding_version": ("character varying(20)", "'v1_resnet50'::character varying", False),
    }
    comments = {name: comment for name, *_, comment in rows}
    assert comments["feature_vector_multiscale"] == (
        "Multi-scale ResNet50 embedding combining texture (layer2), shapes (layer3), parts (layer4), and "
        "semantics (avgpool). 512 dimensions, L2 normalized."
    )
    assert comments["feature_vector_efficientnet"] == (
        "EfficientNet-B0 embedding for ensemble learning. Captures complementary features using compound "
        "scaling architecture. 512 dimensions, L2 normalized."
    )
    assert comments["embedding_version"] == (
        "Version identifier for embedding extraction. Values: v1_resnet50 (original), v2_multiscale "
        "(multi-scale only), v3_ensemble (multi-scale + EfficientNet)."
    )


def test_the_indexes_have_the_specifications_names_operators_and_parameters(url: str) -> None:
    definitions = dict(execute(url, "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'deer'"))
    hnsw = "CREATE INDEX {} ON public.deer USING hnsw ({}) WITH (m='16', ef_construction='64')"
    for column in ("feature_vector", "feature_vector_multiscale", "feature_vector_efficientnet"):
        name = f"ix_deer_{column}_hnsw"
        assert definitions[name] == hnsw.format(name, f"{column} vector_cosine_ops")
    assert definitions["ix_deer_embedding_version"] == (
        "CREATE INDEX ix_deer_embedding_version ON public.deer USING btree (embedding_version)"
    )
    assert "halfvec_ip_ops" in definitions["deer_ensemble_hnsw"]
    assert definitions["deer_ensemble_hnsw"].endswith("WITH (m='16', ef_construction='64')")
    invalid = execute(
        url, "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT (indisvalid AND indisready)"
    )
    assert invalid == []


# Failures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "obstacle", "failing", "removal"),
    [
        # The index of 008 needs a column that this table of somebody else's does not have.
        ("007", "CREATE TABLE decisions (id int)", "008_create_decisions", "DROP TABLE decisions"),
        # Takes the name of the last index of 011, which only its own validation at the very end notices.
        (
            "010",
            "CREATE VIEW ix_deer_embedding_version AS SELECT 1 AS one",
            "011_add_reid_enhancement",
            "DROP VIEW ix_deer_embedding_version",
        ),
        # The first half of 012 makes the index, the second then fails.
        (
            "011",
            "ALTER TABLE models RENAME TO moved",
            "012_add_ensemble_search",
            "ALTER TABLE moved RENAME TO models",
        ),
    ],
)
def test_a_broken_migration_says_which_and_leaves_nothing_half_built(
    url: str, before: str, obstacle: str, failing: str, removal: str
) -> None:
    whole = schema(url)
    rollback(url, to=before)
    execute(url, obstacle)
    stuck = schema(url)
    with pytest.raises(MigrationError, match=f"could not apply migration {failing}") as caught:
        migrate(url)
    assert not isinstance(caught.value, psycopg.Error)
    assert "db status" in caught.value.hint
    assert schema_state(url).applied[-1].startswith(before)
    assert schema(url) == stuck
    execute(url, removal)
    assert migrate(url)[0] == failing
    assert schema(url) == whole


def test_migrations_before_the_broken_one_stay(empty_url: str) -> None:
    execute(empty_url, "CREATE VIEW ix_deer_embedding_version AS SELECT 1 AS one")
    with pytest.raises(MigrationError, match="011_add_reid_enhancement"):
        migrate(empty_url)
    assert schema_state(empty_url).applied == ALL[:10]
    columns = "SELECT column_name FROM information_schema.columns WHERE table_name = 'deer'"
    assert ("feature_vector",) in execute(empty_url, columns)
    assert ("feature_vector_multiscale",) not in execute(empty_url, columns)


def test_a_rollback_that_fails_is_undone_whole(url: str) -> None:
    execute(url, "CREATE VIEW herd AS SELECT id, embedding_version FROM deer")
    with pytest.raises(MigrationError, match="could not roll back migration 011_add_reid_enhancement"):
        rollback(url, to="010")
    assert schema_state(url).applied == ALL[:11]
    left = schema(url)
    assert "ix_deer_feature_vector_multiscale_hnsw" in left
    assert "feature_vector_efficientnet" in left
    execute(url, "DROP VIEW herd")
    assert rollback(url, to="010") == ("011_add_reid_enhancement",)


# Company ------------------------------------------------------------------------------------------------


def waiting_for_turn(url: str) -> int:
    return len(execute(url, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))


def test_processes_that_migrate_at_once_take_turns(empty_url: str) -> None:
    with psycopg.connect(empty_url, autocommit=True) as gate:
        gate.execute("SELECT pg_advisory_lock(%s)", [migrate_module._MIGRATION_LOCK])
        processes = [start_migrating(empty_url) for _ in range(3)]
        wait_for(lambda: waiting_for_turn(empty_url) == 3)
    outputs = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sorted(outputs) == [[], [], list(ALL)]
    assert schema_state(empty_url).pending == ()


@pytest.mark.parametrize("number", ["010", "011"])
def test_a_process_killed_while_migrating_does_not_block_the_next(url: str, number: str) -> None:
    whole = schema(url)
    rollback(url, to=number)
    stuck = schema(url)
    with psycopg.connect(url) as busy:
        busy.execute("LOCK TABLE deer IN ACCESS SHARE MODE")  # somebody reads: the migration has to wait
        victim = start_migrating(url)
        wait_for(
            lambda: bool(execute(url, "SELECT 1 FROM pg_locks WHERE locktype = 'relation' AND NOT granted"))
        )
        victim.send_signal(signal.SIGKILL)
        victim.wait(timeout=10)
    assert schema(url) in (stuck, whole)
    assert migrate(url)[-1] == ALL[-1]
    assert schema_state(url).pending == ()
    assert schema(url) == whole
