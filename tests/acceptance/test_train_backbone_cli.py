"""``deertrack train backbone`` as a person types it; the training itself: tests/services/test_train_backbone.py."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

CLI = Callable[..., Any]
TORCH = importlib.util.find_spec("torch") is not None


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """Ten animals, each seen twice; their photos beside the file."""
    rows, rng = ["file,identity,encounter"], np.random.default_rng(0)
    for number in range(20):
        pixels = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,A{number % 10},{number}")
    (tmp_path / "truth.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "truth.csv"


@pytest.mark.skipif(TORCH, reason="the extra `models` is installed")
def test_without_the_extra_it_says_how_to_install_it(cli: CLI, truth: Path, tmp_path: Path) -> None:
    said = cli("train", "backbone", truth, "--name", "ours", "--home", tmp_path / "home")
    assert (said.code, said.out) == (1, "")
    assert "this needs the Python package 'torch'" in said.err
    assert "pip install 'deertrack[models]'" in said.err


@pytest.mark.skipif(not TORCH, reason="the extra `models` is not installed: no torch")
def test_a_dry_run_says_what_would_be_learned_from(cli: CLI, truth: Path, tmp_path: Path) -> None:
    options = [truth, "--name", "ours", "--home", tmp_path / "home", "--dry-run"]
    said = cli("train", "backbone", *options)
    assert said.code == 0, said.err
    assert "Learned from: 16 photos of 8 animals, in 15 epochs" in said.out
    assert "measured by: 4 photos of 2 animals" in said.out
    found = json.loads(cli("train", "backbone", *options, "--json").out)
    assert (found["animals"], found["held_out_animals"], found["resumes"]) == (8, 2, False)
    assert (found["installed"], found["held_out"]) == (False, None)
    assert not (tmp_path / "home").exists()


@pytest.mark.skipif(not TORCH, reason="the extra `models` is not installed: no torch")
def test_from_photos_to_a_pack(cli: CLI, truth: Path, tmp_path: Path) -> None:
    options = [truth, "--name", "ours", "--epochs", 1, "--threads", 2, "--home", tmp_path / "home"]
    said = cli("train", "backbone", *options)
    assert said.code == 0, said.err
    assert "v1_ours: animals held out" in said.out
    assert "reid reembed v1_ours --all-detections" in said.out
    assert "Nobody knows yet what similarities of v1_ours mean" in said.out  # of two animals
    said = cli("models", "check", "ours", "--home", tmp_path / "home")
    assert said.code == 0, said.out
    said = cli("train", "backbone", *options)
    assert said.code == 1
    assert "there is a pack 'ours' already" in said.err
