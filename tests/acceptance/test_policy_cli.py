"""The policy in error rates, as a person and a script see it."""

import json
from collections.abc import Callable
from typing import Any

from deertrack.vision.sample_herd import HerdSummary

Cli = Callable[..., Any]


def test_the_policy_is_set_shown_and_used(
    cli: Cli, herd_url: str, herd: HerdSummary, catalogue_content: Callable[[str], dict[str, Any]]
) -> None:
    assert "At most 5 in 100 automatic matches wrong." in cli("reid", "policy", url=herd_url).out
    before = catalogue_content(herd_url)
    tried = cli("reid", "policy", "--wrong-at-most", 2, "--dry-run", url=herd_url)
    assert "Would be: at most 2 in 100 automatic matches wrong; was: at most 5 in 100" in tried.out
    assert catalogue_content(herd_url) == before
    assert "From now on: at most 2 in 100" in cli("reid", "policy", "--wrong-at-most", 2, url=herd_url).out
    assert "Nothing changes" in cli("reid", "policy", "--wrong-at-most", 2, url=herd_url).out

    assert "Policy: at most 2 in 100 automatic matches wrong" in cli("status", url=herd_url).out
    assert json.loads(cli("status", "--json", url=herd_url).out)["policy"]["wrong_at_most"] == 2
    assert "Promised: at most 2 in 100 automatic matches wrong." in cli("reid", "monitor", url=herd_url).out

    again = cli("run", herd.cards, url=herd_url)
    assert "At most 2 in 100 automatic matches wrong (`reid policy` changes that)." in again.out
    report = json.loads(cli("run", herd.cards, "--wrong-at-most", 10, "--json", url=herd_url).out)
    assert report["policy"] == {"wrong_at_most": 10, "assign_at": 0.9, "new_at": 0.5}
    changed = json.loads(cli("reid", "policy", "--new-at", 0.8, "--json", url=herd_url).out)
    assert (changed["wrong_at_most"], changed["new_at"], changed["changed"]) == (10, 0.8, True)


def test_a_policy_that_cannot_be_is_refused_before_anything_is_decided(
    cli: Cli, herd_url: str, herd: HerdSummary, catalogue_content: Callable[[str], dict[str, Any]]
) -> None:
    before = catalogue_content(herd_url)
    for command in (("run", herd.cards), ("reid", "policy")):
        said = cli(*command, "--wrong-at-most", 60, url=herd_url)
        assert said.code == 1
        assert "expected a number of wrong matches in 100 above 0 and below 50, got 60" in said.err
    assert catalogue_content(herd_url) == before


def test_nothing_to_calibrate_by_is_said(cli: Cli, herd_url: str) -> None:
    said = cli("reid", "calibrate", url=herd_url)
    assert (said.code, said.out) == (1, "")
    assert "no sighting of this catalogue was confirmed by a person yet" in said.err
    assert "deertrack review" in said.err
