"""Walk a recipe from teacher to bundle: every step looked up in the cache, made if absent, and recorded."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from edge_runtime.quiet import without_engine_notice
from numpy.typing import NDArray

from compress.benchmark.host import host_facts
from compress.data.dataset import Dataset
from compress.devices.schema import Device
from compress.evaluate.ledger import TIE, TOLERANCES
from compress.export.reference import VERSION as STATISTICS_VERSION
from compress.export.reference import reference_statistics
from compress.plan.plan import Plan
from compress.plan.steps import StepPlan
from compress.recipe.facts import DataShape
from compress.recipe.schema import KINDS, NetConfig, Recipe, TrainConfig
from compress.run import exports, record
from compress.run.cache import Cache, Entry, make_key
from compress.run.evidence import SPLITS, Evidence, gather
from compress.run.evidence import VERSION as EVIDENCE_VERSION
from compress.run.exports import ArtefactPlan, write_artefact
from compress.run.extras import require
from compress.run.folder import RunFolder
from compress.run.models import ModelStep, origin_inputs, start_model
from compress.run.progress import Display
from compress.run.recorder import Recorder
from compress.run.world import World
from compress.stages.texts import fit_data
from compress.stages.versions import VERSIONS
from compress.tokenized import TokenizedHandle, open_for


@dataclass(frozen=True, slots=True)
class File:
    """An exported file's cache entry and the plan it came from."""

    plan: ArtefactPlan
    folder: Path
    facts: Mapping[str, Any]
    sha256: str


