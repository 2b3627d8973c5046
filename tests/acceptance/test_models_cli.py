"""`deertrack models` as a person and as a script meet it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deertrack.vision.model_packs import builtin_pack, load_pack

LITE = builtin_pack().directory


def import_options(**changes: str) -> list[str]:
    options = {
        "name": "mine",
        "version": "v1_mine",
        "input": "192x256",
        "licence": "MIT",
        "provenance": "a test",
    } | changes
    return [part for name, value in options.items() for part in (f"--{name}", value)]


def test_a_pack_travels_from_one_machine_to_another(cli: Callable[..., Any], tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    graph = LITE / "mobilenet_v2.onnx"
    done = cli("models", "import", graph, *import_options(std="0.5,0.5,0.5", crop="pad"), "--home", here)
    assert done.code == 0, done.err
    assert "Installed mine" in done.out
    pack = load_pack(here / "packs" / "mine")
    assert pack.card.graphs[0].normalisation.std == (0.5, 0.5, 0.5)
    assert pack.card.graphs[0].crop == "pad"

    done = cli("models", "install", pack.directory, "--dry-run", "--home", there)
    assert (done.code, there.exists()) == (0, False)
    assert "would be installed" in done.out
    assert cli("models", "install", pack.directory, "--home", there).code == 0

    listed = json.loads(cli("models", "list", "--json", "--home", there).out)
    assert listed["active_version"] is None
    assert [found["name"] for found in listed["packs"]] == ["lite", "nyala", "mine"]
    (version,) = listed["packs"][-1]["versions"]
    assert version["fingerprints"] == {"feature_vector": pack.fingerprints["feature_vector"]}
    table = cli("models", "list", "--home", there).out
    assert version["fingerprints"]["feature_vector"][:12] in table
    assert "v1_mine" in table
    assert "MIT" in table

    assert cli("models", "check", "--home", there).code == 0
    (there / "packs" / "mine" / "mine.onnx").write_bytes(b"")
    checked = cli("models", "check", "--home", there)
    assert checked.code == 1
    assert "changed since the pack was built" in checked.out
    assert "Install the pack again" in checked.out
    found = json.loads(cli("models", "check", "mine", "--json", "--home", there).out)
    assert found["ok"] is False
    assert "damaged" in cli("models", "list", "--home", there).out
    assert cli("models", "install", pack.directory, "--home", there).code == 0
    assert cli("models", "check", "mine", "--home", there).code == 0


def test_the_list_says_what_the_catalogue_works_with(
    cli: Callable[..., Any], herd_url: str, url: str, empty_url: str, tmp_path: Path
) -> None:
    listed = json.loads(cli("models", "list", "--json", "--home", tmp_path, url=herd_url).out)
    assert listed["active_version"] == "v3_lite"
    assert "v3_lite (in use)" in cli("models", "list", "--home", tmp_path, url=herd_url).out
    for other in (url, empty_url, "postgresql://nobody@127.0.0.1:1/nothing"):
        done = cli("models", "list", "--json", "--home", tmp_path, url=other)
        assert (done.code, json.loads(done.out)["active_version"]) == (0, None)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["check", "heavy"], "there is no pack 'heavy'"),
        (["install", "resnet50-b0"], "USB stick"),
        (["import", "x.onnx", *import_options(input="224")], "such as 224x224, got '224'"),
        (["import", "x.onnx", *import_options(mean="0.5")], "--mean: expected three numbers"),
        (["import", "x.onnx", *import_options(std="0,0,0")], "std above 0"),
        (["import", "x.onnx", *import_options()], "x.onnx: no such file"),
        (["import", str(LITE / "efficientnet_lite0.onnx"), *import_options()], "single, multiscale"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    cli: Callable[..., Any], tmp_path: Path, arguments: list[str], told: str
) -> None:
    done = cli("models", *arguments, "--home", tmp_path / "home")
    assert done.code == 1
    assert told in done.err
    assert not (tmp_path / "home" / "packs" / "mine").exists()


def test_a_projection_needs_more_than_a_few_animals(
    cli: Callable[..., Any], herd_url: str, tmp_path: Path
) -> None:
    done = cli("models", "fit-projection", "lite", "--as", "my-herd", "--home", tmp_path, url=herd_url)
    assert done.code == 1
    assert "expected at least 600 crops" in done.err
    assert "Add photos" in done.err
