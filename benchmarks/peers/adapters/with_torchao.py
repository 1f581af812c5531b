"""torchao's PT2E quantization with the quantizer for x86.

https://docs.pytorch.org/ao/stable/pt2e_quantization/index.html and its tutorial pt2e_quant_x86_inductor: export,
prepare_pt2e with X86InductorQuantizer and its default configuration, calibrate, convert_pt2e, torch.compile with frozen
weights; "static quantization works best for CNN models, dynamic for NLP models". What it makes runs in torch alone: it
is timed there. variant static-onnx: the same model through torch.onnx.export, which the page does not advise.
"""

import time

import torch
import torchao.quantization.pt2e.quantizer.x86_inductor_quantizer as x86
from kit import done, examples, read_job
from kit_torch import module, save
from torchao.quantization.pt2e import move_exported_model_to_eval
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e


def main():
    job, began = read_job(), time.monotonic()
    torch.set_num_threads(1)
    quantizer = x86.X86InductorQuantizer().set_global(
        x86.get_default_x86_inductor_quantization_config(is_dynamic=job.variant.startswith("dynamic"))
    )
    inputs = [torch.from_numpy(x) for x in examples(job.calibration)]
    shapes = ({1: torch.export.Dim.AUTO},) if job.text else None
    # without strict the quantizer finds no pattern, and convert_pt2e gives back a float model without a word
    model = torch.export.export(module(job), (inputs[0],), dynamic_shapes=shapes, strict=True).module()
    prepared = prepare_pt2e(model, quantizer)
    with torch.no_grad():
        for x in inputs:
            prepared(x)
        converted = convert_pt2e(prepared)
        move_exported_model_to_eval(converted)
        file, engine = save(job, converted, shapes, inputs[0])
    done(job, file, engine, ("torchao", "torch"), began)


main()
