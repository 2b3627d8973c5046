from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deertrack.domain.embedding import Vectors, normalise
from deertrack.domain.encounters import Grouping, Shot, Track, agreed_sex, associate, split_by_pause
from deertrack.domain.records import Box, Sex

START = datetime(2024, 11, 3, 6, 0, tzinfo=UTC)
LEFT, RIGHT = Box(0.05, 0.4, 0.25, 0.4), Box(0.65, 0.4, 0.25, 0.4)
GROUPING = Grouping()


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def looks(*values: float) -> Vectors:
    """A unit vector whose first numbers are these, and whose last makes up the length."""
    rest = max(0.0, 1 - sum(v * v for v in values)) ** 0.5
    return normalise(np.array([[*values, rest]], dtype=np.float64))[0]


BUCK, DOE = looks(1, 0), looks(0, 1)


def shot(
    detection_id: int,
    image_id: int,
    seconds: float | None,
    *,
    like: Vectors = BUCK,
    box: Box = LEFT,
    sex: Sex = Sex.UNKNOWN,
) -> Shot:
    return Shot(detection_id, image_id, None if seconds is None else at(seconds), box, sex, like)


def ids(tracks: Sequence[Track]) -> list[list[int]]:
    return [[s.detection_id for s in track.shots] for track in tracks]


# Encounters ---------------------------------------------------------------------------------------------


def test_a_pause_as_long_as_the_gap_ends_an_encounter_a_shorter_one_does_not() -> None:
    gap = timedelta(seconds=60)
    times = [at(0), at(59.999), at(119.999), at(120)]
    assert split_by_pause(times, gap) == [slice(0, 2), slice(2, 4)]
    assert split_by_pause([], gap) == []
    assert split_by_pause([at(0)], gap) == [slice(0, 1)]
    assert split_by_pause([at(0), at(0), at(0)], gap) == [slice(0, 3)]


@given(st.lists(st.integers(0, 600)), st.integers(1, 120))
def test_encounters_cover_all_times_once_and_differ_by_pauses(seconds: list[int], gap: int) -> None:
    times = [at(s) for s in sorted(seconds)]
    parts = [times[part] for part in split_by_pause(times, timedelta(seconds=gap))]
    assert [t for part in parts for t in part] == times
    for part in parts:
        assert all(b - a < timedelta(seconds=gap) for a, b in pairwise(part))
    for before, after in pairwise(parts):
        assert after[0] - before[-1] >= timedelta(seconds=gap)


# Sex ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "agreed"),
    [
        ([], Sex.UNKNOWN),
        ([Sex.UNKNOWN], Sex.UNKNOWN),
        ([Sex.UNKNOWN, Sex.MALE, Sex.MALE], Sex.MALE),
        ([Sex.FEMALE], Sex.FEMALE),
        ([Sex.MALE, Sex.FEMALE], Sex.UNKNOWN),
    ],
)
def test_what_several_photos_say_of_sex(seen: list[Sex], agreed: Sex) -> None:
    assert agreed_sex(seen) is agreed
    assert Track([shot(i, i, i, sex=sex) for i, sex in enumerate(seen)]).sex is agreed


def test_a_buck_and_a_doe_are_never_one_track_however_alike() -> None:
    shots = [shot(1, 1, 0, sex=Sex.MALE), shot(2, 2, 1, sex=Sex.FEMALE), shot(3, 3, 2, sex=Sex.MALE)]
    assert ids(associate(shots, GROUPING)) == [[1, 3], [2]]


def test_an_unclear_photo_joins_but_does_not_bridge_contradicting_sexes() -> None:
    shots = [shot(1, 1, 0, sex=Sex.MALE), shot(2, 2, 1), shot(3, 3, 2, sex=Sex.FEMALE)]
    assert ids(associate(shots, GROUPING)) == [[1, 2], [3]]


# Tracks -------------------------------------------------------------------------------------------------


def test_an_animal_alone_in_a_burst_is_one_track_even_if_it_turned() -> None:
    shots = [shot(1, 1, 0, like=BUCK), shot(2, 2, 1, like=DOE, box=RIGHT)]
    assert ids(associate(shots, GROUPING)) == [[1, 2]]


