"""What the stages of a recipe do with the model that goes through them, found out before anything runs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from compress.errors import ModelError
from compress.model.bert import with_narrow_table
from compress.model.channels import choose_groups, with_channels
from compress.model.graph import Graph, match_layers
from compress.model.shapes import count_macs, count_parameters, infer_shapes
from compress.recipe.document import KeyPath, Problem
from compress.recipe.problems import nearest
from compress.recipe.schema import (
    DistillConfig,
    LayerPair,
    PruneConfig,
    QuantizeConfig,
    StageConfig,
    TrainConfig,
    Training,
    VocabularyConfig,
)  # fmt: skip

_TRAINING = frozenset(Training.model_fields)
_SOFT = frozenset({"temperature", "hard_label_weight"})


@dataclass(slots=True)
class Chain:
    """What is known of the model on its way through the stages."""

    teacher: Graph | None
    graph: Graph | None
    same: bool  # it is still the teacher itself
    trained: bool
    quantized: bool = False
    pruned: bool = False
    problems: list[Problem] = field(default_factory=list)

    def report(self, path: KeyPath, text: str) -> None:
        """Add a problem."""
        self.problems.append(Problem(path, text))


def check_stage(chain: Chain, stage: StageConfig | None, at: KeyPath) -> None:
    """Report what is wrong with a stage here (None: it has problems of its own), and take the model through it."""
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
        _check_vocabulary(chain, stage, (*at, stage.kind))
    chain.trained = True
    chain.same = False


def _check_vocabulary(chain: Chain, stage: VocabularyConfig, at: KeyPath) -> None:
    if chain.graph is None:
        return
    if chain.graph.pad_id is None:
        chain.report(at, "the model takes no texts, so it has no vocabulary; leave it out")
    elif chain.quantized:
        chain.report(at, "the model is quantized already; put vocabulary before quantize")
    elif stage.rank is not None:
        try:
            chain.graph = with_narrow_table(chain.graph, stage.rank)
        except ModelError as error:
            chain.report((*at, "rank"), f"{error.what}; {error.fix}")


def _check_pair(chain: Chain, pair: LayerPair, at: KeyPath, *, sort: str) -> None:
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


def _check_prune(chain: Chain, stage: PruneConfig, at: KeyPath) -> None:
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


def _check_quantize(chain: Chain, stage: QuantizeConfig, at: KeyPath) -> None:
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


def _check_patterns(chain: Chain, patterns: str | Sequence[str], at: KeyPath) -> bool:
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


def _no_effect(chain: Chain, at: KeyPath, keys: Iterable[str], why: str) -> None:
    for key in sorted(keys):
        chain.report((*at, key), f"it has no effect: {why}; leave it out")
