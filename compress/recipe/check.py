"""What the schema cannot see: parts of a recipe that are fine alone but not together, or not with what they name."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compress.errors import CodeRefusedError, DataError, FactoryError, MissingExtraError, ModelError
from compress.model.channels import choose_groups, with_channels
from compress.model.graph import Graph, match_layers
from compress.model.nets import ALL_NETS
from compress.model.shapes import count_macs, count_parameters, infer_shapes
from compress.recipe.document import KeyPath, Problem
from compress.recipe.facts import DataShape, data_shape, net_graph
from compress.recipe.problems import nearest
from compress.recipe.schema import (
    AugmentConfig,
    BudgetConfig,
    DataConfig,
    DistillConfig,
    InvarianceConfig,
    LayerPair,
    MeasureConfig,
    NetConfig,
    PruneConfig,
    QuantizeConfig,
    Recipe,
    StageConfig,
    StudentConfig,
    TeacherConfig,
    TrainConfig,
    Training,
    VocabularyConfig,
)

_TRAINING = frozenset(Training.model_fields)
_OWN = frozenset({"calibration", "percentile", "layers", "keep_float", "weight_bits"})
_SOFT = frozenset({"temperature", "hard_label_weight"})


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

    @staticmethod
    def of(recipe: Recipe) -> "Parts":
        """All of a sound recipe."""
        return Parts(
            recipe.task, recipe.data, recipe.teacher, recipe.student, recipe.student is not None, recipe.stages,
            recipe.target, recipe.export, recipe.measure, recipe.budget, recipe.invariance, recipe.costs,
        )  # fmt: skip


@dataclass(slots=True)
class _Chain:
    """What is known of the model on its way through the stages."""

    teacher: Graph | None
    graph: Graph | None
    same: bool  # it is still the teacher itself
    trained: bool
    quantized: bool = False
    pruned: bool = False
    problems: list[Problem] = field(default_factory=list)

    def report(self, path: KeyPath, text: str) -> None:
        self.problems.append(Problem(path, text))


def check(parts: Parts) -> list[Problem]:
    """Every problem that the sound parts have with each other and with the files they name."""
    problems: list[Problem] = []
    shape = _check_data(parts.data, parts.task, problems)
    _check_task(parts, problems)
    _check_augment(parts, problems)
    teacher = _check_net(parts.teacher, ("teacher",), shape, problems)
    if parts.teacher is not None and parts.teacher.net is not None and parts.teacher.train is None:
        text = "a net begins with random weights; add `train: {epochs: 10}`, or give a checkpoint instead"
        problems.append(Problem(("teacher",), text))
    if teacher is not None and (whole := next((n for n in teacher if n.op == "onnx"), None)):
        _check_whole_file(parts, str(whole.attrs["why"]), problems)
        teacher = None if not parts.has_student else teacher
    graph = _check_net(parts.student, ("student",), shape, problems, teacher) if parts.has_student else teacher
    given = not parts.has_student or _has_weights(parts.student)
    quantized = graph is not None and graph.quantized  # a checkpoint may hold a quantized model
    chain = _Chain(teacher, graph, _same(parts), trained=given, quantized=quantized, problems=problems)
    if parts.has_student and not parts.stages:
        chain.report(("student",), "no stage makes use of it; begin `stages` with distill or train")
    for i, stage in enumerate(parts.stages):
        _check_stage(chain, stage, ("stages", i))
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


def _check_stage(chain: _Chain, stage: StageConfig | None, at: KeyPath) -> None:
    trains = stage is None or isinstance(stage, (TrainConfig, DistillConfig))
    if not chain.trained and not trains:
        chain.report(at, "the student still has random weights here; put a distill or train stage before this one")
    if isinstance(stage, DistillConfig):
        if chain.same:
            text = "the model still is the teacher, so there is nothing to learn; name a student, or prune first"
            chain.report((*at, stage.kind), text)
        for name in ("hints", "attention", "relations"):
            for i, pair in enumerate(getattr(stage, name)):
                _check_pair(chain, pair, (*at, stage.kind, name, i), sort=name)
    elif isinstance(stage, PruneConfig):
        _check_prune(chain, stage, (*at, stage.kind))
        chain.pruned = True
    elif isinstance(stage, QuantizeConfig):
        _check_quantize(chain, stage, (*at, stage.kind))
        chain.quantized = True
    elif isinstance(stage, VocabularyConfig):
        _check_vocabulary(chain, (*at, stage.kind))
    chain.trained = True
    chain.same = False


def _check_vocabulary(chain: _Chain, at: KeyPath) -> None:
    if chain.graph is None:
        return
    if chain.graph.pad_id is None:
        chain.report(at, "the model takes no texts, so it has no vocabulary; leave it out")
    elif chain.quantized:
        chain.report(at, "the model is quantized already; put vocabulary before quantize")


def _check_pair(chain: _Chain, pair: LayerPair, at: KeyPath, *, sort: str) -> None:
    shapes = []
    for key, graph in (("teacher", chain.teacher), ("student", chain.graph)):
        if graph is None:
            continue
        known = infer_shapes(graph)
        name = getattr(pair, key)
        if key == "student" and chain.quantized:  # quantizing folds batch norms away
            known = {n.name: known[n.name] for n in graph if n.op != "batch_norm"}
        if name not in known:
            hint = nearest(name, known) or f"; its nodes are {', '.join(known)}"
            chain.report((*at, key), f"the {key} has no node {name!r}{hint}")
        elif sort == "relations" and graph.node(name).op != "attention":
            heads = ", ".join(n.name for n in graph if n.op == "attention") or "none; it is no text encoder"
            chain.report((*at, key), f"{name} is no attention; the {key}'s are {heads}")
        elif sort == "attention" and len(known[name]) != 3:
            text = f"{name} gives shape {list(known[name])}; attention wants images (channels, height, width)"
            chain.report((*at, key), text)
        else:
            shapes.append((name, known[name]))
    if sort == "hints" and len(shapes) == 2:
        (mine, a), (other, b) = shapes
        alike = a[:1] == b[:1] if len(a) == 2 else a[1:] == b[1:]
        if len(a) != len(b) or not alike:
            text = f"{mine} gives shape {list(a)} and {other} {list(b)}; choose nodes of the same height and width"
            chain.report(at, text)


def _check_prune(chain: _Chain, stage: PruneConfig, at: KeyPath) -> None:
    given = stage.model_fields_set
    if chain.quantized:
        chain.report(at, "the model is quantized already; put prune before quantize")
    if stage.finetune_epochs == 0:
        _no_effect(chain, at, given & (_TRAINING | _SOFT), "finetune_epochs is 0, so nothing is trained")
    elif not stage.distill:
        _no_effect(chain, at, given & _SOFT, "distill is false")
    if stage.what == "weights":
        _no_effect(chain, at, given & {"round_to"}, "what is weights")
    if not _check_patterns(chain, stage.layers, (*at, "layers")) or chain.graph is None or stage.what == "weights":
        return
    chosen, kept = choose_groups(chain.graph, stage.layers, "prune")
    if not chosen:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(kept.items())[:3])
        chain.report((*at, "layers"), f"no channel can be removed ({reasons})")
        return
    key = "keep_macs" if stage.keep_macs is not None else "keep_parameters"
    goal = stage.keep_macs or stage.keep_parameters or 1.0
    cost = count_macs if stage.keep_macs is not None else count_parameters
    least = with_channels(chain.graph, {g.name: min(g.multiple(stage.round_to), g.channels) for g in chosen})
    share = cost(least) / cost(chain.graph)
    if goal < share and not chain.pruned:
        text = f"{goal} cannot be reached: with round_to {stage.round_to} the smallest net keeps {share:.3f}"
        chain.report((*at, key), text)


def _check_quantize(chain: _Chain, stage: QuantizeConfig, at: KeyPath) -> None:
    given = stage.model_fields_set
    if chain.quantized:
        chain.report(at, "the model is quantized already; keep one quantize stage")
    if stage.how != "qat":
        _no_effect(chain, at, given & (_TRAINING | _SOFT | {"distill"}), f"how is {stage.how}, which trains nothing")
    elif not stage.distill:
        _no_effect(chain, at, given & _SOFT, "distill is false")
    if stage.how == "dynamic":
        _no_effect(chain, at, given & {"calibration", "percentile"}, "how is dynamic, which needs no calibration")
    elif stage.calibration != "percentile":
        _no_effect(chain, at, given & {"percentile"}, f"calibration is {stage.calibration}")
    sound = _check_patterns(chain, stage.layers, (*at, "layers"))
    sound &= _check_patterns(chain, stage.keep_float, (*at, "keep_float"))
    if sound and chain.graph is not None:
        wanted = set(match_layers(chain.graph, stage.layers, "layers"))
        if stage.keep_float and not wanted - set(match_layers(chain.graph, stage.keep_float, "keep_float")):
            chain.report((*at, "keep_float"), "it leaves no layer to quantize; shorten it")


def _check_patterns(chain: _Chain, patterns: str | Sequence[str], at: KeyPath) -> bool:
    """Report each pattern that matches nothing; False if there was one."""
    if chain.graph is None or patterns == "all":
        return True
    count = len(chain.problems)
    if at[-1] == "layers" and not patterns:
        chain.report(at, "it is empty; name layers, or leave it out for all")
    for i, pattern in enumerate(patterns):
        try:
            match_layers(chain.graph, [pattern], "layers")
        except ModelError as error:
            names = [n.name for n in chain.graph.layers]
            text = error.what + (nearest(pattern, names) or f"; {error.fix}")
            chain.report((*at, i), text)
    return len(chain.problems) == count


def _no_effect(chain: _Chain, at: KeyPath, keys: Iterable[str], why: str) -> None:
    for key in sorted(keys):
        chain.report((*at, key), f"it has no effect: {why}; leave it out")


def _check_text_outputs(parts: Parts, problems: list[Problem]) -> None:
    """Text models are written as ONNX; TFLite wants one signature for every length, which compress does not write."""
    for i, form in enumerate(parts.export or ()):
        if form.startswith("tflite"):
            text = "text models are written as ONNX only, whose texts may have any length; write `export: [onnx]`"
            problems.append(Problem(("export", i), text))
    if parts.target in ("tflite", "armv7"):
        text = f"{parts.target} runs TFLite files, and text models are written as ONNX only"
        problems.append(Problem(("target",), f"{text}; choose x86-vnni, x86-avx2 or arm64"))


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
    if parts.task == "text-classification":
        _check_text_outputs(parts, problems)
    elif parts.target in ("tflite", "armv7") and export and not any(f.startswith("tflite") for f in export):
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