def test_several_animals_in_a_frame_are_never_joined_even_if_they_are_the_same_picture() -> None:
    shots = [shot(i, image_id=1, seconds=0) for i in (1, 2, 3)]
    assert ids(associate(shots, GROUPING)) == [[1], [2], [3]]
    again = shots + [shot(10 + i, image_id=2, seconds=1) for i in (1, 2, 3)]
    tracks = associate(again, GROUPING)
    assert sorted(len(t.shots) for t in tracks) == [2, 2, 2]
    assert all({s.image_id for s in t.shots} == {1, 2} for t in tracks)


def test_animals_are_told_apart_by_looks_and_by_place() -> None:
    # They trade places: looks win.
    shots = [
        shot(1, 1, 0, like=BUCK, box=LEFT),
        shot(2, 1, 0, like=DOE, box=RIGHT),
        shot(3, 2, 1, like=DOE, box=LEFT),
        shot(4, 2, 1, like=BUCK, box=RIGHT),
    ]
    assert ids(associate(shots, GROUPING)) == [[1, 4], [2, 3]]
    # They look alike: place decides.
    shots = [
        shot(1, 1, 0, box=LEFT),
        shot(2, 1, 0, box=RIGHT),
        shot(3, 2, 1, box=RIGHT),
        shot(4, 2, 1, box=LEFT),
    ]
    assert ids(associate(shots, GROUPING)) == [[1, 4], [2, 3]]


def test_the_best_total_beats_the_best_single_pair() -> None:
    """Taking the best pair first (3 with 1, at 0.95) would leave 4 with 2 at 0: 0.95 in all, not 1.18."""
    apart = [Box(x, 0, 0.2, 0.2) for x in (0.0, 0.25, 0.5, 0.75)]  # so that place says nothing
    shots = [
        shot(1, 1, 0, like=looks(1, 0), box=apart[0]),
        shot(2, 1, 0, like=looks(0, 1), box=apart[1]),
        shot(3, 2, 1, like=looks(0.95, 0.28), box=apart[2]),
        shot(4, 2, 1, like=looks(0.9, 0), box=apart[3]),
    ]
    assert ids(associate(shots, GROUPING)) == [[1, 4], [2, 3]]


@pytest.mark.parametrize(("pause", "joined"), [(10, True), (10.001, False)])
def test_a_burst_gap_is_the_longest_pause_that_joins_by_place(pause: float, joined: bool) -> None:
    tracks = associate([shot(1, 1, 0), shot(2, 2, pause)], GROUPING)
    assert ids(tracks) == ([[1, 2]] if joined else [[1], [2]])


def test_a_pause_is_counted_from_the_photo_that_is_nearest_in_time() -> None:
    shots = [shot(i, i, 8 * i) for i in range(5)]
    assert ids(associate(shots, GROUPING)) == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize(("alike", "joined"), [(0.81, True), (0.79, False)])
def test_after_a_pause_looks_alone_continue_a_track(alike: float, joined: bool) -> None:
    grouping = Grouping(relink_similarity=0.8)
    shots = [shot(1, 1, 0, like=looks(1, 0)), shot(2, 2, 30, like=looks(alike, 0), box=RIGHT)]
    assert ids(associate(shots, grouping)) == ([[1, 2]] if joined else [[1], [2]])


def test_after_a_pause_nothing_is_joined_unless_asked_for() -> None:
    assert ids(associate([shot(1, 1, 0), shot(2, 2, 30)], GROUPING)) == [[1], [2]]


def test_photos_without_a_time_share_no_burst() -> None:
    shots = [shot(1, 1, None), shot(2, 1, None, box=RIGHT)]
    assert ids(associate(shots, GROUPING)) == [[1], [2]]
    # Nor does a known track with a time take them in.
    known = [Track([shot(9, 9, 0)], sighting_id=4)]
    assert ids(associate([shot(1, 1, None)], GROUPING, known)) == [[9], [1]]


