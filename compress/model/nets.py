"""The named nets, built as graphs. To add one: a function that returns a Graph, and a line in NETS."""

from collections.abc import Callable, Sequence
from typing import Any

from compress.errors import ModelError
from compress.model.graph import Graph, Node

Input = Sequence[int]


class _Builder:
    """Appends nodes; each method returns the name of the node whose output it made."""

    def __init__(self, shape: Input) -> None:
        self.nodes = [Node("input", "input", (), {"shape": list(shape)})]

    def add(self, name: str, op: str, *inputs: str, **attrs: Any) -> str:
        self.nodes.append(Node(name, op, inputs, attrs))
        return name

    def conv(self, name: str, x: str, cin: int, cout: int, k: int, stride: int = 1, groups: int = 1) -> str:
        """Convolution and batch norm; "same" padding for odd kernels."""
        p = k // 2
        self.add(name, "conv2d", x, in_channels=cin, out_channels=cout, kernel=[k, k], stride=[stride, stride],
                 padding=[p, p], groups=groups, bias=False)  # fmt: skip
        return self.add(f"{name}_bn", "batch_norm", name, channels=cout, eps=1e-5)

    def relu(self, x: str) -> str:
        return self.add(f"{x.removesuffix('_bn')}_relu", "relu", x)

    def head(self, x: str, channels: int, classes: int) -> Graph:
        pooled = self.add("pool", "global_avg_pool", x)
        out = self.add("classifier", "linear", pooled, in_features=channels, out_features=classes, bias=True)
        return Graph(tuple(self.nodes), out)


def resnet(shape: Input, classes: int, *, widths: Sequence[int] = (16, 32, 64), blocks: int = 1) -> Graph:
    """Residual net for small images: a stem, then `blocks` basic blocks per width, each later width at half size.

    He et al. 2015, arXiv:1512.03385; with three widths and one block each it is MLPerf Tiny's ResNet-8.
    """
    b = _Builder(shape)
    width = widths[0]
    x = b.relu(b.conv("stem", "input", shape[0], width, 3))
    for i, w in enumerate(widths, start=1):
        for j in range(1, blocks + 1):
            name, stride = f"block{i}_{j}", 2 if i > 1 and j == 1 else 1
            y = b.relu(b.conv(f"{name}_conv1", x, width, w, 3, stride))
            y = b.conv(f"{name}_conv2", y, w, w, 3)
            if stride != 1 or width != w:
                x = b.conv(f"{name}_skip", x, width, w, 1, stride)
            x, width = b.relu(b.add(f"{name}_add", "add", y, x)), w
    return b.head(x, width, classes)


def ds_cnn(shape: Input, classes: int, *, width: int = 32, blocks: int = 4, stem_stride: int = 2) -> Graph:
    """Depthwise-separable CNN: a strided stem, then pairs of a depthwise 3x3 and a pointwise convolution.

    Zhang et al. 2017, arXiv:1711.07128 (DS-CNN).
    """
    b = _Builder(shape)
    x = b.relu(b.conv("stem", "input", shape[0], width, 3, stem_stride))
    for i in range(1, blocks + 1):
        x = b.relu(b.conv(f"block{i}_dw", x, width, width, 3, 2 if i == blocks // 2 + 1 else 1, groups=width))
        x = b.relu(b.conv(f"block{i}_pw", x, width, width, 1))
    return b.head(x, width, classes)


def mlp(shape: Input, classes: int, *, hidden: Sequence[int] = (64, 64)) -> Graph:
    """Plain multi-layer perceptron with ReLU."""
    b = _Builder(shape)
    x, width = b.add("flatten", "flatten", "input"), 1
    for n in shape:
        width *= n
    for i, h in enumerate(hidden, start=1):
        x = b.relu(b.add(f"fc{i}", "linear", x, in_features=width, out_features=h, bias=True))
        width = h
    out = b.add("classifier", "linear", x, in_features=width, out_features=classes, bias=True)
    return Graph(tuple(b.nodes), out)


# Name -> (builder, default arguments that the recipe's `args` may override).
NETS: dict[str, tuple[Callable[..., Graph], dict[str, Any]]] = {
    "resnet8": (resnet, {"widths": [16, 32, 64], "blocks": 1}),
    "resnet8-wide": (resnet, {"widths": [32, 64, 128], "blocks": 1}),
    "resnet14-wide": (resnet, {"widths": [32, 64, 128], "blocks": 2}),
    "ds-cnn": (ds_cnn, {"width": 32, "blocks": 4, "stem_stride": 2}),
    "mlp": (mlp, {"hidden": [64, 64]}),
}


def build_net(name: str, args: dict[str, Any], shape: Input, classes: int) -> Graph:
    """Build a named net for an input shape and a number of classes.

    Raises:
        ModelError: the name or an argument is unknown, or an argument's value makes no net.
    """
    if name not in NETS:
        raise ModelError(f"no net {name!r}", "net", f"one of {', '.join(sorted(NETS))}")
    builder, defaults = NETS[name]
    if unknown := sorted(set(args) - set(defaults)):
        raise ModelError(f"{name} takes no {unknown}", "net args", f"it takes {', '.join(sorted(defaults))}")
    if len(shape) != 3 and builder is not mlp:
        raise ModelError(f"{name} wants images (c, h, w), the data has shape {tuple(shape)}", "net", "use mlp")
    try:
        return builder(shape, classes, **{**defaults, **args})
    except (TypeError, ValueError, IndexError) as error:
        raise ModelError(
            f"its arguments {args} make no net: {error}", f"net {name}", "see compress/model/nets.py"
        ) from error