class Walk:
    """One run of one recipe. Its methods are the steps, in order."""

    def __init__(
        self, recipe: Recipe, plan: Plan, cache: Cache, folder: RunFolder, display: Display, world: World
    ) -> None:
        self.recipe, self.plan, self.cache, self.folder, self.world = recipe, plan, cache, folder, world
        self.recorder = Recorder(cache, display, world, before=self._can_finish)
        self.handle = open_for(recipe)

    @cached_property
    def data(self) -> Dataset:
        """The splits; decoded only if some step has to run."""
        return self.handle.load()

    @cached_property
    def devices(self) -> tuple[Device, ...]:
        """The recipe's devices, each asked once whether it answers."""
        from compress.run.measure import devices_of

        return devices_of(self.recipe.measure)

    def _can_finish(self) -> None:
        """Asked before every step with work to do: what would stop the run at its end stops it before any training."""
        from compress.benchmark.latency import check_threads

        texts = ("text",) if self.recipe.task == "text-classification" else ()
        inc = ("inc",) if any(getattr(s, "engine", "own") != "own" for s in self.recipe.stages) else ()
        explained = ("attribution",) if self.recipe.attribution is not None else ()
        require((*texts, *inc, *explained, *(s.config["format"] for s in self.plan.steps if s.kind == "export")))
        check_threads(self.recipe.measure.threads)
        assert self.devices  # each answers, or raised

    # -- models ---------------------------------------------------------------------------------------------------

    def models(self) -> list[ModelStep]:
        """The teacher and the model after every stage."""
        steps: list[ModelStep] = []
        for step in self.plan.steps:
            if step.kind == "teacher":
                steps.append(self._teacher(step))
            elif step.kind in KINDS:
                steps.append(self._stage(step, steps))
        return steps

    def _teacher(self, step: StepPlan) -> ModelStep:
        config = self.recipe.teacher
        inputs = {"data": self.handle.fingerprint, **self._origin(config)}
        key = self._training_key(step, TrainConfig, inputs)
        train = TrainConfig.model_validate(step.config["train"], strict=False) if config.train else None

        def write(folder: Path, progress: Any) -> Mapping[str, Any]:
            model = start_model(config, self.data, self.recipe.seed, "teacher")
            if train is None:
                from compress.run.torch_logits import check_given_teacher

                check_given_teacher(model, self.data, f"teacher {getattr(config, config.origin)}")
                return self._save(folder, model, {}, {})
            return self._run_stage(folder, model, train, key, None, progress, "teacher.train")

        return self._model_step(step, key, write)

    def _stage(self, step: StepPlan, before: list[ModelStep]) -> ModelStep:
        config = KINDS[step.kind].model_validate(step.config["stage"], strict=False)
        teacher, source, index = before[0], before[-1], len(before) - 1
        student = self.recipe.student if index == 0 else None
        inputs = {"data": self.handle.fingerprint, "teacher": teacher.digest}
        inputs |= self._origin(student) if student is not None else {"model": source.digest}
        key = self._training_key(step, type(config), inputs)

        def write(folder: Path, progress: Any) -> Mapping[str, Any]:
            if student is not None:
                model = start_model(student, self.data, self.recipe.seed, "student", teacher)
            else:
                model = source.load()
            return self._run_stage(folder, model, config, key, teacher, progress, f"stages[{index}].{config.kind}")

        return self._model_step(step, key, write)

    def _origin(self, config: NetConfig) -> dict[str, str]:
        shape, classes = self.plan.input_shape, self.plan.classes
        if config.python is not None and classes is None:  # the plan could not know: what the function makes must count
            shape, classes = self.data.input_shape, len(self.data.classes)
        known = DataShape(shape, classes) if shape is not None and classes is not None else None
        return origin_inputs(config, known, self.recipe.seed)

    def _training_key(self, step: StepPlan, config: type, inputs: Mapping[str, str]) -> str:
        tools = record.versions(record.TRAINING)
        return make_key(
            step.kind, step.config, version=VERSIONS[config], inputs=inputs, seed=self.recipe.seed, tools=tools
        )

    def _run_stage(
        self, folder: Path, model: Any, config: Any, key: str, teacher: ModelStep | None, progress: Any, where: str
    ) -> Mapping[str, Any]:
        from compress.stages.base import Context, run_stage
        from compress.stages.catalog import STAGES

        workdir = self.cache.workdir(key)
        context = Context(
            seed=self.recipe.seed,
            data=self.data.without_test(),
            teacher=teacher.load() if teacher else None,
            workdir=workdir,
            progress=progress,
        )
        result = run_stage(STAGES[type(config)], model, config, context, where=where)
        return self._save(folder, result.model, result.kept, result.metrics)

    def _save(self, folder: Path, model: Any, kept: Mapping[str, str], metrics: Mapping[str, Any]) -> Mapping[str, Any]:
        """A checkpoint; of a text model with the tokenizer whose ids its data have, so that it can be a teacher."""
        from compress.model.checkpoint import save_checkpoint

        save_checkpoint(folder, model, metrics)
        if isinstance(self.handle, TokenizedHandle):
            (folder / "tokenizer.json").write_bytes(self.handle.content)
        return {"digest": model.digest(), "kept": dict(kept), "metrics": dict(metrics)}

    def _model_step(self, step: StepPlan, key: str, write: Any) -> ModelStep:
        entry = self.recorder.step(step.name, step.kind, key, write, _describe_model, collective=True)
        if self.world.main:
            self.folder.place(entry.folder, f"checkpoints/{step.name}", without=("entry.json",))
        return ModelStep(step.name, step.kind, entry.folder, entry.record["digest"], entry.record["kept"])

    # -- files ----------------------------------------------------------------------------------------------------

    def files(self, models: list[ModelStep]) -> list[File]:
        """Every exported file, in the plan's order."""
        by_name = {m.name: m for m in models}
        out = []
        for step in self.plan.steps:
            if step.kind == "export":
                model = next(by_name[i] for i in step.inputs if i in by_name)
                plan = ArtefactPlan(step.name, model.name, step.config["format"], step.config["precision"])
                out.append(self._export(plan, step, model))
        return out

    def _export(self, plan: ArtefactPlan, planned: StepPlan, step: ModelStep) -> File:
        tools = record.versions(record.ONNX if plan.format == "onnx" else record.TFLITE)
        inputs = {"model": step.digest, "data": self.handle.fingerprint}
        key = make_key("export", planned.config, version=exports.VERSION, inputs=inputs, seed=0, tools=tools)

        def write(folder: Path, progress: Any) -> Mapping[str, Any]:
            bundle = folder / "bundle"
            model = step.load()
            with without_engine_notice():
                return write_artefact(bundle, model, plan, name=self.recipe.name, task=self.recipe.task, data=self.data)

        entry = self.recorder.step(plan.id, "export", key, write, _describe_file)
        bundle = entry.folder / "bundle"
        self.folder.place(bundle, f"artefacts/{plan.id}")
        digest = json.loads((bundle / "manifest.json").read_text())["files"][entry.record["file"]]["sha256"]
        return File(plan, bundle, entry.record, digest)

    def bundle(self, files: list[File], shipped: str, models: Sequence[ModelStep]) -> Path:
        """The folder to ship: the chosen file, and the same step's file for the other engine beside it."""
        chosen = _siblings(files, shipped)
        inputs = {f.plan.format: f.sha256 for f in chosen} | {"data": self.handle.fingerprint}
        facts = {"name": self.recipe.name, "task": self.recipe.task, "order": [f.plan.format for f in chosen],
                 "statistics": STATISTICS_VERSION}  # fmt: skip
        if self.recipe.task == "text-classification":
            facts["opened_by_optimum"] = True  # bundles made before hold no config.json
        tools = {k: v for f in chosen for k, v in record.versions(record.ENGINES[f.plan.format]).items()}
        key = make_key("bundle", facts, version=exports.VERSION, inputs=inputs, seed=0, tools=tools)

        def write(folder: Path, progress: Any) -> Mapping[str, Any]:
            from compress.export.bundle import write_bundle

            content: dict[str, bytes] = {f.plan.format: (f.folder / f.facts["file"]).read_bytes() for f in chosen}
            reference = self.data.validation.x[: exports.REFERENCE_INPUTS]
            shipping = next(m for m in models if m.name == chosen[0].plan.step)
            preprocessing = fit_data(self.data, shipping.load()).preprocessing
            answers = load_logits(self.exported(chosen[0]).folder)["validation"]
            statistics = reference_statistics(preprocessing, self.data.train.x, answers)
            with without_engine_notice():
                write_bundle(folder / "bundle", name=self.recipe.name, task=self.recipe.task, labels=self.data.classes,
                             preprocessing=preprocessing, files=content, reference_inputs=reference,
                             precision=chosen[0].facts["precision"], statistics=statistics)  # fmt: skip
            return {"formats": list(content)}

        entry = self.recorder.step("bundle", "bundle", key, write, lambda facts: " and ".join(facts["formats"]))
        return entry.folder / "bundle"

    # -- evidence -------------------------------------------------------------------------------------------------

    def evidence(self, steps: list[ModelStep], files: list[File]) -> Evidence:
        """What every model and every file says about validation and test data, and how they compare."""
        simulated = {s.name: self._simulated(s.name, s, twin=False) for s in steps}
        simulated |= {
            f.plan.id: self._simulated(f.plan.id, steps[-1], twin=True) for f in files if f.plan.precision != "as-is"
        }
        exported = {f.plan.id: self.exported(f) for f in files}
        inputs = {f"torch {n}": e.record["digest"] for n, e in simulated.items()}
        inputs |= {f"file {n}": e.record["digest"] for n, e in exported.items()}
        inputs["data"] = self.handle.fingerprint
        judged_by = {"tie": TIE, "tolerances": {k: dict(v) for k, v in TOLERANCES.items()}}
        key = make_key("evaluate", [[s.name for s in steps], judged_by], version=EVIDENCE_VERSION, inputs=inputs,
                       seed=self.recipe.seed, tools={})  # fmt: skip

        def write(folder: Path, progress: Any) -> Mapping[str, Any]:
            rows = gather(
                [s.name for s in steps],
                [(f.plan, f.facts["precision"]) for f in files],
                {n: load_logits(e.folder) for n, e in simulated.items()},
                {n: load_logits(e.folder) for n, e in exported.items()},
                {n: getattr(self.data, n).y for n in SPLITS},
                self.data.classes,
                self.recipe.seed,
            )
            (folder / "evidence.json").write_text(json.dumps(rows.to_json()))
            return {}

        entry = self.recorder.step(
            "evaluate", "evaluate", key, write, lambda _: f"{len(files)} files on validation and test"
        )
        return Evidence.from_json(json.loads((entry.folder / "evidence.json").read_text()))

    def _simulated(self, name: str, step: ModelStep, *, twin: bool) -> Entry:
        inputs = {"model": step.digest, "data": self.handle.fingerprint}
        tools = record.versions(record.TRAINING)
        key = make_key("logits.torch", {"twin": twin}, version=EVIDENCE_VERSION, inputs=inputs, seed=0, tools=tools)

        def write(folder: Path, progress: Any) -> Mapping[str, Any]:
            from compress.model.rewrite import drop_quantizers
            from compress.run.torch_logits import torch_logits

            model = step.load()
            return _save_logits(folder, torch_logits(drop_quantizers(model) if twin else model, self.data))

        return self.recorder.step(f"{name} in torch", "evaluate", key, write, shown=False)

    def exported(self, file: File) -> Entry:
        """What a file says about validation and test data: validation.npy and test.npy."""
        inputs = {"file": file.sha256, "data": self.handle.fingerprint}
        tools = {**record.versions(record.ENGINES[file.plan.format]), "cpu": host_facts()["cpu"]}
        key = make_key("logits.file", {}, version=EVIDENCE_VERSION, inputs=inputs, seed=0, tools=tools)

        def write(folder: Path, progress: Any) -> Mapping[str, Any]:
            from compress.evaluate.predict import logits_of

            with without_engine_notice():
                found = {n: logits_of(file.folder, getattr(self.data, n).x) for n in SPLITS}
            return _save_logits(folder, found)

        return self.recorder.step(f"{file.plan.id} in its engine", "evaluate", key, write, shown=False)


