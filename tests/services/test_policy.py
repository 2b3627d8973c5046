"""The policy in error rates: kept, told, and used by whatever decides next."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deertrack import wiring
from deertrack.domain.decision import Policy
from deertrack.domain.errors import InputError
from deertrack.services.policy import change_policy, policy_of
from deertrack.services.versions import Tuning, active_version, put_tuning
from deertrack.settings import read_settings
from deertrack.storage.db import Database
from deertrack.vision.model_packs import builtin_pack


def test_a_fresh_catalogue_allows_five_in_a_hundred(db: Database) -> None:
    assert policy_of(db) == Policy()
    assert policy_of(db).promise == "at most 5 in 100 automatic matches wrong"


def test_a_change_is_kept_with_an_event_and_the_same_again_is_no_news(
    db: Database, rows: Callable[..., Any]
) -> None:
    for _ in range(2):
        before, after = change_policy(db, wrong_at_most=2.5, actor="warden")
    assert before == after == policy_of(db) == Policy(assign_at=0.975)
    assert after.promise == "at most 2.5 in 100 automatic matches wrong"
    change_policy(db, new_at=0.7, actor="warden")
    assert policy_of(db) == Policy(assign_at=0.975, new_at=0.7)
    events = rows("SELECT actor, detail FROM events WHERE kind = 'policy' ORDER BY id")
    assert [event["detail"]["was"] for event in events] == [
        {"assign_at": 0.95, "new_at": 0.5},
        {"assign_at": 0.975, "new_at": 0.5},
    ]
    assert {event["actor"] for event in events} == {"warden"}


def test_a_dry_run_changes_nothing(db: Database, rows: Callable[..., Any]) -> None:
    before, after = change_policy(db, wrong_at_most=10, actor="warden", dry_run=True)
    assert (before, after) == (Policy(), Policy(assign_at=0.9))
    assert policy_of(db) == Policy()
    assert not rows("SELECT 1 FROM events")


@pytest.mark.parametrize("wrong", [0, -1, 50, 95, float("nan")])
def test_a_rate_out_of_range_is_an_error(db: Database, wrong: float) -> None:
    with pytest.raises(InputError, match="above 0 and below 50"):
        change_policy(db, wrong_at_most=wrong, actor="warden")
    assert policy_of(db) == Policy()


def test_two_answers_at_once_are_an_error(db: Database) -> None:
    with pytest.raises(InputError, match="cannot both be reached"):
        change_policy(db, wrong_at_most=45, new_at=0.4, actor="warden")


@given(wrong=st.floats(0.001, 49.99))
def test_a_promise_is_told_as_it_was_given(wrong: float) -> None:
    assert Policy(assign_at=round(1 - wrong / 100, 8)).wrong_at_most == pytest.approx(wrong, abs=1e-5)


def test_whatever_decides_next_goes_by_it(db: Database) -> None:
    pack = builtin_pack()
    registered = active_version(db, pack)
    with db.transaction() as connection:
        put_tuning(connection, registered.version.name, Tuning(threshold=0.7))
    change_policy(db, wrong_at_most=1, actor="warden")
    wanted = Policy(assign_at=0.99, min_similarity=0.7)  # what the cut-over set stays
    assert wiring.make_matcher(db, pack).policy == wanted
    settings = read_settings(None)
    assert [m.policy for m in wiring.make_deciders(settings, db).matchers] == [wanted]
    deciders = wiring.make_deciders(settings, db, wrong_at_most=20)
    assert deciders.matchers[0].policy.assign_at == policy_of(db).assign_at == 0.8
