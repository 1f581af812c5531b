"""Run a recipe: walk the steps, decide what ships, and leave a run folder with the evidence."""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from compress.benchmark.host import host_facts
from compress.errors import BudgetMissedError, ParityError
from compress.evaluate.select import Choice, budget_rows, choose, flags
from compress.plan.plan import make_plan
from compress.recipe.schema import Recipe
from compress.report.build import write_reports
from compress.report.table import render
from compress.result import Artefact, DataFacts, LayerRow, Latency, Result, save_result
from compress.run import record
from compress.run.cache import Cache, make_key
from compress.run.evidence import SPLITS, Evidence
from compress.run.exports import layer_facts
from compress.run.folder import RunFolder
from compress.run.models import ModelStep
from compress.run.progress import Display
from compress.run.walk import File, Walk
from compress.run.world import World

MEASURE_VERSION = 1


def default_cache() -> Path:
    """$XDG_CACHE_HOME/compress, or ~/.cache/compress."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "compress"


def run_recipe(
    recipe: Recipe, *, out: Path | None, cache_root: Path | None, smoke: bool, quiet: bool, console: Console
) -> Result | None:
    """Run everything and print the table. Other ranks of a torchrun return None after the training.

    Raises:
        CompressError: a step failed; what was finished is in the cache and in the run folder.
        ParityError: an exported file strayed from its model. The report is written and names the hop.
        BudgetMissedError: everything is written, the bundle too, but the result is over budget.
    """
    started, begun = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    world = World()
    display = Display(console, quiet=quiet or not world.main)
    cache = Cache(cache_root or default_cache(), display.warn)
    folder = RunFolder(out or Path("runs") / recipe.name)
    walk = Walk(recipe, cache, folder, display, world)
    if not world.main:
        walk.models()
        return None
    with folder.held():
        folder.write_text("plan.json", json.dumps(make_plan(recipe).to_json(), indent=1) + "\n")
        steps = walk.models()
        folder.keep_only("checkpoints", {s.name for s in steps})
        files = walk.files(steps)
        folder.keep_only("artefacts", {f.plan.id for f in files})
        evidence = walk.evidence(steps, files)
        latency, host = measure(walk, files)
        artefacts = tuple(_artefact(f, steps, evidence, latency) for f in files)
        broken = [h for h in evidence.ledger if not h.ok]
        choice = choose(artefacts, evidence.ledger, recipe.budget.model_dump(), allow_slower=recipe.allow_slower)
        result = Result(
            name=recipe.name,
            recipe=recipe.model_dump(mode="json"),
            recipe_digest=hashlib.sha256(recipe.model_dump_json().encode()).hexdigest(),
            seed=recipe.seed,
            started=started,
            seconds=round(time.perf_counter() - begun, 2),
            versions=record.versions(record.SHOWN),
            host=host,
            data=_data_facts(walk),
            steps=tuple(walk.rows),
            artefacts=artefacts,
            ledger=evidence.ledger,
            budget=budget_rows(artefacts, choice.id, recipe.budget.model_dump(), allow_slower=recipe.allow_slower),
            shipped=choice.id,
            shipped_reason=choice.reason,
            flags=flags(artefacts, choice.id, evidence.ledger),
            smoke=smoke,
        )
        _publish(walk, files, choice, result)
    console.print(render(result))
    console.print(f"report  {folder.root / 'report.html'}\nbundle  {folder.root / 'bundle'}", highlight=False, soft_wrap=True)
    if broken:
        hop = broken[0]
        raise ParityError(f"{hop.source} and {hop.target} disagree: {hop.reason}", f"hop {hop.name!r}", _PARITY_FIX)
    if missed := [b for b in result.budget if not b.ok]:
        what = "; ".join(f"{b.name} is {b.value:,.4g} {b.unit}, the limit is {b.limit:,.4g}" for b in missed)
        blame = next((b.blame for b in missed if b.blame), "")
        fix = f"{blame + '; ' if blame else ''}the bundle is saved all the same; see the report for what each step cost"
        raise BudgetMissedError(f"over budget: {what}", recipe.name, fix)
    return result


_PARITY_FIX = "keep the named layers in float (quantize.keep_float), or report the net; the report shows every hop"


def measure(walk: Walk, files: list[File]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Latency of every file against the teacher's, artefact id -> Latency as plain data, and the facts of the host."""
    config = walk.recipe.measure
    host = host_facts()
    tools = {**record.versions(record.ENGINES["onnx"]), **record.versions(record.ENGINES["tflite"])}
    inputs = {f.plan.id: f.sha256 for f in files}
    identity = {"cpu": str(host["cpu"]), "cores": str(host["cores"])}
    key = make_key("measure", config.model_dump(mode="json"), version=MEASURE_VERSION, inputs=inputs, seed=0,
                   tools={**tools, **identity})  # fmt: skip

    def write(folder: Path, progress: Any) -> Mapping[str, Any]:
        from compress.benchmark.latency import measure as time_bundles

        rows = time_bundles({f.plan.id: f.folder for f in files}, files[0].plan.id, walk.data.validation.x[0],
                            threads=config.threads, profile=config.profile, progress=progress)  # fmt: skip
        doc = {k: v.model_dump(mode="json") for k, v in rows.items()}
        (folder / "latency.json").write_text(json.dumps({"latency": doc, "host": host_facts()}))
        return {}

    entry = walk.step("measure", "measure", key, write, lambda _: f"{len(files)} files on {', '.join(config.devices)}")
    doc = json.loads((entry.folder / "latency.json").read_text())
    return doc["latency"], doc["host"]


