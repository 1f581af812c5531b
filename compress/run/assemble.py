"""From cache records and evidence to the rows of result.json."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.result import Artefact, DataFacts, Latency, LayerRow
from compress.run.cache import make_key
from compress.run.evidence import SPLITS, Evidence
from compress.run.exports import layer_facts
from compress.run.models import ModelStep
from compress.run.walk import File, Walk


def artefact_row(
    file: File, steps: list[ModelStep], evidence: Evidence, latency: Mapping[str, tuple[Latency, ...]]
) -> Artefact:
    """One exported file with everything counted and measured on it."""
    facts, identity = file.facts, file.plan.id
    kind = next(s.kind for s in steps if s.name == file.plan.step)
    return Artefact(
        id=identity,
        step=file.plan.step,
        role=role_of(kind, file),
        format=file.plan.format,
        precision=facts["precision"],
        path=f"artefacts/{identity}/{facts['file']}",
        sha256=file.sha256,
        layers=_layer_rows(file, steps),
        accuracy=evidence.accuracy[identity],
        paired=evidence.paired.get(identity),
        latency=latency.get(identity, ()),
        **{k: facts[k] for k in ("size_bytes", "gzip_bytes", "parameters", "macs", "sparsity", "kernels", "operators")},
    )


_STRAY = "its weights are integers, but the engine computes it in float: its input or output has no grid of its own"
_ROLES = {"teacher": "teacher", "train": "trained", "distill": "student", "prune": "pruned", "quantize": "int8",
          "vocabulary": "trimmed"}  # fmt: skip


def role_of(kind: str, file: File) -> str:
    """What the table calls a file: `teacher ONNX`, `int8 TFLite`, `float16 TFLite`, ..."""
    name = {"onnx": "ONNX", "tflite": "TFLite"}[file.plan.format]
    precision = file.facts["precision"]
    role = _ROLES[kind] if file.plan.precision == "as-is" else file.plan.precision
    return f"{'dynamic int8' if role == 'int8' and precision == 'dynamic-int8' else role} {name}"


def _layer_rows(file: File, steps: list[ModelStep]) -> tuple[LayerRow, ...]:
    """Each layer of the file beside the same layer as the student began."""
    index = next(i for i, s in enumerate(steps) if s.name == file.plan.step)
    first = steps[min(index, 1)] if len(steps) > 1 else steps[0]
    begun = {row["name"]: row["channels"] for row in layer_facts(first.load().graph)} if index else {}
    kept: dict[str, str] = {}
    for step in steps[1 : index + 1]:
        kept.update(step.kept)
    kept |= dict.fromkeys(file.facts.get("strays", ()), _STRAY)
    rows = []
    for row in file.facts["layers"]:
        kernel = file.facts["layer_kernels"].get(row["name"], "float")
        reason = kept.get(row["name"], "")
        rows.append(LayerRow(name=row["name"], op=row["op"], parameters=row["parameters"], macs=row["macs"],
                             channels_before=begun.get(row["name"], row["channels"]), channels_after=row["channels"],
                             kernel=kernel, reason=reason))  # fmt: skip
    return tuple(rows)


def data_facts(walk: Walk) -> DataFacts:
    """Names and counts of what was read, from the cache on a re-run so that nothing is decoded."""
    key = make_key("data", {}, version=1, inputs={"data": walk.handle.fingerprint}, seed=0, tools={})

    def write(folder: Path, progress: Any) -> Mapping[str, Any]:
        data = walk.data
        counts = {n: len(getattr(data, n)) for n in ("train", "calibration", *SPLITS)} | dict(data.added)
        shape = tuple(d or data.preprocessing.max_length for d in data.input_shape)  # of texts the largest length
        facts = DataFacts(name=walk.handle.name, fingerprint=data.fingerprint, classes=data.classes,
                          input_shape=shape, counts=counts)  # fmt: skip
        return {"facts": facts.model_dump(mode="json")}

    entry = walk.cache.get(key) or walk.cache.put(key, lambda folder: write(folder, None))
    return DataFacts.model_validate(entry.record["facts"])
