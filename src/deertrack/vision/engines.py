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
    """OpenVINO on the CPU: a crop for each core, not all cores for one batch.

    Cores that share a batch wait for the slowest at every layer, which costs a tenth to a quarter of the time, and
    half of it where others use the machine too. And a vector is the same, bit for bit, in whatever company it is
    computed.
    """

    def __init__(self, onnx_path: Path, *, precision: Precision, threads: int | None) -> None:
        openvino = _import_openvino()
        # The precision is always explicit: left alone, OpenVINO picks bf16 wherever the CPU has it. Threads are
        # not bound to cores: where others use some of the cores, the scheduler finds the idle ones.
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "THROUGHPUT",
            "ENABLE_CPU_PINNING": False,
        }
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            model = openvino.Core().read_model(onnx_path)
            shape = model.input().partial_shape
            shape[0] = 1
            model.reshape(shape)
            compiled = openvino.Core().compile_model(model, "CPU", settings)
        except RuntimeError as error:
            raise PackError(f"{onnx_path}: OpenVINO cannot load this graph ({error})") from error
        self._queue = openvino.AsyncInferQueue(compiled)
        self._queue.set_callback(_keep)
        # An output goes by several names when OpenVINO drops a node that only renames; all of them are kept.
        self._outputs = [output.get_names() for output in compiled.outputs]
        self.name = f"openvino {precision}"

    def run(self, batch: Batch) -> dict[str, NDArray[np.float32]]:
        found: list[list[NDArray[np.float32]]] = [[] for _ in batch]
        for i, outputs in enumerate(found):
            self._queue.start_async([batch[i : i + 1]], userdata=outputs)
        self._queue.wait_all()
        named: dict[str, NDArray[np.float32]] = {}
        for names, rows in zip(self._outputs, zip(*found, strict=True), strict=True):
            named.update(dict.fromkeys(names, np.concatenate(rows)))
        return named


def _keep(request: Any, found: list[NDArray[np.float32]]) -> None:
    """Copy what a request computed, in OpenVINO's thread, before the request is used for another crop."""
    found += [np.array(tensor.data, dtype=np.float32) for tensor in request.output_tensors]


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
