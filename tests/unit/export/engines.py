"""Run exported files in the engines themselves, without edge_runtime."""

import numpy as np
import onnxruntime
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray


def run_onnx(data: bytes, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits of a batch (n, c, h, w)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    out: NDArray[np.float32] = session.run(None, {"input": x})[0]
    return out


def interpreter(data: bytes) -> Interpreter:
    """XNNPACK on, one thread, ready to run."""
    it = Interpreter(model_content=data, num_threads=1)
    it.allocate_tensors()
    return it


def delegated(it: Interpreter) -> bool:
    """True if XNNPACK took every operator: one delegate reads nothing that an operator wrote, and writes the output."""
    operators = it._get_ops_details()
    delegates = [op for op in operators if op["op_name"] == "DELEGATE"]
    written = {int(i) for op in operators if op["op_name"] != "DELEGATE" for i in op["outputs"]}
    outputs = [d["index"] for d in it.get_output_details()]
    if len(delegates) != 1:
        return False
    return list(delegates[0]["outputs"]) == outputs and not written & set(delegates[0]["inputs"])


def run_tflite(data: bytes, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits of a batch (n, c, h, w), one example at a time; integers converted by the file's grids."""
    it = interpreter(data)
    source, target = it.get_input_details()[0], it.get_output_details()[0]
    rows = []
    for example in np.ascontiguousarray(np.moveaxis(x, 1, -1)):
        given = example[np.newaxis]
        if source["dtype"] == np.int8:
            scale, zero_point = source["quantization"]
            given = np.clip(np.rint(given / np.float32(scale)) + zero_point, -128, 127).astype(np.int8)
        it.set_tensor(source["index"], given)
        it.invoke()
        out = it.get_tensor(target["index"])[0]
        if target["dtype"] == np.int8:
            scale, zero_point = target["quantization"]
            out = (out.astype(np.float32) - zero_point) * np.float32(scale)
        rows.append(out)
    return np.stack(rows)
