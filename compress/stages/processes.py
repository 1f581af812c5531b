"""The one way to the device and to the other processes of a torchrun."""

import os

import torch
from accelerate import Accelerator

from compress.errors import StageError


def current_accelerator() -> Accelerator:
    """accelerate's view of this process: a GPU where there is one, and its fellow processes.

    accelerate has to be told that there is no GPU: otherwise each process of a torchrun on a CPU trains alone, without
    a word (1.15.0).

    Raises:
        StageError: torchrun started several processes and accelerate sees another number.
    """
    made = Accelerator(cpu=not torch.accelerator.is_available())
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if made.num_processes != started:
        what = f"torchrun started {started} processes, accelerate sees {made.num_processes}"
        raise StageError(what, "training", "start the run with torchrun, without accelerate's own launcher")
    return made
