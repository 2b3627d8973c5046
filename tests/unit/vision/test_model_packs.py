import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deertrack.domain.embedding import Output
from deertrack.domain.errors import PackError
from deertrack.vision.model_packs import builtin_pack, load_pack

# Stored vectors carry these. A change here means that every catalogue has to be re-embedded.
SHIPPED = {
    Output.SINGLE: "f4ee981db36d3fbd977dc328697894b0753c1daffa984a9529b393d34c631659",
    Output.MULTISCALE: "3014c9cd2f83ab17d71aab637e67619a90fb9e36950038cfadd520931d239390",
    Output.PARTNER: "6ab5363516b6442cc40dfcdd4eb2b55e9c762c0fdc15911377eab0b4913eba41",
}


@pytest.fixture
def lite(tmp_path: Path) -> Path:
    """A copy of the shipped pack, to be damaged."""
    return Path(shutil.copytree(builtin_pack().directory, tmp_path / "lite"))


def edit(directory: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    card = json.loads((directory / "pack.json").read_text())
    change(card)
    (directory / "pack.json").write_text(json.dumps(card))
    return directory


def test_the_shipped_pack() -> None:
    pack = builtin_pack()
    assert [(v.name, v.stage, v.pack) for v in pack.versions] == [
        ("v1_lite", 1, "lite"),
        ("v2_lite", 2, "lite"),
        ("v3_lite", 3, "lite"),
    ]
    assert pack.fingerprints == SHIPPED
    assert all(version.fingerprints == SHIPPED for version in pack.versions)
    files = list(pack.directory.iterdir())
    assert sum(file.stat().st_size for file in files) < 40e6
    assert "Copyright (c) [2021] [Ling Evan]" in (pack.directory / "NOTICE").read_text()


def test_a_moved_pack_is_the_same_pack(lite: Path) -> None:
    assert load_pack(lite).fingerprints == SHIPPED


def test_one_changed_byte_is_told(lite: Path) -> None:
    data = bytearray((lite / "mobilenet_v2.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (lite / "mobilenet_v2.onnx").write_bytes(data)
    with pytest.raises(PackError, match=r"mobilenet_v2\.onnx: changed since the pack was built"):
        load_pack(lite)


def test_missing_files_are_told(lite: Path, tmp_path: Path) -> None:
    (lite / "efficientnet_lite0.onnx").unlink()
    with pytest.raises(PackError, match=r"efficientnet_lite0\.onnx: the card names this file"):
        load_pack(lite)
    with pytest.raises(PackError, match=r"no pack\.json, so this is not a model pack"):
        load_pack(tmp_path)
    with pytest.raises(PackError, match=r"nowhere: no pack\.json"):
        load_pack(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"lite"', "\udcff"])
def test_a_card_that_is_no_card(lite: Path, text: str) -> None:
    (lite / "pack.json").write_text(text, errors="surrogateescape")
    with pytest.raises(PackError, match=r"pack\.json"):
        load_pack(lite)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c.pop("versions"), "'versions'"),
        (lambda c: c.update(colour="blue"), "'colour'"),
        (lambda c: c.update(name=7), "name"),
        (lambda c: c.update(versions={}), "at least one embedding version"),
        (lambda c: c.update(versions={"v4_lite": 4}), "expected stage 1, 2 or 3, got 4"),
        (lambda c: c.update(versions={"v1_lite": "1"}), "got the stage '1'"),
        (lambda c: c.update(versions={"a_name_that_is_far_too_long": 1}), "1 to 20 characters"),
        (lambda c: c["graphs"].pop(1), "lacks"),
        (lambda c: c["graphs"].append(c["graphs"][0]), "in one graph only"),
        (lambda c: c["graphs"].append("graph"), "a graph"),
        (lambda c: c["graphs"][0].pop("crop"), "'crop'"),
        (lambda c: c["graphs"][0].update(crop="squeeze"), "'squeeze'"),
        (lambda c: c["graphs"][0].update(input=[192]), "192"),
        (lambda c: c["graphs"][0].update(input=[0, 256]), "16 to 2048"),
        (lambda c: c["graphs"][0].update(input=["a", "b"]), "efficientnet_lite0"),
        (lambda c: c["graphs"][0].update(file="../../etc/passwd"), "beside the card"),
        (lambda c: c["graphs"][0].update(outputs={}), "at least one output"),
        (lambda c: c["graphs"][0].update(outputs={"feature_vector_resnet": "x"}), "feature_vector_resnet"),
        (lambda c: c["graphs"][0]["normalisation"].update(std=[1, 1]), "three channels"),
        (lambda c: c["graphs"][0]["normalisation"].update(std=[1, 0, 1]), "std above 0"),
        (lambda c: c["graphs"][0]["normalisation"].update(mean=[1, None, 1]), "efficientnet_lite0"),
        (lambda c: c["graphs"][0]["normalisation"].update(scale="1"), "scale"),
    ],
)
def test_a_wrong_card_says_what_is_wrong(
    lite: Path, change: Callable[[dict[str, Any]], object], told: str
) -> None:
    with pytest.raises(PackError, match=told) as caught:
        load_pack(edit(lite, change))
    assert "pack.json" in caught.value.message


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["graphs"][0].update(crop="pad"),
        lambda c: c["graphs"][0].update(input=[224, 224]),
        lambda c: c["graphs"][0]["normalisation"].update(scale=0.5),
        lambda c: c["graphs"][0]["normalisation"].update(mean=[127, 127, 126]),
        lambda c: c["graphs"][0]["normalisation"].update(std=[128, 128, 127]),
        lambda c: c["graphs"][0].update(outputs={"feature_vector": "a", "feature_vector_multiscale": "b"}),
    ],
)
def test_what_shapes_a_vector_is_in_its_fingerprint(
    lite: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    changed = load_pack(edit(lite, change)).fingerprints
    assert changed[Output.SINGLE] != SHIPPED[Output.SINGLE]
    assert changed[Output.MULTISCALE] != SHIPPED[Output.MULTISCALE]
    assert changed[Output.PARTNER] == SHIPPED[Output.PARTNER]


def test_what_describes_a_pack_is_not_in_its_fingerprint(lite: Path) -> None:
    def change(card: dict[str, Any]) -> None:
        card.update(name="mine", description="", limits="", versions={"v2_mine": 2})
        for graph in card["graphs"]:
            graph.update(projection="", licence="", provenance="")

    assert load_pack(edit(lite, change)).fingerprints == SHIPPED


def test_two_outputs_of_one_graph_differ() -> None:
    assert len(set(builtin_pack().fingerprints.values())) == 3
