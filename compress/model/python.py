"""A model from the user's own Python: a function that returns a torch module, one of our models, or a named net."""

import json
import random
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from compress.errors import FactoryError, ModelError
from compress.factory import call_factory
from compress.model.graph import Graph
from compress.model.model import Model
from compress.model.nets import build_net

_CONVERT = (
    "python -c \"import torch, safetensors.torch as s; s.save_file(torch.load('{path}', weights_only=True), '{new}')\""
)


def model_from_python(
    spec: str, args: Mapping[str, Any], weights: str | None, *, shape: Sequence[int], classes: int, seed: int
) -> Model:
    """Call the function and make a model of what it returns; the same question is answered once a process.

    weights: a .safetensors file with the module's state dict, loaded before the conversion. shape, classes: the data's.
    seed: set for torch, numpy and random before the call, so that fresh weights are the same ones each time.

    Raises:
        CodeRefusedError: code is not allowed. FactoryError: it raised, or returned something else.
        ModelError: the weights do not fit it, or it holds an operator that compress has not.
    """
    key = json.dumps(dict(args), sort_keys=True)  # recipes hold plain values
    return _built(spec, key, weights, (*shape,), classes, seed)


@lru_cache(maxsize=8)
def _built(spec: str, key: str, weights: str | None, shape: tuple[int, ...], classes: int, seed: int) -> Model:
    import torch
    from torch import nn

    from compress.model.from_torch import from_torch
    from compress.model.module import initial_model

    place = f"python {spec}"
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        found = call_factory(spec, json.loads(key), "python")
    if isinstance(found, nn.Module):
        if weights is not None:
            load_weights(found, Path(weights), f"weights {weights}")
        return from_torch(found, shape, place)
    if weights is not None:
        raise ModelError("weights go with a function that returns a torch module", place, "leave `weights` out")
    if isinstance(found, Model):
        return found
    if isinstance(found, Graph):
        return initial_model(found, seed)
    if isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], str) and isinstance(found[1], dict):
        return initial_model(build_net(found[0], found[1], shape, classes), seed)
    fix = "return a torch.nn.Module, a compress Model or Graph, or (net name, {args})"
    raise FactoryError(f"it returned {type(found).__name__}", place, fix)


def load_weights(module: Any, path: Path, where: str) -> None:
    """Load a state dict from safetensors, all of it.

    Raises:
        ModelError: the file is missing, a pickle or damaged, or its tensors are not the module's.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise ModelError("there is no such file", where, "give a .safetensors file with the module's state dict")
    with path.open("rb") as file:
        head = file.read(4)
    if head[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        new = path.with_suffix(".safetensors")
        what = "it is a pickle, which can run code when it is opened, so it is not read"
        raise ModelError(what, where, "convert it once: " + _CONVERT.format(path=path, new=new))
    try:
        state = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"it cannot be read: {error}", where, "save it again with safetensors") from error
    want = {k: tuple(v.shape) for k, v in module.state_dict().items()}
    got = {k: tuple(v.shape) for k, v in state.items()}
    optional = {k for k in want if k.endswith("num_batches_tracked")}
    problems = [f"{k} is missing" for k in want if k not in got and k not in optional]
    problems += [f"{k} is not the module's" for k in got if k not in want]
    problems += [f"{k} has shape {got[k]}, the module's {want[k]}" for k in want if k in got and got[k] != want[k]]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        what = f"its tensors are not those of the module: {', '.join(problems[:3])}{more}"
        raise ModelError(what, where, "give the weights that belong to this net, or the args they were trained with")
    module.load_state_dict(state, strict=False)