def test_known_tracks_grow_come_first_and_are_left_as_they_were_given() -> None:
    known = [
        Track([shot(1, 1, 0, like=BUCK)], sighting_id=7),
        Track([shot(2, 1, 0, like=DOE, box=RIGHT)], sighting_id=8),
    ]
    new = [shot(3, 2, 1, like=DOE, box=RIGHT), shot(4, 2, 1, like=looks(0, 0), box=Box(0.4, 0, 0.1, 0.1))]
    tracks = associate([*new, shot(5, 3, 2, like=BUCK)], GROUPING, known)
    assert [t.sighting_id for t in tracks] == [7, 8, *[None] * (len(tracks) - 2)]
    assert ids(tracks)[1] == [2, 3]
    assert 5 in ids(tracks)[0]
    assert ids(known) == [[1], [2]]


def test_a_late_photo_between_two_known_ones_joins_their_track() -> None:
    known = [Track([shot(1, 1, 0), shot(3, 3, 8)], sighting_id=1)]
    assert ids(associate([shot(2, 2, 4)], GROUPING, known)) == [[1, 3, 2]]


def test_another_detection_of_a_photo_that_a_known_track_has_is_another_animal() -> None:
    known = [Track([shot(1, 1, 0)], sighting_id=1)]
    assert ids(associate([shot(2, 1, 0)], GROUPING, known)) == [[1], [2]]


# Whatever comes -----------------------------------------------------------------------------------------


@st.composite
def bursts(draw: st.DrawFn) -> list[Shot]:
    """One encounter: up to eight photos with up to four animals each, in time, of any sex and looks."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    seconds = sorted(draw(st.lists(st.integers(0, 59), min_size=1, max_size=8)))
    animals = normalise(rng.normal(size=(4, 16)))
    shots: list[Shot] = []
    for image_id, second in enumerate(seconds):
        for _ in range(draw(st.integers(1, 4))):
            like = normalise((animals[rng.integers(4)] + rng.normal(0, 0.2, 16))[None])[0]
            box = Box(*rng.uniform(0, 0.6, 2), *rng.uniform(0.1, 0.4, 2))
            sex = draw(st.sampled_from(Sex))
            shots.append(Shot(len(shots), image_id, at(second), box, sex, like))
    return shots


groupings = st.builds(
    Grouping,
    burst_gap=st.integers(0, 60).map(lambda s: timedelta(seconds=s)),
    relink_similarity=st.floats(0, 1.2),
)


@settings(max_examples=200)
@given(bursts(), groupings)
def test_every_shot_is_in_one_track_and_no_track_has_two_of_a_photo(
    shots: list[Shot], grouping: Grouping
) -> None:
    tracks = associate(shots, grouping)
    assert sorted(s.detection_id for t in tracks for s in t.shots) == [s.detection_id for s in shots]
    for track in tracks:
        assert track.shots
        photos = [s.image_id for s in track.shots]
        assert len(photos) == len(set(photos))
        assert photos == sorted(photos)
        named = {s.sex for s in track.shots} - {Sex.UNKNOWN}
        assert len(named) <= 1


@settings(max_examples=200)
@given(bursts(), groupings, st.randoms(use_true_random=False))
def test_the_order_of_detections_within_a_photo_does_not_matter(
    shots: list[Shot], grouping: Grouping, random: object
) -> None:
    shuffled: list[Shot] = []
    for image_id in sorted({s.image_id for s in shots}):
        photo = [s for s in shots if s.image_id == image_id]
        random.shuffle(photo)  # type: ignore[attr-defined]
        shuffled += photo
    assert {frozenset(t) for t in ids(associate(shots, grouping))} == {
        frozenset(t) for t in ids(associate(shuffled, grouping))
    }


@settings(max_examples=200)
@given(bursts(), st.integers(0, 8))
def test_stopped_after_any_photo_and_continued_gives_the_same_tracks(shots: list[Shot], after: int) -> None:
    first = [s for s in shots if s.image_id < after]
    then = [s for s in shots if s.image_id >= after]
    in_two_steps = associate(then, GROUPING, associate(first, GROUPING))
    assert ids(in_two_steps) == ids(associate(shots, GROUPING))
