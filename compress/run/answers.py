"""What models say in torch and files in their engines, from the cache where nothing changed, and how they compare."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from edge_runtime.quiet import without_engine_notice
from numpy.typing import NDArray

from compress.benchmark.host import host_facts
from compress.evaluate.ledger import TIE, TOLERANCES
from compress.run import record
from compress.run.cache import Entry, make_key
from compress.run.evidence import SPLITS, VERSION, Evidence, gather
from compress.run.models import ModelStep

if TYPE_CHECKING:
    from compress.run.walk import File, Walk


def evidence_of(walk: "Walk", steps: Sequence[ModelStep], files: Sequence["File"]) -> Evidence:
    """What every model and every file says about validation and test data, and how they compare."""
    in_torch = {s.name: _simulated(walk, s.name, s, twin=False) for s in steps}
    in_torch |= {
        f.plan.id: _simulated(walk, f.plan.id, steps[-1], twin=True) for f in files if f.plan.precision != "as-is"
    }
    in_engine = {f.plan.id: exported(walk, f) for f in files}
    inputs = {f"torch {n}": e.record["digest"] for n, e in in_torch.items()}
    inputs |= {f"file {n}": e.record["digest"] for n, e in in_engine.items()}
    inputs["data"] = walk.handle.fingerprint
    judged_by = {"tie": TIE, "tolerances": {k: dict(v) for k, v in TOLERANCES.items()}}
    key = make_key("evaluate", [[s.name for s in steps], judged_by], version=VERSION, inputs=inputs,
                   seed=walk.recipe.seed, tools={})  # fmt: skip

    def write(folder: Path, progress: Any) -> Mapping[str, Any]:
        rows = gather(
            [s.name for s in steps],
            [(f.plan, f.facts["precision"]) for f in files],
            {n: load_logits(e.folder) for n, e in in_torch.items()},
            {n: load_logits(e.folder) for n, e in in_engine.items()},
            {n: getattr(walk.data, n).y for n in SPLITS},
            walk.data.classes,
            walk.recipe.seed,
        )
        (folder / "evidence.json").write_text(json.dumps(rows.to_json()))
        return {}

    entry = walk.recorder.step(
        "evaluate", "evaluate", key, write, lambda _: f"{len(files)} files on validation and test"
    )
    return Evidence.from_json(json.loads((entry.folder / "evidence.json").read_text()))


def _simulated(walk: "Walk", name: str, step: ModelStep, *, twin: bool) -> Entry:
    inputs = {"model": step.digest, "data": walk.handle.fingerprint}
    tools = record.versions(record.TRAINING)
    key = make_key("logits.torch", {"twin": twin}, version=VERSION, inputs=inputs, seed=0, tools=tools)

    def write(folder: Path, progress: Any) -> Mapping[str, Any]:
        from compress.model.rewrite import drop_quantizers
        from compress.run.torch_logits import torch_logits

        model = step.load()
        return _save_logits(folder, torch_logits(drop_quantizers(model) if twin else model, walk.data))

    return walk.recorder.step(f"{name} in torch", "evaluate", key, write, shown=False)


def exported(walk: "Walk", file: "File") -> Entry:
    """What a file says about validation and test data: validation.npy and test.npy."""
    inputs = {"file": file.sha256, "data": walk.handle.fingerprint}
    tools = {**record.versions(record.ENGINES[file.plan.format]), "cpu": host_facts()["cpu"]}
    key = make_key("logits.file", {}, version=VERSION, inputs=inputs, seed=0, tools=tools)

    def write(folder: Path, progress: Any) -> Mapping[str, Any]:
        from compress.evaluate.predict import logits_of

        with without_engine_notice():
            found = {n: logits_of(file.folder, getattr(walk.data, n).x) for n in SPLITS}
        return _save_logits(folder, found)

    return walk.recorder.step(f"{file.plan.id} in its engine", "evaluate", key, write, shown=False)


def _save_logits(folder: Path, logits: Mapping[str, NDArray[np.float32]]) -> Mapping[str, Any]:
    from compress.data.dataset import digest_arrays

    for name, array in logits.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    return {"digest": digest_arrays(*(logits[n] for n in SPLITS))}


def load_logits(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Logits by split, from the folder of a cache entry."""
    return {n: np.load(folder / f"{n}.npy", allow_pickle=False) for n in SPLITS}
