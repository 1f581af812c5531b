"""The steps of a run, in order: what each does in words, what it reads, and all of its settings as plain data."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from compress.plan.layers import step_name
from compress.recipe.schema import (
    DistillConfig,
    NetConfig,
    PruneConfig,
    QuantizeConfig,
    Recipe,
    StageConfig,
    StudentConfig,
    TrainConfig,
    Training,
    VocabularyConfig,
)

TEACHER = "00-teacher"


class StepPlan(BaseModel):
    """One step.

    name: unique; steps that make a model are numbered, exports are named by their artefact.
    kind: data, teacher, a stage's kind, export, evaluate, measure, select, bundle or report.
    config: every setting that changes its outcome, ready for a cache key. inputs: names of the steps it reads.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kind: str
    description: str
    config: dict[str, Any]
    inputs: tuple[str, ...] = ()


def plan_steps(recipe: Recipe, stages: Sequence[StageConfig]) -> tuple[StepPlan, ...]:
    """All steps; `stages` are the recipe's with the target's choices filled in."""
    data = recipe.data.settings() | {"seed": recipe.seed}
    steps = [StepPlan(name="data", kind="data", description=_data(recipe), config=data)]
    steps.append(_teacher(recipe))
    for index, stage in enumerate(stages):
        steps.append(_stage(recipe, index, stage, before=steps[-1].name))
    models = [s.name for s in steps[1:]]
    exports = _exports(recipe, models, stages)
    files = tuple(s.name for s in exports)
    steps += exports
    devices = ", ".join(recipe.measure.devices)
    measure = recipe.measure
    threads = f"{measure.threads} thread" + ("" if measure.threads == 1 else "s")
    budget = recipe.budget.settings() | {"allow_slower": recipe.allow_slower}
    steps += [
        _step(
            "evaluate", "compare every model and file on validation and test examples", {}, ("data", *models, *files)
        ),
        _step(
            "measure",
            f"time every file on {devices}, {threads}, {measure.profile}",
            measure.settings(),
            ("data", *files),
        ),
        _step("select", f"choose what ships: {_budget(recipe)}", budget, ("evaluate", "measure")),
        _step("bundle", "write the bundle for edge_runtime", {"name": recipe.name}, ("data", "select", *files)),
        _step(
            "report", "write result.json, report.html and report.md", {}, ("evaluate", "measure", "select", "bundle")
        ),
    ]
    return tuple(steps)


def _step(name: str, description: str, config: dict[str, Any], inputs: tuple[str, ...]) -> StepPlan:
    return StepPlan(name=name, kind=name, description=description, config=config, inputs=inputs)


def _data(recipe: Recipe) -> str:
    data = recipe.data
    source = getattr(data, data.kind)
    limit = f", at most {data.limit} training examples" if data.limit is not None else ""
    return f"read {source}{limit}; {percent(data.validation)} of the training examples become validation data"


def _teacher(recipe: Recipe) -> StepPlan:
    train = recipe.teacher.train
    how = f", then train {_epochs(train.epochs)} on the labels" if train is not None else ""
    config = recipe.teacher.settings() | {"seed": recipe.seed}
    if train is not None:
        config["train"] = _augmented(train, recipe).settings()
    return StepPlan(
        name=TEACHER, kind="teacher", description=f"{_origin(recipe.teacher)}{how}", config=config, inputs=("data",)
    )


def _origin(net: NetConfig) -> str:
    if isinstance(net, StudentConfig) and net.from_teacher is not None:
        return f"take layers {', '.join(map(str, net.from_teacher.layers))} of the teacher"
    verb = {"net": "build", "python": "call"}.get(net.origin, "open")
    return f"{verb} {getattr(net, net.origin)}"


def percent(share: float) -> str:
    """0.125 -> 12.5 %."""
    return f"{100 * share:.4g} %"


def _epochs(count: int) -> str:
    return f"{count} epoch" + ("" if count == 1 else "s")


def _augmented(stage: StageConfig, recipe: Recipe) -> StageConfig:
    """A stage that trains, with what changes its examples: its own setting, else that of the data."""
    if not isinstance(stage, Training):
        return stage
    augment = stage.augment if stage.augment is not None else recipe.data.augment
    if isinstance(stage, TrainConfig):  # altered copies of texts have no labels
        augment = augment.model_copy(update={"text_copies": 0})
    return stage.model_copy(update={"augment": augment})


def _stage(recipe: Recipe, index: int, stage: StageConfig, *, before: str) -> StepPlan:
    config: dict[str, Any] = {"stage": _augmented(stage, recipe).settings(), "seed": recipe.seed}
    start, inputs = "", ["data", before]
    if index == 0 and recipe.student is not None:
        config["student"] = recipe.student.settings()
        start, inputs = f"{_origin(recipe.student)}, then ", ["data"]
    if _learns_from_teacher(stage) and TEACHER not in inputs:
        inputs.append(TEACHER)
    return StepPlan(
        name=step_name(index, stage),
        kind=stage.kind,
        description=start + _describe(stage),
        config=config,
        inputs=tuple(inputs),
    )


