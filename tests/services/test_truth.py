"""The catalogue against the truth: which rows meet which detections, and what the figures say."""

from typing import Any

import numpy as np
import pytest

from deertrack.domain.errors import InputError
from deertrack.domain.fusion import Weights
from deertrack.domain.records import Box
from deertrack.formats.truth import TruthRow
from deertrack.services.identify import Matcher, alone, identify
from deertrack.services.truth import compare_with_truth, label_detections, replay_meetings
from deertrack.storage.db import Database

LEFT, RIGHT = Box(0.05, 0.2, 0.3, 0.5), Box(0.6, 0.2, 0.3, 0.5)
HOUR = 3600


def row(photo: int, identity: str, *, station: str = "Creek", box: Box | None = None) -> TruthRow:
    return TruthRow(f"{station}/IMG_{photo:04}.JPG", identity, box=box)


def test_a_perfect_catalogue(db: Database, stage: Any, seen: Any, matcher: Matcher) -> None:
    for visit, animal in enumerate((1, 2, 1)):
        stage.burst("Creek", visit * HOUR, seen(animal))
    identify(db, alone(matcher))
    truth = [row(n, who) for n, who in enumerate("AABBAA", start=1)]
    report = compare_with_truth(db, truth)
    assert report.photos.adjusted_rand == report.sightings.adjusted_rand == 1
    assert (report.photos.items, report.sightings.items) == (6, 3)
    assert (report.individuals, report.mixed_sightings, report.unmatched_rows) == (2, 0, 0)


def test_one_animal_taken_for_two_and_two_for_one(
    db: Database, stage: Any, seen: Any, matcher: Matcher
) -> None:
    for visit, animal in enumerate((1, 2, 3, 3)):
        stage.photo("Creek", visit * HOUR, seen(animal))
    identify(db, alone(matcher))
    report = compare_with_truth(db, [row(1, "A"), row(2, "A"), row(3, "B"), row(4, "C")])
    # Pairs: the truth has 1-2, the catalogue 3-4.
    assert (report.sightings.pairwise.precision, report.sightings.pairwise.recall) == (0, 0)
    assert (report.photos.true_groups, report.photos.predicted_groups) == (3, 3)


def test_waiting_sightings_are_groups_of_one(db: Database, stage: Any, seen: Any, matcher: Matcher) -> None:
    stage.photo("Creek", 0, seen(1, likeness=1))
    stage.photo("Creek", HOUR, seen(1, likeness=0.74))
    stage.photo("Creek", 2 * HOUR, seen(1, likeness=0.74))
    assert identify(db, alone(matcher)).review == 2
    report = compare_with_truth(db, [row(n, "A") for n in (1, 2, 3)])
    assert (report.photos.predicted_groups, report.individuals) == (3, 1)


def test_tracks_that_mix_animals_are_counted(db: Database, stage: Any, seen: Any, matcher: Matcher) -> None:
    stage.burst("Creek", 0, seen(1), photos=3)
    identify(db, alone(matcher))
    assert compare_with_truth(db, [row(1, "A"), row(2, "A"), row(3, "B")]).mixed_sightings == 1


def test_boxes_tell_animals_of_one_photo_apart(db: Database, stage: Any, seen: Any, matcher: Matcher) -> None:
    stage.photo("Creek", 0, seen(1, LEFT), seen(2, RIGHT))
    identify(db, alone(matcher))
    near = Box(LEFT.x + 0.02, LEFT.y, LEFT.width, LEFT.height)
    labelled = label_detections(db, [row(1, "A", box=near), row(1, "B", box=RIGHT), row(1, "C")])
    assert [(x.identity, round(x.detection.box.x, 2)) for x in labelled] == [("A", 0.05), ("B", 0.6)]
    assert label_detections(db, [row(1, "A", box=Box(0.35, 0.2, 0.2, 0.5))]) == []


def test_rows_are_met_by_the_end_of_the_path(db: Database, stage: Any, seen: Any, matcher: Matcher) -> None:
    stage.photo("Creek", 0, seen(1))
    stage.photo("Pond", HOUR, seen(2))
    identify(db, alone(matcher))
    rows = [TruthRow("cards/Creek/IMG_0001.JPG", "A"), TruthRow("IMG_0002.JPG", "B"), row(2, "B")]
    report = compare_with_truth(db, rows)  # photo 2 was taken at the pond, not at the creek
    assert (report.photos.items, report.unmatched_rows) == (2, 1)


def test_a_truth_of_other_photos_is_an_error(db: Database, stage: Any, seen: Any, matcher: Matcher) -> None:
    stage.photo("Creek", 0, seen(1))
    identify(db, alone(matcher))
    with pytest.raises(InputError, match="names no photo of this catalogue"):
        compare_with_truth(db, [row(7, "A")])


def test_meetings_replay_the_sightings_in_time(db: Database, stage: Any, seen: Any, matcher: Matcher) -> None:
    for visit, animal in enumerate((1, 2, 1, 2)):
        stage.burst("Creek", visit * HOUR, seen(animal, likeness=0.98), photos=3)
    identify(db, alone(matcher))
    truth = [row(n, "ABAB"[(n - 1) // 3]) for n in range(1, 13)]
    labelled = label_detections(db, truth[::-1])  # in whatever order a file lists them
    meetings = replay_meetings(db, matcher.registered, labelled, Weights(0.7, 0.3))
    # Second visit against A; third against A and B; fourth against A, who was met twice by then, and B.
    assert meetings.seen.tolist() == [[0, 0], [1, 0], [1, 1], [2, 1]]
    met, same = meetings.seen > 0, meetings.same
    assert same.tolist() == [[True, False], [False, True]] * 2
    assert (meetings.similarities[met & same] > 0.95).all()
    assert (np.abs(meetings.similarities[met & ~same]) < 0.2).all()


def test_sightings_of_one_encounter_never_meet(db: Database, stage: Any, seen: Any, matcher: Matcher) -> None:
    stage.photo("Creek", 0, seen(1, LEFT), seen(2, RIGHT))
    stage.photo("Creek", HOUR, seen(1, LEFT), seen(2, RIGHT))
    identify(db, alone(matcher))
    truth = [row(n, who, box=box) for n in (1, 2) for who, box in (("A", LEFT), ("B", RIGHT))]
    meetings = replay_meetings(db, matcher.registered, label_detections(db, truth), Weights())
    assert meetings.seen.tolist() == [[0, 0], [0, 0], [1, 1], [1, 1]]


def test_meetings_without_any_vector_are_an_error(
    db: Database, stage: Any, seen: Any, matcher: Matcher
) -> None:
    stage.photo("Creek", 0, seen(1))
    identify(db, alone(matcher))
    with db.transaction() as connection:
        connection.execute("DELETE FROM detection_embeddings")
    labelled = label_detections(db, [row(1, "A")])
    with pytest.raises(InputError, match="no vectors of 'v3_stage'") as caught:
        replay_meetings(db, matcher.registered, labelled, Weights())
    assert "reid reembed v3_stage --all-detections" in caught.value.hint
