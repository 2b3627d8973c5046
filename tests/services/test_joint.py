"""Many sightings decided about at once: the same whatever order the photos came in, however often it stopped."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deertrack.domain.records import Box
from deertrack.formats.calibration import read_calibration
from deertrack.formats.megadetector import read_detections
from deertrack.services.detections import apply_detections
from deertrack.services.embed import embed_pending
from deertrack.services.identify import Identified, Matcher, alone, identify
from deertrack.services.ingest import StationRules, find_photos, ingest
from deertrack.services.versions import active_version
from deertrack.storage import catalogue
from deertrack.storage.db import Database
from deertrack.vision.embedder import Embedder
from deertrack.vision.model_packs import builtin_pack
from deertrack.vision.sample_herd import HerdPlan, draw_herd

LEFT, RIGHT = Box(0.02, 0.2, 0.25, 0.5), Box(0.7, 0.2, 0.25, 0.5)
HOUR = 3600
Ask = Callable[..., Any]
Groups = set[frozenset[Any]]


@pytest.fixture
def stage_again(db: Database, stage: Any) -> Callable[[Sequence[Any]], None]:
    """An empty catalogue, then these photos (key, station, seconds, seen) in this order; a key, the same looks."""

    def play(shots: Sequence[Any]) -> None:
        with db.transaction() as connection:
            connection.execute("TRUNCATE images, encounters, deer, stations RESTART IDENTITY CASCADE")
            connection.execute("TRUNCATE settings")
        for key, station, seconds, seen in shots:
            stage.rng = np.random.default_rng(key)
            stage.photo(station, seconds, *seen)

    return play


@pytest.fixture
def grouping(rows: Ask) -> Callable[[], tuple[Groups, set[Any]]]:
    """Which photos and boxes show one individual, and which wait, whatever their ids are."""

    def ask() -> tuple[Groups, set[Any]]:
        found: dict[Any, set[Any]] = {}
        for row in rows(
            "SELECT s.name, i.clock::text AS clock, d.bbox_x::text AS x, r.number FROM detections d "
            "JOIN images i ON i.id = d.image_id JOIN stations s ON s.id = i.station_id "
            "JOIN sightings g ON g.id = d.sighting_id LEFT JOIN deer r ON r.id = g.deer_id"
        ):
            found.setdefault(row["number"], set()).add((row["name"], row["clock"], row["x"]))
        waiting = found.pop(None, set())
        return {frozenset(group) for group in found.values()}, waiting

    return ask


@pytest.fixture
def shots(seen: Any) -> list[Any]:
    """Six animals, from surely alike to hardly, some of them two to a photo."""
    rng = np.random.default_rng(8)
    found = []
    for visit in range(30):
        first, second = rng.choice(6, 2, replace=False)
        likeness = rng.choice([0.99, 0.9, 0.75], 2)
        animals = [seen(int(first), LEFT, likeness=float(likeness[0]), confidence=float(rng.random()))]
        if visit % 3 == 0:
            animals.append(
                seen(int(second), RIGHT, likeness=float(likeness[1]), confidence=float(rng.random()))
            )
        found.append((visit, f"S{visit % 4}", visit * HOUR, animals))
    return found


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_order_of_import_does_not_matter(
    db: Database,
    stage_again: Any,
    shots: list[Any],
    matcher: Matcher,
    grouping: Ask,
    rows: Ask,
    seed: int,
) -> None:
    stage_again(shots)
    before = identify(db, alone(matcher))
    assert before.matched > 10
    assert before.review > 0
    groups, waiting = grouping()
    order = np.random.default_rng(seed).permutation(len(shots))
    stage_again([shots[i] for i in order])
    assert identify(db, alone(matcher)) == before
    assert grouping() == (groups, waiting)


def test_the_drawn_herd_by_station_in_either_order(
    db: Database, embedder: Embedder, rows: Ask, tmp_path: Path, grouping: Ask
) -> None:
    """Real files and networks: one camera's card is read first, then the other's, and the other way round."""
    herd = draw_herd(tmp_path / "herd", HerdPlan(seed=11, individuals=4, stations=2, days=6, visits=14))
    pack = builtin_pack()
    cards = sorted(path for path in herd.cards.iterdir() if path.is_dir())
    assert len(cards) == 2
    found = []
    for order in (cards, cards[::-1]):
        with db.transaction() as connection:
            connection.execute(
                "TRUNCATE images, encounters, deer, stations, settings RESTART IDENTITY CASCADE"
            )
        for card in order:
            photos = find_photos([card])
            ingested = ingest(db, photos, StationRules())
            apply_detections(db, photos, ingested.catalogued, [read_detections(herd.detections)])
        lite = active_version(db, pack)
        embed_pending(db, lambda: embedder, lite)
        matcher = Matcher(lite, read_calibration(herd.calibration).curve_for(lite.version))
        outcome = identify(db, alone(matcher))
        found.append((outcome, grouping()))
    assert found[0] == found[1]
    assert found[0][0].new > 1


def test_one_that_was_interrupted_goes_on_and_ends_the_same(
    db: Database, stage_again: Any, shots: list[Any], matcher: Matcher, grouping: Ask, rows: Ask
) -> None:
    stage_again(shots)
    whole = identify(db, alone(matcher))
    expected, log = grouping(), rows("SELECT number, name, sighting_count FROM deer ORDER BY number")
    stage_again(shots)
    done, stops = Identified(), 0
    while stops < 100:
        try:
            done = identify(db, alone(matcher), progress=_Stopping())
            break
        except KeyboardInterrupt:
            stops += 1
            with db.transaction() as connection:
                plan = catalogue.get_setting(connection, catalogue.JOINT_PLAN)
            assert plan is not None
    assert stops > 5
    assert done.encounters == 0
    assert grouping() == expected
    assert rows("SELECT number, name, sighting_count FROM deer ORDER BY number") == log
    outcomes = {
        row["outcome"]: row["n"] for row in rows("SELECT outcome, count(*) AS n FROM decisions GROUP BY 1")
    }
    assert outcomes == {"assign": whole.matched, "new": whole.new, "review": whole.review}


class _Stopping:
    """Somebody presses Ctrl-C after the second group."""

    def __init__(self) -> None:
        self.stage, self.groups = "", 0

    def start(self, stage: str, total: int | None) -> None:
        self.stage = stage

    def advance(self, steps: int = 1) -> None:
        self.groups += self.stage == "Identifying"
        if self.groups == 2:
            raise KeyboardInterrupt


def test_photos_that_come_after_an_interruption_change_the_plan(
    db: Database, stage: Any, seen: Any, matcher: Matcher, groups: Ask
) -> None:
    """Two tracks were planned as one animal; then a photo shows them side by side."""
    stage.photo("Creek", 0, seen(1, LEFT))
    stage.photo("Creek", HOUR, seen(1, LEFT, likeness=0.999))
    stage.photo("Creek", HOUR + 30, seen(1, RIGHT, likeness=0.999))

    class AtOnce(_Stopping):
        def start(self, stage: str, total: int | None) -> None:
            if stage == "Identifying":
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        identify(db, alone(matcher), progress=AtOnce())
    stage.photo("Creek", HOUR + 15, seen(1, LEFT, likeness=0.999), seen(1, RIGHT, likeness=0.999))
    identify(db, alone(matcher))
    for numbers in groups().values():
        named = [number for number in numbers if number is not None]
        assert len(named) == len(set(named))


def test_what_is_ruled_out_for_one_is_ruled_out_for_its_group(
    db: Database, stage: Any, seen: Any, matcher: Matcher, rows: Ask
) -> None:
    for visit in range(3):
        stage.photo("Creek", visit * HOUR, seen(1, likeness=0.999))
    assert identify(db, alone(matcher)).new == 1
    with db.transaction() as connection:
        connection.execute("UPDATE sightings SET state = 'undecided', deer_id = NULL WHERE id > 1")
        connection.execute("INSERT INTO rejections (sighting_id, deer_id, actor) VALUES (3, 1, 'Ann')")
    assert identify(db, alone(matcher)) == Identified(matched=1, new=1)
    assert [row["deer_id"] for row in rows("SELECT deer_id FROM sightings ORDER BY id")] == [1, 2, 2]


def test_a_group_joins_a_known_individual_and_shapes_its_profile(
    db: Database, stage: Any, seen: Any, matcher: Matcher, one: Ask
) -> None:
    stage.photo("Creek", 0, seen(1, likeness=0.95))
    identify(db, alone(matcher))
    for visit in range(1, 9):
        stage.photo("Creek", visit * HOUR, seen(1, likeness=0.95))
    assert identify(db, alone(matcher)) == Identified(encounters=8, tracks=8, matched=8)
    own = stage.looks(1, 1.0)
    profile = one("SELECT feature_vector_multiscale FROM deer").to_numpy()
    assert float(profile @ own) > 0.99  # the mean of nine is truer than any one of them


def test_the_log_tells_how_a_group_became_an_individual(
    db: Database, stage: Any, seen: Any, matcher: Matcher, rows: Ask
) -> None:
    for visit, confidence in enumerate((0.5, 0.9, 0.7)):
        stage.photo("Creek", visit * HOUR, seen(1, likeness=0.97, confidence=confidence))
    stage.photo("Creek", 9 * HOUR, seen(2))
    identify(db, alone(matcher))
    log = rows(
        "SELECT c.sighting_id, c.outcome, c.deer_id, c.probability, c.new_probability, c.candidates, r.sex, "
        "r.profile_detection_id = d.id AS best FROM decisions c JOIN deer r ON r.id = c.deer_id "
        "JOIN detections d ON d.sighting_id = c.sighting_id ORDER BY c.sighting_id"
    )
    assert [(d["outcome"], d["best"]) for d in log] == [
        ("assign", False),
        ("new", True),
        ("assign", False),
        ("new", True),
    ]
    for decision in (log[0], log[2]):
        assert decision["deer_id"] == log[1]["deer_id"]
        assert 0.95 <= decision["probability"] <= 1
        assert decision["new_probability"] <= 1 - decision["probability"]
        (candidate, *_) = decision["candidates"]
        assert candidate["deer_id"] == decision["deer_id"]
        assert 0.9 < candidate["similarity"] < 1
