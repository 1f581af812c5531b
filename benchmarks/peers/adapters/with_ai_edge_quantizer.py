"""ai-edge-quantizer on the float TFLite file.

https://github.com/google-ai-edge/ai-edge-quantizer (README and getting-started notebook): Quantizer(file), load a
recipe (dynamic_wi8_afp32, or static_wi8_ai8 with calibrate first), quantize().export_model(file).
"""

import time
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe
from kit import done, examples, read_job


def main():
    job, began = read_job(), time.monotonic()
    start = named(job.tflite, job.out / "named.tflite")
    tool = quantizer.Quantizer(str(start))
    tool.load_quantization_recipe(recipe.dynamic_wi8_afp32() if job.variant == "dynamic" else recipe.static_wi8_ai8())
    ranges = None
    if job.variant != "dynamic":
        interpreter = Interpreter(model_path=str(start))
        feeds = {key: [] for key in interpreter.get_signature_list()}
        wanted = {key: interpreter.get_signature_runner(key).get_input_details() for key in feeds}
        for x in examples(job.calibration):
            for key, given in wanted.items():
                ((name, details),) = given.items()
                ready = as_wanted(x, details)
                if ready is not None:
                    feeds[key].append({name: ready})
        ranges = tool.calibrate(feeds, num_threads=1)
    out = job.out / "model.tflite"
    (tool.quantize(ranges) if ranges is not None else tool.quantize()).export_model(out, overwrite=True)
    done(job, out, "tflite", ("ai-edge-quantizer", "ai-edge-litert"), began)


def named(source: Path, out: Path) -> Path:
    """The same file with a name for every tensor and a signature: the tool needs them, our writer leaves them out.

    Unique in the whole file, as the tool asks: of texts each length's signature has tensors of the same names.
    """
    model, taken = schema.ModelT.InitFromPackedBuf(source.read_bytes()), set()
    for place, graph in enumerate(model.subgraphs):
        for number, tensor in enumerate(graph.tensors):
            wanted = tensor.name or f"{place}_{number}"
            tensor.name = f"{place}_{number}_{as_text(wanted)}" if as_text(wanted) in taken else wanted
            taken.add(as_text(tensor.name))
    if not model.signatureDefs:
        graph, signature = model.subgraphs[0], schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = "serving_default", 0
        signature.inputs = [tensor_map("input", graph.inputs[0])]
        signature.outputs = [tensor_map("logits", graph.outputs[0])]
        model.signatureDefs = [signature]
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    out.write_bytes(builder.Output())
    return out


def as_text(name):
    return name.decode() if isinstance(name, bytes) else name


def tensor_map(name, index):
    found = schema.TensorMapT()
    found.name, found.tensorIndex = name, index
    return found


def as_wanted(x, given):
    """Channels last where the file has them last; None where the signature is for another length."""
    if x.ndim == 4 and x.shape != tuple(given["shape"]):
        x = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    return x.astype(given["dtype"]) if x.shape == tuple(given["shape"]) else None


main()
