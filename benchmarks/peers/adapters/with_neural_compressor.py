"""Intel Neural Compressor's static PT2E quantization, and its accuracy-driven tuning.

https://intel.github.io/neural-compressor/3.0/docs/source/3x/PT_StaticQuant.html: export, prepare with
StaticQuantConfig, calibrate, convert, then torch.compile with frozen weights; its page on autotune: autotune over
get_default_static_config with an eval_fn until tolerable_loss (0.01 by default) is met. What it makes runs in torch
alone: it is timed there. variants ...-onnx: through torch.onnx.export, which works but is not on those pages.
"""

import time

import torch
from kit import done, examples, labels, read_job
from kit_torch import module, save
from neural_compressor.torch.export import export
from neural_compressor.torch.quantization import (
    StaticQuantConfig,
    TuningConfig,
    autotune,
    convert,
    get_default_static_config,
    prepare,
)


def run(model, inputs):
    with torch.no_grad():
        for x in inputs:
            model(x)


def main():
    job, began = read_job(), time.monotonic()
    torch.set_num_threads(1)
    inputs = [torch.from_numpy(x) for x in examples(job.calibration)]
    shapes = ({1: torch.export.Dim.AUTO},) if job.text else None
    traced = export(module(job), example_inputs=(inputs[0],), dynamic_shapes=shapes)
    facts = {}
    if job.variant.startswith("autotune"):
        x, y, trials = [torch.from_numpy(v) for v in examples(job.validation)], labels(job.validation), []

        def accuracy(model):
            with torch.no_grad():
                right = [int(model(one).argmax()) == int(want) for one, want in zip(x, y, strict=True)]
            trials.append(round(sum(right) / len(right), 6))
            return trials[-1]

        # its page gives the set itself; 3.10 takes it only inside a list
        config = TuningConfig(config_set=[get_default_static_config()], tolerable_loss=0.01)
        converted = autotune(traced, tune_config=config, eval_fn=accuracy, run_fn=lambda model: run(model, inputs))
        facts["trials"] = trials
        if converted is None:
            raise RuntimeError(f"autotune found no configuration within its tolerable loss; it tried {trials}")
    else:
        prepared = prepare(traced, quant_config=StaticQuantConfig())
        run(prepared, inputs)
        converted = convert(prepared)
    with torch.no_grad():
        file, engine = save(job, converted, shapes, inputs[0])
    done(job, file, engine, ("neural-compressor", "torchao", "torch"), began, **facts)


main()
