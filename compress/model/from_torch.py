"""A torch module of common layers to our graph: through torch.export, checked against the module on random inputs.

torch.export gives one flat list of aten calls whatever the module's code looks like; `torch_calls.py` says which
operator each one is.
"""

import logging
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from compress.errors import ModelError
from compress.model.model import Model
from compress.model.module import GraphModule
from compress.model.torch_calls import Converter, operator_of

_BATCH = 4
_TOLERANCE = 1e-4  # of the largest output: what float32 sums in another order differ by


def from_torch(module: nn.Module, input_shape: Sequence[int], where: str) -> Model:
    """The module as a Model; it is put in eval mode and otherwise left alone.

    input_shape: of one input, (channels, height, width) or (length,).

    Raises:
        ModelError: an operator, an option or the output is none of ours, or the result does not agree with the module.
    """
    module = module.to("cpu", torch.float32).eval()
    example = torch.randn(_BATCH, *input_shape, generator=torch.Generator().manual_seed(0))
    one_d = len(input_shape) == 3 and input_shape[1] == 1 and any(isinstance(m, nn.Conv1d) for m in module.modules())
    given = example[:, :, 0] if one_d else example
    program = _export(module, given, where)
    model = Converter(program, input_shape, where).model()
    with torch.no_grad():
        wanted, got = module(given), GraphModule(model).eval()(example)
        if (last := _last_op(program)) in ("softmax", "log_softmax"):
            got = getattr(torch, last)(got, 1)
    difference, size = float((wanted - got).abs().max()), max(1.0, float(wanted.abs().max()))
    if not difference <= _TOLERANCE * size:
        what = f"the converted net differs from the module by {difference:.3g} on random inputs"
        raise ModelError(what, where, "report the module; a checkpoint or an ONNX file avoids the conversion")
    return model


def _export(module: nn.Module, example: Tensor, where: str) -> Any:
    from compress.factory import summary

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.disable(logging.CRITICAL)  # it reports its own failures as errors, and so do we
            return torch.export.export(module, (example,), strict=False)
    except Exception as error:
        try:
            with torch.no_grad():
                module(example)
        except Exception as own:
            what = f"called with an input of shape {tuple(example.shape)} it raised {summary(own)}"
            raise ModelError(what, where, "make it take the data's inputs: (n, channels, height, width)") from own
        what = f"torch.export cannot follow it: {summary(error)}"
        fix = "take out control flow that depends on values; torch.export's documentation says what it can follow"
        raise ModelError(what, where, fix) from error
    finally:
        logging.disable(logging.NOTSET)


def _last_op(program: Any) -> str:
    (output,) = (n for n in program.graph.nodes if n.op == "output")
    (last,) = output.args[0]
    return operator_of(last) if last.op == "call_function" else ""
