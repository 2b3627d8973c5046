import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deertrack.domain.errors import InputError, PackError
from deertrack.vision.engines import load_engine
from deertrack.vision.model_packs import builtin_pack

LITE0 = builtin_pack().directory / "efficientnet_lite0.onnx"


def batch(n: int) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(n, 3, 192, 256)).astype(np.float32)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_outputs_go_by_the_graphs_names(name: str) -> None:
    engine = load_engine(LITE0, engine=name, threads=1)
    assert engine.name.startswith(name)
    given = engine.run(batch(3))
    assert {"single", "multiscale"} <= set(given)
    for rows in (given["single"], given["multiscale"]):
        assert (rows.shape, rows.dtype) == ((3, 512), np.float32)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_results_outlive_the_next_pass() -> None:
    engine = load_engine(LITE0, engine="openvino")
    first = engine.run(batch(2))["single"]
    kept = first.copy()
    engine.run(-batch(2))
    np.testing.assert_array_equal(first, kept)


def test_auto_is_openvino_on_a_cpu() -> None:
    assert load_engine(LITE0, precision="bf16").name == "openvino bf16"
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        assert load_engine(LITE0).name == "openvino f32"


def test_wrong_choices_are_told() -> None:
    with pytest.raises(InputError, match="bf16 needs the engine openvino"):
        load_engine(LITE0, engine="onnxruntime", precision="bf16")
    with pytest.raises(InputError, match="got 'torch'"):
        load_engine(LITE0, engine="torch")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="got 'f16'"):
        load_engine(LITE0, precision="f16")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_broken_graph_is_told(tmp_path: Path, name: str) -> None:
    broken = tmp_path / "net.onnx"
    for data in (b"", b"not a graph", LITE0.read_bytes()[:5000]):
        broken.write_bytes(data)
        with pytest.raises(PackError, match=r"net\.onnx"):
            load_engine(broken, engine=name)


def test_openvino_reports_nothing_to_anyone(tmp_path: Path) -> None:
    """Importing OpenVINO the plain way asks for the address of an analytics server and writes to the home."""
    script = """
import sys, time
def watch(event, args):
    if event in ("socket.getaddrinfo", "socket.connect"):
        sys.stderr.write(f"reached out: {event} {args}\\n")
sys.addaudithook(watch)
from pathlib import Path
from deertrack.vision.engines import load_engine
load_engine(Path(sys.argv[1]), engine="openvino")
time.sleep(0.5)
"""
    home = tmp_path / "home"
    home.mkdir()
    environment = os.environ | {"HOME": str(home), "USERPROFILE": str(home)}
    for name in ("CI", "GITHUB_ACTIONS", "TRAVIS", "JENKINS_URL"):
        environment.pop(name, None)  # in these, OpenVINO keeps quiet of its own accord
    ran = subprocess.run(
        [sys.executable, "-c", script, str(LITE0)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "reached out" not in ran.stderr
    assert list(home.iterdir()) == []