def _learns_from_teacher(stage: StageConfig) -> bool:
    if isinstance(stage, PruneConfig):
        return stage.distill and stage.finetune_epochs > 0
    if isinstance(stage, QuantizeConfig):
        return stage.distill and stage.how == "qat"
    return isinstance(stage, DistillConfig)


def _describe(stage: StageConfig) -> str:
    if isinstance(stage, DistillConfig):
        counts = {"pair of features": len(stage.hints), "pair of attention maps": len(stage.attention),
                  "pair of token relations": len(stage.relations)}  # fmt: skip
        pairs = [
            f", matching {n} {what.replace('pair', 'pairs') if n > 1 else what}" for what, n in counts.items() if n
        ]
        soft = f"train {_epochs(stage.epochs)} on the teacher's soft labels (temperature {stage.temperature:g})"
        return soft + "".join(pairs)
    if isinstance(stage, PruneConfig):
        if stage.what == "weights":
            what = f"set {percent(stage.sparsity or 0)} of the weights to zero"
        else:
            unit = "multiply-accumulates" if stage.keep_macs is not None else "parameters"
            what = (
                f"remove channels until {percent(stage.keep_macs or stage.keep_parameters or 1)} of the {unit} are left"
            )
        rounds = f" in {stage.iterations} rounds" if stage.iterations > 1 else ""
        teacher = " with the teacher" if stage.distill else ""
        tune = f"; fine-tune {_epochs(stage.finetune_epochs)}{teacher}" if stage.finetune_epochs else ""
        return f"{what}{rounds}, by {stage.importance}{tune}"
    if isinstance(stage, QuantizeConfig):
        bits = stage.weight_bits or 8
        if stage.how == "qat":
            teacher = " and the teacher" if stage.distill else ""
            return (
                f"int{bits} weights, int8 activations; train {_epochs(stage.epochs)} with simulated rounding{teacher}"
            )
        if stage.how == "dynamic":
            return f"int{bits} weights; activation ranges are found at run time"
        return f"int{bits} weights, int8 activations; ranges by {stage.calibration} from calibration data"
    if isinstance(stage, VocabularyConfig):
        often = "" if stage.min_count == 1 else f" in at least {stage.min_count} of them"
        narrow = f"; {stage.rank} numbers a token" if stage.rank is not None else ""
        return f"keep the tokens that the training texts use{often}{narrow}"
    return f"train {_epochs(stage.epochs)} on the labels"


def _exports(recipe: Recipe, models: Sequence[str], stages: Sequence[StageConfig]) -> list[StepPlan]:
    """Every model as a plain file, so that each can be compared; the last one in every format the recipe names."""
    common = "onnx" if any(f.startswith("onnx") for f in recipe.export) else "tflite"
    wanted = [(model, common, "as-is") for model in models[:-1]]
    if recipe.teacher.origin == "onnx" and wanted:  # compared with as it was given
        wanted[0] = (models[0], "onnx", "as-is")
    for form in recipe.export:
        kind, _, twin = form.partition("-")
        wanted.append((models[-1], kind, twin or "as-is"))
    quantized = {name: any(s.kind == "quantize" for s in stages[:i]) for i, name in enumerate(models)}
    steps = []
    for model, kind, precision in wanted:
        suffix = "" if precision == "as-is" else f"-{precision}"
        what = precision if suffix else "int8" if quantized[model] else "float32"
        format_name = {"onnx": "ONNX", "tflite": "TFLite"}[kind]
        steps.append(
            StepPlan(
                name=f"{model}{suffix}.{kind}",
                kind="export",
                description=f"write {model} as {what} {format_name} and check what the file holds",
                config={"format": kind, "precision": precision, "name": recipe.name, "task": recipe.task},
                inputs=("data", model),
            )
        )
    return steps


def _budget(recipe: Recipe) -> str:
    budget, parts = recipe.budget, []
    if budget.accuracy_drop_points is not None:
        points = f"{budget.accuracy_drop_points:g} point" + ("" if budget.accuracy_drop_points == 1 else "s")
        parts.append(f"accuracy at most {points} below the teacher's")
    if budget.size_bytes is not None:
        parts.append(f"at most {budget.size_bytes:,} bytes")
    parts += [f"at most {limit:g} ms on {device}" for device, limit in budget.latency_ms.items()]
    parts += [] if recipe.allow_slower else ["smaller and faster than the teacher"]
    return ", ".join(parts) or "no budget"
