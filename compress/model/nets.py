"""The named nets, built as graphs. To add one: a function that returns a Graph, and a line in NETS."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from compress.errors import ModelError
from compress.model.bert import BertShape, bert_graph
from compress.model.graph import Graph, Node

Input = Sequence[int]


class _Builder:
    """Appends nodes; each method returns the name of the node whose output it made.

    Where inputs have height 1, as windows of sensor readings do, kernels and strides are [1, k]: a 1-D net.
    """

    def __init__(self, shape: Input) -> None:
        self.nodes = [Node("input", "input", (), {"shape": list(shape)})]
        self.flat = len(shape) == 3 and shape[1] == 1

    def window(self, kernel: int, stride: int, padding: int = 0) -> dict[str, list[int]]:
        """The attributes of a sliding window."""
        height = (1, 1, 0) if self.flat else (kernel, stride, padding)
        pairs = zip(("kernel", "stride", "padding"), height, (kernel, stride, padding), strict=True)
        return {name: [h, w] for name, h, w in pairs}

    def add(self, name: str, op: str, *inputs: str, **attrs: Any) -> str:
        self.nodes.append(Node(name, op, inputs, attrs))
        return name

    def conv(self, name: str, x: str, cin: int, cout: int, k: int, stride: int = 1, groups: int = 1) -> str:
        """Convolution and batch norm; "same" padding for odd kernels."""
        window = self.window(k, stride, k // 2)
        self.add(name, "conv2d", x, in_channels=cin, out_channels=cout, **window, groups=groups, bias=False)
        return self.add(f"{name}_bn", "batch_norm", name, channels=cout, eps=1e-5)

    def relu(self, x: str) -> str:
        return self.add(f"{x.removesuffix('_bn')}_relu", "relu", x)

    def head(self, x: str, channels: int, classes: int) -> Graph:
        pooled = self.add("pool", "global_avg_pool", x)
        out = self.add("classifier", "linear", pooled, in_features=channels, out_features=classes, bias=True)
        return Graph(tuple(self.nodes), out)


def resnet(
    shape: Input, classes: int, *, widths: Sequence[int] = (16, 32, 64), blocks: int = 1, kernel: int = 3
) -> Graph:
    """Residual net for small images or windows: a stem, then `blocks` basic blocks per width, each later at half size.

    He et al. 2015, arXiv:1512.03385; with three widths and one block each it is MLPerf Tiny's ResNet-8.
    """
    b = _Builder(shape)
    width = widths[0]
    x = b.relu(b.conv("stem", "input", shape[0], width, kernel))
    for i, w in enumerate(widths, start=1):
        for j in range(1, blocks + 1):
            name, stride = f"block{i}_{j}", 2 if i > 1 and j == 1 else 1
            y = b.relu(b.conv(f"{name}_conv1", x, width, w, kernel, stride))
            y = b.conv(f"{name}_conv2", y, w, w, kernel)
            if stride != 1 or width != w:
                x = b.conv(f"{name}_skip", x, width, w, 1, stride)
            x, width = b.relu(b.add(f"{name}_add", "add", y, x)), w
    return b.head(x, width, classes)


def ds_cnn(
    shape: Input, classes: int, *, width: int = 32, blocks: int = 4, stem_stride: int = 2, kernel: int = 3
) -> Graph:
    """Depthwise-separable CNN: a strided stem, then pairs of a depthwise and a pointwise convolution.

    Zhang et al. 2017, arXiv:1711.07128 (DS-CNN).
    """
    b = _Builder(shape)
    x = b.relu(b.conv("stem", "input", shape[0], width, kernel, stem_stride))
    for i in range(1, blocks + 1):
        x = b.relu(b.conv(f"block{i}_dw", x, width, width, kernel, 2 if i == blocks // 2 + 1 else 1, groups=width))
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


def resnet9(
    shape: Input, classes: int, *, widths: Sequence[int] = (32, 64, 128, 256), residuals: Sequence[int] = (0, 1, 1)
) -> Graph:
    """Page's fast ResNet for small images: a stem, then per width a convolution, a max pool and residual pairs.

    Coleman et al. 2017, DAWNBench; Page 2018, "How to train your ResNet". residuals: pairs after each later width.
    """
    layers: list[Any] = [{"conv": widths[0]}]
    for width, count in zip(widths[1:], residuals, strict=True):
        layers += [{"conv": width}, {"max_pool": 2}, *[{"residual": width}] * count]
    return sequence(shape, classes, layers=layers)


def sequence(shape: Input, classes: int, *, layers: Sequence[Any]) -> Graph:
    """A net spelled out in the recipe: a list of {operator: options}, then global pooling (unless flat), a classifier.

    conv, depthwise: {channels, kernel (3), stride (1)} with batch norm and ReLU; depthwise takes no channels.
    block: {channels, mid (channels), stride (1), kernel (3)}: two convolutions around a shortcut, ReLU behind the
    addition. residual: {channels, kernel (3)}: two convolutions, ReLU before the addition. max_pool, avg_pool: window
    and stride. flatten: {}. A number alone stands for the first option.
    """
    s = _Sequence(shape)
    for i, item in enumerate(layers, start=1):
        s.take(i, item)
    return s.finish(classes)


def bert(shape: Input, classes: int, **sizes: Any) -> Graph:
    """Text encoder with a classifier over the mean of its tokens. Devlin et al. 2019, arXiv:1810.04805.

    vocabulary: tokens of data.tokenizer. layers, width, heads, ffn: as in the paper, L, H, A and the feed-forward size.
    """
    return bert_graph(BertShape(max_length=shape[0], **sizes), classes)


class _Sequence:
    """State of spelling out a net: the current tensor, its channels and size."""

    OPTIONS: ClassVar[dict[str, tuple[str, ...]]] = {
        "conv": ("channels", "kernel", "stride"),
        "depthwise": ("kernel", "stride"),
        "block": ("channels", "mid", "stride", "kernel"),
        "residual": ("channels", "kernel"),
        "max_pool": ("window",),
        "avg_pool": ("window",),
        "flatten": (),
    }

    def __init__(self, shape: Input) -> None:
        self.b, self.x = _Builder(shape), "input"
        self.channels, self.size, self.flat = shape[0], [shape[1], shape[2]], 0

    def take(self, i: int, item: Any) -> None:
        """Append one item of the list."""
        if not isinstance(item, dict) or len(item) != 1 or next(iter(item)) not in self.OPTIONS:
            raise ValueError(f"layers[{i - 1}] is {item!r}; want one of {', '.join(self.OPTIONS)} with its options")
        ((op, given),) = item.items()
        names = self.OPTIONS[op]
        options = given if isinstance(given, dict) else {} if given is None else {names[0]: given} if names else None
        if options is None or set(options) - set(names):
            raise ValueError(f"layers[{i - 1}].{op} takes {', '.join(names) or 'nothing'}; got {given!r}")
        if bad := [k for k, v in options.items() if not isinstance(v, int) or isinstance(v, bool) or not 0 < v <= 4096]:
            raise ValueError(f"layers[{i - 1}].{op}.{bad[0]} is {options[bad[0]]!r}; want a number from 1 to 4096")
        if self.flat:
            raise ValueError(f"layers[{i - 1}]: nothing follows flatten")
        getattr(self, f"_{op}")(f"{op}{i}", **options)

    def _shrink(self, stride: int) -> None:
        self.size = [(n - 1) // stride + 1 for n in self.size]

    def _conv(self, name: str, channels: int, kernel: int = 3, stride: int = 1) -> None:
        self.x = self.b.relu(self.b.conv(name, self.x, self.channels, channels, kernel, stride))
        self.channels = channels
        self._shrink(stride)

    def _depthwise(self, name: str, kernel: int = 3, stride: int = 1) -> None:
        c = self.channels
        self.x = self.b.relu(self.b.conv(name, self.x, c, c, kernel, stride, groups=c))
        self._shrink(stride)

    def _block(self, name: str, channels: int, mid: int = 0, stride: int = 1, kernel: int = 3) -> None:
        b, x = self.b, self.x
        y = b.relu(b.conv(f"{name}_conv1", x, self.channels, mid or channels, kernel, stride))
        y = b.conv(f"{name}_conv2", y, mid or channels, channels, kernel)
        if stride != 1 or channels != self.channels:
            x = b.conv(f"{name}_skip", x, self.channels, channels, 1, stride)
        self.x, self.channels = b.relu(b.add(f"{name}_add", "add", y, x)), channels
        self._shrink(stride)

    def _residual(self, name: str, channels: int, kernel: int = 3) -> None:
        b = self.b
        y = b.relu(b.conv(f"{name}_conv1", self.x, self.channels, channels, kernel))
        y = b.relu(b.conv(f"{name}_conv2", y, channels, self.channels, kernel))
        self.x = b.add(f"{name}_add", "add", self.x, y)

    def _max_pool(self, name: str, window: int = 2, op: str = "max_pool") -> None:
        self.x = self.b.add(name, op, self.x, **self.b.window(window, window))
        self.size = [n if self.b.flat and i == 0 else n // window for i, n in enumerate(self.size)]

    def _avg_pool(self, name: str, window: int = 2) -> None:
        self._max_pool(name, window, "avg_pool")

    def _flatten(self, name: str) -> None:
        self.x = self.b.add(name, "flatten", self.x)
        self.flat = self.channels * self.size[0] * self.size[1]

    def finish(self, classes: int) -> Graph:
        """Pool if need be, classify."""
        if not self.flat:
            return self.b.head(self.x, self.channels, classes)
        b = self.b
        out = b.add("classifier", "linear", self.x, in_features=self.flat, out_features=classes, bias=True)
        return Graph(tuple(b.nodes), out)


# Name -> (builder, default arguments that the recipe's `args` may override); of nets for numbers, and for texts.
NETS: dict[str, tuple[Callable[..., Graph], dict[str, Any]]] = {
    "resnet8": (resnet, {"widths": [16, 32, 64], "blocks": 1, "kernel": 3}),
    "resnet8-wide": (resnet, {"widths": [32, 64, 128], "blocks": 1, "kernel": 3}),
    "resnet14-wide": (resnet, {"widths": [32, 64, 128], "blocks": 2, "kernel": 3}),
    "resnet9": (resnet9, {"widths": [32, 64, 128, 256], "residuals": [0, 1, 1]}),
    "sequence": (sequence, {"layers": [{"conv": 16}, {"conv": {"channels": 32, "stride": 2}}]}),
    "ds-cnn": (ds_cnn, {"width": 32, "blocks": 4, "stem_stride": 2, "kernel": 3}),
    "mlp": (mlp, {"hidden": [64, 64]}),
}
TEXT_NETS: dict[str, tuple[Callable[..., Graph], dict[str, Any]]] = {
    "bert": (bert, {"vocabulary": 30522, "layers": 2, "width": 128, "heads": 2, "ffn": 512}),
}
ALL_NETS = {**NETS, **TEXT_NETS}


def build_net(name: str, args: dict[str, Any], shape: Input, classes: int) -> Graph:
    """Build a named net for an input shape and a number of classes.

    Raises:
        ModelError: the name or an argument is unknown, or an argument's value makes no net.
    """
    if name not in ALL_NETS:
        raise ModelError(f"no net {name!r}", "net", f"one of {', '.join(sorted(ALL_NETS))}")
    builder, defaults = ALL_NETS[name]
    if unknown := sorted(set(args) - set(defaults)):
        raise ModelError(f"{name} takes no {unknown}", "net args", f"it takes {', '.join(sorted(defaults))}")
    if len(shape) != 3 and builder not in (mlp, bert):
        raise ModelError(f"{name} wants images (c, h, w), the data has shape {tuple(shape)}", "net", "use mlp")
    try:
        return builder(shape, classes, **{**defaults, **args})
    except (TypeError, ValueError, IndexError) as error:
        raise ModelError(
            f"its arguments {args} make no net: {error}", f"net {name}", "`compress nets` says what each net takes"
        ) from error