def _artefact(file: File, steps: list[ModelStep], evidence: Evidence, latency: Mapping[str, Any]) -> Artefact:
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
        latency=(Latency.model_validate(latency[identity]),) if identity in latency else (),
        **{k: facts[k] for k in ("size_bytes", "gzip_bytes", "parameters", "macs", "sparsity", "kernels", "operators")},
    )


_ROLES = {"teacher": "teacher", "train": "trained", "distill": "student", "prune": "pruned", "quantize": "int8"}


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
    kept = {}
    for step in steps[1 : index + 1]:
        kept.update(step.kept)
    rows = []
    for row in file.facts["layers"]:
        kernel = file.facts["layer_kernels"].get(row["name"], "float")
        reason = kept.get(row["name"], "")
        rows.append(LayerRow(name=row["name"], op=row["op"], parameters=row["parameters"], macs=row["macs"],
                             channels_before=begun.get(row["name"], row["channels"]), channels_after=row["channels"],
                             kernel=kernel, reason=reason))  # fmt: skip
    return tuple(rows)


def _data_facts(walk: Walk) -> DataFacts:
    """Names and counts of what was read, from the cache on a re-run so that nothing is decoded."""
    key = make_key("data", {}, version=1, inputs={"data": walk.handle.fingerprint}, seed=0, tools={})

    def write(folder: Path, progress: Any) -> Mapping[str, Any]:
        data = walk.data
        counts = {n: len(getattr(data, n)) for n in ("train", "calibration", *SPLITS)}
        facts = DataFacts(name=walk.handle.name, fingerprint=data.fingerprint, classes=data.classes,
                          input_shape=data.input_shape, counts=counts)  # fmt: skip
        return {"facts": facts.model_dump(mode="json")}

    entry = walk.cache.get(key) or walk.cache.put(key, lambda folder: write(folder, None))
    return DataFacts.model_validate(entry.record["facts"])


def _publish(walk: Walk, files: list[File], choice: Choice, result: Result) -> None:
    """Bundle, result, reports and record, in this order: a result never names a bundle that is not there."""
    write_shipped_bundle(walk.folder, files, choice.id)
    save_result(walk.folder.root / "result.json", result)
    write_reports(result, walk.folder.root)
    doc = {"recipe": result.recipe, "recipe_digest": result.recipe_digest, "seed": result.seed, "started": result.started,
           "seconds": result.seconds, "versions": result.versions, "host": result.host,
           "data": result.data.model_dump(mode="json"), "steps": [s.model_dump(mode="json") for s in result.steps],
           "artefacts": {a.id: a.sha256 for a in result.artefacts}, "shipped": result.shipped}  # fmt: skip
    walk.folder.write_text("run.json", json.dumps(doc, indent=1) + "\n")
