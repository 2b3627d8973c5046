"""Re-embedding with another pack, cutting over and back: what changes, what must not, and what may fail."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deertrack.domain.embedding import Output
from deertrack.domain.errors import InputError, VersionChangedError
from deertrack.domain.fusion import Weights
from deertrack.domain.records import WHOLE_PHOTO, DetectedAnimal
from deertrack.services.identify import Matcher, alone, identify
from deertrack.services.lifecycle.cutover import CutOver, cut_over, roll_back
from deertrack.services.lifecycle.reembed import Reembedded, reembed
from deertrack.services.queue import defer_reembed
from deertrack.services.versions import Tuning, active_name, get_tuning
from deertrack.storage import catalogue, embeddings, profiles, validations
from deertrack.storage.db import Database
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.storage.images import OfferedPhoto, add_detections, add_photos, catalogued_files
from deertrack.storage.jobs import JobQueue
from deertrack.vision.embedder import Embedder, EmbedTask
from deertrack.vision.image_io import read_facts
from deertrack.vision.model_packs import Pack, builtin_pack, load_pack

Ask = Callable[..., Any]
DEER, PHOTOS = 5, 3


@pytest.fixture(scope="module")
def other_pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """The same networks with another crop rule: other fingerprints, so other vectors that never meet the first."""
    folder = tmp_path_factory.mktemp("packs") / "padded"
    shutil.copytree(builtin_pack().directory, folder)
    card = json.loads((folder / "pack.json").read_text("utf-8"))
    card["name"] = "padded"
    card["versions"] = {"v1_padded": 1, "v2_padded": 2, "v3_padded": 3}
    for graph in card["graphs"]:
        graph["crop"] = "pad"
    (folder / "pack.json").write_text(json.dumps(card), "utf-8")
    return load_pack(folder)


@pytest.fixture(scope="module")
def other_embedder(other_pack: Pack) -> Embedder:
    return Embedder(other_pack)


def register(db: Database, pack: Pack, stage: int) -> RegisteredVersion:
    version = next(v for v in pack.versions if v.stage == stage)
    with db.transaction() as connection:
        return embeddings.register_version(connection, version)


@pytest.fixture
def v1(db: Database) -> RegisteredVersion:
    return register(db, builtin_pack(), 1)


@pytest.fixture
def v3(db: Database, other_pack: Pack) -> RegisteredVersion:
    return register(db, other_pack, 3)


@pytest.fixture
def herd(
    db: Database, tmp_path: Path, make_photo: Callable[..., Path], v1: RegisteredVersion
) -> list[list[Path]]:
    """Five deer of the base system: three photos each, the first the best, with the single-layer vector only."""
    photos = [
        [
            make_photo(
                tmp_path / "Creek" / f"{deer}_{n}.jpg",
                seed=10 * deer + n,
                when=datetime(2025, 1, 1, tzinfo=UTC),
            )
            for n in range(PHOTOS)
        ]
        for deer in range(DEER)
    ]
    with db.transaction() as connection:
        for deer, paths in enumerate(photos, start=1):
            ids = []
            for n, path in enumerate(paths):
                facts = read_facts(path.read_bytes(), path)
                add_photos(connection, [OfferedPhoto(str(path), 1, 1, "Creek", facts)], timezone="UTC")
                image_id = catalogued_files(connection, [str(path)])[str(path)].image_id
                add_detections(connection, image_id, "test", [DetectedAnimal(WHOLE_PHOTO, 0.9 - 0.1 * n)])
                row = connection.execute(
                    "SELECT id FROM detections WHERE image_id = %s", [image_id]
                ).fetchone()
                assert row
                ids.append(row["id"])
            vector = np.random.default_rng(deer).normal(size=512)
            connection.execute(
                "WITH e AS (INSERT INTO encounters (station_id) SELECT id FROM stations RETURNING id), "
                "d AS (INSERT INTO deer (number, name, sighting_count, feature_vector, single_model_id, "
                "embedding_version) VALUES (%(deer)s, %(name)s, 1, l2_normalize(%(vector)s::vector), %(model)s, "
                "'v1_lite') RETURNING id), "
                "s AS (INSERT INTO sightings (encounter_id, deer_id, state) "
                "SELECT e.id, d.id, 'assigned' FROM e, d RETURNING id) "
                "UPDATE detections SET sighting_id = (SELECT id FROM s) WHERE id = ANY(%(ids)s)",
                {
                    "deer": deer,
                    "name": f"Deer {deer}",
                    "vector": vector.astype(np.float32),
                    "model": v1.models[Output.SINGLE],
                    "ids": ids,
                },
            )
    return photos


@pytest.fixture
def work(
    db: Database,
    herd: list[list[Path]],
    other_embedder: Embedder,
    v1: RegisteredVersion,
    v3: RegisteredVersion,
) -> Callable[..., Reembedded]:
    return lambda **options: reembed(db, lambda: other_embedder, v3, **options)


def profile(rows: Ask, deer: int) -> dict[str, Any]:
    (row,) = rows("SELECT * FROM deer WHERE id = %s", deer)
    return {k: np.asarray(v.to_numpy()) if hasattr(v, "to_numpy") else v for k, v in row.items()}


def test_every_deer_gets_the_vectors_of_its_best_photo_and_keeps_the_rest(
    db: Database,
    herd: list[list[Path]],
    work: Any,
    rows: Ask,
    other_embedder: Embedder,
    v3: RegisteredVersion,
) -> None:
    untouched = "id, number, name, sex, notes, sighting_count, feature_vector::text, single_model_id"
    before = rows(f"SELECT {untouched} FROM deer ORDER BY id")
    done = work()
    assert (done.deer, done.done_before, done.embedded, done.profiles) == (DEER, 0, DEER, DEER)
    assert (done.fell_back, done.without, done.problems, done.staged) == (0, 0, [], False)
    assert rows(f"SELECT {untouched} FROM deer ORDER BY id") == before
    for deer, paths in enumerate(herd, start=1):
        (expected,) = other_embedder.embed([EmbedTask(0, paths[0], (WHOLE_PHOTO,))])
        now = profile(rows, deer)
        for output in v3.version.search_outputs:
            np.testing.assert_allclose(now[output.value], expected.vectors[output][0], atol=1e-5)
            assert abs(np.linalg.norm(now[output.value]) - 1) < 1e-4
        assert now["embedding_version"] == "v3_padded"


def test_the_same_again_does_nothing_and_loads_no_model(db: Database, work: Any, v1: Any, v3: Any) -> None:
    work()

    def no_model() -> Embedder:
        raise AssertionError("nothing is left to embed")

    again = reembed(db, no_model, v3)
    assert (again.done_before, again.embedded, again.profiles) == (DEER, 0, 0)


def test_a_limit_stops_early_and_the_next_call_goes_on(work: Any, rows: Ask) -> None:
    first = work(limit=2, batch=1)
    assert (first.embedded, first.profiles) == (2, 2)
    assert [
        r["id"] for r in rows("SELECT id FROM deer WHERE multiscale_model_id IS NOT NULL ORDER BY id")
    ] == [1, 2]
    second = work()
    assert (second.done_before, second.embedded) == (2, 3)


@pytest.mark.parametrize("damage", ["truncated", "gone"])
def test_a_photo_that_cannot_be_read_gives_way_to_the_next_best(
    herd: list[list[Path]], work: Any, rows: Ask, other_embedder: Embedder, damage: str
) -> None:
    best, second, _ = herd[2]
    if damage == "gone":
        best.unlink()
    else:
        best.write_bytes(best.read_bytes()[:900])
    done = work()
    assert (done.embedded, done.fell_back, done.without) == (DEER, 1, 0)
    assert [p.path for p in done.problems] == [str(best)]
    (expected,) = other_embedder.embed([EmbedTask(0, second, (WHOLE_PHOTO,))])
    now = profile(rows, 3)
    np.testing.assert_allclose(
        now["feature_vector_multiscale"], expected.vectors[Output.MULTISCALE][0], atol=1e-5
    )


def test_a_deer_without_any_readable_photo_is_counted_and_keeps_its_old_vector(
    herd: list[list[Path]], work: Any, rows: Ask
) -> None:
    for path in herd[4]:
        path.unlink()
    done = work()
    assert (done.embedded, done.without) == (DEER - 1, 1)
    now = profile(rows, 5)
    assert now["feature_vector"] is not None
    assert now["feature_vector_multiscale"] is None
    assert now["embedding_version"] == "v1_lite"


def test_all_detections_on_request(work: Any, rows: Ask) -> None:
    assert work().detections == DEER
    assert work(all_detections=True).detections == DEER * (PHOTOS - 1)
    (row,) = rows("SELECT count(*) AS n FROM detection_embeddings")
    assert row["n"] == DEER * PHOTOS * 3


def test_columns_that_searches_use_are_not_touched_before_the_cut_over(
    db: Database, work: Any, rows: Ask, v3: RegisteredVersion
) -> None:
    register(db, builtin_pack(), 3)
    active(db, "v3_lite")  # searches the same columns, with other models
    done = work()
    assert (done.staged, done.embedded, done.profiles) == (True, DEER, 0)
    assert {r["multiscale_model_id"] for r in rows("SELECT multiscale_model_id FROM deer")} == {None}
    with db.transaction() as connection:
        assert profiles.coverage(connection, v3).complete
        assert len(profiles.put_profiles(connection, v3)) == DEER
        assert profiles.coverage(connection, v3).in_profile == DEER


def test_workers_share_a_queued_re_embedding(
    db: Database, url: str, herd: list[list[Path]], rows: Ask, tmp_path: Path
) -> None:
    lite = register(db, builtin_pack(), 3)
    active(db, "v1_lite")
    queue = JobQueue(url)
    jobs = defer_reembed(queue, db, lite, all_detections=True, size=1)
    assert len(jobs) == DEER + DEER * PHOTOS
    assert defer_reembed(queue, db, lite, all_detections=True, size=1) == [], "they wait already"
    environment = {**os.environ, "DATABASE_URL": url, "DEERTRACK_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "deertrack", "worker", "--until-empty"]
    workers = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) for _ in range(2)]
    logs = [worker.communicate(timeout=120)[1].decode() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], logs
    assert all("detections embedded with v3_lite" in log for log in logs), "both had their part"
    assert {queue.status(job) for job in jobs} == {"succeeded"}
    with db.transaction() as connection:
        assert profiles.coverage(connection, lite).in_profile == DEER
    (row,) = rows("SELECT count(*) AS n FROM detection_embeddings")
    assert row["n"] == DEER * PHOTOS * 3
    assert defer_reembed(queue, db, lite, all_detections=True) == []


# -- cutting over and back ----------------------------------------------------------------------------------


@pytest.fixture
def vouch(db: Database, v1: RegisteredVersion, v3: RegisteredVersion) -> Callable[[str], int]:
    """Store a validation of v3 against v1 with this outcome."""

    def add(outcome: str) -> int:
        with db.transaction() as connection:
            return validations.add_validation(
                connection,
                new=v3.version,
                old=v1.version,
                weights=asdict(TUNED.weights),
                outcome=outcome,
                report={},
            )

    return add


TUNED = Tuning(Weights(0.7, 0.3))


def cut(db: Database, target: RegisteredVersion, reason: str = "", share: float = 1.0) -> CutOver:
    return cut_over(db, target, tuning=TUNED, reason=reason, actor="tester", share=share)


def tuned(db: Database) -> Tuning:
    with db.transaction() as connection:
        return get_tuning(connection, catalogue.get_setting(connection, catalogue.ACTIVE_VERSION))


def active(db: Database, name: str) -> None:
    with db.transaction() as connection:
        catalogue.put_setting(connection, catalogue.ACTIVE_VERSION, name)


def test_no_cut_over_while_a_deer_would_become_invisible(
    db: Database, work: Any, v1: Any, v3: Any, vouch: Any
) -> None:
    active(db, "v1_lite")
    work(limit=3)
    vouch("pass")
    with pytest.raises(InputError, match="2 of 5 individuals have no vectors of 'v3_padded'") as caught:
        cut(db, v3)
    assert "reid reembed v3_padded" in caught.value.hint
    assert cut(db, v3, reason="their photos are lost").invisible == 2


@pytest.mark.parametrize("outcome", [None, "fail", "not enough data"])
def test_no_cut_over_without_a_passing_validation_but_for_a_reason(
    db: Database, work: Any, v1: Any, v3: Any, vouch: Any, rows: Ask, outcome: str | None
) -> None:
    active(db, "v1_lite")
    work()
    if outcome:
        vouch(outcome)
    with pytest.raises(InputError, match=outcome or "never validated"):
        cut(db, v3)
    assert active_name(db) == "v1_lite"
    cut(db, v3, reason="the owner of the ranch wants it")
    assert active_name(db) == "v3_padded"
    (event,) = rows("SELECT actor, detail FROM events WHERE kind = 'cut over'")
    assert event["actor"] == "tester"
    assert event["detail"]["reason"] == "the owner of the ranch wants it"


def test_over_and_back_leaves_every_original_vector_as_it_was(
    db: Database, work: Any, v1: Any, v3: Any, vouch: Any, rows: Ask
) -> None:
    active(db, "v1_lite")
    columns = "id, number, name, sighting_count, feature_vector::text, single_model_id"
    before = rows(f"SELECT {columns} FROM deer ORDER BY id")
    work()
    number = vouch("pass")
    assert cut(db, v3) == CutOver("v3_padded", "v1_lite", 0)
    assert (active_name(db), tuned(db)) == ("v3_padded", TUNED)
    assert rows("SELECT detail FROM events WHERE kind = 'cut over'")[0]["detail"]["validation"] == number
    assert roll_back(db, actor="tester") == CutOver("v1_lite", "v3_padded", 0)
    assert (active_name(db), tuned(db)) == ("v1_lite", Tuning())
    assert rows(f"SELECT {columns} FROM deer ORDER BY id") == before
    with pytest.raises(InputError, match="nothing to roll back"):
        roll_back(db, actor="tester")


def test_versions_that_share_columns_are_swapped_whole(
    db: Database, work: Any, v3: RegisteredVersion, rows: Ask
) -> None:
    """The columns hold one version at a time; the other's vectors wait in the detections and come back exactly."""
    lite = register(db, builtin_pack(), 3)
    embedder = Embedder(builtin_pack())
    reembed(db, lambda: embedder, lite)
    active(db, "v3_lite")
    columns = "id, feature_vector_multiscale::text, feature_vector_efficientnet::text, multiscale_model_id"
    before = rows(f"SELECT {columns} FROM deer ORDER BY id")
    assert work().staged
    assert rows(f"SELECT {columns} FROM deer ORDER BY id") == before
    assert cut(db, v3, reason="test").profiles == DEER
    assert rows(f"SELECT {columns} FROM deer ORDER BY id") != before
    assert roll_back(db, actor="tester").profiles == DEER
    assert rows(f"SELECT {columns} FROM deer ORDER BY id") == before


