"""Sightings replayed in time, and curves tried on animals that they were not fitted to."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deertrack.domain.calibration import Calibration
from deertrack.domain.decision import Policy
from deertrack.domain.embedding import Output, Vectors, normalise, pool
from deertrack.domain.errors import InputError
from deertrack.domain.meetings import Meetings, meet, try_calibration
from deertrack.domain.protocols import Sightings

SHARES = {Output.MULTISCALE: 0.6, Output.PARTNER: 0.4}
# (identity, encounter, photos) of each sighting in time.
visits = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9), st.integers(1, 3)), min_size=1, max_size=25)


def cut(seen: list[tuple[int, int, int]]) -> Sightings:
    ends = np.cumsum([photos for *_, photos in seen])
    identity, encounter, _ = np.array(seen, np.int64).T
    rows = tuple(np.arange(end - photos, end) for (*_, photos), end in zip(seen, ends, strict=True))
    return Sightings(rows, identity, encounter, np.zeros(len(seen), np.int64))


def herd(animals: int, times: int, likeness: float, seed: int = 0) -> Meetings:
    """Each of the animals once an encounter, in turn; a photo has about this cosine to its animal."""
    rng = np.random.default_rng(seed)
    own = normalise(rng.standard_normal((animals, 64)))
    who = np.tile(np.arange(animals), times)
    noise = normalise(rng.standard_normal((len(who), 64)))
    vectors = normalise(likeness * own[who] + np.sqrt(1 - likeness**2) * noise)
    return meet(
        {Output.SINGLE: vectors}, cut([(int(i), n, 1) for n, i in enumerate(who)]), {Output.SINGLE: 1}
    )


@settings(deadline=None)
@given(seen=visits, seed=st.integers(0, 99))
def test_profiles_are_the_means_of_the_sightings_of_earlier_encounters(
    seen: list[tuple[int, int, int]], seed: int
) -> None:
    sightings = cut(seen)
    rng = np.random.default_rng(seed)
    photos = sum(n for *_, n in seen)
    vectors = {output: normalise(rng.standard_normal((photos, 8))) for output in SHARES}
    meetings = meet(vectors, sightings, SHARES)

    order = sorted(range(len(seen)), key=lambda row: [e for _, e, _ in seen].index(seen[row][1]))
    numbers: list[int] = []
    for row in order:
        if seen[row][0] not in numbers:
            numbers.append(seen[row][0])
    for place, row in enumerate(order):
        who, encounter, _ = seen[row]
        assert numbers[meetings.identity[place]] == who
        for column, other in enumerate(numbers):
            earlier = [r for r in order[:place] if seen[r][0] == other and seen[r][1] != encounter]
            assert meetings.seen[place, column] == len(earlier)
            if earlier:
                expected = sum(
                    share
                    * float(profile(vectors[o], sightings, earlier) @ pool(vectors[o][sightings.photos[row]]))
                    for o, share in SHARES.items()
                )
                assert meetings.similarities[place, column] == pytest.approx(expected, abs=1e-5)


def profile(vectors: Vectors, sightings: Sightings, rows: list[int]) -> Vectors:
    return pool(np.stack([pool(vectors[sightings.photos[row]]) for row in rows]))


def test_a_curve_knows_nothing_of_the_individuals_held_out() -> None:
    meetings = herd(12, 8, 0.8)
    held_out = np.array([2, 7])
    before = meetings.fit(held_out)
    assert before != meetings.fit()
    meetings.similarities[np.isin(meetings.identity, held_out)] = 0.5
    meetings.similarities[:, held_out] = -0.5
    assert meetings.fit(held_out) == before


def test_a_curve_that_promises_too_much_is_found_out_and_a_true_one_is_kept() -> None:
    meetings = herd(15, 8, 0.3)
    bold = Calibration((0.0, 0.3), (0.0, 12.0))
    rng = np.random.default_rng(0)
    trial = try_calibration(meetings, bold, Policy(), rng)
    assert trial.before is not None
    assert trial.gain is not None
    assert trial.helps
    assert trial.gain.low is not None
    assert trial.gain.low > 0
    assert trial.before.error > 2 * trial.after.error
    assert trial.gain.value == pytest.approx(trial.before.brier - trial.after.brier)
    assert (trial.same, trial.different) == (15 * 7, int((meetings.seen > 0).sum()) - 15 * 7)
    assert trial.after.queries == 15 * 8 - 1 == sum(part.queries for part in trial.after.curve)
    # Held against itself, fitted on all, it has the advantage of knowing the animals.
    assert not try_calibration(meetings, trial.curve, Policy(), rng).helps


def test_where_nothing_was_known_any_curve_helps() -> None:
    trial = try_calibration(herd(15, 8, 0.45), None, Policy(), np.random.default_rng(0))
    assert (trial.before, trial.gain, trial.helps) == (None, None, True)


def test_what_the_machine_would_match_alone_is_counted() -> None:
    sure = try_calibration(herd(15, 8, 0.95), None, Policy(assign_at=0.6), np.random.default_rng(0)).after
    assert sure.automatic == sure.rightly > 15 * 4


@pytest.mark.parametrize(("animals", "times"), [(1, 60), (3, 8), (10, 5)])
def test_too_few_pairs_are_an_error(animals: int, times: int) -> None:
    """The third: enough in all, too few without a fifth of the animals."""
    with pytest.raises(InputError, match="expected 40 or more pairs"):
        try_calibration(herd(animals, times, 0.8), None, Policy(), np.random.default_rng(0))
