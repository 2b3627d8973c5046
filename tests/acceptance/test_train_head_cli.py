"""``deertrack train head``: measured first, installed if it helps, and brought into use like any other version."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from deertrack.formats.calibration import read_calibration
from deertrack.vision.model_packs import load_pack

CLI = Callable[..., Any]
ANIMALS, PHOTOS = 10, 7


@pytest.fixture(scope="module")
def nyala_part(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Animals that were met often, a photo of each encounter: cards/, detections.json and truth.csv."""
    folder, nyala = tmp_path_factory.mktemp("nyala"), test_data / "nyala"
    with (nyala / "truth.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    of_animal: dict[str, dict[str, dict[str, str]]] = {}
    for row in rows:
        of_animal.setdefault(row["identity"], {}).setdefault(row["encounter"], row)
    often = sorted(of_animal.values(), key=lambda encounters: -len(encounters))
    with (folder / "truth.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        for found in often[:ANIMALS]:
            for row in list(found.values())[:PHOTOS]:
                photo = folder / "cards" / row["file"]
                photo.parent.mkdir(parents=True, exist_ok=True)
                photo.symlink_to(nyala / "cards" / row["file"])
                writer.writerow(row)
    (folder / "detections.json").symlink_to(nyala / "detections.json")
    return folder


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home for all tests of this file, so that the photos are embedded once."""
    return tmp_path_factory.mktemp("home")


def test_it_is_measured_on_animals_that_it_did_not_learn_from(
    cli: CLI, nyala_part: Path, kept: Path, tmp_path: Path
) -> None:
    options = [nyala_part / "truth.csv", "--home", kept]
    said = cli("train", "head", *options, "--name", "dry", "--dry-run", "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert (found["installed"], found["directory"]) == (False, None)
    assert not (kept / "packs" / "dry").exists()
    assert (found["set"]["photos"], found["set"]["identities"]) == (ANIMALS * PHOTOS, ANIMALS)
    assert [version["name"] for version in found["versions"]] == ["v1_dry", "v2_dry", "v3_dry"]
    for version in found["versions"]:
        for part in ("strangers", "herd"):
            figures = version[part]
            for name in ("rank1", "rank20", "mAP"):
                gain = figures["after"][name]["value"] - figures["before"][name]["value"]
                assert figures["gain"][name]["value"] == pytest.approx(gain)
                assert figures["gain"][name]["low"] <= figures["gain"][name]["high"]
        # Fewer animals to be confused with: never harder than the whole herd.
        before = [version[part]["before"]["rank1"]["value"] for part in ("strangers", "herd")]
        assert before[0] >= before[1]
    # The figures of the version that it starts from are those that `evaluate` prints.
    options += ["--version", "v3_lite", "--protocol", "identity-disjoint"]
    evaluated = json.loads(cli("evaluate", *options, "--bootstrap", 100, "--json").out)
    assert evaluated["mAP"]["value"] == pytest.approx(found["versions"][2]["herd"]["before"]["mAP"]["value"])
    said = cli("evaluate", *options, "--bootstrap", 100, "--head", "lda", "--json")
    learned = json.loads(said.out)["versions"]["v3_lite+lda"]
    assert learned["mAP"]["value"] == pytest.approx(found["versions"][2]["herd"]["after"]["mAP"]["value"])
    assert learned["calibration"] is None
    assert learned["pipeline"] is None


def test_a_head_that_does_not_help_is_not_installed(
    cli: CLI, nyala_part: Path, kept: Path, tmp_path: Path
) -> None:
    """Names drawn by lot: there is nothing to learn."""
    with (nyala_part / "truth.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    shuffled = tmp_path / "truth.csv"
    with shuffled.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        names = [row["identity"] for row in rows]
        for i, row in enumerate(rows):
            writer.writerow(row | {"identity": names[(i * 37) % len(names)], "encounter": f"E{i}"})
    (tmp_path / "detections.json").symlink_to(nyala_part / "detections.json")
    options = [shuffled, "--images", nyala_part / "cards", "--name", "lots", "--home", kept]
    said = cli("train", "head", *options, "--method", "whitening")
    assert said.code == 0, said.err
    assert "It does not help" in said.out
    assert "Nothing is installed" in said.out
    assert not (kept / "packs" / "lots").exists()
    said = cli("train", "head", *options, "--method", "whitening", "--anyway")
    assert "It does not help" in said.out
    assert load_pack(kept / "packs" / "lots").card.name == "lots"


def test_from_a_catalogues_confirmed_sightings_into_use(
    cli: CLI, nyala_part: Path, url: str, tmp_path: Path
) -> None:
    def deertrack(*words: object, code: int = 0) -> Any:
        said = cli(*words, "--home", home, url=url)
        assert said.code == code, (words, said.out, said.err)
        return said

    home = tmp_path / "home"
    assert "was confirmed by a person yet" in deertrack("train", "head", "--name", "ours", code=1).err
    deertrack("run", nyala_part / "cards", "--detections", nyala_part / "detections.json")
    deertrack("review", "import", nyala_part / "truth.csv")
    said = deertrack("train", "head", "--name", "ours", "--method", "whitening", "--anyway")
    assert "reid reembed v3_ours --all-detections" in said.out
    pack = load_pack(home / "packs" / "ours")
    card = pack.card
    assert "the catalogue's sightings that a person confirmed" in card.description
    assert f"{ANIMALS} animals" in card.description
    assert [graph.licence for graph in card.graphs] == ["Apache-2.0", "MIT"]
    assert (pack.directory / "NOTICE").is_file()
    measured = read_calibration(pack.directory / "calibration.json")
    for version in pack.versions:
        curve = measured.curve_for(version)  # its fingerprints fit
        assert curve.log_ratios[-1] > 0 > curve.log_ratios[0]

    # As `train` says: like any other version.
    deertrack("reid", "reembed", "v3_ours", "--all-detections")
    report = json.loads(deertrack("reid", "validate", "v3_ours", "--bootstrap", 100, "--json").out)
    assert (report["old"], report["new"]) == ("v3_lite", "v3_ours")
    said = deertrack("reid", "cutover", "v1_ours", "--ab", "0.5", "--yes", "--reason", "other columns")
    assert "50% of the encounters use v1_ours now, the rest v3_lite" in said.out
    deertrack("reid", "rollback", "--yes")
    deertrack("reid", "cutover", "v3_ours", "--yes", "--reason", "a test")
    deertrack("run", nyala_part / "cards", "--detections", nyala_part / "detections.json")
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT vector_norm(d.feature_vector_multiscale) FROM deer d JOIN models m ON m.id = "
            "d.multiscale_model_id WHERE m.fingerprint = %s",
            [pack.fingerprints["feature_vector_multiscale"]],  # type: ignore[index]
        ).fetchall()
    assert len(found) >= ANIMALS
    assert all(abs(length - 1) < 1e-4 for (length,) in found)
    # Trained again from the pack in use, the head is replaced: it is fitted to what comes before it.
    said = deertrack("train", "head", "--name", "anew", "--method", "whitening", "--anyway")
    again = load_pack(home / "packs" / "anew")
    assert "base ours" in again.card.description
    assert again.fingerprints == pack.fingerprints
    deertrack("reid", "rollback", "--yes")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--name", "Eighteen-letters-x"], "expected a pack's name"),
        (["--name", "eighteen-letters-x"], "expected a name of 1 to 17"),
        (["--name", "lite"], "there is a pack 'lite' already"),
        (["--name", "x", "--from", "nowhere"], "there is no pack 'nowhere'"),
    ],
)
def test_what_cannot_be_is_told_first(
    cli: CLI, nyala_part: Path, kept: Path, options: list[str], words: str
) -> None:
    said = cli("train", "head", nyala_part / "truth.csv", *options, "--home", kept)
    assert (said.code, said.out) == (1, "")
    assert words in said.err


def test_a_head_is_never_measured_on_what_it_learned_from(cli: CLI, nyala_part: Path, kept: Path) -> None:
    options = ["--home", kept, "--head", "lda"]
    said = cli("evaluate", nyala_part / "truth.csv", *options, "--protocol", "encounter-disjoint")
    assert said.code == 1
    assert "animals that it did not learn from" in said.err
    assert "--protocol identity-disjoint" in said.err


def test_a_few_animals_are_too_few(cli: CLI, nyala_part: Path, kept: Path, tmp_path: Path) -> None:
    lines = (nyala_part / "truth.csv").read_text().splitlines()
    (tmp_path / "truth.csv").write_text("\n".join(lines[: 1 + 9 * PHOTOS]) + "\n")
    options = ["--images", nyala_part / "cards", "--name", "few", "--home", kept]
    said = cli("train", "head", tmp_path / "truth.csv", *options)
    assert said.code == 1
    assert "expected 10 or more animals" in said.err
    assert "got 9" in said.err


def test_images_without_a_set_are_refused(cli: CLI, tmp_path: Path) -> None:
    said = cli("train", "head", "--name", "x", "--images", tmp_path, "--home", tmp_path)
    assert said.code == 1
    assert "belong to a labelled set" in said.err
