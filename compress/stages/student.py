"""A student's net beside what it is compared with inside the teacher: features, attention maps, token relations."""

from math import gcd

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compress.errors import StageError
from compress.model.graph import PADDING_SCORE, Graph
from compress.model.model import Model
from compress.model.module import GraphModule
from compress.model.shapes import Shape, features_of, infer_shapes
from compress.recipe.schema import DistillConfig, LayerPair


class Student(nn.Module):
    """The student's net and the projections that exist only while it learns."""

    def __init__(self, model: Model, teacher: Graph, config: DistillConfig, seed: int) -> None:
        super().__init__()
        self.net = GraphModule(model)
        self.hints, self.attention = config.hints, config.attention
        self.relations = [_Relation(model.graph, teacher, pair, i) for i, pair in enumerate(config.relations)]
        generator = np.random.default_rng([seed, 3])
        self.projections = nn.ParameterList()
        for i, pair in enumerate(config.hints):
            mine, its = _shapes(pair, model.graph, teacher, f"distill.hints[{i}]")
            alike = mine[:1] == its[:1] if len(mine) == 2 else mine[1:] == its[1:]
            if len(mine) != len(its) or not alike:
                fix = "choose layers with the same height and width"
                raise StageError(f"{pair.student} gives {mine}, {pair.teacher} {its}", f"distill.hints[{i}]", fix)
            wide, wanted = features_of(mine), features_of(its)
            start = generator.normal(0.0, wide**-0.5, (wanted, wide)).astype(np.float32)
            if len(mine) == 2 and wide == wanted:  # a student of the teacher's own layers sees with its eyes
                start = np.eye(wide, dtype=np.float32)
            self.projections.append(nn.Parameter(torch.from_numpy(start)))
        for i, pair in enumerate(config.attention):
            where = f"distill.attention[{i}]"
            for name, shape in zip(
                (pair.student, pair.teacher), _shapes(pair, model.graph, teacher, where), strict=True
            ):
                if len(shape) != 3:
                    raise StageError(f"{name} gives {shape}, not an image", where, "choose a convolutional layer")

    @property
    def taps(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The nodes that `distance` compares: the student's, the teacher's."""
        pairs = (*self.hints, *self.attention)
        mine = [p.student for p in pairs] + [n for r in self.relations for n in r.mine]
        its = [p.teacher for p in pairs] + [n for r in self.relations for n in r.its]
        return tuple(dict.fromkeys(mine)), tuple(dict.fromkeys(its))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes)."""
        out: Tensor = self.net(x)
        return out

    def distance(self, mine: dict[str, Tensor], its: dict[str, Tensor], x: Tensor) -> Tensor:
        """Weighted sum of all pairs' distances, a scalar. x: the batch they come from."""
        real = None if self.net.graph.pad_id is None else x != self.net.graph.pad_id
        total = torch.zeros((), device=next(iter(mine.values())).device)
        for pair, projection in zip(self.hints, self.projections, strict=True):
            seen, wanted = mine[pair.student].float(), its[pair.teacher].float()
            if real is not None and seen.dim() == 3:
                total = total + pair.weight * F.mse_loss(seen[real] @ projection.T, wanted[real])
                continue
            projected = torch.einsum("oc,nc...->no...", projection, seen)
            total = total + pair.weight * F.mse_loss(projected, wanted)
        for pair in self.attention:
            seen, wanted = _attention(mine[pair.student]), _attention(its[pair.teacher])
            if seen.shape != wanted.shape:
                wanted = F.adaptive_avg_pool2d(wanted, (seen.shape[2], seen.shape[3]))
            total = total + pair.weight * (_unit(seen) - _unit(wanted)).pow(2).sum(1).mean()
        for relation in self.relations:
            assert real is not None
            total = total + relation.distance(mine, its, real)
        return total


class _Relation:
    """Two attention nodes whose queries, keys and values should relate a text's tokens to each other alike.

    For each of the three: softmax(a a' / sqrt(features)) per head, compared by the Kullback-Leibler divergence (Wang et
    al. 2020, arXiv:2012.15828, equations 4 to 6). The heads are divided anew so that both have as many.
    """

    def __init__(self, student: Graph, teacher: Graph, pair: LayerPair, index: int) -> None:
        nodes = []
        for who, name, graph in (("student", pair.student, student), ("teacher", pair.teacher, teacher)):
            found = [n for n in graph if n.name == name and n.op == "attention"]
            if not found:
                heads = ", ".join(n.name for n in graph if n.op == "attention") or "none; it is no text encoder"
                what = f"the {who} has no attention {name!r}"
                raise StageError(what, f"distill.relations[{index}]", f"its attention nodes are {heads}")
            nodes.append(found[0])
        self.weight = pair.weight
        self.mine, self.its = nodes[0].inputs[:3], nodes[1].inputs[:3]
        self._heads = gcd(nodes[0].attrs["heads"], nodes[1].attrs["heads"])

    def distance(self, mine: dict[str, Tensor], its: dict[str, Tensor], real: Tensor) -> Tensor:
        """Mean over three relations, heads and the texts' own tokens, times the pair's weight."""
        total = torch.zeros((), device=real.device)
        for student, teacher in zip(self.mine, self.its, strict=True):
            a, b = self._relate(mine[student], real), self._relate(its[teacher], real)
            gap = (b.exp() * (b - a)).sum(-1).mean(1)  # (n, length)
            total = total + gap[real].mean()
        return self.weight * total / 3

    def _relate(self, x: Tensor, real: Tensor) -> Tensor:
        """(n, length, features) -> log-probabilities (n, heads, length, length)."""
        n, length, features = x.shape
        parts = x.float().reshape(n, length, self._heads, -1).transpose(1, 2)
        scores = parts @ parts.transpose(2, 3) / (features / self._heads) ** 0.5
        masked = scores.masked_fill(~real[:, None, None, :], PADDING_SCORE)
        return F.log_softmax(masked, dim=-1)


def _attention(x: Tensor) -> Tensor:
    """(n, c, h, w) -> (n, 1, h, w): mean square over channels (Zagoruyko and Komodakis 2016, equation 2, p = 2)."""
    return x.float().pow(2).mean(1, keepdim=True)


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x.flatten(1), dim=1)


def _shapes(pair: LayerPair, student: Graph, teacher: Graph, where: str) -> tuple[Shape, Shape]:
    out = []
    for who, name, graph in (("student", pair.student, student), ("teacher", pair.teacher, teacher)):
        shapes = infer_shapes(graph)
        if name not in shapes:
            fix = f"one of {', '.join(shapes)}"
            raise StageError(f"the {who} has no node {name!r}", where, fix)
        out.append(shapes[name])
    return out[0], out[1]
