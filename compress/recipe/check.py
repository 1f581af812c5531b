"""What the schema cannot see: parts of a recipe that are fine alone but not together, or not with what they name."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compress.errors import CodeRefusedError, DataError, FactoryError, MissingExtraError, ModelError
from compress.model.graph import Graph
from compress.model.nets import ALL_NETS, TEXT_NETS
from compress.recipe.check_stages import Chain, check_stage
from compress.recipe.document import KeyPath, Problem
from compress.recipe.facts import DataShape, data_shape, net_graph
from compress.recipe.problems import nearest
from compress.recipe.schema import (
    AugmentConfig,
    BudgetConfig,
    DataConfig,
    InvarianceConfig,
    MeasureConfig,
    NetConfig,
    QuantizeConfig,
    Recipe,
    SliceConfig,
    StageConfig,
    StudentConfig,
    TeacherConfig,
    Training,
)

_OWN = frozenset({"calibration", "percentile", "layers", "keep_float", "weight_bits"})


@dataclass(frozen=True, slots=True)
class Parts:
    """A recipe, or what of a faulty one is sound; None (in stages too) stands for what is not."""

    task: str | None = None
    data: DataConfig | None = None
    teacher: TeacherConfig | None = None
    student: StudentConfig | None = None
    has_student: bool = False
    stages: Sequence[StageConfig | None] = ()
    target: str | None = None
    export: tuple[str, ...] | None = None
    measure: MeasureConfig | None = None
    budget: BudgetConfig | None = None
    invariance: InvarianceConfig | None = None
    costs: tuple[tuple[float, ...], ...] | None = None
    slices: tuple[SliceConfig, ...] | None = None
    sensitive: tuple[str, ...] | None = None

    @staticmethod
    def of(recipe: Recipe) -> "Parts":
        """All of a sound recipe."""
        return Parts(
            recipe.task, recipe.data, recipe.teacher, recipe.student, recipe.student is not None, recipe.stages,
            recipe.target, recipe.export, recipe.measure, recipe.budget, recipe.invariance, recipe.costs,
            recipe.slices, recipe.sensitive,
        )  # fmt: skip


def check(parts: Parts) -> list[Problem]:
    """Every problem that the sound parts have with each other and with the files they name."""
    problems: list[Problem] = []
    shape = _check_data(parts.data, parts.task, problems)
    _check_task(parts, problems)
    _check_augment(parts, problems)
    teacher = _check_net(parts.teacher, ("teacher",), shape, problems)
    brings_none = parts.teacher is not None and parts.teacher.net in TEXT_NETS
    if brings_none and parts.data is not None and parts.data.is_text and parts.data.tokenizer is None:
        text = "missing; a net brings no tokenizer; name a tokenizer.json, or a folder that holds one"
        problems.append(Problem(("data", "tokenizer"), text))
    if parts.teacher is not None and parts.teacher.net is not None and parts.teacher.train is None:
        text = "a net begins with random weights; add `train: {epochs: 10}`, or give a checkpoint instead"
        problems.append(Problem(("teacher",), text))
    if teacher is not None and (whole := next((n for n in teacher if n.op == "onnx"), None)):
        _check_whole_file(parts, str(whole.attrs["why"]), problems)
        teacher = None if not parts.has_student else teacher
    graph = _check_net(parts.student, ("student",), shape, problems, teacher) if parts.has_student else teacher
    given = not parts.has_student or _has_weights(parts.student)
    quantized = graph is not None and graph.quantized  # a checkpoint may hold a quantized model
    chain = Chain(teacher, graph, _same(parts), trained=given, quantized=quantized, problems=problems)
    if parts.has_student and not parts.stages:
        chain.report(("student",), "no stage makes use of it; begin `stages` with distill or train")
    for i, stage in enumerate(parts.stages):
        check_stage(chain, stage, ("stages", i))
    _check_outputs(parts, chain.quantized, problems)
    _check_engine(parts, problems)
    _check_evidence(parts, shape, problems)
    return problems


def _has_weights(config: NetConfig | None) -> bool:
    """Whether it starts with weights that somebody has trained."""
    return config is None or config.origin in ("checkpoint", "hf", "from_teacher") or config.weights is not None


def _check_whole_file(parts: Parts, why: str, problems: list[Problem]) -> None:
    """An ONNX teacher that cannot be said in our operators can teach, and nothing else."""
    if not parts.has_student:
        text = f"compress cannot take it apart ({why}), so it can only teach; name a student"
        problems.append(Problem(("teacher", "onnx"), text))
    if parts.teacher is not None and parts.teacher.train is not None:
        problems.append(Problem(("teacher", "train"), f"compress cannot train this file ({why}); leave train out"))


def _same(parts: Parts) -> bool:
    """True if the model that goes through the stages starts as the teacher itself."""
    if not parts.has_student:
        return True
    a, b = parts.student, parts.teacher
    return a is not None and b is not None and a.checkpoint is not None and a.checkpoint == b.checkpoint


def _check_data(data: DataConfig | None, task: str | None, problems: list[Problem]) -> DataShape | None:
    if data is None:
        return None
    if data.hf is not None and data.revision is None:
        text = "missing; give the commit of the data set, so that every run reads the same"
        problems.append(Problem(("data", "revision"), text))
    if data.hf is None and data.revision is not None:
        problems.append(Problem(("data", "revision"), "it belongs to hf; leave it out"))
    if "test" in data.model_fields_set and (data.source == "fashion-mnist" or data.idx or data.test_file):
        problems.append(Problem(("data", "test"), "it has no effect: this source has a test split of its own"))
    if data.tokenizer is not None and not Path(data.tokenizer).exists():
        text = f"there is no {data.tokenizer}; give a tokenizer.json, or a folder that holds one"
        problems.append(Problem(("data", "tokenizer"), text))
    key = data.kind
    try:
        return data_shape(data, task or "image-classification")
    except (DataError, MissingExtraError, FactoryError, CodeRefusedError) as error:
        problems.append(Problem(("data", key), f"{error.where}: {error.what}; {error.fix}"))
    except OSError as error:
        problems.append(Problem(("data", key), f"it cannot be read: {error}"))
    return None


def _check_task(parts: Parts, problems: list[Problem]) -> None:
    """What the recipe calls its task must be what its data are."""
    data, task = parts.data, parts.task
    if data is None or task is None or data.hf is not None:
        return
    windows = data.window is not None or data.source == "gestures"
    right = "text-classification" if data.is_text else "sensor-classification" if windows else None
    if right is not None and task != right:
        problems.append(Problem(("task",), f"{task}, but the data are {right.split('-')[0]} data; write {right}"))
    elif right is None and task == "text-classification" and data.python is None:
        problems.append(Problem(("data",), "it has no texts; name their column in data.text (csv, jsonl)"))
    elif right is None and task == "sensor-classification" and data.kind not in ("npz", "python"):
        problems.append(Problem(("data",), "it has no windows; say how recordings are cut: window: {length: 128}"))


def _check_augment(parts: Parts, problems: list[Problem]) -> None:
    """Changes that belong to another kind of data."""
    if parts.task is None or parts.data is None:
        return
    own = {"sensor-classification": "windows of sensor readings", "text-classification": "texts"}.get(parts.task)
    sorts = {"images": AugmentConfig.IMAGES, "windows of sensor readings": AugmentConfig.WINDOWS,
             "texts": AugmentConfig.TEXTS}  # fmt: skip
    wrong = {name: sort for sort, names in sorts.items() for name in names if sort != (own or "images")}
    if own == "texts":
        wrong["mixup_alpha"] = "numbers, which can be mixed"
    places: list[tuple[KeyPath, AugmentConfig | None]] = [(("data", "augment"), parts.data.augment)]
    if parts.teacher is not None and parts.teacher.train is not None:
        places.append((("teacher", "train", "augment"), parts.teacher.train.augment))
    places += [(("stages", i, s.kind, "augment"), s.augment) for i, s in enumerate(parts.stages)
               if isinstance(s, Training)]  # fmt: skip
    for path, config in places:
        for name, sort in wrong.items() if config is not None else ():
            if getattr(config, name):
                problems.append(Problem((*path, name), f"it is for {sort}; leave it out"))


def _check_net(
    config: NetConfig | None,
    at: KeyPath,
    shape: DataShape | None,
    problems: list[Problem],
    teacher: Graph | None = None,
) -> Graph | None:
    if config is None:
        return None
    if config.net is not None and config.net not in ALL_NETS:
        known = f"; the nets are {', '.join(sorted(ALL_NETS))}"
        problems.append(Problem((*at, "net"), f"no net {config.net!r}{nearest(config.net, ALL_NETS) or known}"))
        return None
    if config.net is not None:
        takes = ALL_NETS[config.net][1]
        unknown = sorted(set(config.args) - set(takes))
        for key in unknown:
            hint = nearest(key, takes) or f"; it takes {', '.join(sorted(takes))}"
            problems.append(Problem((*at, "args", key), f"{config.net} takes no {key!r}{hint}"))
        if unknown:
            return None
    key = "args" if config.args else config.origin
    try:
        return net_graph(config, shape, teacher=teacher)
    except (ModelError, FactoryError, CodeRefusedError) as error:
        problems.append(Problem((*at, key), f"{error.where}: {error.what}; {error.fix}"))
    except OSError as error:
        problems.append(Problem((*at, key), f"it cannot be read: {error}"))
    return None


def _check_engine(parts: Parts, problems: list[Problem]) -> None:
    """What another engine made is an ONNX file: nothing can follow it, and no other format comes of it."""
    for i, stage in enumerate(parts.stages):
        if isinstance(stage, QuantizeConfig) and stage.engine != "own":
            at: KeyPath = ("stages", i, stage.kind, "engine")
            for key in sorted(_OWN & stage.model_fields_set):
                text = f"it has no effect: {stage.engine} decides that itself"
                problems.append(Problem(("stages", i, stage.kind, key), text))
            if i + 1 < len(parts.stages):
                problems.append(Problem(at, f"{stage.engine} gives a finished ONNX file; make this the last stage"))
            if other := [f for f in parts.export or () if f != "onnx"]:
                problems.append(Problem(("export",), f"{stage.engine} gives ONNX alone; leave out {', '.join(other)}"))
            if parts.data is not None and parts.data.is_text:
                problems.append(Problem(at, f"{stage.engine} is for images, windows and tables here; use engine: own"))


def _check_outputs(parts: Parts, quantized: bool, problems: list[Problem]) -> None:
    export = parts.export or ()
    for i, form in enumerate(export):
        if form in export[:i]:
            problems.append(Problem(("export", i), f"{form} stands here twice"))
    if not quantized and None not in parts.stages:
        for i, form in enumerate(export):
            if form.endswith("-float32") and form.removesuffix("-float32") in export:
                twin = form.removesuffix("-float32")
                problems.append(Problem(("export", i), f"nothing is quantized, so this is the same file as {twin}"))
    if parts.target in ("tflite", "armv7") and export and not any(f.startswith("tflite") for f in export):
        why = "runs TFLite files only" if parts.target == "tflite" else "has no ONNX Runtime"
        problems.append(Problem(("export",), f"target {parts.target} {why}; add tflite"))
    devices = parts.measure.devices if parts.measure is not None else None
    for i, device in enumerate(devices or ()):
        if device in (devices or ())[:i]:
            problems.append(Problem(("measure", "devices", i), f"{device} stands here twice"))
    if parts.budget is not None and devices is not None:
        for device in parts.budget.latency_ms:
            if device not in devices:
                hint = nearest(device, devices) or f"; measured are {', '.join(devices)}"
                text = f"{device!r} is not among measure.devices{hint}"
                problems.append(Problem(("budget", "latency_ms", device), text))


def _check_evidence(parts: Parts, shape: DataShape | None, problems: list[Problem]) -> None:
    if parts.budget is not None and parts.budget.consistency_drop_points is not None and parts.invariance is None:
        text = "nothing is transformed; add `invariance: {transformations: {...}}`, or drop the limit"
        problems.append(Problem(("budget", "consistency_drop_points"), text))
    _check_columns(parts, problems)
    _check_invariance(parts, shape, problems)
    if parts.costs is None:
        return
    classes = shape.classes if shape is not None else len(parts.costs)
    for i, row in enumerate(parts.costs):
        if len(row) != classes:
            text = f"it holds {len(row)} costs, want one for each of {classes} classes"
            problems.append(Problem(("costs", i), text))
    if len(parts.costs) != classes:
        text = f"it holds {len(parts.costs)} rows, want one for each of {classes} classes"
        problems.append(Problem(("costs",), text))


def _check_invariance(parts: Parts, shape: DataShape | None, problems: list[Problem]) -> None:
    """Transformations are made for one kind of data."""
    if parts.invariance is None or parts.task is None:
        return
    rows = parts.task == "image-classification" and shape is not None and len(shape.input_shape) == 1
    fitting = InvarianceConfig.FITTING["classification" if rows else parts.task]
    for name in parts.invariance.transformations:
        if name not in fitting:
            text = f"{name} is not made for such data; made for them: {', '.join(fitting)}"
            problems.append(Problem(("invariance", "transformations", name), text))
    if parts.invariance.swaps and parts.task != "text-classification":
        problems.append(Problem(("invariance", "swaps"), "words are swapped in texts alone; leave it out"))


def _check_columns(parts: Parts, problems: list[Problem]) -> None:
    """Slices and sensitive columns name something that the data brings along."""
    if parts.data is None:
        return
    own = ("person",) if parts.data.source == "gestures" else parts.data.metadata
    known = (*own, *SliceConfig.ALWAYS, *SliceConfig.MEASURED.get(parts.task or "", ()))
    for i, wanted in enumerate(parts.slices or ()):
        if wanted.column not in known:
            hint = nearest(wanted.column, known) or f"; there are {', '.join(known)}"
            text = f"{wanted.column!r} is no column of data.metadata and nothing that is measured{hint}"
            problems.append(Problem(("slices", i, "column"), text))
    for i, name in enumerate(parts.sensitive or ()):
        if name not in own:
            hint = nearest(name, own) or (f"; there are {', '.join(own)}" if own else "; add it there")
            problems.append(Problem(("sensitive", i), f"{name!r} is no column of data.metadata{hint}"))
