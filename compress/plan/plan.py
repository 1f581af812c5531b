"""Recipe -> Plan: the ordered steps with their inputs, and what will happen to each layer. No torch, no data read."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from compress.errors import ModelError, PlanError
from compress.model.graph import Graph
from compress.model.shapes import count_macs, count_parameters
from compress.plan.layers import Estimate, LayerPlan, follow, step_name
from compress.plan.steps import StepPlan, plan_steps
from compress.plan.target import for_target, load_target
from compress.recipe.facts import DataShape, data_shape, net_graph
from compress.recipe.schema import (
    NetConfig,
    PruneConfig,
    QuantizeConfig,
    Recipe,
    StageConfig,
    StudentConfig,
    VocabularyConfig,
)

FORMAT, VERSION = "compress.plan", 1


class NetFacts(BaseModel):
    """A net before anything has happened to it; MACs are multiply-accumulates for one example."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    layers: int
    parameters: int
    macs: int


class Plan(BaseModel):
    """What a run of a recipe will do. plan.json.

    recipe: as compress writes it, all defaults filled in. input_shape, classes, teacher, student, layers, estimates:
    empty where only reading the data could tell (hub data sets). student: the net that goes through the stages.
    notes: what a reader should know before starting the run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["compress.plan"] = "compress.plan"
    version: Literal[1] = 1
    name: str
    recipe: dict[str, Any]
    target: str
    input_shape: tuple[int, ...] | None
    classes: int | None
    teacher: NetFacts | None
    student: NetFacts | None
    steps: tuple[StepPlan, ...]
    layers: tuple[LayerPlan, ...]
    estimates: tuple[Estimate, ...] = Field(description="Parameters and MACs after each step that makes a model.")
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data, the inverse of model_validate."""
        return self.model_dump(mode="json")


def make_plan(recipe: Recipe) -> Plan:
    """Plan a run.

    Raises:
        PlanError: a layer pattern, net or checkpoint does not fit the recipe's data.
        DataError: a file that the recipe names is missing.
    """
    profile = load_target(recipe.target)
    stages = tuple(for_target(stage, profile) for stage in recipe.stages)
    shape = data_shape(recipe.data, recipe.task)
    try:
        teacher = net_graph(recipe.teacher, shape, recipe.seed)
        student = net_graph(recipe.student, shape, recipe.seed, teacher) if recipe.student is not None else teacher
        begun = recipe.student or recipe.teacher
        layers, estimates = follow(student, stages) if student is not None else ((), ())
    except ModelError as error:
        raise PlanError(error.what, error.where, error.fix) from error
    return Plan(
        name=recipe.name,
        recipe=recipe.model_dump(mode="json"),
        target=recipe.target,
        input_shape=_input_shape(shape, teacher),
        classes=shape.classes if shape else None,
        teacher=_facts(recipe.teacher, teacher),
        student=_facts(begun, student),
        steps=plan_steps(recipe, stages),
        layers=layers,
        estimates=estimates,
        notes=_notes(recipe, shape, teacher, student),
    )


def _input_shape(shape: DataShape | None, teacher: Graph | None) -> tuple[int, ...] | None:
    """Of one example; of texts the most tokens that are read."""
    if shape is None:
        return teacher.input_shape if teacher else None
    return (shape.max_length,) if shape.is_text else shape.input_shape


def _facts(config: NetConfig, graph: Graph | None) -> NetFacts | None:
    if graph is None:
        return None
    name = config.net or f"{config.origin} {getattr(config, config.origin)}"
    if isinstance(config, StudentConfig) and config.from_teacher is not None:
        name = f"layers {', '.join(map(str, config.from_teacher.layers))} of the teacher"
    return NetFacts(name=name, layers=len(graph.layers), parameters=count_parameters(graph), macs=count_macs(graph))


def _notes(recipe: Recipe, shape: DataShape | None, teacher: Graph | None, student: Graph | None) -> tuple[str, ...]:
    notes = []
    if shape is None:
        notes.append("The data's shape is known only once it is downloaded, so layers are not listed here.")
    profile = load_target(recipe.target)
    for form in recipe.export:
        if (kind := form.partition("-")[0]) not in profile.formats:
            notes.append(f"{form}: {recipe.target} has no engine for {kind} files; {profile.reasons['formats']}")
    quantizing = [s for s in recipe.stages if isinstance(s, QuantizeConfig)]
    if not quantizing:
        notes.append("No quantize stage: the result stays float.")
    elif profile.weight_bits == 7 and any(s.weight_bits is None for s in quantizing):
        notes.append(f"7-bit weights because of {recipe.target}: {profile.reasons['weight_bits']}")
    if recipe.task == "text-classification" and quantizing and any(f.startswith("tflite") for f in recipe.export):
        notes.append("tflite: layers of text models find their ranges while running there, calibrated or not.")
    if teacher is not None and student is not None and count_macs(student) > count_macs(teacher):
        notes.append("The student costs more multiply-accumulates than the teacher.")
    if any(isinstance(s, PruneConfig) and s.what == "weights" for s in recipe.stages):
        notes.append("Zeroed single weights shrink a file only once it is compressed; they make nothing faster.")
    return (*notes, *_zeros_lost(recipe.stages))


def _zeros_lost(stages: Sequence[StageConfig]) -> Iterator[str]:
    """A sentence on each step that trains weights which a step before it set to zero."""
    zeroed = ""
    for index, stage in enumerate(stages):
        step = step_name(index, stage)
        if isinstance(stage, PruneConfig) and stage.what == "weights":
            zeroed = step
        elif zeroed and _trains(stage):
            cure = "`how: static` keeps them" if isinstance(stage, QuantizeConfig) else f"put {zeroed} behind it"
            yield f"{step} trains the weights that {zeroed} sets to zero, and they do not stay zero; {cure}."


def _trains(stage: StageConfig) -> bool:
    if isinstance(stage, QuantizeConfig):
        return stage.how == "qat"
    if isinstance(stage, VocabularyConfig):
        return False
    return not isinstance(stage, PruneConfig) or stage.finetune_epochs > 0
