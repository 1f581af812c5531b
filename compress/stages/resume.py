"""A training's state on disk: one file, replaced whole after every epoch. A checksum line, then safetensors."""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compress.errors import CacheError

FILE = "training.state"


@dataclass(frozen=True, slots=True)
class State:
    """tensors: by name, in any nesting joined with dots. facts: plain JSON data."""

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]


def save_state(folder: Path, identity: str, state: State) -> None:
    """Replace the folder's state file; a kill at any moment leaves the old one or the new one.

    Raises:
        CacheError: it cannot be written, for example because the disk is full; the old file is intact.
    """
    from safetensors.torch import save

    tensors = {k: v.detach().cpu().contiguous() for k, v in state.tensors.items()}
    body = save(tensors, {"identity": identity, "facts": json.dumps(dict(state.facts))})
    temporary = folder / f".{FILE}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        temporary.replace(folder / FILE)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        fix = "free some space or choose another cache folder; a rerun goes on from the last epoch saved"
        raise CacheError(f"the training state cannot be written: {error.strerror}", str(folder), fix) from error


def load_state(folder: Path, identity: str) -> tuple[State | None, str]:
    """The state of the training with this identity, and a note if there is a file that cannot be used."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        checksum, _, body = (folder / FILE).read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        return None, f"{folder / FILE} cannot be read ({error.strerror}); training starts again"
    if hashlib.sha256(body).hexdigest().encode() != checksum:
        return None, f"{folder / FILE} is damaged; training starts again"
    try:
        header = json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])["__metadata__"]
        if header["identity"] != identity:
            return None, f"{folder / FILE} belongs to another training; training starts again"
        return State(load(body), json.loads(header["facts"])), ""
    except (SafetensorError, KeyError, ValueError) as error:
        return None, f"{folder / FILE} is not a training state ({error!r}); training starts again"


def nest(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names with a prefix, so that several tables fit one file."""
    return {f"{prefix}.{k}": v for k, v in tensors.items()}


def unnest(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of nest."""
    return {k[len(prefix) + 1 :]: v for k, v in tensors.items() if k.startswith(f"{prefix}.")}


def digest_tensors(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, types, shapes and values."""
    h = hashlib.sha256()
    for name in sorted(tensors):
        t = tensors[name].detach().cpu().contiguous()
        h.update(f"{name}|{t.dtype}|{tuple(t.shape)}|".encode())
        h.update(t.reshape(-1).view(torch.uint8).numpy().tobytes())
    return h.hexdigest()
