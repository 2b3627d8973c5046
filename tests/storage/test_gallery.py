"""The search against exact numpy: right rows, right order, the right index, whatever the filter or the weights."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from uuid import uuid4

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray
from psycopg.conninfo import make_conninfo

from deertrack.domain.embedding import DIMENSIONS, EmbeddingVersion, Output, Vectors, normalise
from deertrack.domain.errors import DatabaseError
from deertrack.domain.fusion import Weights
from deertrack.domain.names import friendly_name
from deertrack.domain.records import Box, DetectedAnimal, PhotoFacts, Sex
from deertrack.storage import catalogue, embeddings, gallery, images
from deertrack.storage.db import Connection, Database
from deertrack.storage.embeddings import RegisteredVersion
from deertrack.storage.gallery import Match
from deertrack.storage.images import OfferedPhoto

SIZE, QUERIES = 3_000, 30
RARE = 15  # does, and as many of unknown sex; all others are bucks
INDEX_OF_STAGE = {
    1: "ix_deer_feature_vector_hnsw",
    2: "ix_deer_feature_vector_multiscale_hnsw",
    3: "deer_ensemble_hnsw",
}
STAGES = sorted(INDEX_OF_STAGE)
OTHER_WEIGHTS = [Weights(0.7, 0.3), Weights(0.5, 0.5), Weights(1.0, 0.0), Weights(0.0, 1.0)]


def version(stage: int, weights: str = "first") -> EmbeddingVersion:
    """One stage of a pack that makes all three outputs from these weights."""
    fingerprints = {o: hashlib.sha256(f"{weights} {o}".encode()).hexdigest() for o in Output}
    return EmbeddingVersion(f"v{stage}_{weights}", stage, weights, fingerprints)


def clustered(rng: np.random.Generator, cluster_of: NDArray[np.int64]) -> Vectors:
    """Unit vectors around a centre for each cluster, so that neighbours mean something."""
    centres = normalise(rng.normal(size=(cluster_of.max() + 1, DIMENSIONS)))
    noise = normalise(rng.normal(size=(len(cluster_of), DIMENSIONS)))
    return normalise(centres[cluster_of] + noise)


@dataclass
class Herd:
    """Thousands of individuals in a database, and the same in numpy."""

    db: Database
    registered: dict[int, RegisteredVersion]
    ids: NDArray[np.int64]
    sexes: NDArray[np.str_]
    comparable: NDArray[np.bool_]
    vectors: dict[Output, NDArray[np.float64]]
    queries: list[dict[Output, Vectors]] = field(default_factory=list)
    queries_of_rare: set[int] = field(default_factory=set)

    def eligible(self, sex: Sex) -> NDArray[np.bool_]:
        fits = (self.sexes == sex) | (self.sexes == Sex.UNKNOWN)
        return self.comparable & (fits if sex is not Sex.UNKNOWN else True)

    def similarities(
        self, query: Mapping[Output, Vectors], shares: Mapping[Output, float]
    ) -> NDArray[np.float64]:
        return sum(share * (self.vectors[o] @ query[o].astype(np.float64)) for o, share in shares.items())

    def exact(
        self, query: Mapping[Output, Vectors], stage: int, sex: Sex, weights: Weights, limit: int
    ) -> dict[int, float]:
        """The true nearest, best first: individual → similarity."""
        similar = self.similarities(query, weights.of(self.registered[stage].version))
        order = np.argsort(-np.where(self.eligible(sex), similar, -9))
        best = order[: min(limit, int(self.eligible(sex).sum()))]
        return {int(self.ids[i]): float(similar[i]) for i in best}


@pytest.fixture(scope="module")
def herd(server_url: str, template: str) -> Iterator[Herd]:
    """3,000 individuals, nearly all bucks; some retired, some merged, many of another model. Read only."""
    name = f"gallery_{uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    with Database(make_conninfo(server_url, dbname=name), size=1) as db:
        yield load_herd(db)
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def load_herd(db: Database) -> Herd:
    rng = np.random.default_rng(7)
    cluster_of = rng.integers(0, SIZE // 10, SIZE)
    vectors = {output: clustered(rng, cluster_of) for output in Output}
    sexes = np.full(SIZE, "male", dtype="<U7")
    rare = rng.permutation(SIZE)[: 2 * RARE]
    sexes[rare[:RARE]], sexes[rare[RARE:]] = "female", "unknown"
    # The closer look goes wrong first: what may not be found is as similar as anything else.
    status = rng.choice(["active", "retired", "merged"], SIZE, p=[0.92, 0.05, 0.03])
    ours = rng.random(SIZE) < 0.6
    with db.transaction() as connection:
        registered = {stage: embeddings.register_version(connection, version(stage)) for stage in STAGES}
        other = embeddings.register_version(connection, version(3, "others"))
        # Loading first and indexing after is many times faster than the reverse.
        indexes = connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'deer' AND indexdef LIKE '%USING hnsw%'"
        ).fetchall()
        for index in indexes:
            connection.execute(f"DROP INDEX {index['indexname']}")
        columns = ["number", "name", "sex", "status", *Output]
        columns += ["single_model_id", "multiscale_model_id", "partner_model_id"]
        with connection.cursor().copy(f"COPY deer ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int4", "text", "text", "text", *["vector"] * 3, *["int2"] * 3])
            for i in range(SIZE):
                models = (registered[3] if ours[i] else other).models
                copy.write_row(
                    [
                        i + 1,
                        f"Deer {i + 1}",
                        str(sexes[i]),
                        str(status[i]),
                        *[vectors[o][i] for o in Output],
                        *[models[o] for o in Output],
                    ]
                )
        connection.execute("SET LOCAL maintenance_work_mem = '256MB'")
        for index in indexes:
            connection.execute(index["indexdef"])
        ids = [row["id"] for row in connection.execute("SELECT id FROM deer ORDER BY number")]
    with db.transaction() as connection:
        connection.execute("ANALYZE deer")
    exactly = {output: rows.astype(np.float64) for output, rows in vectors.items()}
    herd = Herd(db, registered, np.array(ids), sexes, (status == "active") & ours, exactly)
    # Queries are new photos of known animals, rare ones among them.
    for i in [*rare[:8], *rng.permutation(SIZE)[: QUERIES - 8]]:
        if sexes[i] != "male" and herd.comparable[i]:
            herd.queries_of_rare.add(len(herd.queries))
        noise = {o: 0.7 * normalise(rng.normal(size=(1, DIMENSIONS))) for o in Output}
        herd.queries.append({o: normalise(vectors[o][i : i + 1] + noise[o])[0] for o in Output})
    return herd


def check_matches(
    herd: Herd, query: Mapping[Output, Vectors], stage: int, sex: Sex, weights: Weights, found: list[Match]
) -> None:
    """Only individuals that may be found, each once, best first, with their exact similarities."""
    similar = herd.similarities(query, weights.of(herd.registered[stage].version))
    place = {int(deer_id): i for i, deer_id in enumerate(herd.ids)}
    assert all(herd.eligible(sex)[place[m.deer_id]] for m in found)
    assert len({m.deer_id for m in found}) == len(found)
    assert [m.similarity for m in found] == sorted((m.similarity for m in found), reverse=True)
    assert [m.similarity for m in found] == pytest.approx(
        [similar[place[m.deer_id]] for m in found], abs=1e-5
    )


def index_scans(db: Database) -> dict[str, int]:
    """How often the only connection of ``db`` has used each index of ``deer``."""
    with db.transaction() as connection:
        connection.execute("SELECT pg_stat_force_next_flush()")
    with db.transaction() as connection:
        rows = connection.execute(
            "SELECT indexrelname AS name, idx_scan FROM pg_stat_user_indexes WHERE relname = 'deer'"
        )
        return {row["name"]: row["idx_scan"] for row in rows}


def used_since(before: dict[str, int], db: Database) -> dict[str, int]:
    return {name: scans - before[name] for name, scans in index_scans(db).items() if scans > before[name]}


# Thousands of individuals -------------------------------------------------------------------------------


@pytest.mark.parametrize("sex", Sex)
@pytest.mark.parametrize("stage", STAGES)
def test_it_finds_what_exact_search_finds(herd: Herd, stage: int, sex: Sex) -> None:
    hits = wanted = 0
    with herd.db.transaction() as connection:
        for query in herd.queries:
            exact = herd.exact(query, stage, sex, Weights(), limit=10)
            found = gallery.search(connection, herd.registered[stage], query, sex=sex, weights=Weights())
            check_matches(herd, query, stage, sex, Weights(), found)
            assert len(found) == 10
            hits += len(exact.keys() & {m.deer_id for m in found})
            wanted += len(exact)
    assert hits / wanted >= 0.95


@pytest.mark.parametrize("weights", OTHER_WEIGHTS, ids=lambda w: f"{w.multiscale}-{w.partner}")
def test_other_weights_run_on_the_same_index_as_well(herd: Herd, weights: Weights) -> None:
    before = index_scans(herd.db)
    hits = wanted = 0
    with herd.db.transaction() as connection:
        for query in herd.queries:
            exact = herd.exact(query, 3, Sex.MALE, weights, limit=10)
            found = gallery.search(connection, herd.registered[3], query, sex=Sex.MALE, weights=weights)
            check_matches(herd, query, 3, Sex.MALE, weights, found)
            hits += len(exact.keys() & {m.deer_id for m in found})
            wanted += len(exact)
    assert hits / wanted >= 0.95
    assert used_since(before, herd.db) == {"deer_ensemble_hnsw": QUERIES}


@pytest.mark.parametrize("sex", [Sex.MALE, Sex.UNKNOWN])
@pytest.mark.parametrize("stage", STAGES)
def test_every_search_is_one_walk_of_its_index(herd: Herd, stage: int, sex: Sex) -> None:
    """Also after the driver prepares the statement and PostgreSQL turns to a plan for any parameters."""
    before = index_scans(herd.db)
    with herd.db.transaction() as connection:
        for query in herd.queries[:20]:
            gallery.search(connection, herd.registered[stage], query, sex=sex, weights=Weights())
    assert used_since(before, herd.db) == {INDEX_OF_STAGE[stage]: 20}


@pytest.mark.parametrize("column", Output)
def test_the_specifications_own_query_is_served_by_its_index(herd: Herd, column: Output) -> None:
    query = f"""
        EXPLAIN SELECT id, name, ({column} <=> %s::vector) AS distance
        FROM deer WHERE sex = 'male' ORDER BY distance LIMIT 10"""
    with herd.db.transaction() as connection:
        plan = connection.execute(query, [herd.queries[0][column]]).fetchall()
    assert f"ix_deer_{column}_hnsw" in str(plan)


@pytest.mark.parametrize("stage", STAGES)
def test_a_rare_sex_does_not_starve_the_index(herd: Herd, stage: int) -> None:
    """One in a hundred may be found: the index walks on until it has ten, and they are the right ones."""
    before = index_scans(herd.db)
    hits = 0
    with herd.db.transaction() as connection:
        connection.execute("SET LOCAL enable_seqscan = off")
        for i, query in enumerate(herd.queries[:20]):
            found = gallery.search(
                connection, herd.registered[stage], query, sex=Sex.FEMALE, weights=Weights()
            )
            check_matches(herd, query, stage, Sex.FEMALE, Weights(), found)
            assert len(found) == 10
            exact = herd.exact(query, stage, Sex.FEMALE, Weights(), 10)
            hits += len(exact.keys() & {m.deer_id for m in found})
            if i in herd.queries_of_rare:
                assert found[0].deer_id == next(iter(exact))
    assert hits / 200 >= 0.95
    assert used_since(before, herd.db) == {INDEX_OF_STAGE[stage]: 20}
    with herd.db.transaction() as connection:  # it is the iterative scan that does it
        connection.execute("SET LOCAL enable_seqscan = off")
        connection.execute("SET LOCAL hnsw.iterative_scan = off")
        counts = [
            len(gallery.search(connection, herd.registered[stage], q, sex=Sex.FEMALE, weights=Weights()))
            for q in herd.queries[:20]
        ]
    assert min(counts) < 10


@pytest.mark.parametrize("stage", STAGES)
def test_more_may_be_asked_for_than_the_index_looks_at_by_itself(herd: Herd, stage: int) -> None:
    query = herd.queries[9]
    with herd.db.transaction() as connection:
        found = gallery.search(
            connection, herd.registered[stage], query, sex=Sex.MALE, weights=Weights(), limit=250
        )
        everybody = gallery.search(
            connection, herd.registered[stage], query, sex=Sex.FEMALE, weights=Weights(), limit=250
        )
    check_matches(herd, query, stage, Sex.MALE, Weights(), found)
    assert len(found) == 250
    exact = herd.exact(query, stage, Sex.MALE, Weights(), 250)
    # Beyond the dozen that resemble it, all are about equally unlike: an index may take one for another.
    assert len(exact.keys() & {m.deer_id for m in found}) >= 0.9 * 250
    assert {m.deer_id for m in everybody} == set(map(int, herd.ids[herd.eligible(Sex.FEMALE)]))


def test_individuals_of_another_model_are_counted_not_given_a_low_score(herd: Herd) -> None:
    with herd.db.transaction() as connection:
        active = gallery.gallery_size(connection, Sex.UNKNOWN)
        unseen = active - int(herd.comparable.sum())
        assert unseen > 50
        for registered in herd.registered.values():
            assert gallery.count_incomparable(connection, registered) == unseen


# A handful ----------------------------------------------------------------------------------------------


def add_detection(connection: Connection, name: str = "a.jpg") -> int:
    facts = PhotoFacts(hashlib.sha256(name.encode()).digest(), 1, 640, 480)
    images.add_photos(connection, [OfferedPhoto(name, 1, 1, "Oak", facts)], timezone="UTC")
    image_id = images.catalogued_files(connection, [name])[name].image_id
    images.add_detections(connection, image_id, "md", [DetectedAnimal(Box(0, 0, 1, 1), 0.9)])
    return connection.execute("SELECT id FROM detections WHERE image_id = %s", [image_id]).fetchone()["id"]


def looks(seed: int) -> dict[Output, Vectors]:
    rng = np.random.default_rng(seed)
    return {output: normalise(rng.normal(size=(1, DIMENSIONS)))[0] for output in Output}


def add(
    connection: Connection, seed: int, sex: Sex = Sex.UNKNOWN, registered: RegisteredVersion | None = None
) -> int:
    return gallery.add_deer(
        connection,
        registered or embeddings.register_version(connection, version(3)),
        sex=sex,
        profile_detection_id=add_detection(connection),
        vectors=looks(seed),
    )


def found_ids(
    connection: Connection, seed: int, sex: Sex = Sex.UNKNOWN, stage: int = 3, limit: int = 10
) -> list[int]:
    registered = embeddings.register_version(connection, version(stage))
    matches = gallery.search(connection, registered, looks(seed), sex=sex, weights=Weights(), limit=limit)
    return [m.deer_id for m in matches]


@pytest.mark.parametrize("stage", STAGES)
def test_an_animal_is_wholly_similar_to_its_own_profile(db: Database, stage: int) -> None:
    with db.transaction() as connection:
        deer = [add(connection, seed) for seed in range(12)]
        registered = embeddings.register_version(connection, version(stage))
        for seed in range(12):
            best = gallery.search(
                connection, registered, looks(seed), sex=Sex.MALE, weights=Weights(), limit=3
            )
            assert len(best) == 3
            assert best[0].deer_id == deer[seed]
            assert best[0].similarity == pytest.approx(1, abs=1e-6)
            assert best[1].similarity < 0.3


@pytest.mark.parametrize("stage", STAGES)
def test_unknown_sex_matches_both_and_known_sexes_not_each_other(db: Database, stage: int) -> None:
    with db.transaction() as connection:
        buck, doe, unclear = (add(connection, i, sex) for i, sex in enumerate(Sex))
        wanted = {Sex.MALE: {buck, unclear}, Sex.FEMALE: {doe, unclear}, Sex.UNKNOWN: {buck, doe, unclear}}
        for sex, ids in wanted.items():
            assert set(found_ids(connection, 0, sex, stage)) == ids
            assert gallery.gallery_size(connection, sex) == len(ids)


@pytest.mark.parametrize("status", ["retired", "merged"])
@pytest.mark.parametrize("stage", STAGES)
def test_who_is_no_longer_active_is_never_found(db: Database, stage: int, status: str) -> None:
    with db.transaction() as connection:
        gone, here = add(connection, 1), add(connection, 2)
        connection.execute("UPDATE deer SET status = %s WHERE id = %s", [status, gone])
        assert found_ids(connection, 1, stage=stage) == [here]
        assert gallery.gallery_size(connection, Sex.UNKNOWN) == 1


@pytest.mark.parametrize("stage", STAGES)
def test_an_empty_gallery_gives_nothing(db: Database, stage: int) -> None:
    with db.transaction() as connection:
        assert found_ids(connection, 1, stage=stage) == []
        assert gallery.gallery_size(connection, Sex.MALE) == 0
        registered = embeddings.register_version(connection, version(stage))
        assert gallery.count_incomparable(connection, registered) == 0


@pytest.mark.parametrize("stage", STAGES)
def test_vectors_of_two_models_never_meet(db: Database, stage: int) -> None:
    with db.transaction() as connection:
        ours = add(connection, 1)
        theirs = add(connection, 1, registered=embeddings.register_version(connection, version(3, "others")))
        assert found_ids(connection, 1, stage=stage) == [ours]
        registered = embeddings.register_version(connection, version(stage))
        assert gallery.count_incomparable(connection, registered) == 1
        # Those who are not searched any more are no obstacle.
        connection.execute("UPDATE deer SET status = 'retired' WHERE id = %s", [theirs])
        assert gallery.count_incomparable(connection, registered) == 0


def test_a_profile_of_two_models_is_compared_only_where_both_fit(db: Database) -> None:
    with db.transaction() as connection:
        ours = embeddings.register_version(connection, version(3))
        others = embeddings.register_version(connection, version(3, "others"))
        deer = add(connection, 1, registered=ours)
        connection.execute("UPDATE deer SET partner_model_id = %s", [others.models[Output.PARTNER]])
        assert found_ids(connection, 1, stage=3) == []
        assert found_ids(connection, 1, stage=2) == [deer]
        assert gallery.count_incomparable(connection, ours) == 1


def test_the_last_word_is_exact_where_the_index_only_has_half_precision(db: Database) -> None:
    rng = np.random.default_rng(3)
    query = looks(1)
    profiles = []
    for i in rng.permutation(30):  # similarities that differ by some millionths
        step = {o: np.sqrt(4e-6 * i) * normalise(rng.normal(size=(1, DIMENSIONS)))[0] for o in Output}
        profiles.append({o: normalise((query[o] + step[o])[None])[0] for o in Output})
    with db.transaction() as connection:
        registered = embeddings.register_version(connection, version(3))
        detection = add_detection(connection)
        ids = [
            gallery.add_deer(
                connection, registered, sex=Sex.UNKNOWN, profile_detection_id=detection, vectors=profile
            )
            for profile in profiles
        ]
        found = gallery.search(connection, registered, query, sex=Sex.UNKNOWN, weights=Weights(), limit=5)
    shares = Weights().of(registered.version)
    similar = [
        sum(w * (p[o].astype(np.float64) @ query[o].astype(np.float64)) for o, w in shares.items())
        for p in profiles
    ]
    assert [m.deer_id for m in found] == [ids[i] for i in np.argsort(similar)[::-1][:5]]


def test_a_profile_without_the_searched_vector_is_an_obstacle_only_where_it_is_searched(db: Database) -> None:
    only_single = EmbeddingVersion(
        "v1_alone", 1, "x", {Output.SINGLE: version(3).fingerprints[Output.SINGLE]}
    )
    with db.transaction() as connection:
        single = embeddings.register_version(connection, only_single)
        deer = gallery.add_deer(
            connection,
            single,
            sex=Sex.MALE,
            profile_detection_id=add_detection(connection),
            vectors={Output.SINGLE: looks(1)[Output.SINGLE]},
        )
        assert gallery.count_incomparable(connection, single) == 0
        assert found_ids(connection, 1, stage=1) == [deer]
        for stage in (2, 3):
            assert found_ids(connection, 1, stage=stage) == []
            registered = embeddings.register_version(connection, version(stage))
            assert gallery.count_incomparable(connection, registered) == 1


def test_new_individuals_are_numbered_named_and_keep_their_profile(db: Database) -> None:
    with db.transaction() as connection:
        deer = [add(connection, seed, Sex.FEMALE) for seed in range(3)]
        herd = catalogue.list_individuals(connection)
        row = connection.execute("SELECT * FROM deer WHERE id = %s", [deer[1]]).fetchone()
        models = embeddings.register_version(connection, version(3)).models
    assert [(d.number, d.name, d.sex) for d in herd] == [(n, friendly_name(n), "female") for n in (1, 2, 3)]
    for output in Output:
        assert embeddings.as_array(row[output]).tobytes() == looks(1)[output].tobytes()
    assert [row[f"{c}_model_id"] for c in ("single", "multiscale", "partner")] == [models[o] for o in Output]
    assert (row["status"], row["sighting_count"]) == ("active", 0)


def test_numbers_and_names_go_on_after_the_retired_and_the_renamed(db: Database) -> None:
    with db.transaction() as connection:
        for seed in range(2):
            add(connection, seed)
        connection.execute("UPDATE deer SET status = 'retired'")
        # Somebody gives the next animal's name to another, in another case.
        first = catalogue.list_individuals(connection, status="all")[0]
        catalogue.rename_individual(connection, first, friendly_name(3).lower(), actor="ranger")
        third = add(connection, 3)
        assert catalogue.find_individual(connection, friendly_name(3)).id == first.id
        assert catalogue.find_individual(connection, "3").id == third
        assert catalogue.find_individual(connection, "3").name == f"{friendly_name(3)}*"


def test_two_individuals_of_one_number_are_refused(db: Database) -> None:
    with db.transaction() as connection:
        add(connection, 1)
    with pytest.raises(DatabaseError), db.transaction() as connection:
        connection.execute("INSERT INTO deer (number, name) VALUES (1, 'Twin')")


def test_sex_is_learnt_once_and_sightings_are_counted(db: Database) -> None:
    with db.transaction() as connection:
        deer = add(connection, 1)
        row = connection.execute("INSERT INTO encounters (station_id) VALUES (1) RETURNING id").fetchone()
        for _ in range(3):
            connection.execute(
                "INSERT INTO sightings (encounter_id, deer_id, state) VALUES (%s, %s, 'assigned')",
                [row["id"], deer],
            )

        def after(sex: Sex) -> tuple[str, int]:
            gallery.note_sighting(connection, deer, sex)
            individual = catalogue.find_individual(connection, "1")
            return individual.sex, individual.sighting_count

        assert after(Sex.UNKNOWN) == ("unknown", 3)
        assert after(Sex.FEMALE) == ("female", 3)
        assert after(Sex.MALE) == ("female", 3)  # a classifier may be wrong: the first word stays
        assert after(Sex.UNKNOWN) == ("female", 3)