def test_deer_met_since_the_cut_over_are_counted_when_it_is_taken_back(
    db: Database, work: Any, v1: Any, v3: Any
) -> None:
    active(db, "v1_lite")
    work()
    cut(db, v3, reason="test")
    with db.transaction() as connection:
        connection.execute("UPDATE deer SET feature_vector = NULL, single_model_id = NULL WHERE number = 2")
    assert roll_back(db, actor="tester").invisible == 1


def test_a_run_under_way_notices_a_cut_over_and_keeps_what_it_decided(
    db: Database, url: str, stage: Any, seen: Any, matcher: Matcher, one: Ask
) -> None:
    for n in range(3):
        stage.photo("Creek", 1000 * n, seen(n))

    class Meanwhile:
        """Somebody else cuts over after the first encounter."""

        def start(self, stage: str, total: int | None) -> None:
            self.stage = stage

        def advance(self, steps: int = 1) -> None:
            if self.stage == "Identifying":
                with Database(url, size=1) as other:
                    active(other, "v9_other")

    with pytest.raises(VersionChangedError, match="cut over"):
        identify(db, alone(matcher), progress=Meanwhile())
    assert one("SELECT count(*) FROM decisions") == 1
    active(db, matcher.registered.version.name)
    assert identify(db, alone(matcher)).new == 2


def test_a_cut_over_during_embedding_is_not_undone_by_the_run_that_began_before(
    db: Database, stage: Any, seen: Any, matcher: Matcher, rows: Ask
) -> None:
    """The run's own version would find all profiles empty, and must not fill them behind the new one's back."""
    stage.photo("Creek", 0, seen(1))
    identify(db, alone(matcher))
    with db.transaction() as connection:
        connection.execute("UPDATE deer SET multiscale_model_id = NULL, feature_vector_multiscale = NULL")
    active(db, "v9_other")
    stage.photo("Creek", 1000, seen(2))
    with pytest.raises(VersionChangedError, match="'v9_other'"):
        identify(db, alone(matcher))
    assert rows("SELECT multiscale_model_id FROM deer") == [{"multiscale_model_id": None}]
