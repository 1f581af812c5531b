"""Walk a recipe from teacher to bundle: every step looked up in the cache, made if absent, and recorded."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from edge_runtime.quiet import without_engine_notice

from compress.data.dataset import Dataset
from compress.devices.schema import Device
from compress.export.reference import VERSION as STATISTICS_VERSION
from compress.export.reference import reference_statistics
from compress.plan.plan import Plan
from compress.plan.steps import StepPlan
from compress.recipe.facts import DataShape
from compress.recipe.schema import KINDS, NetConfig, Recipe, TrainConfig
from compress.run import exports, record
from compress.run.answers import exported, load_logits
from compress.run.cache import Cache, make_key
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
            answers = load_logits(exported(self, chosen[0]).folder)["validation"]
            statistics = reference_statistics(preprocessing, self.data.train.x, answers)
            with without_engine_notice():
                write_bundle(folder / "bundle", name=self.recipe.name, task=self.recipe.task, labels=self.data.classes,
                             preprocessing=preprocessing, files=content, reference_inputs=reference,
                             precision=chosen[0].facts["precision"], statistics=statistics)  # fmt: skip
            return {"formats": list(content)}

        entry = self.recorder.step("bundle", "bundle", key, write, lambda facts: " and ".join(facts["formats"]))
        return entry.folder / "bundle"


def _siblings(files: list[File], shipped: str) -> list[File]:
    """The shipped file, and the same step's file in another format where that holds the same arithmetic."""
    first = next(f for f in files if f.plan.id == shipped)
    same = (first.plan.step, first.plan.precision)
    others = [f for f in files if (f.plan.step, f.plan.precision) == same and f.plan.format != first.plan.format]
    return [first, *others]


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
