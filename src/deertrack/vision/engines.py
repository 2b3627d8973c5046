"""Running an ONNX graph: one small protocol, two engines behind it."""

import sys
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from deertrack.domain.errors import InputError, PackError

EngineName = Literal["openvino", "onnxruntime", "auto"]
Precision = Literal["f32", "bf16"]

Batch = NDArray[np.float32]


class Engine(Protocol):
    """A loaded graph. Not to be called from two threads at once."""

    name: str

    def run(self, batch: Batch) -> dict[str, NDArray[np.float32]]:
        """All outputs, by the graph's names, each (n, d), of one pass over a batch (n, 3, height, width)."""
        ...


class OpenVinoEngine:
    """OpenVINO on the CPU."""

    def __init__(self, onnx_path: Path, *, precision: Precision, threads: int | None) -> None:
        openvino = _import_openvino()
        # The hint is always explicit: left alone, OpenVINO picks bf16 wherever the CPU has it.
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            self._compiled = openvino.Core().compile_model(onnx_path, "CPU", settings)
        except RuntimeError as error:
            raise PackError(f"{onnx_path}: OpenVINO cannot load this graph ({error})") from error
        self._request = self._compiled.create_infer_request()
        # An output goes by several names when OpenVINO drops a node that only renames; all of them are kept.
        self._outputs = [output.get_names() for output in self._compiled.outputs]
        self.name = f"openvino {precision}"

    def run(self, batch: Batch) -> dict[str, NDArray[np.float32]]:
        results = self._request.infer([batch], share_inputs=True)
        named: dict[str, NDArray[np.float32]] = {}
        for i, names in enumerate(self._outputs):
            named.update(dict.fromkeys(names, np.array(results[i], dtype=np.float32)))
        return named


class OnnxRuntimeEngine:
    """ONNX Runtime: on CUDA if the installed package has it, else on the CPU."""

    def __init__(self, onnx_path: Path, *, threads: int | None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only: its warnings tell users nothing they can act on
        if threads:
            options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(onnx_path, options, _providers())
        except Exception as error:  # its errors share no base class
            raise PackError(f"{onnx_path}: ONNX Runtime cannot load this graph ({error})") from error
        self._input = self._session.get_inputs()[0].name
        self._outputs = [output.name for output in self._session.get_outputs()]
        device = self._session.get_providers()[0].removesuffix("ExecutionProvider")
        self.name = f"onnxruntime {device} f32"

    def run(self, batch: Batch) -> dict[str, NDArray[np.float32]]:
        return dict(zip(self._outputs, self._session.run(None, {self._input: batch}), strict=True))


def load_engine(
    onnx_path: Path,
    *,
    engine: EngineName = "auto",
    precision: Precision = "f32",
    threads: int | None = None,
) -> Engine:
    """Load a graph for inference.

    Args:
        onnx_path: the graph: one input (n, 3, height, width) float32, outputs (n, d).
        engine: "auto" is ONNX Runtime if it has CUDA, else OpenVINO.
        precision: "bf16" is for OpenVINO alone; it is faster on CPUs that compute in bf16, others keep f32.
            It moves the vectors of crops that show hardly anything; docs/model_cards/lite.md has figures.
        threads: CPU threads for one pass; None leaves the choice to the engine.

    Raises:
        InputError: no such engine or precision, or bf16 asked of ONNX Runtime.
        PackError: the engine cannot load the graph.
    """
    if precision not in ("f32", "bf16"):
        raise InputError(f"expected precision f32 or bf16, got {precision!r}")
    if engine == "auto":
        cuda = precision == "f32" and "CUDAExecutionProvider" in _providers()
        engine = "onnxruntime" if cuda else "openvino"
    if engine == "openvino":
        return OpenVinoEngine(onnx_path, precision=precision, threads=threads)
    if engine == "onnxruntime":
        if precision != "f32":
            raise InputError("ONNX Runtime computes in f32 here; bf16 needs the engine openvino")
        return OnnxRuntimeEngine(onnx_path, threads=threads)
    raise InputError(f"expected the engine openvino, onnxruntime or auto, got {engine!r}")


def _import_openvino() -> Any:
    """OpenVINO without its telemetry.

    Importing it reports the import to Google Analytics and writes to the user's home. It does without where
    the package ``openvino_telemetry`` cannot be imported, and that is what None in ``sys.modules`` says.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def _providers() -> list[str]:
    import onnxruntime

    available = onnxruntime.get_available_providers()
    return [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]