def _siblings(files: list[File], shipped: str) -> list[File]:
    """The shipped file, and the same step's file in another format where that holds the same arithmetic."""
    first = next(f for f in files if f.plan.id == shipped)
    same = (first.plan.step, first.plan.precision)
    others = [f for f in files if (f.plan.step, f.plan.precision) == same and f.plan.format != first.plan.format]
    return [first, *others]


def _save_logits(folder: Path, logits: Mapping[str, NDArray[np.float32]]) -> Mapping[str, Any]:
    from compress.data.dataset import digest_arrays

    for name, array in logits.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    return {"digest": digest_arrays(*(logits[n] for n in SPLITS))}


def load_logits(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Logits by split, from the folder of a cache entry."""
    return {n: np.load(folder / f"{n}.npy", allow_pickle=False) for n in SPLITS}


def _describe_model(facts: Mapping[str, Any]) -> str:
    metrics = facts["metrics"]
    tuned = (metrics.get("rounds") or [metrics])[-1]
    said = []
    if "macs" in metrics:
        before, after = metrics["macs"]
        said.append(f"{after / before:.0%} of the MACs left")
    if "best_epoch" in tuned:
        said.append(f"validation accuracy {tuned['validation_accuracy'][tuned['best_epoch'] - 1]:.2%}")
    return ", ".join(said)


def _describe_file(facts: Mapping[str, Any]) -> str:
    kernels = ", ".join(f"{n} {k}" for k, n in facts["kernels"].items() if n)
    return f"{facts['size_bytes']:,} bytes, {kernels}"
